"""Bring a plan's scales to its targets by measuring: LSUV over the true graph, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.laws.addresses import checked_seed
from firstlight.laws.moments import scaled
from firstlight.records.calibration import Calibration, Scaling
from firstlight.records.law import Listed
from firstlight.records.plan import Plan, PlanEntry
from firstlight.verbs.adapters import adapter_for
from firstlight.verbs.apply import check_fits, drawn

BATCHES = 4
"""How many batches are taken from a loader."""


def calibrate(
    model: Any,
    plan: Plan,
    batch: Any,
    *,
    seed: int | None = None,
    namespace: str = "",
    center: bool = False,
    backward: bool = False,
    inputs: Callable[[Any], Any] | None = None,
    step: Callable[[Any, Any], Any] | None = None,
) -> Plan:
    """The plan with each scale multiplied by √(target / measured), all measured in one forward.

    As the forward pass runs, the result of each weight that has a target is rescaled to it and the
    pass goes on with the corrected result, so the whole network is done in one pass at any depth.
    Weights that are used several times get the geometric mean over their uses, in three passes at
    most. Only scales in the plan change: drawn with the same seed, it gives the same weights
    anywhere, without the batch.

    Args:
        model: the model that the plan is for; left as it was.
        plan: from `plan`. Its entries say which weights have a target and may be rescaled.
        batch: one batch, as for `check`; or a DataLoader, a generator or another iterable (no list
            and no tuple: those are one batch), of which the first four batches are pooled.
        seed: as for `apply`; apply the result with the same one.
        namespace: as for `apply`.
        center: also set biases to minus the mean of each unit; needs weights with a bias.
        backward: trade the forward targets against the flow of δ within chains: each weight gets a
            further factor r^(−1/4), between ½ and 2, where r is the ratio of ‖δ‖² before and
            behind it. Costs two more forward passes and one backward pass.
        inputs: makes of each batch what the model is called with: ``lambda batch: batch[0]`` where
            a loader gives (inputs, targets). They are never split by guess.
        step: as for `check`.

    Returns:
        A `Plan`. A weight whose result is zero or not finite stays as it was; ``.remarks`` says so.

    Raises:
        BadInputError: the plan is for other parameters; the batch cannot be used; both ``center``
            and ``backward``.
        ModelRaisedError: the model raised on this batch.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
        >>> batch = torch.rand(64, 20)
        >>> plan = fl.calibrate(model, fl.plan(model, batch), batch, seed=0)
        >>> _ = plan.apply(model, seed=0)
        >>> print(f"{model[0](batch).square().mean():.4f} {model(batch).std():.1f}")
        1.0000 0.2

    Differs from LSUV (Mishkin & Matas 2016) and the package ``lsuv``: one forward pass in place of
    one or more for each layer; the order of execution in place of that of registration; the second
    moment with bias and mean in place of the std; any operation with a weight, residual targets and
    shared weights; training mode. `Krähenbühl et al. 2016 <https://arxiv.org/abs/1511.06856>`_
    scale each channel by itself; here a weight has one scale.
    """
    if center and backward:
        raise BadInputError("calibrate: center and backward exclude each other; choose one")
    adapter = adapter_for(model)
    check_fits(adapter, model, plan, namespace)
    chosen = adapter.initial_seed() if seed is None else checked_seed(seed)
    targets = {e.name: e.target for e in plan if e.calibrate and e.target and e.law is not None}
    kinds = {p.name: p.kind for p in plan.network.parameters}
    biases = {e.name for e in plan if e.law is not None and kinds.get(e.name) == "bias"}

    def arrays() -> Iterator[tuple[str, NDArray[np.float32]]]:
        for entry in plan:
            if entry.action == "draw":
                yield entry.name, drawn(entry, chosen, namespace)

    found = adapter.calibrate(
        model,
        adapter.several(batch, inputs=inputs, most=BATCHES),
        targets,
        arrays=arrays(),
        step=step,
        centred=biases if center else (),
        backward=backward,
    )
    return _with(plan, found, chosen)


def _with(plan: Plan, found: Calibration, seed: int) -> Plan:
    """The plan with what was found."""
    scalings = {scaling.name: scaling for scaling in found.scalings}
    shifts = dict(found.shifts)

    def entry(old: PlanEntry) -> PlanEntry:
        scaling, shift = scalings.get(old.name), shifts.get(old.name)
        if shift is not None:
            reason = "minus the mean of each unit, measured"
            return replace(old, law=Listed(values=shift), reason=reason)
        if scaling is None or scaling.left is not None or old.law is None:
            return old
        reason = f"{old.reason}; × {scaling.factor:.4g} measured"
        return replace(old, law=scaled(old.law, scaling.factor), reason=reason)

    entries = tuple(entry(old) for old in plan)
    return replace(plan, entries=entries, remarks=(*plan.remarks, *_remarks(found, seed)))


def _remarks(found: Calibration, seed: int) -> Iterator[str]:
    settled = [s for s in found.scalings if s.left is None]
    forwards = f"{found.forwards} forward pass{'es' if found.forwards > 1 else ''}"
    over = f" over {found.batches} batches" if found.batches > 1 else ""
    yield f"{len(settled)} weights calibrated in {forwards}{over}, drawn with seed {seed}"
    pooled = [s for s in settled if s.uses > 1]
    if pooled:
        low, high = min(s.low for s in pooled), max(s.high for s in pooled)
        yield (
            f"{_names(pooled)}: used several times, one scale for all;"
            f" second moments {low:.3g} to {high:.3g} of the target"
        )
    reasons = dict.fromkeys(s.left for s in found.scalings if s.left is not None)
    for reason in reasons:
        yield f"{_names([s for s in found.scalings if s.left == reason])}: not calibrated, {reason}"


def _names(scalings: list[Scaling]) -> str:
    names = [scaling.name for scaling in scalings]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
