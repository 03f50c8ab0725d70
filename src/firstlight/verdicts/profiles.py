"""Findings on the way through the depth: vanishing, exploding, collapsing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from firstlight.records.checkup import Estimate, Finding, Reading, Severity
from firstlight.verdicts import limits
from firstlight.verdicts.cures import initialize
from firstlight.verdicts.norm_growth import norm_growth, read_by_norms
from firstlight.verdicts.view import View, rms_ratio


def _severity(factor: float) -> Severity | None:
    if factor > limits.PROFILE_ERROR:
        return "error"
    return "warning" if factor > limits.PROFILE_WARNING else None


def _limit(severity: Severity) -> float:
    """The limit that was crossed."""
    return limits.PROFILE_ERROR if severity == "error" else limits.PROFILE_WARNING


def _cause(view: View, *, backward: bool, growing: bool) -> str:
    if view.sigmas.outliers:
        operation, ratio = view.sigmas.outliers[0]
        return (
            f"the weight of `{operation.name}` has a variance × fan_in of {ratio:.1e} times the"
            " median of the hidden weights: the jump is there"
        )
    size = "largest" if growing else "smallest"
    stands_out = f"{size} at {view.sigmas.extreme(largest=growing)}"
    trunk = [branch for branch in view.graph.branches if not branch.projected]
    if len(trunk) > 1:
        bare = sum(not branch.normed for branch in trunk)
        if growing and 2 * bare > len(trunk):
            return (
                f"{bare} branches without a norm add up in the stream, each as large as it was:"
                f" their last weights need a factor of {bare}^(−½); variance × fan_in is"
                f" {stands_out}"
            )
        return f"the scale of the weights does not fit the depth; variance × fan_in is {stands_out}"
    scale = view.sigmas.scale
    if scale is None or scale.sigma_w2 == 0:
        return f"the scale of the weights does not fit the depth; variance × fan_in is {stands_out}"
    factor = scale.backward if backward else scale.forward
    what = "‖δ‖²" if backward else "the second moment"
    fit = 1 / (factor / scale.sigma_w2)
    uneven = f"; {stands_out}" if view.sigmas.uneven else ""
    return (
        f"hidden weights have σ_w² = variance × fan_in = {scale.sigma_w2:.3g}; behind"
        f" {scale.activation} each layer multiplies {what} by {factor:.3g}, and σ_w² = {fit:.3g}"
        f" would keep it{uneven}"
    )


def _where(view: View, *ends: str) -> tuple[str, ...]:
    """The weights that stand out, if there are some, before the two ends of the profile."""
    return (*(operation.name for operation, _ in view.sigmas.outliers), *ends)


def _ratio_words(ratio: float) -> str:
    return "0" if ratio == 0 else f"{ratio:.1e}" if not 0.01 <= ratio <= 100 else f"{ratio:.2g}"


def _relative_error(*estimates: Estimate) -> float | None:
    """Relative standard error of the root of a ratio of two means."""
    total = 0.0
    for estimate in estimates:
        if estimate.standard_error is None or estimate.value == 0:
            return None
        total += (estimate.standard_error / estimate.value) ** 2
    return math.sqrt(total) / 2


def _with_error(ratio: float, *estimates: Estimate) -> str:
    error = _relative_error(*estimates)
    words = _ratio_words(ratio)
    return words if error is None or ratio == 0 else f"{words} (±{error:.0%})"


def forward(view: View) -> Iterator[Finding]:
    """forward-vanishing and forward-exploding: RMS of the signal against the first layer's."""
    for profile in view.profiles:
        yield from _forward(view, [r for r in profile if r.second_moment and not r.non_finite])


def _forward(view: View, rows: list[Reading]) -> Iterator[Finding]:
    if len(rows) < 2:
        return
    first = _moment(rows[0])
    ratios = [rms_ratio(_moment(row).value, first.value) for row in rows]
    for kind, worst in (
        ("forward-vanishing", min(range(len(rows)), key=ratios.__getitem__)),
        ("forward-exploding", max(range(len(rows)), key=ratios.__getitem__)),
    ):
        ratio = ratios[worst]
        vanishing = kind == "forward-vanishing"
        factor = (1 / ratio if ratio else math.inf) if vanishing else ratio
        severity = _severity(factor)
        if severity is None:
            continue
        yield Finding(
            kind=kind,
            severity=severity,
            where=_where(view, rows[worst].name, rows[0].name),
            evidence=(
                f"RMS of the signal at `{rows[worst].name}` is"
                f" {_with_error(ratio, _moment(rows[worst]), first)} times that at"
                f" `{rows[0].name}`; healthy within 1/{_limit(severity):g} and"
                f" {_limit(severity):g}"
            ),
            cause=_cause(view, backward=False, growing=not vanishing),
            cure=initialize(),
        )


def backward(view: View) -> Iterator[Finding]:
    """backward-vanishing and backward-exploding: ‖δ‖ per sample, first against last."""
    for profile in view.profiles:
        rows = (*profile, *_unjudged_head(view))
        yield from _backward(
            view, [r for r in rows if r.delta_square_per_sample and not r.non_finite_delta]
        )


