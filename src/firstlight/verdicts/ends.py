"""Findings at the ends: values that are no numbers, the loss at the start, missing gradients."""

from __future__ import annotations

from collections.abc import Iterator

from firstlight.records.checkup import Finding
from firstlight.verdicts import limits
from firstlight.verdicts.view import View, named


def non_finite(view: View) -> Iterator[Finding]:
    """non-finite: the first NaN or infinity, and what made it."""
    bad = [p for p in view.observation.parameters if p.non_finite]
    if bad:
        yield Finding(
            kind="non-finite",
            severity="error",
            where=tuple(p.name for p in bad),
            evidence=f"{bad[0].non_finite} values of `{bad[0].name}` are NaN or infinite",
            cause="memory that was never filled, a failed load, or a scale that overflowed",
            cure="firstlight.initialize(model, batch)",
        )
        return
    forward = next((r for r in view.observation.readings if r.non_finite), None)
    if forward is not None:
        yield Finding(
            kind="non-finite",
            severity="error",
            where=(forward.name,),
            evidence=f"{forward.non_finite} values after `{forward.name}` are NaN or infinite,"
            " the first in the forward pass",
            cause=f"this operation overflows or divides by zero in {view.observation.dtype}",
            cure="firstlight.initialize(model, batch), or look at this operation's input",
        )
        return
    backward = [r for r in view.observation.readings if r.non_finite_delta]
    if backward:
        yield Finding(
            kind="non-finite",
            severity="error",
            where=(backward[-1].name,),
            evidence=f"the gradient at `{backward[-1].name}` is NaN or infinite, the signal is not",
            cause="the backward pass overflows, or a derivative is infinite at this point",
            cure="firstlight.initialize(model, batch), or look at this operation's derivative",
        )


def loss_at_start(view: View) -> Iterator[Finding]:
    """loss-at-start: against what a model pays that knows nothing."""
    seen = view.observation
    if seen.loss is None or not seen.undecided_loss:
        return
    ratio = seen.loss / seen.undecided_loss
    if not ratio > limits.LOSS_WARNING:
        return
    undecided = f"ln {seen.classes}" if seen.task != "regression" else "the target's variance"
    spread = f"logits have standard deviation {seen.logits_std:.3g}" if seen.logits_std else ""
    heads = [op.name for op in view.observation.network.weighted() if view.graph.is_head(op)]
    yield Finding(
        kind="loss-at-start",
        severity="error" if ratio > limits.LOSS_ERROR else "warning",
        where=tuple(heads[-1:]),
        evidence=(
            f"loss {seen.loss:.4g} at the start; an undecided model pays {undecided} ="
            f" {seen.undecided_loss:.4g} (limit {limits.LOSS_ERROR:g} times that)"
        ),
        cause=f"confident before it has learned anything: {spread or 'see the head'}",
        cure="firstlight.initialize(model, batch)  # small logits",
    )


def no_gradient(view: View) -> Iterator[Finding]:
    """no-gradient: parameters that the loss does not reach, now or after one step."""
    network = view.observation.network
    trainable = {p.name for p in network.parameters if p.trainable}
    readings = [p for p in view.observation.parameters if p.name in trainable]
    unused = [p.name for p in readings if p.gradient_rms is None]
    if unused and len(unused) < len(readings):
        yield Finding(
            kind="no-gradient",
            severity="warning",
            where=tuple(unused),
            evidence=f"the loss does not depend on {named(unused)}",
            cause="not used in this forward pass, or cut off by detach() or no_grad()",
            cure="remove it, freeze it (requires_grad_(False)), or join it to the loss",
        )
    elif unused:
        yield Finding(
            kind="no-gradient",
            severity="error",
            where=tuple(unused),
            evidence="no trainable parameter receives a gradient",
            cause="the output or loss is cut off from the parameters (detach, no_grad, argmax …)",
            cure="return the differentiable output, or pass step=lambda model, batch: loss",
        )
    zero = [p for p in readings if p.gradient_rms == 0 and not p.zero_gradient_at_start_only]
    weights = [p.name for p in zero if network.parameter(p.name).kind != "bias"]
    if weights:
        yield Finding(
            kind="no-gradient",
            severity="error",
            where=tuple(weights),
            evidence=f"the gradient of {named(weights)} is exactly zero, also after one step",
            cause="units before the loss are zero or dead for every sample, or the gradient"
            " has vanished below the smallest number",
            cure="firstlight.initialize(model, batch)",
        )
