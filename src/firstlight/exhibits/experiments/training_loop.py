"""The training loop.

Initialize, choose an optimizer, then again and again: forward, cost, gradients by backpropagation,
update. The gradients are the slopes of the cost, as finite differences confirm, each optimizer does
what its formula says, and the cost goes down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import firstlight as fl
from firstlight.exhibits.digits import doubled
from firstlight.exhibits.experiment import (
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    at_most,
    noted,
)
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.records.exhibit import Grid, Picture

Array = NDArray[np.float64]
Update = Callable[[Array, dict[str, Any]], Array]
WIDTHS, SAMPLES = (64, 16, 10), 200
RATES = {"SGD": 0.5, "momentum": 0.1, "Adam": 0.01}
_STEP = 1e-5
"""Of the central differences: their error is of the order of step², 1e-10."""


@dataclass(frozen=True)
class Measured:
    """How far backpropagation is from the slopes, updates from torch's, and where costs went."""

    from_slopes: float
    from_framework: float
    from_optimizers: dict[str, float]
    costs: dict[str, tuple[float, ...]]


def measure(pace: Pace, seed: int, *, gradient: str = "backpropagation") -> Measured:
    """A loop in NumPy, held against finite differences and against torch.

    ``gradient="random"`` puts a random vector of the same length in the place of the gradient.
    """
    data, steps = doubled(), pace.pick(100, 1000)
    x, y = data.x[:SAMPLES].numpy(), data.y[:SAMPLES].numpy()
    chance = np.random.default_rng(seed)

    def slope(parameters: list[Array]) -> list[Array]:
        found = backward(parameters, x, y)
        if gradient == "backpropagation":
            return found
        other = [chance.standard_normal(g.shape) for g in found]
        return [
            o * np.linalg.norm(g) / np.linalg.norm(o) for o, g in zip(other, found, strict=True)
        ]

    begin = initialize(seed)
    gradients = slope(begin)
    courses = {name: _train(begin, slope, x, y, name, steps) for name in RATES}
    return Measured(
        from_slopes=_error(gradients, differences(begin, x, y, chance)),
        from_framework=_error(gradients, _torch_gradients(begin, x, y)),
        from_optimizers={name: _torch_apart(begin, x, y, name, slope) for name in RATES},
        costs=courses,
    )


def initialize(seed: int) -> list[Array]:
    """Step 1: He's weights and biases of zero."""
    parameters: list[Array] = []
    for i, (n_in, n_out) in enumerate(pairwise(WIDTHS)):
        weight = fl.draw("he_normal", (n_out, n_in), name=f"{i}.weight", seed=seed)
        parameters += [weight.astype(np.float64), np.zeros(n_out)]
    return parameters


def forward(parameters: list[Array], x: Array) -> tuple[Array, Array]:
    """Step 2: hidden units and class probabilities."""
    w1, b1, w2, b2 = parameters
    hidden = np.maximum(0.0, x @ w1.T + b1)
    logits = hidden @ w2.T + b2
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return hidden, powers / powers.sum(1, keepdims=True)


def cost(parameters: list[Array], x: Array, y: NDArray[np.int64]) -> float:
    """Step 3: mean cross-entropy."""
    _, shares = forward(parameters, x)
    return float(-np.log(shares[np.arange(len(y)), y]).mean())


def backward(parameters: list[Array], x: Array, y: NDArray[np.int64]) -> list[Array]:
    """Step 4: the error at the logits, passed back through weights and slopes."""
    hidden, shares = forward(parameters, x)
    at_logits = (shares - np.eye(WIDTHS[-1])[y]) / len(y)
    at_hidden = (at_logits @ parameters[2]) * (hidden > 0)
    return [at_hidden.T @ x, at_hidden.sum(0), at_logits.T @ hidden, at_logits.sum(0)]


def sgd(slope: Array, memory: dict[str, Any]) -> Array:  # noqa: ARG001
    """Step 5, plainest: the step is −rate · gradient; this is what rate multiplies."""
    return -slope


def momentum(slope: Array, memory: dict[str, Any]) -> Array:
    """A running sum of gradients, v ← 0.9 v + ∇."""
    memory["v"] = 0.9 * memory.get("v", 0.0) + slope
    return -np.asarray(memory["v"])


def adam(slope: Array, memory: dict[str, Any]) -> Array:
    """Running means of ∇ and ∇², both corrected for their start at zero: −m̂ / (√v̂ + 1e-8)."""
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * slope
    v = memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * slope**2
    return -np.asarray(m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8))


UPDATES: dict[str, Update] = {"SGD": sgd, "momentum": momentum, "Adam": adam}


def _steps(begin: list[Array], slope: Any, name: str, steps: int) -> Any:
    """The parameters before each update, and after the last."""
    parameters, memories = [p.copy() for p in begin], [dict[str, Any]() for _ in begin]
    yield parameters
    for _ in range(steps):
        for p, g, memory in zip(parameters, slope(parameters), memories, strict=True):
            p += RATES[name] * UPDATES[name](g, memory)
        yield parameters


