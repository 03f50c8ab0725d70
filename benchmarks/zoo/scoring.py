"""How the benchmarks score: whether a finding names a culprit, and what a share is worth."""

from __future__ import annotations

from collections.abc import Iterable

from scipy.stats import beta, norm

from firstlight.laws.addresses import canonical_name
from firstlight.records.checkup import Finding


def _inside(name: str, other: str) -> bool:
    return name == other or name.startswith(f"{other}.")


def names_culprit(finding: Finding, culprits: Iterable[str]) -> bool:
    """Whether a finding names one of the culprits.

    A name counts if it is the culprit's, or that of something in it, or of a layer of which it is
    the weight; it may stand among ``where`` or, in backticks, in the sentences.
    """
    culprits = [canonical_name(culprit) for culprit in culprits]
    words = f"{finding.evidence} {finding.cause}".split("`")[1::2]
    spoken = [name.partition("#")[0] for name in (*finding.where, *words)]
    return any(_inside(n, c) or _inside(c, n) for c in culprits for n in spoken if n)


def clopper_pearson(hits: int, cases: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share: Clopper & Pearson 1934.

    >>> [round(limit, 4) for limit in clopper_pearson(98, 100)]
    [0.9296, 0.9976]
    """
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, cases - hits + 1))
    high = 1.0 if hits == cases else float(beta.ppf(1 - tail, hits + 1, cases - hits))
    return low, high


def share(hits: int, cases: int) -> str:
    """``97 % (95–99 %)`` with its interval; a dash without cases."""
    if cases == 0:
        return "–"
    low, high = clopper_pearson(hits, cases)
    return f"{hits / cases:.0%} ({low:.0%}–{high:.0%})"


def wilson(hits: int, cases: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a share: Wilson 1927.

    >>> [round(limit, 4) for limit in wilson(95, 100)]
    [0.8882, 0.9785]
    """
    z = float(norm.ppf((1 + level) / 2))
    rate, weight = hits / cases, z * z / cases
    middle = (rate + weight / 2) / (1 + weight)
    half = z / (1 + weight) * (rate * (1 - rate) / cases + weight / (4 * cases)) ** 0.5
    return max(middle - half, 0.0), min(middle + half, 1.0)


def wilson_share(hits: int, cases: int) -> str:
    """``151/159 95.0% (90%–97%)``; a dash without cases."""
    if cases == 0:
        return "–"
    low, high = wilson(hits, cases)
    return f"{hits}/{cases} {hits / cases:.1%} ({low:.0%}–{high:.0%})"
