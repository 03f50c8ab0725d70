"""Should a forget gate start open?

An LSTM whose forget gate starts with a bias of 1 or 2 instead of 0 remembers longer: more of the
gradient comes back through time, and a task that needs memory is learned sooner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

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
    noted,
)
from firstlight.exhibits.pictures import picture, table
from firstlight.exhibits.sequences import gradient_by_step, recall
from firstlight.records.exhibit import Grid, Picture

BIASES = (0.0, 1.0, 2.0)
HIDDEN, SYMBOLS, NOISE = 16, 4, 0.3
RATES = (0.01, 0.03)


class _Memory(nn.Module):
    """An LSTM and a linear read-out of its last state."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SYMBOLS, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, SYMBOLS)
        with torch.no_grad():
            parts = dict(self.lstm.named_parameters())
            parts["bias_hh_l0"].zero_()  # PyTorch adds two biases: set one of them
            parts["bias_ih_l0"].zero_()[HIDDEN : 2 * HIDDEN] = bias

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the symbols after the last step."""
        states, _ = self.lstm(x)
        scores: Tensor = self.head(states[:, -1])
        return scores


@dataclass(frozen=True)
class Measured:
    """By bias: the gradient at each step of the input, from the first; accuracies by seed."""

    length: int
    gradient: dict[float, tuple[float, ...]]
    accuracy: dict[float, tuple[float, ...]]


def measure(pace: Pace, seed: int, *, length: int = 30) -> Measured:
    """Show one of four symbols first, then noise for ``length`` − 1 steps, and ask which it was."""
    seeds, steps = pace.pick(2, 5), pace.pick(80, 300)
    gradient, accuracy = {}, {}
    for bias in BIASES:
        gradient[bias] = gradient_by_step(_started(bias, seed), _sequences(length, seed))
        accuracy[bias] = recall(
            partial(_started, bias),
            partial(_sequences, length),
            RATES,
            steps=steps,
            seeds=range(10 * seed, 10 * seed + seeds),
        )
    return Measured(length, gradient, accuracy)


def _started(bias: float, seed: int) -> _Memory:
    torch.manual_seed(seed)
    return _Memory(bias)


def _sequences(length: int, seed: int) -> Data:
    chance = torch.Generator().manual_seed(seed)
    y = torch.randint(SYMBOLS, (2000,), generator=chance)
    x = NOISE * torch.randn(2000, length, SYMBOLS, generator=chance)
    x[:, 0] = nn.functional.one_hot(y, SYMBOLS)
    return Data(x[:1500], y[:1500], x[1500:], y[1500:])


def judge(measured: Measured) -> Judgement:
    """Each unit of bias must bring more gradient back; the open gate must learn more."""
    back = {bias: g[0] / g[-1] for bias, g in measured.gradient.items()}
    mean = {bias: sum(a) / len(a) for bias, a in measured.accuracy.items()}
    gain = max(mean[1.0], mean[2.0]) - mean[0.0]
    more = [
        at_least("gradient at the first step: bias 1 over bias 0", back[1.0] / back[0.0], 10.0),
        at_least("gradient at the first step: bias 2 over bias 1", back[2.0] / back[1.0], 10.0),
    ]
    checks = [
        *more,
        at_least("accuracy that the better of both open gates adds", gain, 0.1, "%"),
        *(noted(f"bias {b:g}: gradient, first step over last", v) for b, v in back.items()),
        *(
            noted(f"bias {b:g}: the gate alone, σ(b)ⁿ", _sigmoid(b) ** (measured.length - 1))
            for b in BIASES
        ),
        *(noted(f"bias {b:g}: accuracy (a guess: 25 %)", a, "%") for b, a in mean.items()),
    ]
    verdict = HOLDS if all_met(checks) else CONDITIONAL if all_met(more) else FAILS
    told = (
        f"Over {measured.length} steps the gradient falls to {back[0.0]:.1g} with bias 0,"
        f" {back[1.0]:.1g} with 1 and {back[2.0]:.1g} with 2, and the first symbol is recalled in"
        f" {mean[0.0]:.0%}, {mean[1.0]:.0%} and {mean[2.0]:.0%} of the cases."
    )
    return Judgement(verdict=verdict, conditions=told, measurements=checks)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def show(measured: Measured) -> list[Picture | Grid]:
    """The gradient by step of the input, and what was learned."""
    steps = list(range(1, measured.length + 1))
    return [
        picture(
            "lines",
            "What comes back through time",
            x=steps,
            y={f"bias {bias:g}": g for bias, g in measured.gradient.items()},
            x_title="step of the sequence",
            y_title="norm of the loss's gradient by the input",
            y_log=True,
            alt="At the first step the gradient is "
            + ", ".join(f"{g[0]:.1g} with bias {b:g}" for b, g in measured.gradient.items())
            + ".",
            caption=f"A gate of bias b alone keeps σ(b) = {_sigmoid(0):.2f}, {_sigmoid(1):.2f},"
            f" {_sigmoid(2):.2f} of the memory per step.",
        ),
        table(
            "Recalled symbols, %, each at its best rate",
            ("bias of the forget gate", "lowest of the seeds", "mean"),
            [(f"{b:g}", 100 * min(a), 100 * sum(a) / len(a)) for b, a in measured.accuracy.items()],
        ),
    ]


EXPERIMENT = Experiment(
    measure=measure,
    judge=judge,
    show=show,
    absent={"length": 2},
    sources=(
        "Gers, Schmidhuber & Cummins 2000, Learning to Forget",
        "Jozefowicz, Zaremba & Sutskever 2015, An Empirical Exploration of Recurrent Networks",
    ),
    lesson=(
        "A forget gate with bias b keeps σ(b) of the memory at each step, which is a half for zero"
        " and nearly nine tenths for two, and after n steps the n-th power of it. The gradient"
        " comes back through the same gate, so what is forgotten cannot be learned either. Start"
        " the bias at about the logit of the memory that the task needs, and mind that frameworks"
        " with two biases add them."
    ),
)
