"""Does Glorot keep the variance both ways?

With weights of variance 1/fan_in, or 2/(fan_in + fan_out), drawn from a normal or a uniform law,
activations keep their variance on the way forward and gradients on the way back; this suits linear,
tanh, sigmoid and softmax layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

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
    interval_between,
    noted,
)
from firstlight.exhibits.networks import Filler, kept, mlp, passage, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Measurement, Picture

KINDS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softmax": partial(nn.Softmax, dim=1),
}
TECHNIQUES = {
    "1/fan_in normal": "xavier_fan_in_normal",
    "1/fan_in uniform": "xavier_fan_in_uniform",
    "2/(fan_in + fan_out) normal": "glorot_normal",
    "2/(fan_in + fan_out) uniform": "glorot_uniform",
}
EQUAL = (128,) * 12
FUNNEL = (256, 192, 128, 96, 64, 48, 32)
CLASSES = 10
RATES = (0.03, 0.1, 0.3)

Triples = tuple[tuple[float, float, float], ...]
Cells = dict[str, dict[str, Triples]]


@dataclass(frozen=True)
class Measured:
    """Factors of a layer (length, error, signal), one triple for each seed."""

    equal: Cells
    funnel: Cells
    by_layer: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
    output_loss: float
    logit_variance: float
    accuracies: dict[str, float]


def measure(pace: Pace, seed: int, *, factor: float = 1.0) -> Measured:
    """All techniques through ten layers of equal width; both formulas through a funnel."""
    seeds = [1000 * seed + i for i in range(pace.pick(3, 10))]

    def through(kind: str, name: str, widths: tuple[int, ...]) -> Triples:
        run = partial(passage, KINDS[kind], TECHNIQUES[name], widths, factor=factor, samples=128)
        return tuple(run(seed=s).per_layer() for s in seeds)

    def shrink(weight: Tensor) -> Tensor:
        return weight.normal_(0.0, math.sqrt(factor * 2 / sum(weight.shape)))

    def small(weight: Tensor) -> Tensor:
        return weight.normal_(0.0, 0.01)

    one = {k: passage(v, "glorot_normal", EQUAL, factor=factor) for k, v in KINDS.items()}
    data = digits()
    head = signals(start(mlp((64, CLASSES)), shrink, seed=seed), data.x, data.y)
    starts: dict[str, Filler] = {"zero": 0.0, "random, deviation 0.01": small, "Glorot": shrink}
    steps = pace.pick(150, 1000)
    return Measured(
        equal={k: {n: through(k, n, EQUAL) for n in TECHNIQUES} for k in KINDS},
        funnel={"linear": {n: through("linear", n, FUNNEL) for n in TECHNIQUES}},
        by_layer={k: (p.length, p.error) for k, p in one.items()},
        output_loss=head.loss,
        logit_variance=float(head.z[0].square().mean()),
        accuracies={name: _trained(weight, steps, seed) for name, weight in starts.items()},
    )


def _trained(weight: Filler, steps: int, seed: int) -> float:
    """Held-out accuracy of five tanh layers at the best of the rates."""
    data, found = digits(), []
    for rate in RATES:
        model = start(mlp((64, 32, 32, 32, 32, 10), nn.Tanh), weight, seed=seed)
        train(model, data.x, data.y, steps=steps, rate=rate, seed=seed)
        found.append(accuracy(model, data.held_out_x, data.held_out_y))
    return max(found)


def _mean(cells: Cells, kind: str, which: int) -> tuple[float, tuple[float, float]]:
    """Over seeds and techniques; the interval is that of the mean."""
    return mean_interval([t[which] for triples in cells[kind].values() for t in triples])


def _worst(factors: Sequence[float]) -> float:
    """The one furthest from 1, as a ratio."""
    return max(factors, key=lambda v: abs(math.log(max(v, 1e-300))))


def judge(measured: Measured) -> Judgement:
    """Linear layers must be right both ways; the others are held to the same 5 %."""
    checks: list[Measurement] = []
    said: list[str] = []
    for kind in KINDS:
        means: list[float] = []
        far: list[float] = []
        for which, way in enumerate(("length", "gradient")):
            mean, ends = _mean(measured.equal, kind, which)
            name = f"{kind}: {way}, factor of a layer"
            checks.append(interval_between(name, mean, ends, 1 / 1.05, 1.05))
            far += ends
            means.append(mean)
        checks.append(
            noted(f"{kind}: signal, factor of a layer", _mean(measured.equal, kind, 2)[0])
        )
        said.append(f"{kind} {means[0]:.2g} and {means[1]:.2g} ({kept(_worst(far))})")
    for name in ("1/fan_in normal", "2/(fan_in + fan_out) normal"):
        mean = mean_interval([t[1] for t in measured.funnel["linear"][name]])[0]
        checks.append(noted(f"funnel of 256 to 32, {name}: gradient, factor of a layer", mean))
        mean = mean_interval([t[0] for t in measured.funnel["linear"][name]])[0]
        checks.append(noted(f"funnel of 256 to 32, {name}: length, factor of a layer", mean))
    checks += [
        noted("softmax as the last layer: variance of its logits", measured.logit_variance),
        noted("softmax as the last layer: loss at the start", measured.output_loss),
        noted("loss of a guess, ln 10", math.log(CLASSES)),
        *(
            noted(f"tanh trained from {n}: accuracy", a, "%")
            for n, a in measured.accuracies.items()
        ),
    ]
    linear = all(c.met for c in checks[:2])
    verdict = HOLDS if all_met(checks) else CONDITIONAL if linear else FAILS
    told = {HOLDS: "All keep both", CONDITIONAL: "Linear layers keep both, not all others do"}
    conditions = (
        f"{told.get(verdict, 'Not even linear layers keep both')}: a layer multiplies length and"
        f" gradient by: {'; '.join(said)}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Variance by layer both ways, and every cell."""
    layers = range(1, len(EQUAL))
    ends = {k: (length[-1], error[0]) for k, (length, error) in measured.by_layer.items()}
    pictures: list[Picture | Grid] = [
        picture(
            "lines",
            f"Glorot, {way}",
            x=layers,
            y={kind: both[which] for kind, both in measured.by_layer.items()},
            x_title="layer",
            y_title=what,
            y_log=True,
            alt=f"{what} at the far end: "
            + ", ".join(f"{kind} {both[which]:.2g}" for kind, both in ends.items())
            + ".",
        )
        for which, (way, what) in enumerate(
            (("forward", "mean square of z"), ("backward", "mean square of δ"))
        )
    ]
    rows = [
        (shape, kind, name, *(mean_interval([t[i] for t in triples])[0] for i in range(3)))
        for shape, cells in (("equal widths", measured.equal), ("funnel", measured.funnel))
        for kind, techniques in cells.items()
        for name, triples in techniques.items()
    ]
    heads = ("widths", "activation", "variance and law", "length", "gradient", "signal")
    return [*pictures, table("Factor of one layer", heads, rows)]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"factor": 0.5},
    sources=(
        "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward networks",
        "Keras documentation, GlorotNormal and GlorotUniform",
    ),
    lesson=(
        "Glorot's variance is derived for linear layers and keeps both directions there, with"
        " either law; where widths differ no number can keep both, and the mean of the fans is a"
        " compromise. Tanh bends the signal down by about a quarter in each of the first layers,"
        " which few layers survive well and many do not. Sigmoid has the slope of one quarter, so"
        " it loses the gradient under any such formula, and softmax belongs at the output only."
    ),
)
