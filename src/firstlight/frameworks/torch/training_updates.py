"""The optimizers of torch, for n networks whose parameters are the rows of one tensor."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from firstlight.records.race import Recipe

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam and AdamW, as torch sets them
WEIGHT_DECAY = 0.01  # of AdamW
SMOOTHING = 0.99  # of RMSprop

Update = Callable[[Tensor, Tensor], None]


class Updates:
    """Clip the rows of a gradient and take one optimizer step with each row's own rate.

    Args:
        recipe: optimizer, momentum and clipping.
        parameters: (n, P), changed in place by `step`.
        rates: n learning rates.
    """

    def __init__(self, recipe: Recipe, parameters: Tensor, rates: Tensor) -> None:
        self._recipe = recipe
        self._rates = rates[:, None]
        self._count = 0
        moments = {"sgd": int(recipe.momentum != 0), "rmsprop": 1}.get(recipe.optimizer, 2)
        self._moments = [torch.zeros_like(parameters) for _ in range(moments)]

    def step(self, parameters: Tensor, gradient: Tensor) -> None:
        """Update ``parameters`` in place; ``gradient`` is used up."""
        self._count += 1
        if self._recipe.clip_norm is not None:
            # As `torch.nn.utils.clip_grad_norm_`, its 1e-6 included.
            norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient.mul_((self._recipe.clip_norm / (norms + 1e-6)).clamp(max=1.0))
        if self._recipe.optimizer == "sgd":
            self._sgd(parameters, gradient)
        elif self._recipe.optimizer == "rmsprop":
            self._rmsprop(parameters, gradient)
        else:
            if self._recipe.optimizer == "adamw":
                parameters.mul_(1 - self._rates * WEIGHT_DECAY)
            self._adam(parameters, gradient)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self._rates = self._rates[rows]
        self._moments = [moment[rows] for moment in self._moments]

    def _sgd(self, parameters: Tensor, gradient: Tensor) -> None:
        for velocity in self._moments:
            gradient = velocity.mul_(self._recipe.momentum).add_(gradient)
        parameters.addcmul_(gradient, self._rates, value=-1)

    def _rmsprop(self, parameters: Tensor, gradient: Tensor) -> None:
        (square,) = self._moments
        square.mul_(SMOOTHING).addcmul_(gradient, gradient, value=1 - SMOOTHING)
        parameters.addcdiv_(gradient.mul_(self._rates), square.sqrt().add_(EPSILON), value=-1)

    def _adam(self, parameters: Tensor, gradient: Tensor) -> None:
        mean, square = self._moments
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        corrections = [1 - beta**self._count for beta in BETAS]
        spread = square.sqrt().div_(math.sqrt(corrections[1])).add_(EPSILON)
        parameters.addcdiv_(mean * (self._rates / corrections[0]), spread, value=-1)
