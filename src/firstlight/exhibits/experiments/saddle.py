"""Is zero a local minimum?

A network whose weights start at zero is stuck, it is said, because zero is a local minimum of the
loss: every small change of the weights makes it worse. The curvature there can be measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from firstlight.exhibits.digits import doubled
from firstlight.exhibits.experiment import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    Experiment,
    Judgement,
    Pace,
    at_least,
    at_most,
    noted,
)
from firstlight.exhibits.networks import mlp
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import ready
from firstlight.records.exhibit import Grid, Picture

ROUNDING = 1e-10
"""Of eigenvalues and losses in float64, with room: the loss is about 2.3."""

SIZES = {"1 hidden layer": (16, 4, 10), "2 hidden layers": (16, 4, 4, 10)}
ACTIVATIONS = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
SCALES = tuple(10 ** (i / 4) for i in range(-8, 3))


@dataclass(frozen=True)
class Place:
    """Slope and curvature at zero weights, and how the loss changes a little way off."""

    slope: float
    eigenvalues: tuple[float, ...]
    lowest: tuple[float, ...]
    share_lower: float


@dataclass(frozen=True)
class Measured:
    """A place for each network."""

    directions: int
    places: dict[str, Place]


def measure(pace: Pace, seed: int, *, decay: float = 0.0) -> Measured:
    """Look around zero weights, with the head's biases at their best (the class shares).

    ``decay`` adds ½ · decay · ‖weights‖² to the loss, which bends it upwards.
    """
    n = pace.pick(40, 400)
    cases = [(a, size) for size in SIZES for a in ACTIVATIONS]
    return Measured(n, {f"{a}, {s}": _place(a, s, decay, n, seed) for a, s in cases})


def _place(name: str, size: str, decay: float, directions: int, seed: int) -> Place:
    ready()
    data, widths = doubled(), SIZES[size]
    # Blocks of 2 × 2 pixels keep the Hessian small.
    x = nn.functional.avg_pool2d(data.x.reshape(-1, 1, 8, 8), 2).flatten(1)
    model = mlp(widths, ACTIVATIONS[name]).double()
    shapes = [p.shape for p in model.parameters()]
    loss = partial(_loss, model, [p for p, _ in model.named_parameters()], shapes, decay, x, data.y)
    zero = torch.zeros(sum(s.numel() for s in shapes), dtype=torch.float64)
    zero[-widths[-1] :] = (torch.bincount(data.y).double() / len(data.y)).log()
    slope = torch.func.grad(loss)(zero)
    values, vectors = torch.linalg.eigh(torch.func.hessian(loss)(zero))
    here = float(loss(zero))
    chance = torch.Generator().manual_seed(seed)
    # Random directions within those that do not bend upwards, and the one that bends down most.
    free = vectors[:, values <= ROUNDING]
    mixes = torch.randn(directions, free.shape[1], generator=chance, dtype=torch.float64)
    ways = torch.cat([vectors[:, :1].T, nn.functional.normalize(mixes @ free.T)])
    ways = torch.cat([ways, -ways])
    change = torch.stack([torch.func.vmap(loss)(zero + t * ways) - here for t in SCALES])
    return Place(
        slope=float(slope.abs().max()),
        eigenvalues=tuple(values.tolist()),
        lowest=tuple(change.min(1).values.tolist()),
        share_lower=float((change[:, 1:-1].min(0).values < -ROUNDING).double().mean()),
    )


def _loss(
    model: nn.Module,
    names: list[str],
    shapes: list[torch.Size],
    decay: float,
    x: Tensor,
    y: Tensor,
    flat: Tensor,
) -> Tensor:
    parts = [
        p.reshape(s) for p, s in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)
    ]
    output = torch.func.functional_call(model, dict(zip(names, parts, strict=True)), (x,))
    size = sum((p.square().sum() for p in parts if p.dim() == 2), torch.zeros(()))
    return nn.functional.cross_entropy(output, y) + 0.5 * decay * size


def judge(measured: Measured) -> Judgement:
    """A minimum has no slope, no downward curvature, and nothing lower close by."""
    places = measured.places
    checks = []
    for name, place in places.items():
        checks += [
            at_most(f"{name}: largest slope", place.slope, ROUNDING),
            at_least(f"{name}: smallest eigenvalue", place.eigenvalues[0], -ROUNDING),
            at_least(f"{name}: lowest change of loss nearby", min(place.lowest), -ROUNDING),
            noted(f"{name}: largest eigenvalue", place.eigenvalues[-1]),
            noted(
                f"{name}: not bent upwards: random directions that lower the loss",
                place.share_lower,
                "%",
            ),
        ]
    stuck = all(place.slope <= ROUNDING for place in places.values())
    lower = [name for name, place in places.items() if min(place.lowest) < -ROUNDING]
    least = {name: place.eigenvalues[0] for name, place in places.items()}
    drop = min(min(place.lowest) for place in places.values())
    if not lower and stuck:
        verdict, said = HOLDS, "nothing nearby is lower, so it is a minimum"
    elif len(lower) == len(places):
        verdict, said = FAILS, f"a step nearby lowers the loss in all, by up to {-drop:.2g}"
    else:
        verdict, said = CONDITIONAL, f"a step nearby lowers the loss in {len(lower)} of them"
    conditions = (
        f"At zero weights the slope of {len(places)} networks is at most"
        f" {max(p.slope for p in places.values()):.1g} and the smallest eigenvalues of the Hessian"
        f" are {', '.join(f'{value:.2g} ({name})' for name, value in least.items())}; {said}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """The spectrum at zero, and the lowest loss at each distance."""
    places = measured.places
    longest = max(len(p.eigenvalues) for p in places.values())
    drops = {n: [max(-v, 0.0) for v in p.lowest] for n, p in places.items()}
    return [
        picture(
            "lines",
            "Eigenvalues of the Hessian at zero weights",
            x=range(1, longest + 1),
            y={name: place.eigenvalues for name, place in places.items()},
            x_title="number, from the smallest",
            y_title="eigenvalue",
            alt="Smallest and largest eigenvalue: "
            + "; ".join(
                f"{n} {p.eigenvalues[0]:.2g} and {p.eigenvalues[-1]:.2g}" for n, p in places.items()
            )
            + ".",
            caption="A minimum has none below zero.",
        ),
        picture(
            "lines",
            "How far a step away from zero lowers the loss",
            x=SCALES,
            y=drops,
            x_title="length of the step",
            y_title="largest drop of the loss",
            x_log=True,
            y_log=True,
            alt="Largest drop of the loss: "
            + "; ".join(f"{n} {max(d):.2g}" for n, d in drops.items())
            + ".",
            caption="The drop grows as the square of the step with one hidden layer, and as the"
            " cube with two, where the curvature is flat and only the third order leads down.",
        ),
        table(
            "Counts of eigenvalues",
            ("network", "below zero", "zero to rounding", "above zero"),
            [
                (
                    name,
                    sum(v < -ROUNDING for v in place.eigenvalues),
                    sum(abs(v) <= ROUNDING for v in place.eigenvalues),
                    sum(v > ROUNDING for v in place.eigenvalues),
                )
                for name, place in places.items()
            ],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"decay": 1.0},
    sources=(
        "Dauphin et al. 2014, Identifying and attacking the saddle point problem",
        "Kawaguchi 2016, Deep learning without poor local minima",
    ),
    lesson=(
        "Zero has no slope, so gradient descent stands still there, but it is a saddle and no"
        " minimum: some directions lead down. With more hidden layers the place is ever flatter,"
        " and the way down begins at a higher order. What holds training at zero is symmetry, which"
        " is why a little noise frees it."
    ),
)
