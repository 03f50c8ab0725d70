"""Plan, apply and check in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from firstlight.errors import NotObservableError, ValuelessError
from firstlight.laws.addresses import checked_seed
from firstlight.planning.choice import OWN, PLAN, contenders, renewed
from firstlight.planning.choice import measured as ranked
from firstlight.planning.forecasting import compare as confirmed
from firstlight.planning.wishes import Override, Wishes
from firstlight.records.checkup import Checkup
from firstlight.records.plan import Receipt
from firstlight.verbs.adapters import adapter_for
from firstlight.verbs.apply import apply
from firstlight.verbs.calibrate import BATCHES
from firstlight.verbs.calibrate import calibrate as measured
from firstlight.verbs.check import check
from firstlight.verbs.plan import planned
from firstlight.verbs.trials import Trials, compared


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
    compare: Sequence[str] | str | None = None,
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
        compare: as for `plan`; the plan is measured as calibrated, all starts with ``seed``.

    Returns:
        A `Receipt` with ``.before`` (None for a model of shapes without values) and ``.after``
        (both None for a torch model sharded over processes, which cannot be looked at as it
        runs), and in ``.model`` the model that carries the
        weights; the forecast of its plan holds measured numbers where theory was off by more than
        a tenth.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
        >>> receipt = fl.initialize(model, torch.randn(64, 20), seed=0)
        >>> receipt.after.healthy
        True
    """
    if compare is not None:
        contenders(compare)  # a wrong name is refused before anything runs
    batches: list[Any] = []
    if batch is not None:
        batches = adapter_for(model).several(batch, inputs=inputs, most=BATCHES)
        batch = batches[0]
    before = _checked(model, batch, loss=loss, target=target, step=step)
    wishes = Wishes(keep=keep, only=only, overrides=overrides or {}, prefer=prefer)
    chosen, rival = planned(
        model, batch, technique=technique, wishes=wishes, loss=loss, target=target, step=step
    )
    if before is None and batch is not None:  # shapes alone: what is measured needs values
        model = apply(model, chosen, seed=seed, namespace=namespace).model
    if batches and calibrate is not False and any(entry.calibrate for entry in chosen):
        chosen = measured(model, chosen, iter(batches), seed=seed, namespace=namespace, step=step)
    if compare is not None:
        trials = Trials(
            model=model,
            batch=batch,
            loss=loss,
            target=target,
            step=step,
            seed=adapter_for(model).initial_seed() if seed is None else checked_seed(seed),
            namespace=namespace,
        )
        chosen = compared(chosen, compare, rival, trials)
    receipt = apply(model, chosen, seed=seed, namespace=namespace)
    after = _checked(receipt.model, batch, loss=loss, target=target, step=step)
    if after is None:
        return receipt
    seen = [ranked(PLAN, after.observation)]
    seen += [] if before is None else [ranked(OWN, before.observation)]
    final = replace(
        receipt.plan,
        forecast=confirmed(chosen.forecast, after.observation),
        ranking=renewed(chosen.ranking, seen),
    )
    return replace(receipt, plan=final, before=before, after=after)


def _checked(model: Any, batch: Any, **how: Any) -> Checkup | None:
    """A checkup; None for a model without values.

    None also where the model cannot be run here and nothing was given to run it on.
    """
    try:
        return check(model, batch, **how)
    except ValuelessError:
        return None
    except NotObservableError:
        if batch is not None or any(given is not None for given in how.values()):
            raise
        return None
