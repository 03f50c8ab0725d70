"""Does batch normalization help by reducing covariate shift?

Batch normalization speeds up training because it reduces internal covariate shift: the inputs of a
layer no longer drift while the layers before it learn.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from firstlight.exhibits.digits import digits
from firstlight.exhibits.experiment import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    at_least,
    at_most,
    noted,
)
from firstlight.exhibits.networks import linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import train
from firstlight.records.exhibit import Grid, Picture

WIDTHS = (64, *[32] * 8, 10)
RATES = (0.1, 0.3)
PROBE, EVERY = 256, 20
PLAIN, HE = "plain", "plain from He's start"
NORM, NOISY = "batch norm", "batch norm and noise"


class _Noisy(nn.Module):
    """Batch normalization, then a shift and a scale for each unit, drawn anew in each pass."""

    def __init__(self, units: int, noise: float) -> None:
        super().__init__()
        self.norm, self.noise = nn.BatchNorm1d(units), noise

    def forward(self, x: Tensor) -> Tensor:
        """What is normalized is thrown off again: mean and deviation of each unit jump."""
        z: Tensor = self.norm(x)
        shift, scale = self.noise * torch.randn(2, x.shape[1])
        thrown: Tensor = z * scale.exp() + shift
        return thrown


@dataclass(frozen=True)
class Course:
    """One training: drift of the inputs by step, its mean, and what that did to the loss."""

    rate: float
    losses: tuple[float, ...]
    mean_loss: float
    drift: tuple[float, ...]
    mean_drift: float
    gradient_change: float
    gradient_cosine: float


@dataclass(frozen=True)
class Measured:
    """A course for each network, the noise, and the steps of a training."""

    noise: float
    steps: int
    courses: dict[str, Course]


def measure(pace: Pace, seed: int, *, noise: float = 0.5) -> Measured:
    """Train the four, each at its best rate; ``noise`` is the deviation of shift and log scale."""
    steps = pace.pick(80, 500)
    courses = {}
    for name in (PLAIN, HE, NORM, NOISY):
        found = [_course(name, noise, rate, steps, seed) for rate in RATES]
        courses[name] = min(found, key=lambda course: course.mean_loss)
    return Measured(noise, steps, courses)


def _network(name: str, noise: float, seed: int) -> nn.Sequential:
    norms: dict[str, Callable[[int], nn.Module]]
    norms = {NORM: nn.BatchNorm1d, NOISY: lambda units: _Noisy(units, noise)}
    weight = "he_normal" if name == HE else "torch_linear"
    return start(mlp(WIDTHS, norm=norms.get(name)), weight, seed=seed)


def _course(name: str, noise: float, rate: float, steps: int, seed: int) -> Course:
    data, model = digits(), _network(name, noise, seed)
    x, y = data.x[:PROBE], data.y[:PROBE]
    drift: list[float] = []
    last: list[tuple[Tensor, Tensor]] = []
    changes: list[tuple[float, float]] = []

    def watch(done: int) -> None:
        nonlocal last
        now = _inputs(model, x)
        if last:
            moved = [
                ((m - n).abs() + (s - t).abs()).mean() / t.mean()
                for (m, s), (n, t) in zip(now, last, strict=True)
            ]
            drift.append(float(torch.stack(moved).mean()))
        last = now
        if done % EVERY == 0:
            changes.append(_gradient_change(model, x, y, rate))

    done = train(model, data.x, data.y, steps=steps, rate=rate, seed=seed, watch=watch)
    change, cosine = np.nanmean(changes, axis=0)
    return Course(
        rate=rate,
        losses=thinned(done.losses, of=steps)[1],
        mean_loss=float(np.mean(done.losses)) if not done.diverged else float("inf"),
        drift=thinned(drift, of=steps)[1],
        mean_drift=float(np.mean(drift)),
        gradient_change=float(change),
        gradient_cosine=float(cosine),
    )


def _inputs(model: nn.Module, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and deviation of each input of each layer but the first, over the same samples."""
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, z: seen.append((z[0].mean(0), z[0].std(0) + 1e-9))
        )
        for layer in linears(model)[1:]
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


