"""Is Keras's classic ReLU example well started?

The classic Keras example, ``Dense(units=64, activation='relu',
kernel_initializer=glorot_normal())``, gives ReLU layers Glorot's normal weights and calls that a
good start, while the table beside it keeps Glorot for tanh and gives ReLU the weights of He.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

import firstlight as fl
from firstlight.exhibits.digits import digits, doubled
from firstlight.exhibits.experiment import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    at_least,
    between,
    noted,
)
from firstlight.exhibits.keras_blocks import classic_accuracy, keras_is_here
from firstlight.exhibits.networks import mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import best_of_rates
from firstlight.records.exhibit import Grid, Picture
from firstlight.theory.mean_field import length_map

WIDTH, SHALLOW, DEEP = 64, 2, 20  # hidden layers
STARTS = {"Glorot": "glorot_truncated_normal", "He": "he_truncated_normal"}
"""Keras's ``glorot_normal`` and ``he_normal`` cut the normal distribution at two deviations."""

RATES = (0.1, 0.5)


@dataclass(frozen=True)
class Measured:
    """Second moments by depth, accuracies (the code's own, where Keras is there), what is said."""

    predicted: dict[str, tuple[float, ...]]
    measured: dict[str, tuple[float, ...]]
    shallow: dict[str, float]
    deep: dict[str, float]
    variance: dict[str, float]
    audit: dict[str, str]
    remarks: dict[str, tuple[str, ...]]
    planned: str
    planned_variance: float
    in_keras: dict[str, float]


def measure(pace: Pace, seed: int, *, activation: type[nn.Module] = nn.ReLU) -> Measured:
    """The example with 2 and with 20 hidden layers of 64, from both starts."""
    draws, steps = pace.pick(3, 20), pace.pick(100, 600)
    predicted, measured, shallow, deep = {}, {}, {}, {}
    variance, told, remarks = {}, {}, {}
    x = doubled().x[:256]
    for name, weight in STARTS.items():
        rows = []
        for draw in range(draws):
            model = start(_network(DEEP, activation), weight, seed=100 * seed + draw).double()
            rows.append([float(z.square().mean()) for z in signals(model, x).z[:-1]])
        measured[name] = tuple(np.exp(np.mean(np.log(rows), axis=0)).tolist())
        variance[name] = (2 if name == "He" else 1) / WIDTH
        predicted[name] = _predicted(x, variance[name], activation)
        shallow[name], deep[name] = (
            best_of_rates(
                lambda hidden=hidden, weight=weight: start(  # type: ignore[misc]
                    _network(hidden, activation), weight, seed=seed
                ),
                digits(),
                RATES,
                steps=steps,
                seed=seed,
            ).accuracy
            for hidden in (SHALLOW, DEEP)
        )
        found = fl.audit(start(_network(SHALLOW, activation), weight, seed=seed))
        told[name] = " or ".join(f"{law.words}" for law in found["2.weight"].laws[:2])
        remarks[name] = tuple(str(remark) for remark in found["2.weight"].remarks)
    data = digits()
    entry = fl.plan(_network(SHALLOW, activation), data.x[:128], target=data.y[:128])["2.weight"]
    return Measured(
        predicted=predicted,
        measured=measured,
        shallow=shallow,
        deep=deep,
        variance=variance,
        audit=told,
        remarks=remarks,
        planned=f"{entry.law} ({entry.reason})",
        planned_variance=float(getattr(entry.law, "std", float("nan")) ** 2),
        in_keras=_in_keras(activation, seed),
    )


def _in_keras(activation: type[nn.Module], seed: int) -> dict[str, float]:
    """Accuracies of the two code blocks as they are written; nothing where Keras is missing."""
    if not keras_is_here():
        return {}
    name = activation.__name__.lower()
    return {
        start: classic_accuracy(he=start == "He", activation=name, seed=seed) for start in STARTS
    }


def _predicted(x: Tensor, variance: float, activation: type[nn.Module]) -> tuple[float, ...]:
    """Second moments by layer: that of the inputs times fan_in · variance, then the length map."""
    moments = [WIDTH * variance * float(x.square().mean())]
    name = activation.__name__.lower()
    for _ in range(DEEP - 1):
        moments.append(length_map(name, moments[-1], WIDTH * variance, 0.0))
    return tuple(moments)


def _network(hidden: int, activation: type[nn.Module]) -> nn.Sequential:
    return mlp((64, *[WIDTH] * hidden, 10), activation)


