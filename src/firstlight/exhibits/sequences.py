"""What the exhibits on recurrent networks share: gradient through time, and tasks of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from firstlight.exhibits.digits import Data
from firstlight.exhibits.training import best_of_rates

_LOOKED_AT = 64


def gradient_by_step(model: nn.Module, data: Data) -> tuple[float, ...]:
    """The norm of the loss's gradient at each step of the input, from the first, in float64.

    Args:
        model: takes (samples, steps, symbols); made float64 in place.
        data: sequences and what is asked of them; the first 64 are looked at.
    """
    x = data.x[:_LOOKED_AT].double().requires_grad_()
    nn.functional.cross_entropy(model.double()(x), data.y[:_LOOKED_AT]).backward()
    assert x.grad is not None
    return tuple(x.grad.square().sum((0, 2)).sqrt().tolist())


def recall(
    build: Callable[[int], nn.Module],
    sequences: Callable[[int], Data],
    rates: Sequence[float],
    *,
    steps: int,
    seeds: Iterable[int],
) -> tuple[float, ...]:
    """Held-out accuracy for each seed, by Adam at the best of the rates.

    Args:
        build: makes the model of a seed.
        sequences: makes the data of a seed.
        rates: as for `best_of_rates`.
        steps: of each training.
        seeds: of model, data and batches alike.
    """
    return tuple(
        best_of_rates(
            lambda seed=seed: build(seed),  # type: ignore[misc]
            sequences(seed),
            rates,
            steps=steps,
            seed=seed,
            optimizer=torch.optim.Adam,
            batch=32,
        ).accuracy
        for seed in seeds
    )
