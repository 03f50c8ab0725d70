"""How far the first step of an optimizer would move each weight, relative to its size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from firstlight.errors import BadInputError
from firstlight.measuring.optimizers import normalises
from firstlight.records.checkup import ParameterReading


def _first(kind: str, group: Mapping[str, Any]) -> float:
    """What the first step is beside the rate, by the group's options: the average begins at zero.

    RMSprop divides by √((1 − α)·g²), centred by √(α(1 − α)·g²); Nesterov's momentum adds μ·g.
    """
    if "rmsprop" in kind and 0 <= group.get("alpha", 0.0) < 1:
        left = (1 - group["alpha"]) * (group["alpha"] if group.get("centered") else 1.0)
        return 1 / math.sqrt(left) if left else 1.0
    return 1.0 + (group.get("momentum", 0.0) if kind == "sgd" and group.get("nesterov") else 0.0)


def learning_rates(optimizer: Any, named: dict[str, nn.Parameter]) -> dict[str, float]:
    """The learning rate of each parameter that an optimizer holds, at its first step.

    Args:
        optimizer: with ``param_groups``; it is only read.
        named: parameters by canonical name.

    Raises:
        BadInputError: no such object, or an optimizer of other parameters.
    """
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list):
        raise BadInputError(
            f"optimizer: expected a torch.optim.Optimizer, got {type(optimizer).__name__}"
        )
    names = {id(parameter): name for name, parameter in named.items()}
    kind = type(optimizer).__name__.lower()
    found = {
        names[id(parameter)]: float(group["lr"]) * _first(kind, group)
        for group in groups
        for parameter in group["params"]
        if id(parameter) in names
    }
    if not found:
        raise BadInputError(
            "optimizer: holds none of this model's parameters; make it from model.parameters()"
        )
    return found


def relative_updates(
    optimizer: Any, named: dict[str, nn.Parameter], readings: Iterable[ParameterReading]
) -> dict[str, float]:
    """RMS of the first update over RMS of the weight, ‖Δw‖/‖w‖.

    η·‖∇w‖/‖w‖ for plain gradient descent; η/RMS(w) for Adam and its kin, whose first step is the
    sign of the gradient times the learning rate.

    Args:
        optimizer: as for `learning_rates`.
        named: parameters by canonical name.
        readings: their measured sizes and gradients.

    Returns:
        For parameters that are not zero and get a gradient.
    """
    rates = learning_rates(optimizer, named)
    normalising = normalises(type(optimizer).__name__)
    return {
        r.name: rates[r.name] * (1.0 if normalising else r.gradient_rms) / r.value_rms
        for r in readings
        if r.name in rates and r.gradient_rms and r.value_rms
    }
