"""Many models of one architecture trained as one; a diverged one does the others no harm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch.training_data import (
    Data,
    loss_of,
    orders,
    score,
    stacked_loss,
    taken,
)
from firstlight.frameworks.torch.training_single import as_run
from firstlight.frameworks.torch.training_stack import Drops, Stack
from firstlight.frameworks.torch.training_updates import Updates
from firstlight.records.race import Recipe, Run

_SCORED_TOGETHER = 2**21
"""Held-out numbers in one pass, over all networks: more would not come cheaper."""


def train_stacked(
    models: Sequence[nn.Module],
    data: Data,
    recipe: Recipe,
    *,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    drops: bool,
    frozen: Sequence[str],
    progress: Callable[[int], None],
) -> tuple[Run, ...]:
    """Train copies of ``models`` as one.

    A network whose loss is not finite is no longer listened to. Nothing is summed over networks but
    their losses, so that its numbers reach no other. When half have gone, the rest go on alone.

    Args:
        models: alike but for their values.
        data: see `as_data`.
        recipe: how.
        learning_rates: one per model.
        seeds: one per model.
        drops: whether the models draw dropout.
        frozen: parameters that never get a gradient.
        progress: called with the number of steps done since the last call, over all models.
    """
    stack = Stack(models, frozen)
    device, dtype = stack.flat.device, stack.flat.dtype
    updates = Updates(recipe, stack.flat, torch.tensor(learning_rates, dtype=dtype, device=device))
    dropping = Drops(seeds, device) if drops else None
    loss_function = loss_of(recipe, data)
    losses_of = stacked_loss(loss_function, data)
    distinct = list(dict.fromkeys(seeds))
    owners = torch.tensor([distinct.index(seed) for seed in seeds])
    alive = list(range(len(models)))  # those whose losses count
    rows = list(range(len(models)))  # whose network each row of the stack is
    losses: list[list[float]] = [[] for _ in models]
    scores: list[list[float]] = [[] for _ in models]

    for step, indices in enumerate(orders(data, recipe, distinct), 1):
        chosen = indices[owners]
        outputs = stack.outputs(taken(data.inputs, chosen), training=True, drops=dropping)
        found = losses_of(outputs, taken(data.targets, chosen))
        values = dict(zip(rows, found.tolist(), strict=True))
        for net in alive:
            losses[net].append(values[net])
        gone = [net for net in alive if not math.isfinite(values[net])]
        gradient = stack.gradients(found)
        if gone:
            for net, value in _scores(stack, rows, gone, data, loss_function).items():
                scores[net] += [value] * (len(recipe.all_looks) - len(scores[net]))
            alive = [net for net in alive if net not in gone]
            progress(len(gone) * (recipe.steps - step + 1))
            if not alive:
                break
        updates.step(stack.flat, gradient)
        progress(len(alive))
        if step in recipe.all_looks:
            for net, value in _scores(stack, rows, alive, data, loss_function).items():
                scores[net].append(value)
        if 2 * len(alive) <= len(rows):
            kept = torch.tensor([rows.index(net) for net in alive])
            stack.keep(kept)
            updates.keep(kept)
            owners, rows = owners[kept], list(alive)
            if dropping is not None:
                dropping.owners = dropping.owners[kept.to(device)]
    return tuple(
        as_run(recipe, seeds[net], learning_rates[net], losses[net], scores[net])
        for net in range(len(models))
    )


def _scores(
    stack: Stack,
    rows: Sequence[int],
    wanted: Sequence[int],
    data: Data,
    loss: Callable[..., Tensor],
) -> dict[int, float]:
    """The held-out score of each network that is asked for, by its number."""
    each = max(1, _SCORED_TOGETHER // data.held_out_inputs.numel())
    found = {}
    for start in range(0, len(wanted), each):
        nets = wanted[start : start + each]
        places = torch.tensor([rows.index(net) for net in nets])
        # A copy: a model may write into its inputs.
        inputs = data.held_out_inputs.expand(len(nets), *data.held_out_inputs.shape).clone()
        with torch.no_grad():
            outputs = stack.outputs(inputs, training=False, rows=places)
            for net, output in zip(nets, outputs, strict=True):
                found[net] = score(output, data, loss)
    return found
