"""Why biases stop a deep tanh chain, and what cures it: the length of the signal, the biases' rate.

    python benchmarks/bias_rates.py [--depth 1000] [--steps 20] [--rates ...]

The network and the training of ten_thousand.py, tanh with trainable biases, run at several second
moments q of the pre-activations (forward gain at q, so that the length is kept at every q), with
one learning rate for all, and with q times that rate for the biases. Printed: how much longer the
biases' gradient is than the weights' before the first step, beside 1/sqrt(n q); the best held-out
accuracy over the rates; and what of the last layer then still differs between samples (standard
deviation over root mean square).
"""

from __future__ import annotations

import argparse
import math

import torch
from chains import digits
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from ten_thousand import BATCH, WIDTH, Task, spread, started, train
from torch import Tensor, nn
from torch.nn import functional

from firstlight.planning.chains import operating
from firstlight.records.network import ActivationRef
from firstlight.theory.activations import activation
from firstlight.theory.gains import forward_gain

TASK = Task(activation="tanh", biases=True)
TANH = activation("tanh")


def run_at(model: nn.Sequential, depth: int, length: float) -> None:
    """Bring a planned chain to another second moment: its gains, its first weight and its head."""
    planned = operating(ActivationRef(name="tanh"), depth)
    gain = forward_gain(TANH, length)
    weights = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        weights[0].mul_(math.sqrt(length / planned.length))
        for weight in weights[1:-1]:
            weight.mul_(gain / planned.gain)
        # The head reads activations of second moment q / gain².
        weights[-1].mul_(math.sqrt(planned.length / length) * gain / planned.gain)


def gradient_ratio(model: nn.Sequential, x: Tensor, y: Tensor) -> float:
    """Norm of the gradient of all biases over that of all inner weights."""
    layers = [layer for layer in model if isinstance(layer, nn.Linear)][1:-1]
    loss = functional.cross_entropy(model(x), y)
    grads = torch.autograd.grad(loss, [p for layer in layers for p in (layer.bias, layer.weight)])
    squares = [float(g.square().sum()) for g in grads]
    return math.sqrt(sum(squares[::2]) / sum(squares[1::2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rates", type=float, nargs="*", default=(0.01, 0.003, 0.001))
    parser.add_argument("--lengths", type=float, nargs="*", default=(1e-2, 1e-3, 1e-4))
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    data = digits()
    model = started(TASK, options.depth, "plan", data[0], seed=0)
    drawn = [parameter.detach().clone() for parameter in model.parameters()]
    planned = operating(ActivationRef(name="tanh"), options.depth).length
    lengths = (planned, *options.lengths)
    table = Table(title=f"tanh with biases, {options.depth:,} layers, {options.steps} steps")
    for head in ("q", "‖∂b‖/‖∂W‖", "1/√(nq)", "biases ×", "held out", "at rate", "still apart"):
        table.add_column(head, justify="right")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("training", total=len(lengths) * 2 * len(options.rates))
        for length in lengths:
            for bias_rate in (1.0, length):
                found = []
                for rate in options.rates:
                    with torch.no_grad():
                        for parameter, values in zip(model.parameters(), drawn, strict=True):
                            parameter.copy_(values)
                    run_at(model, options.depth, length)
                    ratio = gradient_ratio(model, data[0][:BATCH], data[1][:BATCH])
                    *_, look = train(
                        model,
                        data,
                        rate=rate,
                        bias_rate=bias_rate,
                        steps=options.steps,
                        seconds=math.inf,
                        seed=0,
                    )
                    with torch.no_grad():
                        apart = spread(model[:-1](data[2]))
                    found.append((look.accuracy, rate, apart))
                    progress.advance(task)
                accuracy, rate, apart = max(found)
                table.add_row(
                    f"{length:.2g}",
                    f"{ratio:.2g}",
                    f"{1 / math.sqrt(WIDTH * length):.2g}",
                    f"{bias_rate:.2g}",
                    f"{accuracy:.1%}",
                    f"{rate:g}",
                    f"{apart:.2g}",
                )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
