"""Can a hundred sigmoid layers learn?

A plain network of a hundred sigmoid layers cannot be trained from random weights; a mirrored start,
in which units come in pairs of opposite sign, lets it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

import firstlight as fl
from firstlight.exhibits.digits import digits, doubled
from firstlight.exhibits.experiment import (
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    at_least,
    at_most,
    between,
    noted,
)
from firstlight.exhibits.networks import mlp, signals, start
from firstlight.exhibits.pictures import picture, table, thinned
from firstlight.exhibits.training import Trial, best_of_rates
from firstlight.records.exhibit import Grid, Picture
from firstlight.records.plan import Plan

WIDTH, DEPTH, BATCH = 32, 100, 128
RATES = (0.0003, 0.001)
MIRRORED, GLOROT = "mirrored", "Glorot"


@dataclass(frozen=True)
class Measured:
    """By start: how much samples differ and ‖δ‖ by layer, and a trial; the law of the plan."""

    apart: dict[str, tuple[float, ...]]
    delta: dict[str, tuple[float, ...]]
    trials: dict[str, Trial]
    steps: int
    law: str
    guess: float


def measure(pace: Pace, seed: int, *, mirrored: bool = True) -> Measured:
    """Both starts looked at in float64 and trained with Adam; ``mirrored=False`` takes Glorot's."""
    long, data, steps = doubled(), digits(), pace.pick(40, 250)
    plan = fl.plan(_bare(), data.x[:BATCH], target=data.y[:BATCH]) if mirrored else None
    starts = {MIRRORED: plan, GLOROT: None}
    apart, delta, trials = {}, {}, {}
    for name, chosen in starts.items():
        model = _network(chosen, seed).double()
        seen = signals(model, long.x[:BATCH], long.y[:BATCH])
        # Behind sigmoid all samples share a mean; what tells them apart is the rest.
        apart[name] = tuple(float(z.var(0).mean()) for z in seen.z)
        delta[name] = tuple(float(d.norm()) for d in seen.delta)
        trial = best_of_rates(
            lambda chosen=chosen: _network(chosen, seed),  # type: ignore[misc]
            data,
            RATES,
            steps=steps,
            seed=seed,
            optimizer=torch.optim.Adam,
        )
        trials[name] = trial._replace(losses=thinned(trial.losses, of=steps)[1])
    law = "Glorot's weights" if plan is None else str(plan["100.weight"].law)
    most = float(torch.bincount(data.y).max() / len(data.y))
    return Measured(apart, delta, trials, steps, law, most)


def _bare() -> nn.Sequential:
    return mlp((64, *[WIDTH] * DEPTH, 10), nn.Sigmoid)


def _network(plan: Plan | None, seed: int) -> nn.Sequential:
    model = start(_bare(), "glorot_normal", seed=seed)
    if plan is not None:
        plan.apply(model, seed=seed)
    return model


def judge(measured: Measured) -> Judgement:
    """Mirrored must keep signal and gradient and learn; Glorot's must not."""
    kept = {name: a[-2] / a[0] for name, a in measured.apart.items()}
    back = {name: d[0] / d[-2] for name, d in measured.delta.items()}
    reached = {name: trial.accuracy for name, trial in measured.trials.items()}
    checks = [
        between("mirrored: variance over samples, layer 100 over 1", kept[MIRRORED], 0.1, 10.0),
        between("mirrored: ‖δ‖, layer 1 over 100", back[MIRRORED], 0.1, 10.0),
        at_least("mirrored: held-out accuracy", reached[MIRRORED], 2 * measured.guess, "%"),
        at_most("Glorot: variance over samples, layer 100 over 1", kept[GLOROT], 1e-12),
        at_most("Glorot: ‖δ‖, layer 1 over 100", back[GLOROT], 1e-12),
        at_most("Glorot: held-out accuracy", reached[GLOROT], measured.guess + 0.05, "%"),
        noted("always the most frequent digit: accuracy", measured.guess, "%"),
    ]
    verdict = HOLDS if all_met(checks) else FAILS
    told = (
        f"From layer 1 to layer {DEPTH} the variance over samples changes by {kept[GLOROT]:.1g}"
        f" with Glorot's weights and by {kept[MIRRORED]:.2g} with {measured.law}, the gradient on"
        f" its way back by {back[GLOROT]:.1g} and {back[MIRRORED]:.2g}; accuracies"
        f" {reached[GLOROT]:.0%} and {reached[MIRRORED]:.0%}."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Signal and gradient by layer, and the curves."""
    layers = list(range(1, DEPTH + 2))
    curves = {name: trial.losses for name, trial in measured.trials.items()}
    told = ", ".join(f"{name} {t.accuracy:.0%}" for name, t in measured.trials.items())
    return [
        picture(
            "lines",
            "What tells samples apart, and what comes back",
            x=layers,
            y={f"{n}: variance over samples": a for n, a in measured.apart.items()}
            | {f"{n}: ‖δ‖": d for n, d in measured.delta.items()},
            x_title="layer",
            y_title="variance; norm of the gradient",
            y_log=True,
            alt="With mirrored weights both lines are level over 100 layers, with Glorot's both"
            f" fall: the gradient at layer 1 is {measured.delta[GLOROT][0]:.0e}.",
        ),
        picture(
            "lines",
            "Training a hundred sigmoid layers",
            x=thinned(range(measured.steps))[0],
            y=curves,
            x_title="step",
            y_title="loss of the batch",
            alt=f"Held-out accuracy at the end: {told}.",
        ),
        table(
            "After training",
            ("start", "learning rate", "held-out accuracy, %"),
            [(name, t.rate, 100 * t.accuracy) for name, t in measured.trials.items()],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"mirrored": False},
    sources=(
        "Balduzzi et al. 2017, The Shattered Gradients Problem",
        "Burkholz & Dubatovka 2019, Initialization of ReLUs for Dynamical Isometry",
    ),
    lesson=(
        "A sigmoid has a mean of one half that drowns the signal and a slope of at most one quarter"
        " that eats the gradient. Two units with opposite weights give σ(z) − σ(−z), where the mean"
        " is gone, and a gain that makes up for the slope mends both directions at once. What"
        " Glorot's weights cannot do here, an arrangement of weights in opposite pairs does."
    ),
)
