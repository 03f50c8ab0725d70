"""Which weights are fed by ReLU, read off chains of modules without running the model."""

from __future__ import annotations

from torch import nn

from firstlight.frameworks.torch.layouts import named_tensors

_PASSING = (nn.Identity, nn.Flatten, nn.Dropout)
"""Modules that leave the second moment as it is, so that a weight behind them is still fed so."""


def fed_by_relu(model: nn.Module) -> dict[str, tuple[str, float]]:
    """The weights of linear and convolution layers that stand behind a ReLU in a `Sequential`.

    Only such chains tell without a run what comes after what; a weight that is missing here may be
    fed by ReLU all the same.

    Args:
        model: is not run and not changed.

    Returns:
        For the name of each weight the class of the activation, and its slope below zero.

    >>> fed_by_relu(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)))
    {'3.weight': ('ReLU', 0.0)}
    """
    names = {id(tensor): name for name, tensor in named_tensors(model).items()}
    found: dict[str, tuple[str, float]] = {}
    for chain in model.modules():
        if not isinstance(chain, nn.Sequential) or type(chain).forward is not nn.Sequential.forward:
            continue
        feeding: tuple[str, float] | None = None
        for module in chain:
            if isinstance(module, nn.ReLU | nn.LeakyReLU):
                slope = float(getattr(module, "negative_slope", 0.0))
                feeding = (type(module).__name__, slope)
            elif not isinstance(module, _PASSING):
                weight = getattr(module, "weight", None)
                if feeding and isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                    found |= {names[id(weight)]: feeding} if id(weight) in names else {}
                feeding = None
    return found
