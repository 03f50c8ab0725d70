"""The law of a cut parent: its moments, and bounds that no rounding leaves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from firstlight.errors import BadInputError
from firstlight.initializers.cut_normal import cut_normal
from firstlight.laws.elementwise import parent_of
from firstlight.records.law import Normal, TruncatedNormal


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [(0, 1, -2, 2), (0.5, 0.8, -0.3, 1.9), (0, 1, 2, 3), (-3, 0.02, -3.1, -2.99), (0, 1, -99, 0.1)],
)
def test_moments_are_those_of_scipy(mean, std, low, high):
    law = cut_normal(mean, std, low, high, where="here")
    theirs = stats.truncnorm((low - mean) / std, (high - mean) / std, mean, std)
    assert law.mean == pytest.approx(theirs.mean(), abs=2e-6 * std * (1 + abs(mean) / std))
    assert law.std == pytest.approx(theirs.std(), rel=2e-6 * (1 + abs(mean) / std))


def test_no_rounding_leaves_the_bounds():
    """At the very ends, which a sample hardly reaches, as a draw computes and rounds them."""
    choose = np.random.default_rng(0)
    for _ in range(2000):
        mean, std = choose.uniform(-3, 3), choose.uniform(0.01, 1)
        low = choose.uniform(mean - 2 * std, mean)
        high = choose.uniform(mean, mean + 2 * std)
        law = cut_normal(mean, std, low, high, where="here")
        assert isinstance(law, TruncatedNormal)
        centre, scale = (float(np.float32(value)) for value in parent_of(law))
        ends = [np.float32(scale * z + centre) for z in (law.low_sigma, law.high_sigma)]
        if high - low > 1e-4 * (std + abs(mean)):
            assert low <= float(ends[0]) < float(ends[1]) <= high


def test_what_cuts_nothing_is_normal():
    assert cut_normal(0, 0.02, -2, 2, where="here") == Normal(std=0.02)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 0, -1, 1), "std must be positive"),
        ((0, 1, 1, 1), "must rise"),
        ((0, 1, 6, 7), "more than 5 std"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(BadInputError, match=words):
        cut_normal(*arguments, where="here")