def _train(
    begin: list[Array], slope: Any, x: Array, y: NDArray[np.int64], name: str, steps: int
) -> tuple[float, ...]:
    return tuple(cost(parameters, x, y) for parameters in _steps(begin, slope, name, steps))


def differences(
    parameters: list[Array], x: Array, y: NDArray[np.int64], chance: np.random.Generator
) -> list[Array]:
    """Central differences of the cost at forty places of each parameter; NaN elsewhere."""
    slopes = [np.full(p.shape, np.nan) for p in parameters]
    for p, out in zip(parameters, slopes, strict=True):
        for i in chance.choice(p.size, min(40, p.size), replace=False):
            was = p.flat[i]
            p.flat[i] = was + _STEP
            above = cost(parameters, x, y)
            p.flat[i] = was - _STEP
            below = cost(parameters, x, y)
            p.flat[i] = was
            out.flat[i] = (above - below) / (2 * _STEP)
    return slopes


def _error(found: list[Array], true: list[Array]) -> float:
    """Largest difference over the largest true number."""
    largest = max(float(np.nanmax(abs(t))) for t in true)
    apart = max(float(np.nanmax(abs(f - t))) for f, t in zip(found, true, strict=True))
    return apart / largest


def _torch_cost(parameters: list[torch.Tensor], x: Array, y: Array) -> torch.Tensor:
    w1, b1, w2, b2 = parameters
    logits = torch.relu(torch.from_numpy(x) @ w1.T + b1) @ w2.T + b2
    return nn.functional.cross_entropy(logits, torch.from_numpy(y))


def _torch_gradients(begin: list[Array], x: Array, y: Any) -> list[Array]:
    leaves = [torch.tensor(p, requires_grad=True) for p in begin]
    return [g.numpy() for g in torch.autograd.grad(_torch_cost(leaves, x, y), leaves)]


def _torch_apart(begin: list[Array], x: Array, y: Any, name: str, slope: Any) -> float:
    """Largest difference after ten updates by our formula and by torch.optim's."""
    leaves = [torch.tensor(p, requires_grad=True) for p in begin]
    kinds: dict[str, Any] = {
        "SGD": lambda: torch.optim.SGD(leaves, lr=RATES[name]),
        "momentum": lambda: torch.optim.SGD(leaves, lr=RATES[name], momentum=0.9),
        "Adam": lambda: torch.optim.Adam(leaves, lr=RATES[name]),
    }
    optimizer = kinds[name]()
    for _ in range(10):
        optimizer.zero_grad()
        _torch_cost(leaves, x, y).backward()
        optimizer.step()
    *_, ours = _steps(begin, slope, name, 10)
    return max(float(abs(a - b.detach().numpy()).max()) for a, b in zip(ours, leaves, strict=True))


def judge(measured: Measured) -> Judgement:
    """The gradient is the slope, updates are their formulas, and all bring the cost down."""
    apart = max(measured.from_optimizers.values())
    kept = {name: costs[-1] / costs[0] for name, costs in measured.costs.items()}
    checks = [
        at_most("backpropagation from finite differences, relative", measured.from_slopes, 1e-6),
        at_most("backpropagation from torch, relative", measured.from_framework, 1e-12),
        at_most("parameters from torch.optim after ten updates", apart, 1e-9),
        *(at_most(f"{name}: last cost over first", share, 0.5) for name, share in kept.items()),
        *(noted(f"{name}: last cost", costs[-1]) for name, costs in measured.costs.items()),
    ]
    verdict = HOLDS if all_met(checks) else FAILS
    told = ", ".join(f"{name} {costs[-1]:.3g}" for name, costs in measured.costs.items())
    conditions = (
        f"Backpropagation is within {measured.from_slopes:.1g} of the measured slopes, and from"
        f" {measured.costs['SGD'][0]:.2f} the cost went to {told} in"
        f" {len(measured.costs['SGD']) - 1} updates."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """The cost over the updates, and how far each part is from its check."""
    steps, _ = thinned(measured.costs["SGD"])
    return [
        picture(
            "lines",
            "The cost goes down",
            x=steps,
            y={name: thinned(costs)[1] for name, costs in measured.costs.items()},
            x_title="update",
            y_title="mean cross-entropy",
            y_log=True,
            alt="Cost over updates: "
            + ", ".join(f"{n} from {c[0]:.2f} to {c[-1]:.2g}" for n, c in measured.costs.items())
            + ".",
            caption="The same start and the same 200 digits for all three.",
        ),
        table(
            "Ten updates by the formula against torch.optim",
            ("optimizer", "learning rate", "largest difference of a parameter"),
            [(name, RATES[name], apart) for name, apart in measured.from_optimizers.items()],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"gradient": "random"},
    sources=(
        "Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors",
        "Kingma & Ba 2015, Adam: a method for stochastic optimization",
    ),
    lesson=(
        "Training is five steps, of which four repeat: forward, cost, gradient, update."
        " Backpropagation is no approximation but the exact slope of the cost, which two more"
        " forward passes per weight would find as well, only slower. The optimizer decides what is"
        " made of the slope, the start decides where the first one is taken."
    ),
)
