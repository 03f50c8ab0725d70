"""Findings that are not the initialization's fault: input, head and loss that do not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from firstlight.records.checkup import Finding
from firstlight.records.network import Operation
from firstlight.verdicts import limits
from firstlight.verdicts.view import View

_CLASSES = ("cross_entropy", "nll_loss")


def _source(view: View, operation: Operation) -> Operation | None:
    """What made the first input of an operation, past changes of shape."""
    operations = view.observation.network.operations
    current = operation
    while current.inputs:
        current = operations[current.inputs[0]]
        if current.kind != "shape":
            return current
    return None


def _mismatch(view: View, loss: Operation) -> tuple[str, str] | None:
    """Cause and cure of a head that does not fit its loss, or None if it fits."""
    source, habit, network = _source(view, loss), view.habit, view.observation.network
    linear = habit.ending(network, source)
    function = source.function if source is not None else ""
    if loss.function in _CLASSES and view.observation.classes == 1:
        cause = "cross-entropy over one class is always zero: there is nothing to choose from"
        return cause, f"use {habit.binary}, or give the head two outputs"
    if loss.function == "cross_entropy" and function in ("softmax", "sigmoid"):
        cause = f"cross_entropy applies log_softmax itself; {function} before it flattens the loss"
        return cause, linear
    ref = source.activation if source is not None else None
    if loss.function == "cross_entropy" and ref is not None and not ref.is_custom:
        # Of a custom one the range is not known: a soft cap on the logits is meant.
        return f"logits behind {function} cannot take every value", linear
    if loss.function == "nll_loss" and function == "softmax":
        cause = "nll_loss wants log-shares, softmax gives shares"
        return cause, habit.ending(network, source, "log_softmax")
    if loss.function == "binary_cross_entropy_with_logits" and function in ("sigmoid", "softmax"):
        cause = f"this loss applies the sigmoid itself; {function} before it flattens the loss"
        return cause, linear
    if source is not None and source.kind == "softmax" and source.units == 1:
        return "a softmax over one unit is always one", habit.ending(network, source, "sigmoid")
    return None


def head_mismatch(view: View) -> Iterator[Finding]:
    """head-mismatch: no initialization can help a head that contradicts its loss."""
    for loss in view.observation.network.operations:
        if loss.kind != "loss":
            continue
        found = _mismatch(view, loss)
        if found is None:
            continue
        cause, cure = found
        source = _source(view, loss)
        where = tuple(op.name for op in (source, loss) if op is not None)
        yield Finding(
            kind="head-mismatch",
            severity="error",
            where=where,
            evidence=f"`{loss.function}` is computed from `{where[0]}`"
            + (f" with {view.observation.classes} class" if view.observation.classes == 1 else ""),
            cause=f"{cause}; the initialization is not to blame",
            cure=cure,
        )
        return


def update_ratio(view: View) -> Iterator[Finding]:
    """update-ratio: the learning rate does not fit the weights; only if an optimizer was given."""
    network = view.observation.network
    drawn = {p.name for p in network.parameters if p.kind in ("weight", "recurrent", "embedding")}
    rows = [
        (reading.name, reading.update_ratio)
        for reading in view.observation.parameters
        if reading.update_ratio is not None and reading.name in drawn
    ]
    if not rows:
        return
    large = sorted((row for row in rows if row[1] > limits.UPDATE_LARGE), key=lambda row: -row[1])
    typical = median(ratio for _, ratio in rows)
    if large:
        where = tuple(name for name, _ in large)
        evidence = f"the first step changes `{where[0]}` by {large[0][1]:.2g} of its size"
        evidence += f" (limit {limits.UPDATE_LARGE:g})"
        cause = "the learning rate is too large for these weights"
        factor = limits.UPDATE_GOOD / large[0][1]
    elif typical < limits.UPDATE_SMALL:
        where = tuple(name for name, _ in rows)
        evidence = f"the first step changes half of the weights by less than {typical:.1e} of their"
        evidence += f" size (limit {limits.UPDATE_SMALL:g})"
        cause = "the learning rate is too small, or the gradient has nearly vanished"
        factor = limits.UPDATE_GOOD / typical if typical else 1.0
    else:
        return
    yield Finding(
        kind="update-ratio",
        severity="warning",
        where=where,
        evidence=evidence,
        cause=cause,
        cure=view.habit.slower(factor),
    )


def input_scale(view: View) -> Iterator[Finding]:
    """input-scale: numbers far from unit scale go straight into a weight."""
    rows = [
        (math.sqrt(r.raw_mean_square), r.name)
        for r in view.observation.readings
        if r.raw_mean_square
    ]
    wrong = [row for row in rows if not 1 / limits.INPUT_SCALE <= row[0] <= limits.INPUT_SCALE]
    if not wrong:
        return
    rms = max(wrong, key=lambda row: abs(math.log(row[0])))[0]
    yield Finding(
        kind="input-scale",
        severity="error" if rms > limits.INPUT_ERROR else "warning",
        where=("input", *(name for _, name in wrong)),
        evidence=f"the inputs have a root mean square of {rms:.3g}; weights are drawn for about 1"
        f" (limits 1/{limits.INPUT_SCALE:g} and {limits.INPUT_SCALE:g})",
        cause="the data is not normalized (raw pixels or physical units)",
        cure="batch = (batch - batch.mean()) / batch.std()  # with numbers of the training part",
    )
