"""Which laws the numbers in a tensor do not reject.

Several laws can be the same law (Glorot and LeCun on a square matrix), and small tensors tell
little, so the answer is a set, best first. A law is rejected if its mean, its standard deviation,
its bounds or tails, or its distribution (Kolmogorov–Smirnov) does not fit. Every test is exact or
on the safe side at any size, and the level holds for all tests of a tensor together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.elementwise import parent_of
from firstlight.laws.moments import moments
from firstlight.records.law import (
    Constant,
    Law,
    Listed,
    Normal,
    Sparse,
    Stacked,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import Layout
from firstlight.verdicts.audit_estimates import Candidate, estimated_laws
from firstlight.verdicts.audit_numbers import Numbers, Reals, numbers_of
from firstlight.verdicts.audit_structure import (
    TECHNIQUES,
    sparse_law,
    stored_isometry,
    structure_of,
)
from firstlight.verdicts.stack_fit import listed_p, stacked_constants, stacked_p

REJECT = 0.01
"""The true law stays in the set 99 times of 100."""

_TESTS = 4
_EXACT_PAIRS = 100_000
"""Up to this many pairs of values Smirnov's exact distribution."""

Random = Normal | Uniform | TruncatedNormal


def _cdf(law: Random) -> Callable[[Reals], Reals]:
    from scipy.special import ndtr

    match law:
        case Normal(mean=mean, std=std):
            return lambda x: np.asarray(ndtr((x - mean) / std))
        case Uniform(low=low, high=high):
            return lambda x: np.clip((x - low) / (high - low), 0, 1)
        case TruncatedNormal(low_sigma=a, high_sigma=b):
            centre, sigma = parent_of(law)
            below, mass = float(ndtr(a)), float(ndtr(b) - ndtr(a))
            return lambda x: np.clip((ndtr((x - centre) / sigma) - below) / mass, 0, 1)


def _kurtosis(law: Random) -> float:
    """E[(x − mean)⁴]/std⁴."""
    from scipy.special import ndtr

    match law:
        case Normal():
            return 3.0
        case Uniform():
            return 1.8
        case TruncatedNormal(low_sigma=a, high_sigma=b):
            mass = float(ndtr(b) - ndtr(a))
            at_a, at_b = (math.exp(-x * x / 2) / math.sqrt(2 * math.pi) / mass for x in (a, b))
            raw = [1.0, at_a - at_b]  # E[zᵏ] = (k − 1)·E[zᵏ⁻²] + aᵏ⁻¹ϕ(a) − bᵏ⁻¹ϕ(b)
            for k in (2, 3, 4):
                raw.append((k - 1) * raw[k - 2] + a ** (k - 1) * at_a - b ** (k - 1) * at_b)
            m = raw[1]
            fourth = raw[4] - 4 * m * raw[3] + 6 * m**2 * raw[2] - 3 * m**4
            return fourth / (raw[2] - m**2) ** 2


def _spread_p(ratio: float, n: int, kurtosis: float) -> float:
    """Two-sided p-value of a mean of squares over its expectation.

    For normal values it is χ²_n/n, a gamma; other laws are matched by the gamma of equal variance.
    The limit for large n is normal; of the two the one that rejects less counts, since each is too
    light on one side where n is small.
    """
    from scipy.special import gammainc, gammaincc, ndtr

    shape = n / (kurtosis - 1)
    z = (ratio - 1) * math.sqrt(shape)
    if ratio < 1:
        one_sided = float(gammainc(shape, shape * ratio))
    else:
        one_sided = float(gammaincc(shape, shape * ratio))
    if kurtosis != 3:
        one_sided = max(one_sided, float(ndtr(-abs(z))))
    return min(1.0, 2 * one_sided)


def _distance_p(distance: float, n: float) -> float:
    """p-value of Kolmogorov's largest distance between two distribution functions.

    The limit law with Stephens's (1970) correction for finite n, which errs on the safe side below
    ten values.
    """
    from scipy.special import kolmogorov

    root = math.sqrt(n)
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def _distribution_p(sample: Reals, law: Random) -> float:
    n = len(sample)
    expected = _cdf(law)(sample)
    steps = np.arange(n + 1) / n
    return _distance_p(float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max())), n)


def _tail_p(numbers: Numbers, law: Normal) -> float:
    """Two-sided p-value of the largest deviation: P(max|z| ≤ m) = (2Φ(m) − 1)^n.

    Without it a normal law cut at ±2σ passes for the whole one: their distribution functions
    differ by 0.02 only, but of 4,096 whole ones 187 lie beyond. A cut shows in the sample; values
    that are too large are looked for among all. (Random generators of 32 bits end at 5.8σ.)
    """
    from scipy.special import ndtr

    def below(low: float, high: float, n: int) -> float:
        largest = max(abs(low - law.mean), abs(high - law.mean)) / law.std
        return math.exp(n * math.log1p(-2 * float(ndtr(-largest)))) if largest > 0 else 0.0

    sample = numbers.sample
    shorter = below(sample[0], sample[-1], len(sample))
    longer = 1 - below(numbers.low, numbers.high, numbers.size)
    return min(1.0, 2 * min(shorter, longer))


