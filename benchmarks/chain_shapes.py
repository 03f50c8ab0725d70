"""Plain chains of any shape: ||delta||² per sample, first hidden layer over last, torch alone.

    python benchmarks/chain_shapes.py [--depths 20 100] [--conv] [--seeds 1] [activation ...]
    python benchmarks/chain_shapes.py --train [--conv] [--shapes odd] [--steps 60] [activation ...]

Every activation at constant, odd, alternating, growing, narrowing and bottleneck widths; with
--conv the same in channels on small images, the last shape with strides. The cotangent is standard
normal at the last hidden pre-activation. Worst cases are printed with their bounds: [0.1, 10] up to
100 layers, [0.01, 100] beyond, [0.02, 50] at bottlenecks. Inputs of the dense chains: the digits.

--train: accuracy on the digits beside every peer's, by SGD (momentum 0.9, batches of 64, gradient
norm clipped at 1), the same grid of learning rates for every start, best rate on a seed of its own.
Results are kept; --train --show prints those that there are, --again plan measures a start anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

import torch
from chain_training import train
from chains import ACTIVATIONS as NAMED
from chains import Function, digits
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn

import firstlight as fl

Sizes = list[int]

ACTIVATIONS = NAMED | {"unseen": lambda x: x + torch.sin(x) ** 2}
"""The last one stands in no table (Ziyin et al. 2020): it is read from the model."""


def _ramp(first: int, last: int, depth: int) -> Sizes:
    """Widths from first to last, by equal factors."""
    steps = max(depth - 1, 1)
    return [round(first * (last / first) ** (i / steps)) for i in range(depth)]


DENSE: dict[str, Callable[[int], Sizes]] = {
    "constant 128": lambda depth: [128] * depth,
    "odd 127": lambda depth: [127] * depth,
    "alternating 128/256": lambda depth: [128 if i % 2 else 256 for i in range(depth)],
    "alternating 256/128": lambda depth: [256 if i % 2 else 128 for i in range(depth)],
    "growing 16-512": lambda depth: _ramp(16, 512, depth),
    "narrowing 512-16": lambda depth: _ramp(512, 16, depth),
    "bottleneck 256-32-256": lambda depth: [32 if i == depth // 2 else 256 for i in range(depth)],
    "bottlenecks 128/16": lambda depth: [16 if i % 5 == 4 else 128 for i in range(depth)],
}

CONVOLUTIONAL: dict[str, Callable[[int], Sizes]] = {
    "constant 16": lambda depth: [16] * depth,
    "odd 15": lambda depth: [15] * depth,
    "alternating 16/32": lambda depth: [16 if i % 2 else 32 for i in range(depth)],
    "growing 8-32": lambda depth: _ramp(8, 32, depth),
    "narrowing 32-8": lambda depth: _ramp(32, 8, depth),
    "bottleneck 32-8-32": lambda depth: [8 if i == depth // 2 else 32 for i in range(depth)],
    "strides 8-32": lambda depth: _ramp(8, 32, depth),
}


def dense(activation: str, sizes: Sizes, inputs: int = 64) -> nn.Sequential:
    """Linear layers of these widths and a head."""
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Linear(inputs, size), Function(ACTIVATIONS[activation])]
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


def convolutional(activation: str, sizes: Sizes, *, strides: bool, inputs: int = 3) -> nn.Module:
    """3 x 3 convolutions of these channels, flattened into a head; two of them halve the image."""
    layers: list[nn.Module] = []
    halving = {len(sizes) // 3, 2 * len(sizes) // 3} if strides else set()
    for i, size in enumerate(sizes):
        stride = 2 if i in halving else 1
        layers += [nn.Conv2d(inputs, size, 3, stride, 1), Function(ACTIVATIONS[activation])]
        inputs = size
    side = 2 if strides else 8
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * side * side, 10))


def delta_ratio(model: nn.Sequential, x: Tensor, seed: int = 0) -> float:
    """Mean over samples of ||delta||², first hidden pre-activation over last, with torch alone."""
    hidden: list[Tensor] = []
    h = x
    for module in model[:-1]:
        h = module(h)
        if isinstance(module, nn.Linear | nn.Conv2d):
            hidden.append(h)
    first, last = hidden[0], hidden[-1]
    cotangent = torch.randn(last.shape, generator=torch.Generator().manual_seed(seed))
    (delta,) = torch.autograd.grad((last * cotangent).sum(), first)
    return float(delta.double().square().sum() / cotangent.double().square().sum())


def bounds(shape: str, depth: int) -> tuple[float, float]:
    """What the ratio must lie within."""
    if depth > 100:
        return 0.01, 100.0
    return (0.02, 50.0) if "bottleneck" in shape else (0.1, 10.0)


def build(
    kind: str, shape: str, activation: str, depth: int, *, channels: int = 3
) -> nn.Sequential:
    """The network of a cell; the inputs of convolutional ones have this many channels."""
    if kind == "dense":
        return dense(activation, DENSE[shape](depth))
    sizes = CONVOLUTIONAL[shape](depth)
    return convolutional(activation, sizes, strides="strides" in shape, inputs=channels)


def measured(
    kind: str, shapes: list[str], options: argparse.Namespace
) -> Iterator[tuple[str, str, int, float]]:
    """(shape, activation, depth, ratio) of every cell and seed."""
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x = digits()[0][:32] if kind == "dense" else images
    for depth in options.depths:
        for shape in shapes:
            for activation in options.activations:
                model = build(kind, shape, activation, depth)
                plan = fl.plan(model, x)
                for seed in range(options.seeds):
                    plan.apply(model, seed=seed)
                    yield shape, activation, depth, delta_ratio(model, x, seed)


def table_of(kind: str, cells: list[tuple[str, str, int, float]]) -> tuple[Table, int]:
    """Lowest and highest ratio of each shape and depth, and how many cells lie outside."""
    table = Table(title=f"{kind}: ||delta||² per sample, first hidden layer / last")
    for head in ("shape", "layers", "lowest", "", "highest", "", "bounds", "outside"):
        table.add_column(head, justify="left" if head in ("shape", "") else "right")
    outside = 0
    for shape, depth in dict.fromkeys((cell[0], cell[2]) for cell in cells):
        low, high = bounds(shape, depth)
        own = sorted((c[3], c[1]) for c in cells if (c[0], c[2]) == (shape, depth))
        wrong = [name for ratio, name in own if not low <= ratio <= high]
        outside += len(wrong)
        table.add_row(
            shape,
            str(depth),
            f"{own[0][0]:.3g}",
            own[0][1],
            f"{own[-1][0]:.3g}",
            own[-1][1],
            f"{low:g}–{high:g}",
            f"{len(wrong)} of {len(own)} {', '.join(sorted(set(wrong)))}".strip(),
        )
    return table, outside


def ratios(kind: str, shapes: list[str], options: argparse.Namespace) -> int:
    """Print the matrix; the number of cells outside their bounds."""
    total = len(shapes) * len(options.activations) * len(options.depths) * options.seeds
    with Progress(console=Console(stderr=True), transient=True) as progress:
        cells = list(progress.track(measured(kind, shapes, options), total=total))
    table, outside = table_of(kind, cells)
    Console(width=140).print(table)
    print(f"{len(cells)} ratios, {outside} outside their bounds")
    return outside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("activations", nargs="*", default=list(ACTIVATIONS))
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--conv", action="store_true")
    parser.add_argument("--shapes", nargs="+", default=[""], help="beginnings of their names")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--steps", type=int, default=60, help="of training")
    parser.add_argument("--show", action="store_true", help="with --train: only what is kept")
    parser.add_argument("--again", nargs="+", help="with --train: starts to measure anew")
    options = parser.parse_args()
    kind = "convolutional" if options.conv else "dense"
    every = CONVOLUTIONAL if options.conv else DENSE
    shapes = [name for name in every if name.startswith(tuple(options.shapes))]
    if options.train:
        train(options, lambda s, a, d: build(kind, s, a, d, channels=1), shapes)
        return
    sys.exit(1 if ratios(kind, shapes, options) else 0)


if __name__ == "__main__":
    main()