def _gradient_change(model: nn.Module, x: Tensor, y: Tensor, rate: float) -> tuple[float, float]:
    """Santurkar's measure: the middle layer's gradient before and after those before it moved."""
    twin = deepcopy(model)
    layers = linears(twin)
    middle = len(layers) // 2
    signals(twin, x, y)
    before = layers[middle].weight.grad
    assert before is not None
    before = before.clone()
    with torch.no_grad():
        for layer in layers[:middle]:
            assert layer.weight.grad is not None
            layer.weight -= rate * layer.weight.grad
    signals(twin, x, y)
    after = layers[middle].weight.grad
    assert after is not None
    cosine = nn.functional.cosine_similarity(before.flatten(), after.flatten(), dim=0)
    return float((before - after).norm() / before.norm()), float(cosine)


def judge(measured: Measured) -> Judgement:
    """If drift were the reason, the network that drifts most would be the slowest."""
    plain, he, norm, noisy = (measured.courses[name] for name in (PLAIN, HE, NORM, NOISY))
    faster = at_most(
        "mean loss in training: batch norm over plain", norm.mean_loss / plain.mean_loss, 0.9
    )
    steadier = at_most(
        "drift per step: batch norm over plain, each at its best rate",
        norm.mean_drift / plain.mean_drift,
        0.9,
    )
    # Speed follows drift unless the noisy network drifts more than the plain one and is faster,
    # or drifts less and is not.
    slower = noisy.mean_loss / plain.mean_loss
    if noisy.mean_drift > plain.mean_drift:
        follows = at_least("mean loss: noisy, which drifts more, over plain", slower, 0.9)
    else:
        follows = at_most("mean loss: noisy, which drifts less, over plain", slower, 0.9)
    checks = [
        faster,
        steadier,
        follows,
        noted("drift per step: noisy over plain", noisy.mean_drift / plain.mean_drift),
        noted("mean loss: He's start without norm, over plain", he.mean_loss / plain.mean_loss),
        noted(
            "drift per step: He's start without norm, over plain", he.mean_drift / plain.mean_drift
        ),
        *(
            noted(
                f"{name}: change of the middle layer's gradient when those before it move",
                course.gradient_change,
            )
            for name, course in measured.courses.items()
        ),
        *(
            noted(f"{name}: cosine of that gradient before and after", course.gradient_cosine)
            for name, course in measured.courses.items()
        ),
        *(noted(f"{name}: best rate", course.rate) for name, course in measured.courses.items()),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if follows.met and faster.met else FAILS
    told = (
        f"From PyTorch's default start mean loss is {plain.mean_loss:.2f} plain,"
        f" {norm.mean_loss:.2f} with batch norm and {noisy.mean_loss:.2f} with noise of deviation"
        f" {measured.noise:g} after it, while the inputs drift by {plain.mean_drift:.2g},"
        f" {norm.mean_drift:.2g} and {noisy.mean_drift:.2g} deviations per step: speed"
        f" {'follows' if follows.met else 'does not follow'} drift (without any norm He's start"
        f" gives {he.mean_loss:.2f} at {he.mean_drift:.2g})."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Loss and drift over training."""
    courses = measured.courses
    steps, _ = thinned(range(measured.steps))
    return [
        picture(
            "lines",
            "Training, each at its best rate",
            x=steps,
            y={name: course.losses for name, course in courses.items()},
            x_title="step",
            y_title="loss of the batch",
            alt="Mean losses: "
            + ", ".join(f"{name} {course.mean_loss:.2f}" for name, course in courses.items())
            + ".",
        ),
        picture(
            "lines",
            "Drift of the layers' inputs",
            x=steps,
            y={name: course.drift for name, course in courses.items()},
            x_title="step",
            y_title="change of mean and deviation per step, in deviations",
            y_log=True,
            alt="Mean drift: "
            + ", ".join(f"{name} {course.mean_drift:.2g}" for name, course in courses.items())
            + ".",
        ),
        table(
            "Four networks",
            ("network", "rate", "mean loss", "drift", "change of gradient", "its cosine"),
            [
                (n, c.rate, c.mean_loss, c.mean_drift, c.gradient_change, c.gradient_cosine)
                for n, c in courses.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"noise": 0.0},
    sources=(
        "Ioffe & Szegedy 2015, Batch Normalization",
        "Santurkar et al. 2018, How Does Batch Normalization Help Optimization?",
    ),
    lesson=(
        "If steady inputs were the reason for the speed, a network whose inputs are thrown off"
        " after the norm at every step would be slow. It drifts more than the plain one and learns"
        " faster all the same, and so does the plain one from He's start, so the drift is not what"
        " matters. What the norm gives is a signal that reaches every layer, which a better start"
        " gives in part."
    ),
)
