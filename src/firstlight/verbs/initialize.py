"""Plan, apply and check in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from firstlight.planning.choice import in_order
from firstlight.planning.choice import measured as ranked
from firstlight.planning.forecasting import compare
from firstlight.planning.wishes import Override
from firstlight.records.plan import Receipt
from firstlight.verbs.adapters import adapter_for
from firstlight.verbs.apply import apply
from firstlight.verbs.calibrate import BATCHES
from firstlight.verbs.calibrate import calibrate as measured
from firstlight.verbs.check import check
from firstlight.verbs.plan import plan as make


def initialize(
    model: Any,
    batch: Any = None,
    *,
    technique: str | None = None,
    seed: int | None = None,
    namespace: str = "",
    keep: Sequence[str] = (),
    only: Sequence[str] | None = None,
    overrides: Mapping[str, Override] | None = None,
    prefer: str | None = None,
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
    calibrate: bool | None = None,
    inputs: Callable[[Any], Any] | None = None,
) -> Receipt:
    """Give a model its right start, with a checkup before and after.

    Args:
        model: a torch.nn.Module; its parameters are drawn anew, except frozen and kept ones.
        batch: as for `check`; or a DataLoader, a generator or another iterable that gives batches:
            the first is looked at, the first four calibrate.
        technique: as for `plan`.
        seed: as for `apply`.
        namespace: as for `apply`.
        keep: as for `plan`.
        only: as for `plan`.
        overrides: as for `plan`.
        prefer: as for `plan`.
        loss: as for `check`.
        target: as for `check`.
        step: as for `check`.
        calibrate: measure and correct the scales on the batch; see `calibrate`. None does so if
            a batch is given.
        inputs: as for `calibrate`, where a loader gives more than the model's inputs.

    Returns:
        A `Receipt` with ``.before`` and ``.after``; the forecast of its plan holds measured numbers
        where theory was off by more than a tenth.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
        >>> receipt = fl.initialize(model, torch.randn(64, 20), seed=0)
        >>> receipt.after.healthy
        True
    """
    batches: list[Any] = []
    if batch is not None:
        batches = adapter_for(model).several(batch, inputs=inputs, most=BATCHES)
        batch = batches[0]
    before = check(model, batch, loss=loss, target=target, step=step)
    chosen = make(
        model,
        batch,
        technique=technique,
        keep=keep,
        only=only,
        overrides=overrides,
        prefer=prefer,
        loss=loss,
        target=target,
        step=step,
    )
    if batches and calibrate is not False and any(entry.calibrate for entry in chosen):
        chosen = measured(model, chosen, iter(batches), seed=seed, namespace=namespace, step=step)
    receipt = apply(model, chosen, seed=seed, namespace=namespace)
    after = check(model, batch, loss=loss, target=target, step=step)
    others = (place for place in chosen.ranking if place.technique != "plan")
    seen = (ranked("plan", after.observation), ranked("own start", before.observation))
    confirmed = replace(
        receipt.plan,
        forecast=compare(chosen.forecast, after.observation),
        ranking=in_order((*seen, *others)),
    )
    return replace(receipt, plan=confirmed, before=before, after=after)