def judge(measured: Measured) -> Judgement:
    """Glorot must keep the signal, nearer to one than to a half per layer, and train like He."""
    factor = {name: (m[-1] / m[0]) ** (1 / (DEEP - 1)) for name, m in measured.measured.items()}
    theory = {name: (m[-1] / m[0]) ** (1 / (DEEP - 1)) for name, m in measured.predicted.items()}
    shallow = measured.shallow["Glorot"] - measured.shallow["He"]
    deep = measured.deep["Glorot"] - measured.deep["He"]
    few = [
        # 360 samples held out: a standard error of about 1.5 % on either accuracy.
        at_least(f"{SHALLOW} hidden layers: accuracy, Glorot less He", shallow, -0.04, "%"),
        *(
            between(
                f"{name}: factor per layer, measured over predicted",
                factor[name] / theory[name],
                # Draws of width 64 spread by 4 %, and a mean of logarithms lies 4 % low.
                0.85,
                1.15,
            )
            for name in STARTS
        ),
    ]
    checks = [
        *few,
        at_least(f"Glorot: second moment per layer, {DEEP} layers", factor["Glorot"], 0.75),
        at_least(f"{DEEP} hidden layers: accuracy, Glorot less He", deep, -0.04, "%"),
        noted("He: second moment per layer", factor["He"]),
        noted("Glorot: variance of a weight, 64 to 64, predicted", measured.variance["Glorot"]),
        noted("He: variance of a weight, 64 to 64, predicted", measured.variance["He"]),
        noted("plan: variance of a weight, 64 to 64", measured.planned_variance),
        *(
            noted(f"{name}: remarks of audit on the second layer's weights", float(len(said)))
            for name, said in measured.remarks.items()
        ),
        *(
            noted(f"{name}: accuracy with {n} hidden layers", found[name], "%")
            for n, found in ((SHALLOW, measured.shallow), (DEEP, measured.deep))
            for name in STARTS
        ),
        *(
            noted(f"{name}: accuracy of the code block itself, in Keras", found, "%")
            for name, found in measured.in_keras.items()
        ),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(few) else FAILS
    told = (
        f"Weights of variance {measured.variance['Glorot']:.4f} keep {factor['Glorot']:.2f} of the"
        f" second moment per layer, He's {measured.variance['He']:.4f} keep {factor['He']:.2f};"
        f" accuracies {measured.shallow['Glorot']:.0%} against {measured.shallow['He']:.0%} with"
        f" {SHALLOW} hidden layers, {measured.deep['Glorot']:.0%} against"
        f" {measured.deep['He']:.0%} with {DEEP}."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Second moments by layer, predicted and measured, and what the tools say."""
    lines = {f"{name}, measured": m for name, m in measured.measured.items()}
    lines |= {f"{name}, predicted": m for name, m in measured.predicted.items()}
    rows = [
        (f"audit of {name}'s network", "; ".join((told, *measured.remarks[name])))
        for name, told in measured.audit.items()
    ]
    return [
        picture(
            "lines",
            "The signal by layer",
            x=list(range(1, DEEP + 1)),
            y=lines,
            x_title="hidden layer",
            y_title="second moment of z",
            y_log=True,
            alt=f"At layer {DEEP} the second moment is {measured.measured['Glorot'][-1]:.2g} with"
            f" Glorot's weights and {measured.measured['He'][-1]:.2g} with He's.",
        ),
        table(
            "Held-out accuracy at the best rate, %",
            ("hidden layers", *STARTS),
            [
                (n, *(100 * found[name] for name in STARTS))
                for n, found in (
                    (f"{SHALLOW}", measured.shallow),
                    (f"{DEEP}", measured.deep),
                    (f"{SHALLOW}, the code itself", measured.in_keras),
                )
                if found
            ],
        ),
        table(
            "What is said of the second layer's weights",
            ("who", "says"),
            [*rows, ("plan", measured.planned)],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"activation": nn.Tanh},
    sources=(
        "Keras's documentation, Layer weight initializers",
        "He et al. 2015, Delving Deep into Rectifiers",
    ),
    lesson=(
        "Glorot's variance keeps the signal of a layer that passes it whole, and ReLU passes half,"
        " so each layer of the classic example halves it. With two hidden layers the"
        " optimizer makes up for that and nobody notices, with twenty nothing is left to learn"
        " from. An audit remarks on Glorot's law behind ReLU and names the variance that keeps the"
        " signal, and a plan draws that."
    ),
)