def _steepest(view: View, rows: list[Reading]) -> str:
    """The cause, where one weight does twice what all others do; empty otherwise."""
    squares = [_delta(row).value for row in rows]
    if len(rows) < 3 or not all(squares) or view.sigmas.outliers:
        return ""
    steps = [math.log(before / after) / 2 for before, after in pairwise(squares)]
    place = max(range(len(steps)), key=lambda i: abs(steps[i]))
    weight = view.weight_of(view.graph.operations[rows[place + 1].operation])
    others = sum(map(abs, steps)) - abs(steps[place])
    if weight is None or abs(steps[place]) < 2 * others:
        return ""
    return (
        f"most of it happens at one place: through `{weight.name}` of"
        f" `{rows[place + 1].name}` the gradient changes by {math.exp(steps[place]):.2g} times"
    )


def _unjudged_head(view: View) -> tuple[Reading, ...]:
    """The last weight under a loss of the user's own: nothing says that it may start small."""
    seen = view.observation
    if seen.loss is None or seen.task != "unknown" or len(view.profiles) > 1:
        return ()
    heads = [view.reading(op) for op in seen.network.weighted() if view.graph.is_head(op)]
    return tuple(head for head in heads[-1:] if head is not None)


def _backward(view: View, rows: list[Reading]) -> Iterator[Finding]:
    if len(rows) < 2:
        return
    first, last = _delta(rows[0]), _delta(rows[-1])
    ratio, what = rms_ratio(first.value, last.value), "‖δ‖"
    ends = [view.graph.operations[row.operation] for row in (rows[0], rows[-1])]
    if all(read_by_norms(view, op) for op in ends) and _moment(rows[0]).value:
        ratio *= rms_ratio(_moment(rows[0]).value, _moment(rows[-1]).value)
        what = "‖δ‖ × RMS of the signal, which a norm rescales,"
    vanishing = ratio < 1
    severity = _severity(1 / ratio if 0 < ratio < 1 else (math.inf if ratio == 0 else ratio))
    if severity is None:
        return
    predicted = norm_growth(view, rows)
    if 1 < ratio <= limits.NORM_SLACK * predicted:
        if ratio > limits.PROFILE_ERROR:
            yield _normed(rows, ratio, predicted)
        return
    yield Finding(
        kind="backward-vanishing" if vanishing else "backward-exploding",
        severity=severity,
        where=_where(view, rows[0].name, rows[-1].name),
        evidence=(
            f"{what} at `{rows[0].name}` is {_with_error(ratio, first, last)} times that at"
            f" `{rows[-1].name}`; healthy within 1/{_limit(severity):g} and"
            f" {_limit(severity):g}"
        ),
        cause=_steepest(view, rows) or _cause(view, backward=True, growing=not vanishing),
        cure=initialize(),
    )


def _normed(rows: list[Reading], ratio: float, predicted: float) -> Finding:
    """Growth that batch norms bring about at any start: an error only where nothing trains."""
    first, last = rows[0], rows[-1]
    return Finding(
        kind="backward-exploding",
        severity="error" if ratio > limits.NORM_ERROR else "warning",
        where=(first.name, last.name),
        evidence=(
            f"‖δ‖ × RMS of the signal at `{first.name}` is"
            f" {_with_error(ratio, _delta(first), _delta(last))} times that at `{last.name}`;"
            f" theory gives {predicted:.2g} for {len(rows) - 1} batch norms in a row, and training"
            f" slows down beyond {limits.PROFILE_ERROR:g} and fails beyond {limits.NORM_ERROR:g}"
        ),
        cause=(
            "each batch norm before an activation makes the gradient grow by a constant factor,"
            " whatever the scale of the weights: the depth is the reason, and no start changes it"
        ),
        cure="let skip connections lead around the layers, or take fewer of them",
    )


def collapse(view: View) -> Iterator[Finding]:
    """collapsed-samples: what differs between samples is lost on the way."""
    for profile in view.profiles:
        yield from _collapse(
            [
                r
                for r in profile
                if r.sample_spread is not None and r.second_moment and r.second_moment.value > 0
            ]
        )


def _collapse(rows: list[Reading]) -> Iterator[Finding]:
    if len(rows) < 2:
        return
    first, last = (_spread_share(row) for row in (rows[0], rows[-1]))
    if first == 0 or not last / first < limits.COLLAPSE_ERROR:
        return
    yield Finding(
        kind="collapsed-samples",
        severity="error",
        where=(rows[-1].name,),
        evidence=(
            f"of the signal's second moment, {first:.1%} differs between samples at"
            f" `{rows[0].name}`, and {_share(last)} of it at `{rows[-1].name}`"
        ),
        cause=(
            "every layer brings different inputs closer together (biases and means take over), so"
            " that the network gives one answer to all of them"
        ),
        cure=initialize(),
    )


def _share(value: float) -> str:
    """A share, which float32 sums resolve down to a millionth."""
    return f"{value:.1e}" if value > 0 else "less than 1e-6"


def _moment(reading: Reading) -> Estimate:
    return reading.second_moment or Estimate(value=0.0)


def _delta(reading: Reading) -> Estimate:
    return reading.delta_square_per_sample or Estimate(value=0.0)


def _spread_share(reading: Reading) -> float:
    return (reading.sample_spread or 0.0) / _moment(reading).value
