"""Plan, apply and check in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from firstlight.planning.forecasting import compare
from firstlight.records.plan import Receipt
from firstlight.verbs.apply import apply
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
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
) -> Receipt:
    """Give a model its right start, with a checkup before and after.

    Args:
        model: a torch.nn.Module; its parameters are drawn anew, except frozen and kept ones.
        batch: as for `check`.
        technique: as for `plan`.
        seed: as for `apply`.
        namespace: as for `apply`.
        keep: as for `plan`.
        loss: as for `check`.
        target: as for `check`.
        step: as for `check`.

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
    before = check(model, batch, loss=loss, target=target, step=step)
    chosen = make(model, batch, technique=technique, keep=keep, loss=loss, target=target, step=step)
    receipt = apply(model, chosen, seed=seed, namespace=namespace)
    after = check(model, batch, loss=loss, target=target, step=step)
    confirmed = replace(receipt.plan, forecast=compare(chosen.forecast, after.observation))
    return replace(receipt, plan=confirmed, before=before, after=after)
