"""Findings on the loss at the start, against what a model pays that knows nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from firstlight.records.checkup import Finding
from firstlight.verdicts import limits
from firstlight.verdicts.cures import bias_of, initialize
from firstlight.verdicts.view import View


def loss_at_start(view: View) -> Iterator[Finding]:
    """loss-at-start: confident before anything was learned, or far from the target's mean."""
    seen = view.observation
    if seen.loss is None or not seen.undecided_loss:
        return
    found = _unscaled(view, seen.loss, seen.undecided_loss)
    if found is not None:
        yield found
        return
    overconfident = _regression if seen.task == "regression" else _classification
    found = overconfident(view, seen.loss, seen.undecided_loss)
    if found is None:
        found = _off_centre(view, seen.loss, seen.undecided_loss)
    if found is not None:
        yield found


def _heads(view: View) -> tuple[str, ...]:
    """The last head, and further names of its weight: a tied head is as large as its embedding."""
    network = view.observation.network
    heads = [op for op in network.weighted() if view.graph.is_head(op)]
    judged = _prediction(view)
    heads = [op for op in heads if op.index in judged] or heads
    if not heads:
        return ()
    tied = [tie for name in heads[-1].parameters for tie in network.parameter(name).ties]
    return (heads[-1].name, *tied)


def _prediction(view: View) -> set[int]:
    """What the last loss's first operand stems from: a target may be made by a network too."""
    losses = [op for op in view.graph.operations if op.kind == "loss" and op.inputs]
    return view.graph.ancestors(losses[-1].inputs[:1]) if losses else set()


def _classification(view: View, loss: float, undecided: float) -> Finding | None:
    seen, ratio = view.observation, loss / undecided
    if not ratio > limits.LOSS_WARNING:
        return None
    limit = limits.LOSS_ERROR if ratio > limits.LOSS_ERROR else limits.LOSS_WARNING
    plain = seen.classes and abs(undecided / math.log(max(seen.classes, 2)) - 1) < 1e-3
    named = f"ln {seen.classes} = " if plain else ""
    spread = f"logits have standard deviation {seen.logits_std:.3g}" if seen.logits_std else ""
    return Finding(
        kind="loss-at-start",
        severity="error" if limit == limits.LOSS_ERROR else "warning",
        where=_heads(view),
        evidence=(
            f"loss {loss:.4g} at the start; an undecided model pays"
            f" {named}{undecided:.4g} (limit {limit:g} times that)"
        ),
        cause=f"confident before it has learned anything: {spread or 'see the head'}",
        cure=initialize(why="small logits"),
    )


def _regression(view: View, loss: float, undecided: float) -> Finding | None:
    """Targets may be tiny, and then a healthy head pays many times what zero would."""
    spread = view.observation.logits_std or 0.0
    if loss <= limits.LOSS_ERROR * undecided or spread <= limits.OUTPUT_ERROR:
        return None
    return Finding(
        kind="loss-at-start",
        severity="error",
        where=_heads(view),
        evidence=f"loss {loss:.4g} at the start; predicting zero pays {undecided:.4g}"
        f" (limit {limits.LOSS_ERROR:g} times that)",
        cause=f"outputs have standard deviation {spread:.3g} (limit {limits.OUTPUT_ERROR:g})",
        cure=initialize(why="a small head"),
    )


def _unscaled(view: View, loss: float, undecided: float) -> Finding | None:
    """Targets of thousands: no head of unit scale reaches them in reasonable time."""
    seen = view.observation
    if seen.task != "regression" or seen.prior_loss is None:
        return None
    squared = any(op.function == "mse_loss" for op in seen.network.operations)
    spread = seen.prior_loss**0.5 if squared else seen.prior_loss
    if spread <= limits.TARGET_SCALE:
        return None
    return Finding(
        kind="loss-at-start",
        severity="warning",
        where=_heads(view),
        evidence=f"loss {loss:.4g} at the start; predicting zero pays {undecided:.4g}: the targets"
        f" spread over {spread:.3g} (limit {limits.TARGET_SCALE:g})",
        cause="the targets are not standardized, and the head starts at unit scale",
        cure="target = (target - target.mean()) / target.std()  # numbers of the training part",
    )


def _off_centre(view: View, loss: float, undecided: float) -> Finding | None:
    """The head's bias could know the target's mean, or the shares of the classes, and does not."""
    seen = view.observation
    prior, where = seen.prior_loss, _heads(view)
    if not prior or not where or min(loss, undecided) <= limits.OFF_CENTRE * prior:
        return None
    regression = seen.task == "regression"
    return Finding(
        kind="loss-at-start",
        severity="warning" if regression else "note",
        where=where,
        evidence=f"loss {loss:.4g} at the start; the best constant output pays {prior:.4g}"
        f" (limit {limits.OFF_CENTRE:g} times that)",
        cause="the target's mean is far from zero, and the head's bias does not know it"
        if regression
        else "some classes are far more frequent than others, and the head's bias does not know it",
        cure=_centring(view, where[0]),
    )


_CENTRES = {
    "regression": "the target's mean",
    "binary": "the log odds of the target",
    "classification": "the log of the class shares",
}


def _centring(view: View, head: str) -> str:
    """Code that lets the head's bias know what the target shows, or words where it has none."""
    seen = view.observation
    bias = bias_of(seen.network, head)
    centre = _CENTRES.get(seen.task, "the best constant output")
    constant = seen.best_constant
    if bias is None:
        return f"give the head a bias, and start it at {centre}"
    if constant is None or len(constant) != seen.network.parameter(bias).layout.out:
        return f"start the bias of `{head}` at {centre}"
    # Targets of 0 and 1 could be numbers as well: their loss must be told.
    loss = "loss='binary_cross_entropy', " if seen.task == "binary" else ""
    return initialize(seen.network, [bias], told=f"{loss}target=target", why=centre)
