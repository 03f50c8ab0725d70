"""One model trained alone, step by step: how any torch model can be trained."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import nn

from firstlight.frameworks.torch.training_data import Data, loss_of, orders, score
from firstlight.records.race import Recipe, Run


def train_single(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    *,
    learning_rate: float,
    seed: int,
    progress: Callable[[int], None],
) -> Run:
    """Train a copy of ``model``; torch's own random state (of dropout) is seeded and put back."""
    model = copy.deepcopy(model).train()
    loss_function = loss_of(recipe, data)
    optimizer = _optimizer(model, recipe, learning_rate)
    losses: list[float] = []
    scores: list[float] = []

    def look() -> float:
        model.eval()
        with torch.no_grad():
            # A copy: a model may write into its inputs.
            found = score(model(data.held_out_inputs.clone()), data, loss_function)
        model.train()
        return found

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step, (indices,) in enumerate(orders(data, recipe, [seed]), 1):
            loss = loss_function(model(data.inputs[indices]), data.targets[indices])
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                progress(recipe.steps - step + 1)
                break
            progress(1)
            optimizer.zero_grad()
            loss.backward()
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            optimizer.step()
            if step in recipe.all_looks:
                scores.append(look())
        # A diverged model stays as it ended.
        missing = len(recipe.all_looks) - len(scores)
        scores += [look()] * missing if missing else []
    return as_run(recipe, seed, learning_rate, losses, scores)


def as_run(
    recipe: Recipe, seed: int, learning_rate: float, losses: list[float], scores: list[float]
) -> Run:
    """The record of one training."""
    return Run(
        seed=seed,
        optimizer=recipe.optimizer,
        learning_rate=learning_rate,
        losses=tuple(losses),
        scores=tuple(scores),
        score=scores[-1],
        diverged=not math.isfinite(losses[-1]),
    )


def _optimizer(model: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate)
    return torch.optim.SGD(parameters, lr=rate, momentum=recipe.momentum)
