"""Numbers given one by one, and one law for each stacked matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from firstlight.errors import BadInputError, NotDrawableError
from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.laws.draw import draw, draw_matrix
from firstlight.laws.moments import moments, scaled
from firstlight.records.codec import from_json, to_json
from firstlight.records.law import Constant, Listed, Normal, Orthogonal, Stacked
from firstlight.records.network import Layout, plain_layout

FORGET = Stacked(laws=tuple(Constant(value=v) for v in (0, 1, 0, 0)))
numbers = st.lists(st.floats(-1e30, 1e30, allow_subnormal=False), min_size=1, max_size=20)


@given(values=numbers)
def test_listed_numbers_come_back(values):
    law = Listed(values=tuple(values))
    assert from_json(to_json(law)) == law
    assert law.values == tuple(float(f"{value:.9g}") for value in values)
    drawn = draw(law, (len(values),), name="b", seed=0)
    # Nine digits are enough for float32: the nearest one to them is the nearest to the number.
    assert np.allclose(drawn, np.array(values, np.float32), rtol=1.2e-7, atol=1e-37)
    assert np.array_equal(draw(Listed(values=drawn.tolist()), drawn.shape, name="c", seed=1), drawn)


def test_listed_numbers_are_in_logical_order_and_any_region_can_be_drawn():
    layout = Layout(shape=(6, 2), view=(2, 3, 2), roles=("gate", "out", "in"))
    law = Listed(values=tuple(range(12)))
    assert np.array_equal(draw(law, layout, name="w", seed=0), np.arange(12).reshape(6, 2))
    part = draw_matrix(law, layout, name="w", seed=0, stack=1, rows=range(1, 3), columns=range(1))
    assert part.tolist() == [[8], [10]]
    transposed = Layout(shape=(3, 2), view=(3, 2), roles=("in", "out"))
    six = draw(Listed(values=tuple(range(6))), transposed, name="w", seed=0)
    assert np.array_equal(six.T, np.arange(6).reshape(2, 3))


def test_listed_moments_and_scale():
    law = Listed(values=(1.0, 2.0, 6.0))
    found = moments(law, plain_layout((3,)))
    assert (found.mean, found.low, found.high) == (3.0, 1.0, 6.0)
    assert found.std == pytest.approx(np.std([1, 2, 6]))
    assert scaled(law, -2.0) == Listed(values=(-2, -4, -12))
    assert str(law) == "3 given, 1 … 6"


def test_an_lstms_forget_bias():
    layer = nn.LSTM(3, 5)
    parameter = next(p for p in describe_parameters(layer) if p.name == "bias_ih_l0")
    drawn = draw(FORGET, parameter.layout, name=parameter.name, seed=0)
    assert np.array_equal(drawn, np.repeat([0, 1, 0, 0], 5))
    assert from_json(to_json(FORGET)) == FORGET
    found = moments(FORGET, parameter.layout)
    assert (found.mean, found.low, found.high) == (0.25, 0.0, 1.0)
    assert found.std == pytest.approx(drawn.std())
    assert scaled(FORGET, 3.0).laws[1] == Constant(value=3)
    assert str(FORGET) == "stacked: zeros; ones; zeros; zeros"


def test_each_stacked_matrix_is_drawn_as_if_all_had_its_law():
    layout = Layout(shape=(12, 6), view=(3, 4, 6), roles=("qkv", "out", "in"))
    laws = (Normal(std=2.0), Orthogonal(gain=3.0), Constant(value=0.5))
    parts = np.split(draw(Stacked(laws=laws), layout, name="w", seed=4), 3)
    for index, (law, part) in enumerate(zip(laws, parts, strict=True)):
        assert np.array_equal(np.split(draw(law, layout, name="w", seed=4), 3)[index], part)


def test_moments_of_a_mixture():
    layout = Layout(shape=(600, 200), view=(2, 300, 200), roles=("gate", "out", "in"))
    law = Stacked(laws=(Normal(mean=1.0, std=2.0), Normal(mean=-2.0, std=0.5)))
    found, values = moments(law, layout), draw(law, layout, name="w", seed=0).astype(np.float64)
    error = 5 / np.sqrt(values.size)
    assert abs(values.mean() - found.mean) < error * found.std
    # The kurtosis of this mixture is 3.02: s.e.(s)/s = √((κ − 1)/(4n)), about 1/√(2n).
    assert values.std() == pytest.approx(found.std, rel=error / np.sqrt(2))
    assert found.low is None and found.high is None


@pytest.mark.parametrize(
    ("law", "shape", "words"),
    [
        (Listed(values=(1, 2)), (3,), r"a tensor of shape \(3,\) needs 3 numbers, got 2"),
        (Listed(values=()), (3,), r"no numbers: a tensor of shape \(3,\) needs 3 numbers, got 0"),
        (FORGET, (4,), r"a tensor of shape \(4,\) stacks 1 matrices, got 4 laws"),
        (Stacked(laws=(Orthogonal(),)), (4,), r"orthogonal × 1: needs a matrix"),
    ],
)
def test_what_does_not_fit_is_refused(law, shape, words):
    with pytest.raises(NotDrawableError, match=words):
        draw(law, shape, name="b", seed=0)


def test_impossible_laws():
    with pytest.raises(BadInputError, match="Listed: values must be a finite number, got nan"):
        Listed(values=(1.0, float("nan")))
    with pytest.raises(BadInputError, match="Stacked: needs at least one law"):
        Stacked(laws=())
    for inner in (FORGET, Listed(values=(1.0,))):
        with pytest.raises(BadInputError, match="Stacked: takes laws of one matrix each"):
            Stacked(laws=(inner,))
