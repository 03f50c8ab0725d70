"""Is He right for ReLU and all its variants?

Weights of variance 2/fan_in, normal or uniform, keep the variance of activations and of gradients
through layers of ReLU, and of its variants: leaky ReLU, PReLU, ELU, GELU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

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
    interval_between,
    noted,
)
from firstlight.exhibits.networks import kept, mlp, passage, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Measurement, Picture

KINDS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU,
    "leaky ReLU 0.01": nn.LeakyReLU,
    "leaky ReLU 0.3": partial(nn.LeakyReLU, 0.3),
    "PReLU 0.25": nn.PReLU,
    "ELU": nn.ELU,
    "GELU": nn.GELU,
}
LAWS = ("normal", "uniform")
LAYERS, WIDTH = 11, 128
RATES = (0.03, 0.1)

Triples = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Measured:
    """Mean factors of a layer over seeds for each activation and law, and one passage of each."""

    factors: dict[str, dict[str, Triples]]
    by_layer: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
    accuracy: float


def measure(pace: Pace, seed: int, *, family: str = "he") -> Measured:
    """Ten layers of each activation, with weights of ``family`` in both laws."""
    many, few = pace.pick(12, 24), pace.pick(3, 12)
    by_layer, factors = {}, {}
    for kind, make in KINDS.items():
        seeds = many if kind == "ReLU" else few
        factors[kind] = {
            law: tuple(_factors(make, f"{family}_{law}", 1000 * seed + i) for i in range(seeds))
            for law in LAWS
        }
        one = passage(make, f"{family}_normal", (WIDTH,) * (LAYERS + 1), samples=128, seed=seed)
        by_layer[kind] = (one.length, one.error)
    data, steps, found = digits(), pace.pick(150, 1000), []
    for rate in RATES:
        model = start(mlp((64, 32, 32, 32, 32, 10)), f"{family}_normal", seed=seed)
        train(model, data.x, data.y, steps=steps, rate=rate, seed=seed)
        found.append(accuracy(model, data.held_out_x, data.held_out_y))
    return Measured(factors, by_layer, max(found))


def _factors(make: Callable[[], nn.Module], name: str, seed: int) -> tuple[float, float, float]:
    return passage(make, name, (WIDTH,) * (LAYERS + 1), samples=128, seed=seed).per_layer()


def _mean(measured: Measured, kind: str, which: int) -> tuple[float, tuple[float, float]]:
    """Over seeds and laws."""
    laws = measured.factors[kind].values()
    return mean_interval([t[which] for triples in laws for t in triples])


def judge(measured: Measured) -> Judgement:
    """ReLU to 5 % a layer, as every variant is asked to be."""
    checks: list[Measurement] = []
    said = []
    for kind in KINDS:
        factors: list[float] = []
        worst: list[float] = []
        for which, way in enumerate(("length", "gradient")):
            mean, ends = _mean(measured, kind, which)
            name = f"{kind}: {way}, factor of a layer"
            checks.append(interval_between(name, mean, ends, 1 / 1.05, 1.05))
            factors.append(mean)
            worst += ends
        far = max(worst, key=lambda v: max(v, 1 / max(v, 1e-9)))
        said.append(f"{kind} {factors[0]:.2f} and {factors[1]:.2f} ({kept(far)})")
    law = [mean_interval([t[0] for t in measured.factors["ReLU"][n]])[0] for n in LAWS]
    checks += [
        at_least("accuracy of a trained 5-layer ReLU network", measured.accuracy, 0.9, "%"),
        noted("ReLU: length, normal", law[0]),
        noted("ReLU: length, uniform", law[1]),
        noted("ReLU: signal, factor of a layer", _mean(measured, "ReLU", 2)[0]),
    ]
    relu = checks[0].met and checks[1].met
    verdict = HOLDS if all_met(checks) else CONDITIONAL if relu else FAILS
    told = {HOLDS: "All keep both", CONDITIONAL: "ReLU keeps both, not every variant does"}
    conditions = (
        f"{told.get(verdict, 'Not even ReLU keeps both')}: a layer multiplies length and gradient"
        f" by: {'; '.join(said)}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Variance by layer both ways, and every cell."""
    pictures: list[Picture | Grid] = [
        picture(
            "lines",
            title,
            x=range(1, LAYERS + 1),
            y={kind: both[which] for kind, both in measured.by_layer.items()},
            x_title="layer",
            y_title=what,
            y_log=True,
            alt=f"{what}, last layer over first: "
            + ", ".join(
                f"{k} {v[which][-1] / v[which][0]:.2g}" for k, v in measured.by_layer.items()
            )
            + ".",
        )
        for which, (title, what) in enumerate(
            (("Forward", "mean square of z"), ("Backward", "mean square of δ"))
        )
    ]
    rows = [
        (kind, law, *(mean_interval([t[i] for t in triples])[0] for i in range(3)))
        for kind, laws in measured.factors.items()
        for law, triples in laws.items()
    ]
    heads = ("activation", "law", "length", "gradient", "signal")
    return [*pictures, table("Factor of one layer, mean over seeds", heads, rows)]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"family": "glorot"},
    sources=(
        "He, Zhang, Ren & Sun 2015, Delving deep into rectifiers",
        "Keras documentation, HeNormal and HeUniform",
    ),
    lesson=(
        "ReLU throws away half of the mean square, and the 2 in 2/fan_in gives it back, forward and"
        " backward alike. Each variant throws away another share: a small slope on the left changes"
        " little, a slope of 0.3 makes ten layers grow by more than two, and ELU and GELU are off"
        " in opposite directions. Take the gain of the activation that you use, such as"
        " 2/((1 + a²) fan_in) for a slope a."
    ),
)