def _elementwise_p(
    numbers: Numbers, law: Random, layout: Layout, resolution: float, level: float
) -> float:
    """The smallest of the p-values, corrected for their number; 0 where a bound is broken."""
    from scipy.special import ndtr

    expected = moments(law, layout)
    if expected.std == 0:
        return float(numbers.constant and numbers.low == expected.mean)
    slack = 1e-6 * expected.std + resolution * numbers.largest
    if expected.low is not None and numbers.low < expected.low - slack:
        return 0.0
    if expected.high is not None and numbers.high > expected.high + slack:
        return 0.0
    n = numbers.size
    # About the law's own mean, so that n = 1 says something too.
    ratio = numbers.second_moment(expected.mean) / expected.std**2
    tests: tuple[Callable[[], float], ...] = (
        lambda: _spread_p(ratio, n, _kurtosis(law)),
        lambda: 2 * float(ndtr(-abs(numbers.mean - expected.mean) / (expected.std / math.sqrt(n)))),
        lambda: _tail_p(numbers, law) if isinstance(law, Normal) else 1.0,
        lambda: _distribution_p(numbers.sample, law),
    )
    p = 1.0
    for test in tests:  # the cheap ones first: most laws fall at the first
        p = min(p, _TESTS * test())
        if p < level:
            return p
    return p


def fit_p(
    numbers: Numbers,
    law: Law,
    layout: Layout,
    *,
    values: NDArray[np.floating] | None = None,
    resolution: float = 0.0,
    level: float = REJECT,
) -> float:
    """The p-value of a law for a tensor: 1 or 0 for exact laws.

    Args:
        numbers: of a tensor without NaN or infinity.
        law: which.
        layout: the tensor's axes.
        values: the tensor itself, for laws of whole matrices.
        resolution: relative spacing of the tensor's type where that is coarse (2⁻⁸ for bfloat16):
            rounding may carry a number over a bound.
        level: once the p-value is known to be below it, no further test is made.

    Returns:
        In [0, 1]; below ``level`` the law is rejected.
    """
    match law:
        case Constant(value=value):
            off = max(abs(numbers.low - value), abs(numbers.high - value))
            return float(off <= max(1e-6, resolution) * abs(value))
        case Normal() | Uniform() | TruncatedNormal():
            return _elementwise_p(numbers, law, layout, resolution, level)
        case Sparse():
            return float(values is not None and sparse_law(values, layout) == law)
        case _ if values is None:
            return 0.0
        case Listed():
            return listed_p(values, law, layout, resolution)
        case Stacked():
            return stacked_p(values, law, layout, fit_p, resolution=resolution, level=level)
        case _:
            return float(structure_of(values, layout, resolution=resolution) == law)


def _sparse(values: NDArray[np.floating], layout: Layout, level: float) -> Sparse | None:
    """Equal counts of zeros, if what is left is normal."""
    law = sparse_law(values, layout)
    if law is None:
        return None
    kept = numbers_of(values[values != 0])
    return law if fit_p(kept, Normal(std=law.std), layout, level=level) >= level else None


def same_law_p(a: Numbers, b: Numbers) -> float:
    """The p-value of two tensors having one law, whatever it is (Smirnov's test)."""
    from scipy.stats import ks_2samp

    if a.constant or b.constant:
        return float(a.constant and b.constant and a.low == b.low)
    if len(a.sample) * len(b.sample) <= _EXACT_PAIRS:
        return float(ks_2samp(a.sample, b.sample, method="exact").pvalue)
    both = np.concatenate([a.sample, b.sample])
    of_a = np.searchsorted(a.sample, both, side="right") / len(a.sample)
    of_b = np.searchsorted(b.sample, both, side="right") / len(b.sample)
    together = len(a.sample) * len(b.sample) / len(both)
    return _distance_p(float(np.abs(of_a - of_b).max()), together)


def fitting_laws(
    numbers: Numbers,
    values: NDArray[np.floating],
    layout: Layout,
    candidates: Iterable[Candidate],
    *,
    resolution: float = 0.0,
    level: float = REJECT,
    fan_in: float | None = None,
) -> list[tuple[Candidate, float]]:
    """The candidates that a tensor does not reject, best first.

    Args:
        numbers: of the tensor, all finite.
        values: the tensor, in storage order.
        layout: its axes.
        candidates: named laws at this tensor.
        resolution: as for `fit_p`.
        level: as for `fit_p`.
        fan_in: for estimated scales in the words of the fan; None for tensors without.

    Returns:
        Candidates with their p-values. Where no named law fits, families with the scale estimated
        from the numbers are tried.
    """
    # One number alone is equal to itself under any law; only zero and one speak for themselves.
    if numbers.constant and (numbers.size > 1 or numbers.low in (0.0, 1.0)):
        law = Constant(value=numbers.low)
        return [(("constant" if law.value not in (0, 1) else str(law), str(law), law), 1.0)]
    structure: Law | None = stacked_constants(values, layout)
    structure = structure or structure_of(values, layout, resolution=resolution)
    if structure is None and numbers.zeros:
        structure = _sparse(values, layout, level)
    if structure is not None:
        return [((TECHNIQUES.get(type(structure)), str(structure), structure), 1.0)]
    packed = stored_isometry(values, layout, resolution=resolution)
    if packed is not None:
        return [((None, f"{packed}, all {layout.stacks[0][0]}s together", packed), 1.0)]

    def kept(laws: Iterable[Candidate]) -> list[tuple[Candidate, float]]:
        tested = (
            (law, fit_p(numbers, law[2], layout, resolution=resolution, level=level))
            for law in laws
        )
        return [fit for fit in tested if fit[1] >= level]

    fits = kept(candidates) or kept(estimated_laws(numbers, fan_in))
    return sorted(fits, key=lambda fit: (_is_special(fit[0]), -fit[1]))


def _is_special(candidate: Candidate) -> bool:
    """Whether a law has no name, a chosen gain, or a cut; a small tensor fits many of those."""
    name, words, _ = candidate
    return name is None or words.startswith("gain") or "cut at" in words
