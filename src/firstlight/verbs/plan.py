"""Which initialization should this model have?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from firstlight.planning.planner import make_plan, make_technique_plan
from firstlight.records.plan import Plan
from firstlight.verbs.adapters import adapter_for


def plan(
    model: Any,
    batch: Any = None,
    *,
    technique: str | None = None,
    keep: Sequence[str] = (),
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
            that matches nothing is an error.
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
        >>> plan = fl.plan(model, torch.randn(32, 64))
        >>> print(plan["0.bias"].law)
        zeros
    """
    observation = adapter_for(model).observe(model, batch, loss=loss, target=target, step=step)
    if technique is not None:
        return make_technique_plan(observation, technique, keep=keep)
    return make_plan(observation, keep=keep)
