"""A plain training loop that records its losses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from firstlight.exhibits.digits import Data

Optimizer = Callable[..., torch.optim.Optimizer]


class Training(NamedTuple):
    """What a training left behind.

    Args:
        losses: of each step's batch, before the step; one value that is not finite ends it.
        diverged: whether it ended so.
    """

    losses: tuple[float, ...]
    diverged: bool

    def tail(self, share: float = 0.1) -> float:
        """Mean of the last losses; infinite if it diverged."""
        last = self.losses[-max(1, round(share * len(self.losses))) :]
        return math.inf if self.diverged else sum(last) / len(last)


def train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    rate: float,
    optimizer: Optimizer = torch.optim.SGD,
    batch: int | None = 64,
    seed: int = 0,
    clip: float | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    watch: Callable[[int], None] | None = None,
) -> Training:
    """Train in place.

    Args:
        model: changed in place.
        x: inputs.
        y: targets.
        steps: optimizer steps.
        rate: learning rate.
        optimizer: called as ``optimizer(parameters, lr=rate)``; ``torch.optim.Adam``, a partial.
        batch: samples in a step, drawn anew for each; None takes all of them.
        seed: of the batches: the same seed gives every start the same data in the same order.
        clip: largest norm of the whole gradient; None leaves it.
        loss: (output, target) → scalar.
        watch: called with the number of steps done, after each backward pass and before its
            update (gradients are at hand then), and once more at the end.
    """
    chance = torch.Generator().manual_seed(seed)
    stepper = optimizer(model.parameters(), lr=rate)
    losses: list[float] = []
    for done in range(steps):
        rows = slice(None) if batch is None else torch.randint(len(x), (batch,), generator=chance)
        value = loss(model(x[rows]), y[rows])
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            return Training(tuple(losses), True)
        stepper.zero_grad()
        value.backward()
        if watch is not None:
            watch(done)
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        stepper.step()
    if watch is not None:
        watch(steps)
    return Training(tuple(losses), False)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of samples whose largest output is the right one."""
    was = model.training
    model.eval()
    with torch.no_grad():
        right = (model(x).argmax(1) == y).float().mean()
    model.train(was)
    return float(right)


def train_many(
    models: Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    rates: Sequence[float],
    seeds: Sequence[int],
    batch: int = 64,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
) -> list[Training]:
    """Train networks of one architecture side by side with plain gradient descent, in place.

    Each keeps its own rate and its own batches, as if `train` had it alone; together they take
    little longer than one.

    Args:
        models: alike but for their numbers; without buffers that training changes.
        x: inputs.
        y: targets.
        steps: of each.
        rates: learning rate of each.
        seeds: of the batches of each.
        batch: samples in a step.
        loss: (output, target) → scalar.
    """
    ready()
    state, buffers = torch.func.stack_module_state(list(models))
    frame, names = models[0], list(state)
    rate = torch.tensor(rates, dtype=x.dtype)
    unlike = sorted(set(seeds))
    of = torch.tensor([unlike.index(seed) for seed in seeds])
    chances = [torch.Generator().manual_seed(seed) for seed in unlike]

    def cost(numbers: dict[str, Tensor], kept: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
        return loss(torch.func.functional_call(frame, (numbers, kept), (a,)), b)

    costs = torch.func.vmap(cost)
    losses: list[Tensor] = []
    for _ in range(steps):
        rows = torch.stack([torch.randint(len(x), (batch,), generator=c) for c in chances])[of]
        values = costs(state, buffers, x[rows], y[rows])
        losses.append(values.detach())
        slopes = torch.autograd.grad(values.sum(), [state[name] for name in names])
        with torch.no_grad():
            for name, slope in zip(names, slopes, strict=True):
                state[name] -= rate.reshape(-1, *[1] * (slope.dim() - 1)) * slope
    with torch.no_grad():
        for i, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.copy_(state[name][i])
    return [_cut(row) for row in torch.stack(losses).T.tolist()]


def _cut(losses: list[float]) -> Training:
    """The losses up to the first that is not finite, as `train` records them."""
    bad = next((i for i, value in enumerate(losses) if not math.isfinite(value)), None)
    return Training(tuple(losses if bad is None else losses[: bad + 1]), bad is not None)


class Trial(NamedTuple):
    """A start at its own best learning rate.

    Args:
        rate: the learning rate of the lowest loss at the end.
        accuracy: on the held-out samples.
        losses: of each step.
    """

    rate: float
    accuracy: float
    losses: tuple[float, ...]


def best_of_rates(
    build: Callable[[], nn.Module],
    data: Data,
    rates: Sequence[float],
    *,
    steps: int,
    seed: int,
    optimizer: Optimizer = torch.optim.SGD,
    batch: int | None = 64,
) -> Trial:
    """Train what ``build`` makes at each rate, on the same batches; keep the lowest final loss.

    Args:
        build: makes the model, started, anew for each rate.
        data: to train on, and the samples held out.
        rates: learning rates to try; if all diverge, the first is kept.
        steps: of each training.
        seed: of the batches.
        optimizer: as for `train`.
        batch: as for `train`.
    """
    best, lowest = None, math.inf
    for rate in rates:
        model = build()
        done = train(
            model,
            data.x,
            data.y,
            steps=steps,
            rate=rate,
            optimizer=optimizer,
            batch=batch,
            seed=seed,
        )
        if best is None or done.tail() < lowest:
            best = Trial(rate, accuracy(model, data.held_out_x, data.held_out_y), done.losses)
            lowest = done.tail()
    assert best is not None
    return best


def ready() -> None:
    """Load what `torch.func` needs; some versions of torch warn then of their own old parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.vmap(torch.func.hessian(lambda v: v.square().sum()))(torch.ones(1, 1))
