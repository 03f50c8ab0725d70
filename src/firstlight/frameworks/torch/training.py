"""Short trainings of small models, each on its own seed, rate and start.

Each run uses one thread: at the sizes that are raced, threads inside an operation cost more than
they give.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch.batches import resolve_loss
from firstlight.records.race import Recipe, Run, Together


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is trained on and what is held out, as tensors."""

    inputs: Tensor
    targets: Tensor
    held_out_inputs: Tensor
    held_out_targets: Tensor

    @property
    def classifies(self) -> bool:
        """Whether the targets are class indices."""
        return not self.targets.is_floating_point()


def as_data(data: Sequence[Any]) -> Data:
    """Tensors of (inputs, targets, held-out inputs, held-out targets); the verb checked them."""
    inputs, targets, held_out_inputs, held_out_targets = (torch.as_tensor(part) for part in data)
    return Data(
        inputs=inputs,
        targets=targets,
        held_out_inputs=held_out_inputs,
        held_out_targets=held_out_targets,
    )


def _orders(data: Data, recipe: Recipe, seed: int) -> Iterator[Tensor]:
    """The batches' indices of one seed: shuffled epochs, cut into steps."""
    generator = torch.Generator().manual_seed(seed)
    size = min(recipe.batch_size, len(data.inputs))
    pool = torch.empty(0, dtype=torch.long)
    for _ in range(recipe.steps):
        if len(pool) < size:
            pool = torch.randperm(len(data.inputs), generator=generator)
        yield pool[:size]
        pool = pool[size:]


def _loss_function(recipe: Recipe, data: Data) -> Callable[[Any, Any], Tensor]:
    chosen = resolve_loss(recipe.loss)
    return chosen or resolve_loss("cross_entropy" if data.classifies else "mse")  # type: ignore[return-value]


def _score(output: Tensor, data: Data, loss: Callable[[Any, Any], Tensor]) -> float:
    if data.classifies:
        return float((output.argmax(dim=1) == data.held_out_targets).double().mean())
    return float(loss(output, data.held_out_targets))


def together(model: nn.Module, data: Data, recipe: Recipe) -> Together:
    """How many models like this one are best trained as one, and why."""
    del model, data, recipe
    return Together(count=1, reason="models are trained one after another")


def train(
    models: Sequence[nn.Module],
    data: Data,
    recipe: Recipe,
    *,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> tuple[Run, ...]:
    """Train copies of ``models``, one for each (seed, learning rate), and score them.

    The gradient's norm is clipped, then the recipe's optimizer takes its step.

    Args:
        models: n of the same architecture; they are left as they are.
        data: see `as_data`.
        recipe: how.
        learning_rates: n rates.
        seeds: n seeds of the order of the data.
        progress: called with the number of steps done since the last call, over all models.

    Returns:
        n runs, in order. A run whose loss is not finite has diverged; its score is that of the
        model it ended as.
    """
    report = progress or (lambda _: None)
    with _one_thread(), torch.random.fork_rng():
        runs = []
        for model, rate, seed in zip(models, learning_rates, seeds, strict=True):
            torch.manual_seed(seed)  # dropout draws from here
            runs.append(_train_one(model, data, recipe, rate, seed, report))
    return tuple(runs)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _optimizer(model: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=recipe.momentum)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate)
    return torch.optim.RMSprop(parameters, lr=rate)


def _train_one(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    rate: float,
    seed: int,
    progress: Callable[[int], None],
) -> Run:
    model = copy.deepcopy(model).train()
    loss_function = _loss_function(recipe, data)
    optimizer = _optimizer(model, recipe, rate)
    losses: list[float] = []
    scores: list[float] = []
    looks = recipe.all_looks

    def score() -> float:
        model.eval()
        with torch.no_grad():
            found = _score(model(data.held_out_inputs), data, loss_function)
        model.train()
        return found

    for step, indices in enumerate(_orders(data, recipe, seed), 1):
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
        if step in looks:
            scores.append(score())
    while len(scores) < len(looks):
        scores.append(score())
    return Run(
        seed=seed,
        optimizer=recipe.optimizer,
        learning_rate=rate,
        losses=tuple(losses),
        scores=tuple(scores),
        score=scores[-1],
        diverged=not math.isfinite(losses[-1]),
    )
