"""One fault, one leading finding: what a cause explains is folded under it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from firstlight.records.checkup import Finding

_PROFILES = (
    "forward-vanishing",
    "forward-exploding",
    "backward-vanishing",
    "backward-exploding",
    "collapsed-samples",
)
_EVERYTHING = (
    *_PROFILES,
    "dead-units",
    "saturated-units",
    "loss-at-start",
    "no-gradient",
    "non-finite",
    "symmetric-units",
    "parallel-units",
    "rank-deficient",
    "cloned-layers",
    "update-ratio",
    "wrong-law",
    "input-scale",
)

EXPLAINS: dict[str, tuple[str, ...]] = {
    "non-finite": _EVERYTHING,
    "head-mismatch": ("loss-at-start", "no-gradient", "dead-units", "backward-vanishing"),
    "symmetric-units": tuple(kind for kind in _EVERYTHING if kind != "input-scale"),
    "parallel-units": (
        *_PROFILES,
        "symmetric-units",
        "saturated-units",
        "dead-units",
        "loss-at-start",
        "non-finite",
        "no-gradient",
        "wrong-law",
    ),
    "input-scale": (
        *_PROFILES,
        "saturated-units",
        "dead-units",
        "loss-at-start",
        "non-finite",
        "symmetric-units",
        "no-gradient",
    ),
    "wrong-law": (*_PROFILES, "saturated-units", "dead-units", "loss-at-start", "no-gradient"),
    "dead-units": (
        "forward-vanishing",
        "backward-vanishing",
        "collapsed-samples",
        "no-gradient",
        "symmetric-units",
        "wrong-law",
    ),
    "saturated-units": (
        "symmetric-units",
        *_PROFILES,
        "loss-at-start",
        "no-gradient",
        "wrong-law",
    ),
    "forward-exploding": (
        "backward-exploding",
        "backward-vanishing",
        "collapsed-samples",
        "loss-at-start",
        "non-finite",
        "no-gradient",
        "update-ratio",
        "wrong-law",
    ),
    "backward-exploding": (
        "forward-exploding",
        "non-finite",
        "loss-at-start",
        "update-ratio",
        "wrong-law",
    ),
    "backward-vanishing": (
        "forward-vanishing",
        "collapsed-samples",
        "no-gradient",
        "update-ratio",
    ),
    "forward-vanishing": ("backward-vanishing", "collapsed-samples", "no-gradient"),
    "collapsed-samples": (
        *_PROFILES,
        "dead-units",
        "loss-at-start",
        "no-gradient",
        "non-finite",
        "symmetric-units",
    ),
    "no-gradient": ("symmetric-units", "dead-units", "backward-vanishing", "forward-vanishing"),
}
"""Which kinds a cause explains, where it comes before them in the order of the judges."""

_ROOTS = frozenset({"input-scale", "wrong-law", "collapsed-samples"})
"""Kinds that may be no harm in themselves: what they bring about is, and makes them as severe."""

_SEVERITY = {"error": 0, "warning": 1, "note": 2}


def fold(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Causes with their consequences folded under them, errors first.

    Inputs of a thousand are no error in themselves, but the loss that they make is: such a cause is
    as severe as the worst that it explains. A note explains nothing.

    Args:
        findings: in the order of the judges, causes before consequences.
    """
    heads: list[Finding] = []
    under: dict[int, list[Finding]] = {}
    for finding in findings:
        place = _cause_of(finding, heads)
        if place is None:
            under[len(heads)] = []
            heads.append(finding)
        else:
            under[place].append(finding)
    folded = [_with(head, under[place]) for place, head in enumerate(heads)]
    return tuple(sorted(folded, key=lambda finding: _SEVERITY[finding.severity]))


def _cause_of(finding: Finding, heads: Iterable[Finding]) -> int | None:
    """The first cause that explains a finding; only roots explain what is worse than they are."""
    for place, head in enumerate(heads):
        enough = _SEVERITY[head.severity] <= _SEVERITY[finding.severity] or head.kind in _ROOTS
        if head.severity != "note" and enough and finding.kind in EXPLAINS.get(head.kind, ()):
            return place
    return None


def _with(head: Finding, consequences: Sequence[Finding]) -> Finding:
    worst = min((head, *consequences), key=lambda finding: _SEVERITY[finding.severity])
    return replace(head, severity=worst.severity, consequences=tuple(consequences))
