"""When do the numbers run out?

Weights that are too large multiply from layer to layer until a number no longer fits: it becomes
infinite, and then NaN. Weights that are too small multiply to zero. This happens in float32, far
sooner in float16, and in bfloat16 about as late as in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from firstlight.exhibits.experiment import (
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    all_met,
    at_least,
    at_most,
    equal,
    noted,
)
from firstlight.exhibits.networks import mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.records.exhibit import Grid, Measurement, Picture

FORMATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
WIDTH, SAMPLES = 64, 32
HE = math.sqrt(2 / WIDTH)
LARGE = (1.0, 100.0)
SMALL = 0.01
NEVER = float("nan")


@dataclass(frozen=True)
class Run:
    """The layer (from 1) at which something first happened, NaN for never, and sizes by layer."""

    infinite: float
    not_a_number: float
    zero: float
    foreseen: float
    largest: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """A run for each deviation and format, the million, and one step of training."""

    depth: int
    runs: dict[str, dict[str, Run]]
    small: dict[str, Run]
    million: dict[str, float]
    spoiled: tuple[float, float]
    lost_gradient: dict[str, float]


def measure(pace: Pace, seed: int, *, large: tuple[float, ...] = LARGE) -> Measured:
    """Push one batch through ever more ReLU layers until it is NaN or zero."""
    depth = pace.pick(120, 400)
    weights = torch.randn(depth, WIDTH, WIDTH, generator=torch.Generator().manual_seed(seed))
    x = torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(seed + 1))
    return Measured(
        depth=depth,
        runs={
            f"deviation {s:g}": {n: _run(weights, x, s, t) for n, t in FORMATS.items()}
            for s in large
        },
        small={n: _run(weights, x, SMALL, t) for n, t in FORMATS.items()},
        million={n: float(torch.tensor(1e6).to(t)) for n, t in FORMATS.items()},
        spoiled=_spoiled(max(large), seed),
        lost_gradient={n: _lost(t, seed) for n, t in FORMATS.items()},
    )


def _run(weights: Tensor, x: Tensor, deviation: float, kind: torch.dtype) -> Run:
    """In ``kind``, and beside it in float64 with the size kept apart, safe from overflow."""
    limit = math.log10(torch.finfo(kind).max)
    exact, exponent = x.double(), 0.0
    infinite = not_a_number = zero = foreseen = NEVER
    largest: list[float] = []
    given = x.to(kind)
    for layer, weight in enumerate(weights, 1):
        z = given @ (weight * deviation).to(kind).T
        true = exact @ (weight.double() * deviation).T
        top = float(true.abs().max())
        if exponent + math.log10(top) > limit and not foreseen >= 0:
            foreseen = float(layer)
        largest.append(float(z.abs().max()))
        if bool(z.isinf().any()) and not infinite >= 0:
            infinite = float(layer)
        if bool(z.isnan().any()):
            not_a_number = float(layer)
            break
        if not bool(z.any()):
            zero = float(layer)
            break
        given, exact = z.relu(), true.relu() / top
        exponent += math.log10(top)
    return Run(infinite, not_a_number, zero, foreseen, tuple(largest))


def _network(depth: int, deviation: float, seed: int) -> nn.Sequential:
    def fill(weight: Tensor) -> None:
        weight.normal_(0.0, deviation)

    return start(mlp((WIDTH,) * depth + (10,), bias=False), fill, seed=seed)


def _spoiled(deviation: float, seed: int) -> tuple[float, float]:
    """Shares of layers and weights with NaN after one step of SGD on a float32 net of 60 layers."""
    model = _network(60, deviation, seed)
    x = torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(seed))
    signals(model, x, torch.arange(SAMPLES) % 10)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    bad = [p.detach().isnan() for p in model.parameters()]
    weights = torch.cat([b.flatten() for b in bad])
    return sum(bool(b.any()) for b in bad) / len(bad), float(weights.float().mean())


def _lost(kind: torch.dtype, seed: int) -> float:
    """Share of first-layer gradients that are zero though the units live: He, loss × 10⁻³."""
    found = []
    for dtype in (kind, torch.float32):
        model = _network(5, HE, seed).to(dtype)
        x = torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(seed)).to(dtype)
        signals(model, x, torch.full((SAMPLES, 10), 1e-3, dtype=dtype), loss=_dotted)
        found.append(next(model.parameters()).grad)
    mine, true = found
    assert mine is not None and true is not None
    return float((mine[true != 0] == 0).float().mean())


def _dotted(output: Tensor, wanted: Tensor) -> Tensor:
    return (output * wanted).mean()


def judge(measured: Measured) -> Judgement:
    """Overflow must come where float64 foresees it, to a layer; NaN within two more."""
    checks: list[Measurement] = []
    told = []
    for name, runs in measured.runs.items():
        for kind, run in runs.items():
            checks += [
                at_most(f"{kind}, {name}: first layer with infinity", run.infinite, measured.depth),
                at_most(
                    f"{kind}, {name}: layers between that and what float64 foresees",
                    abs(run.infinite - run.foreseen),
                    1,
                    "layers",
                ),
                at_most(
                    f"{kind}, {name}: layers from infinity to NaN",
                    run.not_a_number - run.infinite,
                    2,
                    "layers",
                ),
            ]
        full, half, brain = (runs[kind].infinite for kind in FORMATS)
        checks += [
            at_least(f"{name}: layers that float16 ends before float32", full - half, 1, "layers"),
            at_most(f"{name}: layers between bfloat16 and float32", abs(full - brain), 1, "layers"),
        ]
        told.append(f"{name}: {full:g}, {half:g} and {brain:g}")
    checks += [
        at_most(f"{kind}, deviation {SMALL:g}: first layer of zeros", run.zero, measured.depth)
        for kind, run in measured.small.items()
    ]
    layers, weights = measured.spoiled
    checks += [
        equal("layers that hold NaN after one step", layers, 1.0, "%"),
        noted("weights that are NaN after one step", weights, "%"),
    ]
    checks += [noted(f"{k}: a weight of 10⁶ is stored as", v) for k, v in measured.million.items()]
    checks += [
        noted(f"{k}: gradients of a 5-layer He network lost to zero, loss × 10⁻³", v, "%")
        for k, v in measured.lost_gradient.items()
    ]
    zeros = ", ".join(f"{run.zero:g}" for run in measured.small.values())
    found = "; ".join(told)
    never = f" (nan: never in {measured.depth})" if "nan" in f"{found}, {zeros}" else ""
    conditions = (
        f"First infinite layer in float32, float16 and bfloat16{never}:"
        f" {found}; all zero with deviation {SMALL:g} at layers {zeros}; one step made"
        f" {weights:.0%} of the weights NaN."
    )
    verdict = HOLDS if all_met(checks) else FAILS
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Largest number by layer until it runs out, and where."""
    every = {**measured.runs, f"deviation {SMALL:g}": measured.small}
    found: list[Picture | Grid] = []
    for name, runs in every.items():
        longest = max(len(run.largest) for run in runs.values())
        found.append(
            picture(
                "lines",
                f"Largest number by layer, {name}",
                x=range(1, longest + 1),
                y={kind: run.largest for kind, run in runs.items()},
                x_title="layer",
                y_title="largest |z|",
                y_log=True,
                alt="Curves end where a number is infinite or all are zero: "
                + ", ".join(f"{kind} after {len(run.largest)} layers" for kind, run in runs.items())
                + ".",
                caption="What is infinite, NaN or zero is not drawn.",
            )
        )
    rows = [
        (name, kind, run.infinite, run.foreseen, run.not_a_number, run.zero)
        for name, runs in every.items()
        for kind, run in runs.items()
    ]
    heads = ("weights", "format", "infinite", "foreseen", "NaN", "all zero")
    return [*found, table("First layer at which a number is …", heads, rows)]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"large": (HE,)},
    sources=(
        "IEEE 754-2019, Standard for floating-point arithmetic",
        "Micikevicius et al. 2018, Mixed precision training",
    ),
    lesson=(
        "A factor per layer becomes a power of the depth, and a power leaves every number format"
        " at a layer that logarithms foresee. Infinity turns into NaN within two layers, as"
        " infinity minus infinity or zero times infinity, and one update then spreads NaN to nearly"
        " all weights. Bfloat16 has the range of float32 with fewer digits, while float16 ends at"
        " 65504, so a weight of a million does not even fit."
    ),
)
