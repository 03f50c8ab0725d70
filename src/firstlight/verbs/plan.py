"""Which initialization should this model have?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from firstlight.planning.planner import make_plan, make_technique_plan
from firstlight.planning.wishes import Override, Wishes
from firstlight.records.adapter import Adapter
from firstlight.records.law import Normal
from firstlight.records.plan import Plan, PlanEntry
from firstlight.verbs.adapters import adapter_for


def plan(
    model: Any,
    batch: Any = None,
    *,
    technique: str | None = None,
    keep: Sequence[str] = (),
    only: Sequence[str] | None = None,
    overrides: Mapping[str, Override] | None = None,
    prefer: str | None = None,
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
) -> Plan:
    """Choose the law of every parameter, with a reason and a source for each.

    Args:
        model: as for `check`; it is read by running it once and left as it was.
        batch: as for `check`; its second moment sets the scale of the first weight.
        technique: one of `techniques` for all weights; None lets Firstlight choose.
        keep: names or patterns (``"encoder.*"``) of parameters that stay as they are. A pattern
            that matches nothing is an error, here and below.
        only: names or patterns of what is new: a head on a trained encoder, an adapter. All else
            stays. ``"embedding.weight[50257:]"`` draws added rows, at the size of those that stay.
        overrides: techniques or laws by pattern, ``{"*.attn.*": "orthogonal"}``; where two patterns
            match, the later one wins.
        prefer: the technique whose form hidden weights take (``"orthogonal"``,
            ``"truncated_normal"``), at the scale that the plan gives them.
        loss: as for `check`.
        target: as for `check`.
        step: as for `check`.

    Returns:
        A `Plan`: ``plan["fc1.weight"].law``, ``.reason``, ``.source``; ``plan.apply(model)``.

    Raises:
        NoRuleError: a parameter that no rule matched, by name.
        BadInputError: as for `check`; an unknown technique; a pattern that matches nothing.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> plan = fl.plan(model, torch.randn(32, 64), overrides={"2.weight": "zeros"})
        >>> print(plan["0.bias"].law, "|", plan["2.weight"].reason)
        zeros | zeros, as asked for '2.weight': w = 0
    """
    adapter = adapter_for(model)
    wishes = Wishes(keep=keep, only=only, overrides=overrides or {}, prefer=prefer)
    observation = adapter.observe(model, batch, loss=loss, target=target, step=step, lean=True)
    if technique is not None:
        made = make_technique_plan(observation, technique, wishes)
    else:
        made = make_plan(observation, wishes)
    return _matched(made, model, adapter)


def _matched(made: Plan, model: Any, adapter: Adapter) -> Plan:
    """The plan with added rows at the root mean square of the rows that stay."""
    if not any(entry.rows for entry in made):
        return made
    values = dict(adapter.values(model))
    entries = (entry if entry.rows is None else _like(entry, values[entry.name]) for entry in made)
    return replace(made, entries=tuple(entries))


def _like(entry: PlanEntry, values: Any) -> PlanEntry:
    assert entry.rows is not None
    first, last = entry.rows
    others = np.concatenate([values[:first], values[last:]]).astype(np.float64)
    size = float(np.sqrt(np.mean(others**2))) if others.size else 0.0
    if not np.isfinite(size) or size == 0:
        return entry
    reason = f"rows {first} to {last - 1} are new: the size of those that stay, rms {size:.3g}"
    return replace(
        entry, law=Normal(std=size), rule="added rows", reason=reason, target=None, calibrate=False
    )
