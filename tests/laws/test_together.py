"""Many small tensors drawn as one are what they are when each is drawn alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import BadInputError
from firstlight.laws import together
from firstlight.laws.draw import draw
from firstlight.laws.together import Asked, draw_together, is_small
from firstlight.records.law import (
    Constant,
    Law,
    Normal,
    Orthogonal,
    Stacked,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import Layout, plain_layout

LAWS: list[Law] = [
    Normal(std=0.5),
    Normal(mean=0.3, std=0.02),
    Uniform(low=-0.1, high=0.3),
    TruncatedNormal(std=0.02),
    TruncatedNormal(std=1, low_sigma=-1, high_sigma=3),
    Constant(value=0.25),
    Orthogonal(),
]
SHAPES = [(3,), (1, 1), (5, 3), (4, 8), (25, 40), (2, 3, 3, 3), (7, 130), (70, 80)]
GROUPED = Layout(shape=(6, 3, 3), view=(6, 3, 3), roles=("group", "in", "kernel"))
CHANNELS_LAST = Layout(
    shape=(3, 3, 4, 6), view=(3, 3, 4, 6), roles=("kernel", "kernel", "in", "out")
)


def asked_of(law: Law, layout: Layout, number: int, dtype: type = np.float32) -> Asked:
    return Asked(law=law, layout=layout, name=f"w{number}", out=np.full(layout.shape, 77, dtype))


def check(tensors: list[Asked], seed: int, namespace: str = "") -> None:
    draw_together(tensors, seed=seed, namespace=namespace)
    for one in tensors:
        alone = np.empty(one.layout.shape, one.out.dtype)
        draw(one.law, one.layout, name=one.name, seed=seed, namespace=namespace, out=alone)
        assert one.out.tobytes() == alone.tobytes(), (one.law, one.layout)


@given(
    st.lists(st.tuples(st.sampled_from(LAWS), st.sampled_from(SHAPES)), max_size=30),
    st.integers(0, 2**64 - 1),
)
def test_together_is_one_by_one(which: list[tuple[Law, tuple[int, ...]]], seed: int) -> None:
    layouts = [
        plain_layout((9, 9) if isinstance(law, Orthogonal) else shape) for law, shape in which
    ]
    check(
        [
            asked_of(law, lay, i)
            for i, ((law, _), lay) in enumerate(zip(which, layouts, strict=True))
        ],
        seed,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint16])
@pytest.mark.parametrize("layout", [plain_layout((10, 13)), GROUPED, CHANNELS_LAST])
def test_types_and_layouts(dtype: type, layout: Layout) -> None:
    check([asked_of(Normal(std=0.5), layout, i, dtype) for i in range(3)], 7, "other")


def test_more_than_is_drawn_at_once() -> None:
    layout = plain_layout((25, 40))
    check([asked_of(Normal(std=1), layout, i) for i in range(40)], 3)


def test_stacked_laws() -> None:
    laws = Stacked(laws=tuple(Normal(std=float(i + 1)) for i in range(6)))
    check([asked_of(laws, GROUPED, 0), asked_of(Normal(std=1), GROUPED, 1)], 0)


def test_memory_with_gaps() -> None:
    wide = np.zeros((10, 26), np.float32)
    layout = plain_layout((10, 13))
    check([Asked(law=Normal(std=1), layout=layout, name="w", out=wide[:, ::2])], 0)
    assert not wide[:, 1::2].any()


def test_small_is_where_calls_cost_most() -> None:
    assert is_small(Normal(std=1), plain_layout((25, 40)))
    assert not is_small(Normal(std=1), plain_layout((100, 100)))
    assert not is_small(Orthogonal(), plain_layout((4, 4)))
    assert not is_small(Normal(std=1), plain_layout((0, 4)))


def test_few_draws_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    real = together.fill_several
    monkeypatch.setattr(
        together, "fill_several", lambda *given: (counted.append(len(given[1])), real(*given))
    )
    layout = plain_layout((25, 40))
    draw_together([asked_of(Normal(std=1), layout, i) for i in range(100)], seed=0)
    assert sum(counted) == 100
    assert len(counted) == 6


def test_wrong_memory_is_refused() -> None:
    wrong = Asked(
        law=Normal(std=1), layout=plain_layout((2, 3)), name="w", out=np.empty((3, 2), np.float32)
    )
    with pytest.raises(BadInputError, match="out must be writable"):
        draw_together([wrong], seed=0)
