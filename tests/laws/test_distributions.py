"""Realised moments, bounds and shapes of the laws, with tolerances from the sample size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from firstlight.laws.draw import draw
from firstlight.laws.elementwise import parent_of
from firstlight.laws.moments import moments
from firstlight.records.law import (
    DeltaOrthogonal,
    Identity,
    Linked,
    Mirrored,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import plain_layout

N = 1_000_000
SHAPE = (1000, 1000)
# Five standard errors: a true law fails once in 1.7 million.
SIGMAS = 5


def _cdf(law):
    if isinstance(law, Normal):
        return stats.norm(law.mean, law.std).cdf
    if isinstance(law, Uniform):
        return stats.uniform(law.low, law.high - law.low).cdf
    centre, sigma = parent_of(law)
    return stats.truncnorm(law.low_sigma, law.high_sigma, centre, sigma).cdf


LAWS = [
    Normal(std=0.02),
    Normal(mean=-1, std=2),
    Uniform(low=-0.1, high=0.1),
    Uniform(low=0, high=1),
    TruncatedNormal(std=0.02),
    TruncatedNormal(mean=0.5, std=1, low_sigma=-1, high_sigma=3),
    TruncatedNormal(std=1, low_sigma=-3, high_sigma=3),
]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_moments_bounds_and_distribution(law):
    values = draw(law, SHAPE, name="w", seed=0).astype(np.float64).ravel()
    expected = moments(law, plain_layout(SHAPE))
    kurtosis = stats.kurtosis(values, fisher=False)
    assert abs(values.mean() - expected.mean) < SIGMAS * expected.std / math.sqrt(N)
    assert abs(values.std() / expected.std - 1) < SIGMAS * math.sqrt((kurtosis - 1) / (4 * N))
    if expected.low is not None:
        slack = 1e-6 * expected.std
        assert expected.low - slack <= values.min()
        assert values.max() <= expected.high + slack
        # And the bounds are reached: within 20 of the N steps of the distribution.
        assert _cdf(law)(values.min()) < 20 / N
        assert _cdf(law)(values.max()) > 1 - 20 / N
    assert stats.kstest(values, _cdf(law)).pvalue > 1e-4


def test_the_uncorrected_truncation_would_be_caught():
    """Counter-test: a truncated normal whose parent, not itself, has the std is 12 % too narrow."""
    values = draw(TruncatedNormal(std=0.8796256610), SHAPE, name="w", seed=0)
    assert abs(values.std() - 1) > SIGMAS * 0.6 / math.sqrt(N)
    assert stats.kstest(values.ravel(), stats.norm.cdf).pvalue < 1e-10


@pytest.mark.parametrize(
    ("t", "std"),
    [(1, 0.53956009375490), (1.5, 0.74264689843933), (2, 0.87962566103424), (3, 0.98657839255811)],
)
def test_truncated_parents_agree_with_the_known_stds(t, std):
    _, sigma = parent_of(TruncatedNormal(std=1, low_sigma=-t, high_sigma=t))
    assert sigma == pytest.approx(1 / std, rel=1e-8)


@pytest.mark.parametrize(
    "bounds", [(-6.0, -4.8), (5.0, 6.0), (0.3, 0.3001), (-1e-6, 1e-6), (-6.0, 2.0)]
)
def test_far_and_narrow_cuts_have_their_moments(bounds):
    law = TruncatedNormal(mean=0.2, std=0.5, low_sigma=bounds[0], high_sigma=bounds[1])
    values = draw(law, (400, 500), name="w", seed=1).astype(np.float64)
    # Five standard errors of 200,000 values; far out a cut is nearly exponential, and its std
    # varies twice as much. The parent's mean may be 2,000 std away and is rounded to binary32.
    centre, _ = parent_of(law)
    assert abs(values.mean() - law.mean) < 5 * law.std / 447 + abs(centre) * 2**-24
    assert abs(values.std() / law.std - 1) < 10 / 632 + abs(centre) * 2**-24


def test_elements_are_uncorrelated_along_rows_columns_names_and_seeds():
    law = Normal(std=1)
    base = draw(law, SHAPE, name="w", seed=0).astype(np.float64)
    others = {
        "row": (base[1:], base[:-1]),
        "column": (base[:, 1:], base[:, :-1]),
        "block": (base[:, 4:], base[:, :-4]),
        "name": (base, draw(law, SHAPE, name="w2", seed=0)),
        "seed": (base, draw(law, SHAPE, name="w", seed=1)),
    }
    for what, (a, b) in others.items():
        for power in (1, 2):
            correlation = np.corrcoef(np.ravel(a) ** power, np.ravel(b) ** power)[0, 1]
            assert abs(correlation) < SIGMAS / math.sqrt(a.size), (what, power)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (5, 3, 3), (1, 5), (5, 1)])
def test_orthogonal_is_an_isometry(shape):
    gain = 1.7
    matrix = draw(Orthogonal(gain=gain), shape, name="w", seed=0).astype(np.float64)
    matrix = matrix.reshape(shape[0], -1)
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    assert np.abs(short @ short.T - gain**2 * np.eye(len(short))).max() < 1e-6


def test_orthogonal_matrices_are_haar_distributed():
    """Entries of a Haar matrix of size n: mean 0, mean square 1/n, fourth moment 3/(n(n+2)),
    trace of mean 0 and mean square 1. A QR without the sign fix fails the trace."""
    n, draws = 6, 4000
    matrices = np.stack(
        [draw(Orthogonal(), (n, n), name="w", seed=seed) for seed in range(draws)]
    ).astype(np.float64)
    count = draws * n * n
    assert abs(matrices.mean()) < SIGMAS / math.sqrt(n * count)
    fourth = (matrices**4).mean()
    spread = (matrices**4).std() / math.sqrt(count / 2)
    assert abs(fourth - 3 / (n * (n + 2))) < SIGMAS * spread
    traces = np.trace(matrices, axis1=1, axis2=2)
    assert abs(traces.mean()) < SIGMAS / math.sqrt(draws)
    assert abs((traces**2).mean() - 1) < SIGMAS * (traces**2).std() / math.sqrt(draws)
    determinants = np.linalg.det(matrices)
    assert abs(determinants.mean()) < SIGMAS / math.sqrt(draws)


def test_delta_orthogonal_lives_at_the_centre():
    kernel = draw(DeltaOrthogonal(gain=2), (8, 5, 3, 3), name="w", seed=0)
    centre = kernel[:, :, 1, 1].astype(np.float64)
    assert np.abs(centre.T @ centre - 4 * np.eye(5)).max() < 1e-6
    kernel[:, :, 1, 1] = 0
    assert not kernel.any()


@pytest.mark.parametrize("shape", [(8, 6), (7, 6), (8, 5), (7, 5), (8, 6, 3)])
@pytest.mark.parametrize(("inputs", "outputs"), [(True, True), (True, False), (False, True)])
def test_mirrored_blocks_repeat_with_the_opposite_sign(shape, inputs, outputs):
    law = Mirrored(gain=1.5, inputs=inputs, outputs=outputs)
    matrix = draw(law, shape, name="w", seed=0)
    if len(shape) == 3:
        assert not matrix[:, :, [0, 2]].any()
        matrix = matrix[:, :, 1]
    rows, columns = matrix.shape
    top = -(-rows // 2) if outputs else rows
    left = -(-columns // 2) if inputs else columns
    block = matrix[:top, :left].astype(np.float64)
    short = block if block.shape[0] <= block.shape[1] else block.T
    assert np.abs(short @ short.T - 1.5**2 * np.eye(len(short))).max() < 1e-6
    if outputs:
        assert np.array_equal(matrix[top:], -matrix[: rows - top])
    if inputs:
        assert np.array_equal(matrix[:, left:], -matrix[:, : columns - left])


@pytest.mark.parametrize("mirrored", [False, True])
def test_neighbours_with_a_shared_basis_hand_on_the_same_directions(mirrored):
    """Through widths 12, 8, 12 the product keeps 8 directions exactly; alone they keep fewer."""

    def block(rows, columns, name, before, after):
        law = Linked(before=before, after=after, inputs=mirrored, outputs=mirrored)
        factor = 2 if mirrored else 1
        matrix = draw(law, (factor * rows, factor * columns), name=name, seed=0)
        return matrix[:rows, :columns].astype(np.float64)

    down, up = block(8, 12, "b", "a", "b"), block(12, 8, "c", "b", "c")
    again = block(8, 12, "d", "c", "d")
    assert np.abs(down @ down.T - np.eye(8)).max() < 1e-6
    singular = np.linalg.svd(again @ up @ down, compute_uv=False)
    assert np.abs(singular - 1).max() < 1e-6
    stranger = block(8, 12, "d", "x", "d")
    assert np.linalg.svd(stranger @ up @ down, compute_uv=False).min() < 0.9


@pytest.mark.parametrize("shape", [(9, 7), (8, 7), (9, 8), (9, 7, 3)])
def test_a_linked_unit_without_a_twin_listens_and_is_not_heard(shape):
    law = Linked(gain=1.5, before="a", after="b", inputs=True, outputs=True)
    matrix = draw(law, shape, name="b", seed=0)
    if len(shape) == 3:
        assert not matrix[:, :, [0, 2]].any()
        matrix = matrix[:, :, 1]
    rows, columns = matrix.shape
    top, left = rows // 2, columns // 2
    assert np.array_equal(matrix[top : 2 * top], -matrix[:top])
    assert np.array_equal(matrix[:, left : 2 * left], -matrix[:, :left])
    block = matrix[:top, :left].astype(np.float64)
    short = block if top <= left else block.T
    assert np.abs(short @ short.T - 1.5**2 * np.eye(len(short))).max() < 1e-6
    assert not matrix[:, 2 * left :].any()
    for row in matrix[2 * top :]:
        assert np.abs(row - matrix[:top].sum(axis=0) / np.sqrt(top)).max() < 1e-6


def test_a_linked_weight_behind_a_flattening_keeps_the_positions_of_a_unit_together():
    law = Linked(after="b", inputs=True, positions=4)
    matrix = draw(law, (6, 5 * 4), name="b", seed=0)
    assert np.array_equal(matrix[:, 8:16], -matrix[:, :8])
    assert not matrix[:, 16:].any()


def test_identity_and_dirac():
    assert np.array_equal(draw(Identity(gain=2), (3, 5), name="w", seed=0), 2 * np.eye(3, 5))
    kernel = draw(Identity(), (3, 3, 5), name="w", seed=0)
    assert np.array_equal(kernel[:, :, 2], np.eye(3))
    assert kernel.sum() == 3


def test_sparse_keeps_exactly_its_share_in_every_row():
    law = Sparse(std=0.5, zero_fraction=0.9)
    matrix = draw(law, (400, 200), name="w", seed=0)
    assert ((matrix != 0).sum(axis=1) == 20).all()
    kept = matrix[matrix != 0].astype(np.float64)
    assert stats.kstest(kept, stats.norm(0, 0.5).cdf).pvalue > 1e-4
    # The kept places are spread evenly over the columns: χ² over 200 columns.
    counts = (matrix != 0).sum(axis=0)
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize(
    "law",
    [Orthogonal(gain=2), DeltaOrthogonal(), Mirrored(), Mirrored(inputs=False), Identity(gain=2)]
    + [Linked(before="a", after="b", inputs=i, outputs=o) for i in (0, 1) for o in (0, 1)],
    ids=str,
)
@pytest.mark.parametrize("shape", [(8, 6), (6, 8), (8, 4, 3, 3)])
def test_second_moments_of_structured_laws(law, shape):
    matrix = draw(law, shape, name="w", seed=0).astype(np.float64)
    expected = moments(law, plain_layout(shape))
    square = expected.std**2 + expected.mean**2
    assert (matrix**2).mean() == pytest.approx(square, rel=1e-5)
