"""A part of a tensor is what the whole has there, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import BadInputError
from firstlight.laws import draw as drawing
from firstlight.laws import parts
from firstlight.laws.draw import draw
from firstlight.laws.parts import draw_part
from firstlight.records.law import (
    Constant,
    Listed,
    Mirrored,
    Normal,
    Orthogonal,
    Sparse,
    Stacked,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import Layout, plain_layout

TO = {"name": "block.weight", "seed": 7}

LAYOUTS = [
    plain_layout(()),
    plain_layout((13,)),
    plain_layout((9, 7)),
    plain_layout((9, 5, 3, 2)),
    Layout(shape=(3, 5, 6, 7), view=(3, 5, 6, 7), roles=("kernel", "kernel", "in", "out")),
    Layout(shape=(36, 7), view=(3, 12, 7), roles=("qkv", "out", "in")),
    Layout(shape=(7, 36), view=(7, 3, 12), roles=("in", "qkv", "out")),
    Layout(shape=(2, 7, 3, 5), view=(2, 7, 3, 5), roles=("head", "in", "gate", "out")),
    Layout(shape=(7, 4, 6), view=(7, 24), roles=("in", "out")),
    Layout(shape=(4, 6, 7), view=(24, 7), roles=("in", "out")),
    Layout(shape=(4, 1, 6), view=(4, 6), roles=("out", "in")),
    Layout(shape=(4,), view=(4,), roles=("gate",)),
    Layout(shape=(4, 9), view=(6, 6), roles=("out", "in")),  # no axes in common
    Layout(shape=(6, 4), view=(3, 8), roles=("out", "in")),
]
ELEMENTWISE = [
    Normal(mean=0.1, std=0.5),
    Uniform(low=-0.2, high=0.7),
    TruncatedNormal(std=0.3),
    Constant(value=-0.25),
]


@st.composite
def tensors_and_parts(draw):
    layout = draw(st.sampled_from(LAYOUTS))
    part = []
    for size in layout.shape:
        a, b = sorted(draw(st.tuples(*[st.integers(0, size)] * 2)))
        part.append(slice(a, b))
    return layout, tuple(part)


@settings(max_examples=300, deadline=None)
@given(
    tensors_and_parts(),
    st.sampled_from(ELEMENTWISE),
    st.sampled_from([np.float32, np.float64, np.float16, np.uint16]),
)
def test_a_part_of_an_elementwise_law(tensor, law, dtype):
    layout, part = tensor
    whole = draw(law, layout, **TO, out=np.empty(layout.shape, dtype))
    found = draw_part(law, layout, part, **TO, out=np.empty(whole[part].shape, dtype))
    assert found.tobytes() == whole[part].tobytes()


@pytest.mark.parametrize(
    ("law", "layout"),
    [
        (Orthogonal(gain=1.2), plain_layout((9, 7))),
        (Orthogonal(gain=0.5), Layout(shape=(36, 7), view=(3, 12, 7), roles=("qkv", "out", "in"))),
        (Orthogonal(), Layout(shape=(7, 4, 6), view=(7, 24), roles=("in", "out"))),
        (Mirrored(), plain_layout((8, 8))),
        (Sparse(std=0.1, zero_fraction=0.5), plain_layout((9, 7))),
        (Listed(values=tuple(map(float, range(12)))), plain_layout((12,))),
        (
            Stacked(laws=(Normal(std=1.0), Constant(value=2.0), Orthogonal())),
            Layout(shape=(36, 7), view=(3, 12, 7), roles=("qkv", "out", "in")),
        ),
    ],
)
def test_parts_of_laws_of_whole_matrices(law, layout):
    whole = draw(law, layout, **TO)
    for cut in (lambda n: slice(0, n), lambda n: slice(n // 3, n), lambda n: slice(1, n - 1)):
        part = tuple(map(cut, layout.shape))
        assert draw_part(law, layout, part, **TO).tobytes() == whole[part].tobytes()


def test_memory_with_gaps_is_written_where_it_is():
    layout = Layout(shape=(7, 36), view=(7, 3, 12), roles=("in", "qkv", "out"))
    room = np.zeros((10, 40), np.float32)
    part = (slice(2, 7), slice(5, 30))
    draw_part(Normal(std=1.0), layout, part, **TO, out=room[1:6, 2:27])
    assert (room[1:6, 2:27] == draw(Normal(std=1.0), layout, **TO)[part]).all()
    room[1:6, 2:27] = 0
    assert not room.any()


def test_only_what_is_wanted_is_drawn(monkeypatch):
    """A row of a table of ten million is no reason to draw the others."""
    drawn = []

    def fill(law, key, rows, columns, out):
        drawn.append(len(rows) * len(columns))

    monkeypatch.setattr(parts, "fill", fill)
    monkeypatch.setattr(drawing, "fill", None)
    draw_part(Normal(std=1.0), plain_layout((10_000_000, 64)), (range(5, 7), slice(None)), **TO)
    assert drawn == [128]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ((range(0, 3),), "has 2 ranges, got 1"),
        ((range(0, 3), range(0, 9)), "axis 1 of a part must be consecutive and within 0…7"),
        ((range(0, 4, 2), range(0, 7)), "axis 0 of a part must be consecutive"),
        ((slice(None, None, 2), slice(None)), "axis 0 of a part must be consecutive"),
    ],
)
def test_wrong_parts(part, words):
    with pytest.raises(BadInputError, match=words):
        draw_part(Normal(std=1.0), plain_layout((9, 7)), part, **TO)
