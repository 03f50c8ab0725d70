"""Parameter groups at a plan's rates, and hooks that multiply a module's input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.layouts import named_tensors
from firstlight.laws.addresses import canonical_name

_MARK = "_firstlight_multiplier"


def parameter_groups(
    model: nn.Module, factors: Mapping[str, float], *, lr: float, weight_decay: float | None
) -> list[dict[str, Any]]:
    """One group for each factor, the largest first; see `firstlight.verbs.rates.param_groups`."""
    named = named_tensors(model)
    if set(named) != set(factors):
        wrong = sorted(set(named) ^ set(factors))[0]
        raise BadInputError(
            f"{wrong}: {'not in the plan' if wrong in named else 'not in the model'}; make the plan"
            " from this model"
        )
    grouped: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named.items():
        if parameter.requires_grad:
            # Nine digits, as scales have: rounding must not make two groups of one.
            grouped.setdefault(float(f"{factors[name]:.9g}"), []).append(parameter)
    groups = []
    for factor in sorted(grouped, reverse=True):
        group: dict[str, Any] = {"params": grouped[factor], "lr": lr * factor}
        if weight_decay is not None:
            group["weight_decay"] = weight_decay / factor
        groups.append(group)
    return groups


@dataclass(frozen=True)
class _Scaled:
    """A hook before the forward pass; a class of its own, so that models still copy and pickle."""

    factor: float

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG002
        first, *rest = inputs
        return (first * self.factor if isinstance(first, Tensor) else first, *rest)


def scale_inputs(model: nn.Module, factors: Mapping[str, float]) -> None:
    """Multiply the inputs of modules, by canonical name, from now on; see `Plan.scale_inputs`."""
    modules = {canonical_name(path): module for path, module in model.named_modules()}
    for name in factors:
        module = modules.get(name.partition("#")[0])
        if (
            module is None
            or isinstance(module, nn.Embedding)
            or any(True for _ in module.children())
        ):
            raise BadInputError(
                f"{name}: the product is no layer of its own, so no hook reaches its input;"
                f" multiply it with {factors[name]:.6g} in forward"
            )
    for name, factor in factors.items():
        module = modules[name.partition("#")[0]]
        if (handle := module.__dict__.get(_MARK)) is not None:
            module._forward_pre_hooks.pop(handle, None)
        module.__dict__[_MARK] = module.register_forward_pre_hook(_Scaled(factor)).id


_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def optimizer(kind: Any, groups: Any, *, lr: float) -> torch.optim.Optimizer:
    """An optimizer by name (``adam``, ``adamw``, ``sgd``) or class, over groups or a model.

    Raises:
        BadInputError: another name, or no class of an optimizer.
    """
    if isinstance(kind, str) and kind in _OPTIMIZERS:
        kind = _OPTIMIZERS[kind]
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        came = f"'{kind}'" if isinstance(kind, str) else type(kind).__name__
        raise BadInputError(
            f"optimizer: expected {', '.join(sorted(_OPTIMIZERS))}, a class of torch.optim, or"
            f" (model) → optimizer; got {came}"
        )
    taken = groups.parameters() if isinstance(groups, nn.Module) else groups
    made: torch.optim.Optimizer = kind(taken, lr=lr)  # type: ignore[call-arg]
    return made
