"""100 plain layers, every activation: signal and gradient ratios, and accuracy after 60 steps.

    python benchmarks/chains.py [--depth 100] [--seeds 3] [activation ...]

Each network is depth x Linear(128, 128) with trainable zero biases and a head, on scikit-learn's
1,797 digits (64 numbers each; a quarter held out). Ratios: second moment of the pre-activations,
last over first; total squared delta for a standard normal cotangent at the last pre-activation,
first over last. Accuracy: 60 steps of SGD (momentum 0.9, batches of 64, gradient norm clipped at
1), the same grid of learning rates for every start, the best rate chosen on a seed of its own.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl

RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
STARTS = ("plan", "he_normal", "glorot_normal", "orthogonal")
ACTIVATIONS = {
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "hardswish": functional.hardswish,
    "elu": functional.elu,
    "selu": functional.selu,
    "mish": functional.mish,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sin": torch.sin,
    "sigmoid": torch.sigmoid,
}


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return self.function(x)


def chain(activation: str, depth: int, width: int = 128) -> nn.Sequential:
    """A plain network on the digits."""
    layers: list[nn.Module] = []
    size = 64
    for _ in range(depth):
        layers += [nn.Linear(size, width), Function(ACTIVATIONS[activation])]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 10))


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Standardised digits: 1,347 to train on, 450 held out."""
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    inputs, targets = torch.tensor(x, dtype=torch.float32)[order], torch.tensor(y)[order]
    cut = 1347
    inputs = (inputs - inputs[:cut].mean()) / inputs[:cut].std()
    return inputs[:cut], targets[:cut], inputs[cut:], targets[cut:]


def ratios(model: nn.Sequential, x: Tensor, seed: int = 0) -> tuple[float, float]:
    """(forward last/first, squared delta first/last), with torch alone."""
    first = last = h = x
    seen = 0
    for module in model[:-1]:
        h = module(h)
        if isinstance(module, nn.Linear):
            first = h if seen == 0 else first
            last, seen = h, seen + 1
    cotangent = torch.randn(last.shape, generator=torch.Generator().manual_seed(seed))
    delta = torch.autograd.grad((last * cotangent).sum(), [first, last])
    forward = (last.detach() ** 2).mean() / (first.detach() ** 2).mean()
    return float(forward), float((delta[0] ** 2).sum() / (delta[1] ** 2).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("activations", nargs="*", default=list(ACTIVATIONS))
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data = digits()
    table = Table(title=f"{options.depth} layers, 60 steps, {options.seeds} seeds")
    for head in ("activation", "forward", "delta²", *STARTS):
        table.add_column(head, justify="right" if head != "activation" else "left")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("racing", total=len(options.activations))
        for name in options.activations:
            model = chain(name, options.depth)
            fl.plan(model, data[0][:256]).apply(model, seed=0)
            forward, delta = ratios(model, data[0][:256])
            race = fl.race(
                lambda name=name: chain(name, options.depth),
                data,
                techniques=STARTS,
                seeds=options.seeds,
                steps=60,
                learning_rates=RATES,
                search_seeds=1,
            )
            scores = [
                f"{s.mean:.1%} ({min(r.score for r in s.runs):.1%}–"
                f"{max(r.score for r in s.runs):.1%})"
                for s in race.starts
            ]
            table.add_row(name, f"{forward:.3g}", f"{delta:.3g}", *scores)
            progress.advance(task)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
