"""Do orthogonal recurrent weights carry further?

A recurrent network multiplies by the same matrix at every step. An orthogonal one keeps every
length for ever, while normal weights of the same variance lose most directions, so orthogonal ones
remember and learn over longer times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.exhibits.digits import Data
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
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.sequences import gradient_by_step, recall
from firstlight.records.exhibit import Grid, Picture

HIDDEN, SYMBOLS, SHOWN, NOISE = 48, 4, 8, 0.01
STARTS = {"orthogonal": "orthogonal", "normal": "lecun_normal"}
RATES = (0.001, 0.003)


class _Recurrent(nn.Module):
    """A tanh network that reads a sequence, and a linear read-out of its last state."""

    def __init__(self, weight: str, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.cell = nn.RNN(SYMBOLS, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, SYMBOLS * SHOWN)
        with torch.no_grad():
            parts = dict(self.cell.named_parameters())
            parts["bias_ih_l0"].zero_()
            parts["bias_hh_l0"].zero_()
            parts["weight_hh_l0"].copy_(_square(weight, seed))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of each symbol at each of the places shown, after the last step."""
        states, _ = self.cell(x)
        scores: Tensor = self.head(states[:, -1]).unflatten(1, (SYMBOLS, SHOWN))
        return scores


@dataclass(frozen=True)
class Measured:
    """By start: singular values of W's powers, gradient by step, accuracies by seed."""

    delay: int
    powers: tuple[int, ...]
    largest: dict[str, tuple[float, ...]]
    median: dict[str, tuple[float, ...]]
    gradient: dict[str, tuple[float, ...]]
    accuracy: dict[str, tuple[float, ...]]


def measure(pace: Pace, seed: int, *, delay: int = 50) -> Measured:
    """Powers of the matrix, then eight symbols shown and all asked for ``delay`` steps later."""
    powers = tuple(sorted({t for t in (1, 2, 5, 10, 20, 40) if t < delay} | {delay}))
    seeds, steps = pace.pick(2, 5), pace.pick(80, 400)
    largest, median, gradient, accuracy = {}, {}, {}, {}
    for name, weight in STARTS.items():
        square = _square(weight, seed).double()
        values = [torch.linalg.svdvals(torch.linalg.matrix_power(square, t)) for t in powers]
        largest[name] = tuple(float(v[0]) for v in values)
        median[name] = tuple(float(v.median()) for v in values)
        gradient[name] = gradient_by_step(_Recurrent(weight, seed), _sequences(delay, seed))
        accuracy[name] = recall(
            partial(_Recurrent, weight),
            partial(_sequences, delay),
            RATES,
            steps=steps,
            seeds=range(10 * seed, 10 * seed + seeds),
        )
    return Measured(delay, powers, largest, median, gradient, accuracy)


def _square(weight: str, seed: int) -> Tensor:
    return torch.from_numpy(fl.draw(weight, (HIDDEN, HIDDEN), name="weight_hh_l0", seed=seed))


def _sequences(delay: int, seed: int) -> Data:
    chance = torch.Generator().manual_seed(seed)
    y = torch.randint(SYMBOLS, (2000, SHOWN), generator=chance)
    x = NOISE * torch.randn(2000, SHOWN + delay, SYMBOLS, generator=chance)
    x[:, :SHOWN] += nn.functional.one_hot(y, SYMBOLS)
    return Data(x[:1500], y[:1500], x[1500:], y[1500:])


def judge(measured: Measured) -> Judgement:
    """Lengths exactly for the matrix; more gradient and more learned for the network."""
    orthogonal, normal = STARTS
    back = {name: g[0] / g[-1] for name, g in measured.gradient.items()}
    mean = {name: sum(a) / len(a) for name, a in measured.accuracy.items()}
    kept = max(abs(v - 1) for v in (*measured.largest[orthogonal], *measured.median[orthogonal]))
    t = measured.powers[-1]
    lost = measured.median[normal][-1]
    matrix = [
        at_most("orthogonal: singular values of all powers, off one", kept, 1e-4),
        at_most(f"normal: median singular value of W^{t}", lost, 0.1),
    ]
    checks = [
        *matrix,
        noted(
            "gradient at the first step: orthogonal over normal", back[orthogonal] / back[normal]
        ),
        at_least("accuracy that orthogonal weights add", mean[orthogonal] - mean[normal], 0.1, "%"),
        noted(f"normal: largest singular value of W^{t}", measured.largest[normal][-1]),
        *(noted(f"{name}: gradient, first step over last", v) for name, v in back.items()),
        *(noted(f"{name}: accuracy (a guess: 25 %)", a, "%") for name, a in mean.items()),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(matrix) else FAILS
    told = (
        f"All singular values of the orthogonal matrix's powers up to {t} are within {kept:.1g} of"
        f" one, the normal matrix's median falls to {lost:.1g}; through tanh the gradient changes"
        f" by {back[orthogonal]:.1g} against {back[normal]:.1g}, and recall of {SHOWN} symbols"
        f" after {measured.delay} steps is {mean[orthogonal]:.0%} against {mean[normal]:.0%}."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def show(measured: Measured) -> list[Picture | Grid]:
    """Powers of the matrix, the gradient through time, and what was learned."""
    lines = {f"{name}: largest": v for name, v in measured.largest.items()}
    lines |= {f"{name}: median": v for name, v in measured.median.items()}
    return [
        picture(
            "lines",
            "Singular values of Wᵗ",
            x=measured.powers,
            y=lines,
            x_title="power t",
            y_title="singular value",
            y_log=True,
            alt="The orthogonal matrix's stay at one; the normal matrix's median falls to"
            f" {measured.median['normal'][-1]:.1g} at t = {measured.powers[-1]}.",
        ),
        picture(
            "lines",
            "What comes back through time",
            x=list(range(1, SHOWN + measured.delay + 1)),
            y=measured.gradient,
            x_title="step of the sequence",
            y_title="norm of the loss's gradient by the input",
            y_log=True,
            alt="At the first step: "
            + ", ".join(f"{name} {g[0]:.1g}" for name, g in measured.gradient.items())
            + ".",
        ),
        table(
            "Recalled symbols, %, each at its best rate",
            ("start", "lowest of the seeds", "mean"),
            [(name, 100 * min(a), 100 * sum(a) / len(a)) for name, a in measured.accuracy.items()],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"delay": 1},
    sources=(
        "Saxe, McClelland & Ganguli 2014, Exact Solutions to the Nonlinear Dynamics of Learning",
        "Le, Jaitly & Hinton 2015, A Simple Way to Initialize Recurrent Networks",
    ),
    lesson=(
        "A power of a random matrix stretches a few directions and crushes all others, although its"
        " entries have the right variance, and a power of an orthogonal one crushes none. The tanh"
        " behind each step still takes its share, but small states pass it almost unchanged. Where"
        " one matrix is used again and again, its shape matters more than its variance."
    ),
)
