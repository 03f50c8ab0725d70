"""What do early layers know when gradients vanish?

Where gradients vanish, early layers stay with poor features, while late layers learn. A linear
probe on each layer, before and after training, tells what the layer knows.
"""

from __future__ import annotations

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
from firstlight.exhibits.networks import linears, mlp, signals, start
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.training import accuracy, train
from firstlight.racing.statistics import mean_interval
from firstlight.records.exhibit import Grid, Picture

HIDDEN, WIDTH = 6, 32
RATE = {nn.Sigmoid: 0.5, nn.Tanh: 0.1}
RIDGE = 0.01
GAIN = 0.01
"""One point of accuracy: 3.6 of the 360 held-out digits."""

ByLayer = tuple[float, ...]


@dataclass(frozen=True)
class Net:
    """Held-out accuracy of a probe on each hidden layer, for each seed."""

    before: tuple[ByLayer, ...]
    after: tuple[ByLayer, ...]
    moved: ByLayer
    accuracy: float

    def gain(self, layer: int) -> float:
        """Mean over seeds of what training added to a layer's probe."""
        pairs = zip(self.after, self.before, strict=True)
        return sum(a[layer] - b[layer] for a, b in pairs) / len(self.after)

    def mean(self, which: str, layer: int) -> float:
        """Mean over seeds before or after training."""
        return mean_interval([run[layer] for run in getattr(self, which)])[0]


@dataclass(frozen=True)
class Measured:
    """The network that is asked about, a healthy one, and a probe on the pixels themselves."""

    steps: int
    asked: Net
    healthy: Net
    pixels: float


def measure(pace: Pace, seed: int, *, kind: type[nn.Module] = nn.Sigmoid) -> Measured:
    """Probe a deep network of ``kind`` from Glorot's start, and one of tanh."""
    steps, seeds = pace.pick(200, 1000), pace.pick(3, 5)
    data = digits()
    return Measured(
        steps=steps,
        asked=_net(kind, steps, seed, seeds),
        healthy=_net(nn.Tanh, steps, seed, seeds),
        pixels=_probe(data.x, data.held_out_x),
    )


def _net(kind: type[nn.Module], steps: int, seed: int, seeds: int) -> Net:
    data = digits()
    before, after, right = [], [], 0.0
    moved: ByLayer = ()
    for run in range(1000 * seed, 1000 * seed + seeds):
        model = start(mlp((64, *(WIDTH,) * HIDDEN, 10), kind), "glorot_normal", seed=run)
        first = [layer.weight.detach().clone() for layer in linears(model)]
        before.append(_probes(model, kind()))
        train(model, data.x, data.y, steps=steps, rate=RATE[kind], seed=run)
        after.append(_probes(model, kind()))
        pairs = zip(linears(model), first, strict=True)
        moved = tuple(float((v.weight.detach() - w).norm() / w.norm()) for v, w in pairs)
        right += accuracy(model, data.held_out_x, data.held_out_y) / seeds
    return Net(tuple(before), tuple(after), moved, right)


def _probes(model: nn.Module, activation: nn.Module) -> ByLayer:
    data = digits()
    train_z, test_z = (signals(model, x).z[:-1] for x in (data.x, data.held_out_x))
    return tuple(_probe(activation(a), activation(b)) for a, b in zip(train_z, test_z, strict=True))


def _probe(x: Tensor, held_out: Tensor) -> float:
    """Held-out accuracy of ridge regression on standardised features, which forgives any scale."""
    data = digits()
    x, held_out = x.double(), held_out.double()
    mean, spread = x.mean(0), x.std(0).clamp_min(1e-12)
    a, b = (
        torch.cat([(v - mean) / spread, torch.ones(len(v), 1, dtype=v.dtype)], 1)
        for v in (x, held_out)
    )
    wanted = nn.functional.one_hot(data.y, 10).double()
    ridge = RIDGE * len(a) * torch.eye(a.shape[1], dtype=a.dtype)
    weights = torch.linalg.solve(a.T @ a + ridge, a.T @ wanted)
    return float(((b @ weights).argmax(1) == data.held_out_y).double().mean())


def judge(measured: Measured) -> Judgement:
    """Early layers must learn nothing, late ones something, and the early ones must be poor."""
    asked, healthy = measured.asked, measured.healthy
    last = HIDDEN - 1
    early = [
        at_most("gain of the first layer's probe by training", asked.gain(0), GAIN, "%"),
        at_most("gain of the second layer's probe by training", asked.gain(1), GAIN, "%"),
    ]
    checks = [
        *early,
        at_least("gain of the last hidden layer's probe by training", asked.gain(last), GAIN, "%"),
        at_most(
            "first layer's probe after training, less that of the last hidden layer",
            asked.mean("after", 0) - asked.mean("after", last),
            0.0,
            "%",
        ),
        noted("probe on the first layer after training", asked.mean("after", 0), "%"),
        noted("probe on the last hidden layer after training", asked.mean("after", last), "%"),
        noted("probe on the pixels", measured.pixels, "%"),
        noted("accuracy of the network itself", asked.accuracy, "%"),
        noted("healthy network: gain of the first layer's probe", healthy.gain(0), "%"),
        noted("healthy network: gain of the last hidden layer's probe", healthy.gain(last), "%"),
        noted("healthy network: accuracy", healthy.accuracy, "%"),
        noted("relative movement of the first layer", asked.moved[0]),
        noted("relative movement of the last layer", asked.moved[-1]),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(early) else FAILS
    conditions = (
        f"{measured.steps} steps change the first layer's probe by {100 * asked.gain(0):+.1f}"
        f" points to {asked.mean('after', 0):.0%}, and the last hidden layer's by"
        f" {100 * asked.gain(last):+.1f} to {asked.mean('after', last):.0%}; in a healthy network"
        f" by {100 * healthy.gain(0):+.1f} and {100 * healthy.gain(last):+.1f}."
    )
    return Judgement(verdict=verdict, conditions=conditions, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Probes by layer, before and after."""
    lines = {
        f"{name}, {which}": [100 * net.mean(which, i) for i in range(HIDDEN)]
        for name, net in (("this network", measured.asked), ("healthy", measured.healthy))
        for which in ("before", "after")
    }
    layers = range(1, HIDDEN + 1)
    return [
        picture(
            "lines",
            "What a linear probe reads from each hidden layer",
            x=layers,
            y=lines,
            x_title="hidden layer",
            y_title="held-out accuracy of the probe, %",
            alt="First and last hidden layer: "
            + ", ".join(f"{name} {v[0]:.0f} and {v[-1]:.0f} %" for name, v in lines.items())
            + ".",
            caption=f"A probe on the pixels themselves reads {measured.pixels:.0%}.",
        ),
        table(
            "Accuracy of the probes, %",
            ("hidden layer", *lines),
            [(i, *(v[i - 1] for v in lines.values())) for i in layers],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"kind": nn.Tanh},
    sources=(
        "Alain & Bengio 2016, Understanding intermediate layers using linear classifier probes",
        "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward networks",
    ),
    lesson=(
        "Where gradients vanish the early layers indeed learn nothing: their probes read after"
        " training what they read before. But random features are not poor ones, for a probe reads"
        " nine digits in ten from them, and it is with each further layer that information is lost."
        " The late layers move without learning much either, since what reaches them hardly differs"
        " from digit to digit."
    ),
)
