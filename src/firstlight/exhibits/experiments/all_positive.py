"""What does np.random.random do to a network?

Weights from np.random.random are all positive, U[0, 1): gradients vanish with tanh and sigmoid, and
ReLU learns slowly. Worse, every unit weighs its inputs in nearly the same way, so all units of a
layer run parallel, whatever the scale: also at a hundredth, and at the variance that He advises.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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
from firstlight.exhibits.networks import Filler, alikeness, mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train_many
from firstlight.records.exhibit import Grid, Picture

WIDTHS, RATES = (64, 32, 32, 32, 32, 10), (0.003, 0.03, 0.3)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "ReLU": nn.ReLU,
}
SCALES = {
    "raw": lambda _: 1.0,
    "× 0.01": lambda _: 0.01,
    "He's variance": lambda n: (24 / n) ** 0.5,
}
"""U[0, b) has the variance b²/12; with b = √(24 / fan_in) that is 2 / fan_in."""
PARALLEL = 0.95
"""Mean cosine from which units are called parallel: an angle of 18°."""


@dataclass(frozen=True)
class Start:
    """Alikeness of the last hidden layer's units, what the gradient keeps, and what is learned."""

    alike: float
    kept: float
    accuracy: float


@dataclass(frozen=True)
class Measured:
    """A start for each activation and scale; Glorot's or He's for comparison."""

    steps: int
    positive: dict[str, dict[str, Start]]
    proper: dict[str, Start]


def measure(pace: Pace, seed: int, *, signs: bool = False) -> Measured:
    """Look at each start, then train it at its best rate; ``signs`` gives weights random signs."""
    steps = pace.pick(100, 1000)
    fillers: dict[str, Filler] = {name: _uniform(scale, signs) for name, scale in SCALES.items()}
    positive, proper = {}, {}
    for name in ACTIVATIONS:
        usual = "he_normal" if name == "ReLU" else "glorot_normal"
        starts = _starts(name, {**fillers, "proper": usual}, steps, seed)
        proper[name] = starts.pop("proper")
        positive[name] = starts
    return Measured(steps, positive, proper)


def _uniform(scale: Callable[[int], float], signs: bool) -> Callable[[Tensor], object]:
    def fill(weight: Tensor) -> None:
        weight.uniform_(0.0, scale(weight.shape[1]))
        if signs:
            weight.mul_(torch.randint(0, 2, weight.shape) * 2 - 1)

    return fill


def _starts(name: str, fillers: dict[str, Filler], steps: int, seed: int) -> dict[str, Start]:
    data = digits()
    found = {}
    cases = [(f, rate) for f in fillers for rate in RATES]
    models = [start(mlp(WIDTHS, ACTIVATIONS[name]), fillers[f], seed=seed) for f, _ in cases]
    looks = {f: signals(m, data.x, data.y) for (f, _), m in zip(cases, models, strict=True)}
    rates = [rate for _, rate in cases]
    train_many(models, data.x, data.y, steps=steps, rates=rates, seeds=[seed] * len(models))
    for f, look in looks.items():
        z, first, last = look.z[-2], look.delta[0].norm(), look.delta[-1].norm()
        ends = [m for (g, _), m in zip(cases, models, strict=True) if g == f]
        found[f] = Start(
            alike=alikeness((z - z.mean(0)).T),
            kept=float(first / last),
            accuracy=max(accuracy(m, data.held_out_x, data.held_out_y) for m in ends),
        )
    return found


def judge(measured: Measured) -> Judgement:
    """Parallel at every scale; a hundredth of the gradient or less; less learned than properly."""
    positive, proper = measured.positive, measured.proper
    alike = [
        at_least(f"{name}, {scale}: mean cosine between units", s.alike, PARALLEL)
        for name, starts in positive.items()
        for scale, s in starts.items()
    ]
    gradients = [
        at_most(f"{name}, raw: gradient that reaches layer 1", positive[name]["raw"].kept, 0.01)
        for name in ("tanh", "sigmoid")
    ]
    relu, he = positive["ReLU"]["raw"].accuracy, proper["ReLU"].accuracy
    # Two shares of 360 digits differ by chance by up to 2 √(2 · ¼ / 360) = 7 points.
    slow = at_most(
        "ReLU, raw: held-out accuracy", relu, round(he - 2 * math.sqrt(0.5 / 360), 3), "%"
    )
    checks = [
        *alike,
        *gradients,
        slow,
        *(
            noted(f"{n}, proper start: mean cosine between units", s.alike)
            for n, s in proper.items()
        ),
        *(noted(f"{n}, proper start: accuracy", s.accuracy, "%") for n, s in proper.items()),
        *(
            noted(f"{n}, He's variance: accuracy", s["He's variance"].accuracy, "%")
            for n, s in positive.items()
        ),
    ]
    cosines = [m.value for m in alike]
    kept = ", ".join(f"{positive[n]['raw'].kept:.2g} ({n})" for n in ("tanh", "sigmoid"))
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(alike) else FAILS
    conditions = (
        f"The units of layer 4 have mean cosines of {min(cosines):.3f} to {max(cosines):.3f} over"
        f" all activations and scales (proper starts: {min(s.alike for s in proper.values()):.2f}"
        f" to {max(s.alike for s in proper.values()):.2f}); raw, layer 1 gets {kept} of the"
        f" gradient; ReLU has {relu:.0%} right after {measured.steps} steps, against {he:.0%}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Cosines and accuracies by start."""
    rows = {n: {**s, "proper start": measured.proper[n]} for n, s in measured.positive.items()}
    names = [*SCALES, "proper start"]
    he = {n: s["He's variance"] for n, s in measured.positive.items()}
    return [
        picture(
            "bars",
            "All positive, all parallel",
            x=names,
            y={n: [s[k].alike for k in names] for n, s in rows.items()},
            x_title="weights",
            y_title="mean cosine between units of layer 4",
            alt="At He's variance the mean cosine between units is "
            + ", ".join(f"{s.alike:.3f} ({n})" for n, s in he.items())
            + ".",
            caption="Pre-activations over all digits, each unit's mean taken off.",
        ),
        picture(
            "bars",
            f"What {measured.steps} steps teach",
            x=names,
            y={n: [100 * s[k].accuracy for k in names] for n, s in rows.items()},
            x_title="weights",
            y_title="held-out accuracy, %",
            alt="Accuracy at He's variance, all positive: "
            + ", ".join(f"{s.accuracy:.0%} ({n})" for n, s in he.items())
            + ".",
            caption="Each at the best of three learning rates.",
        ),
        table(
            "All starts",
            ("start", "mean cosine", "gradient at layer 1 / at head", "accuracy, %"),
            [
                (f"{n}, {k}", s[k].alike, s[k].kept, 100 * s[k].accuracy)
                for n, s in rows.items()
                for k in names
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"signs": True},
    sources=("Common code example: np.random.random for weights",),
    lesson=(
        "Random is not enough, for weights that are all positive all add up the same inputs, and"
        " their common part outweighs what differs. The units then point the same way, which is the"
        " symmetry problem of constant weights in disguise, and no scale repairs it. Draw weights"
        " of both signs, with mean zero."
    ),
)
