"""Give a model's parameters the learning rates of its plan."""

from __future__ import annotations

import math
from typing import Any

from firstlight.errors import BadInputError
from firstlight.measuring.optimizers import is_adaptive
from firstlight.records.plan import Plan
from firstlight.verbs.adapters import transferring


def optimizer_name(optimizer: Any) -> str:
    """The name of an optimizer: given as such, by its class, or by itself."""
    if isinstance(optimizer, str):
        return optimizer
    return optimizer.__name__ if isinstance(optimizer, type) else type(optimizer).__name__


def param_groups(
    plan: Plan, optimizer: Any, model: Any, *, lr: float, weight_decay: float | None = None
) -> list[dict[str, Any]]:
    """Parameter groups at the rates of a plan, for a torch optimizer.

    ``lr`` is the rate of the base model (`plan` with ``base=``), where all factors are one; so it
    is searched there once. Factors under Adam 1/m_in, under SGD m_out/m_in, for m times the width;
    those of depth and of biases in very deep chains are in them. Weight decay is divided by the
    same factor: what decays in a step is their product.

    Args:
        plan: of this model; ``plan.rates`` tells each factor with its reason.
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"`` …, or the class, as ``torch.optim.AdamW``.
        model: a torch.nn.Module with the plan's parameters; it is only read.
        lr: learning rate of the base model, above 0.
        weight_decay: of the base model; None leaves it to the optimizer.

    Returns:
        One group for each rate, of the parameters that want gradients.

    Raises:
        BadInputError: a model of another framework or with other parameters, or an optimizer whose
            rates are not known to follow either law.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> def build(width):
        ...     return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 2))
        >>> model = build(256)
        >>> plan = fl.plan(model, torch.randn(32, 8), base=build(64))
        >>> [(g["lr"], len(g["params"])) for g in plan.param_groups("adam", model, lr=0.01)]
        [(0.01, 3), (0.0025, 1)]

    Source: Yang et al. 2022, table 3. ``mup`` gives the same rates through its own optimizers, and
    needs a readout layer of its own; here the model stays as it is, and the readout's start and
    rate carry the factor.
    """
    adapter = transferring(model, "parameter groups")
    for what, value in (("lr", lr), ("weight_decay", weight_decay)):
        good = isinstance(value, int | float) and math.isfinite(value) and value >= 0
        if value is not None and not (good and (value > 0 or what != "lr")):
            raise BadInputError(f"{what}: expected a number above 0, got {value!r}")
    adaptive = is_adaptive(optimizer_name(optimizer))
    given = {rate.name: rate.adam if adaptive else rate.sgd for rate in plan.rates}
    factors = {entry.name: given.get(entry.name, 1.0) for entry in plan}
    return adapter.parameter_groups(model, factors, lr=lr, weight_decay=weight_decay)


def scale_inputs(plan: Plan, model: Any) -> None:
    """Multiply what a plan's `Multiplier` asks for, by hooks before the forward pass.

    Of a tied embedding the logits' input: no start and no rate of one tensor can serve both of its
    uses. Nothing happens where the plan asks for nothing; a second call changes nothing more.

    Args:
        plan: of this model.
        model: a torch.nn.Module; its modules take the hooks, and copies of it keep them.

    Raises:
        BadInputError: the product is no module of its own (``F.linear``); multiply it yourself.
    """
    if plan.multipliers:
        adapter = transferring(model, "multipliers")
        adapter.scale_inputs(model, {m.operation: m.factor for m in plan.multipliers})
