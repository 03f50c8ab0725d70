"""Does batch normalization free the choice of start?

With batch normalization the start matters less and higher learning rates can be used, so that any
technique will do; He's weights go well with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
from firstlight.exhibits.networks import Filler, mlp, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train
from firstlight.records.exhibit import Grid, Picture

WIDTHS = (64, 32, 32, 32, 32, 32, 10)
RATES = (0.03, 0.3, 3.0)
USABLE = 0.8  # accuracy at which a rate counts as usable


def _normal(std: float) -> Callable[[Tensor], object]:
    return lambda weight: nn.init.normal_(weight, std=std)


STARTS: dict[str, Filler] = {
    "0.01 × normal": _normal(0.01),
    "Glorot": "glorot_normal",
    "He": "he_normal",
    "1 × normal": _normal(1.0),
    "zero": 0.0,
}
RANDOM = tuple(name for name in STARTS if name != "zero")


@dataclass(frozen=True)
class Measured:
    """Accuracy by start, at each of `RATES`, with and without."""

    steps: int
    free: dict[str, tuple[float, ...]]
    plain: dict[str, tuple[float, ...]]


def measure(pace: Pace, seed: int, *, norm: bool = True) -> Measured:
    """A ReLU network of six layers from each start at each rate; ``norm=False`` leaves it plain."""
    steps = pace.pick(80, 500)
    return Measured(steps, _table(norm, steps, seed), _table(False, steps, seed))


def _table(norm: bool, steps: int, seed: int) -> dict[str, tuple[float, ...]]:
    data, found = digits(), {}
    for name, weight in STARTS.items():
        row = []
        for rate in RATES:
            model = start(mlp(WIDTHS, norm=nn.BatchNorm1d if norm else None), weight, seed=seed)
            train(model, data.x, data.y, steps=steps, rate=rate, seed=seed)
            row.append(accuracy(model, data.held_out_x, data.held_out_y))
        found[name] = tuple(row)
    return found


def judge(measured: Measured) -> Judgement:
    """Less dependence: half the spread and twice the rate. Any will do: little spread, and zero."""
    best = {name: max(row) for name, row in measured.free.items()}
    bare = {name: max(row) for name, row in measured.plain.items()}
    spread = _spread([best[name] for name in RANDOM])
    before = _spread([bare[name] for name in RANDOM])
    he, he_bare = _highest(measured.free["He"]), _highest(measured.plain["He"])
    freer = [
        at_least("spread without over spread with", before / max(spread, 1e-3), 2.0),
        at_least(
            "He: highest usable rate, with over without", he / he_bare if he_bare else 0.0, 2.0
        ),
        at_least(
            "He: accuracy against the best of the starts",
            best["He"] - max(best.values()),
            -0.02,
            "%",
        ),
    ]
    checks = [
        *freer,
        at_most("spread of accuracy over four random starts", spread, 0.05, "%"),
        at_least("zero: accuracy", best["zero"], USABLE, "%"),
        noted("spread of accuracy without", before, "%"),
        noted("He: highest usable rate with", he),
        noted("He: highest usable rate without", he_bare),
        *(noted(f"{n}: accuracy with", a, "%") for n, a in best.items()),
        *(noted(f"{n}: accuracy without", a, "%") for n, a in bare.items()),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(freer) else FAILS
    told = (
        f"Each at its best rate, four random starts lie within {spread:.0%} of accuracy where the"
        f" plain network's lie within {before:.0%}; the highest usable rate from He's start is"
        f" {he:g} against {he_bare:g}; zero weights, all alike, reach {best['zero']:.0%}."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def _spread(values: list[float]) -> float:
    return max(values) - min(values)


def _highest(row: tuple[float, ...]) -> float:
    return max((r for r, a in zip(RATES, row, strict=True) if a >= USABLE), default=0.0)


def show(measured: Measured) -> list[Picture | Grid]:
    """Accuracy of each start at each rate, with and without."""
    rates = [f"rate {rate:g}" for rate in RATES]
    both = {"with batch norm": measured.free, "without": measured.plain}
    return [
        *(
            picture(
                "map",
                f"Held-out accuracy {name}",
                x=rates,
                y={start: [100 * a for a in row] for start, row in found.items()},
                x_title="learning rate",
                y_title="accuracy, %",
                alt=f"Best of each start {name}: "
                + ", ".join(f"{start} {max(row):.0%}" for start, row in found.items())
                + ".",
            )
            for name, found in both.items()
        ),
        table(
            f"Held-out accuracy after {measured.steps} steps at the best rate, %",
            ("start", *both),
            [(name, *(100 * max(found[name]) for found in both.values())) for name in STARTS],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"norm": False},
    sources=(
        "Ioffe & Szegedy 2015, Batch Normalization",
        "Bjorck et al. 2018, Understanding Batch Normalization",
    ),
    lesson=(
        "A norm behind each layer divides the scale of its weights out, so random starts that"
        " differ in scale come much nearer to each other and survive higher rates. It cannot make"
        " units differ that start alike, so zero and constants stay what they are. It frees the"
        " scale within a moderate depth, and He's weights remain a good choice with it."
    ),
)
