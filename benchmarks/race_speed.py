"""What training many small networks as one is worth, against the same trainings in plain PyTorch.

    python benchmarks/race_speed.py [--widths 16 32 64 128 256] [--steps 100]
        [--networks 1 2 4 ...] [--out speed.html]

8 starts x 8 seeds of a 5-layer ReLU network on scikit-learn's digits (batches of 64, SGD with
momentum 0.9, gradient norm clipped at 1, learning rate 0.05). The plain side is one loop of modules
and `torch.optim`, written here and sharing nothing with Firstlight but the models it starts from
and the order of the samples. One thread on both sides; Firstlight goes before and after the plain
side, and its mean counts. Times are processor seconds; wall seconds stand beside them. A model that
is not read as a chain of layers goes the general way (`torch.func.vmap`): a column of its own. The
second table trains 1, 2, 4, ... networks of the first width; ``--out`` (.html or .svg) draws it.

``--double`` repeats everything in double precision: what is left of the difference of the curves
then was rounding.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from itertools import pairwise

import torch
from chains import digits
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.records.race import Recipe, Run
from firstlight.verbs.adapters import adapter_for

STARTS = (
    "plan",
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
)
SEEDS = 8
LAYERS = 5
BATCH = 64
RATE, MOMENTUM, CLIP = 0.05, 0.9, 1.0
NETWORKS = (1, 2, 4, 8, 16, 32, 64, 128)

Data = tuple[Tensor, Tensor, Tensor, Tensor]


def network(width: int) -> nn.Sequential:
    """Five linear layers with ReLU between."""
    sizes = [64, *[width] * (LAYERS - 1), 10]
    layers = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Wrapped(nn.Module):
    """The same network in a module of one's own: what Firstlight can't read as a chain."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        return self.inner(x)


def started(width: int, data: Data) -> list[tuple[nn.Module, int]]:
    """A model of every start at every seed, with its seed."""
    models = []
    for start in STARTS:
        for seed in range(SEEDS):
            model = network(width).to(data[0].dtype)
            technique = None if start == "plan" else start
            fl.plan(model, data[0][:256], technique=technique).apply(model, seed=seed)
            models.append((model, seed))
    return models


def plain(model: nn.Module, data: Data, seed: int, steps: int) -> tuple[list[float], float]:
    """Losses and held-out accuracy of one training as anybody would write it."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    inputs, targets, held_out_inputs, held_out_targets = data
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    while len(losses) < steps:
        order = torch.randperm(len(inputs), generator=generator)
        for batch in order.split(BATCH)[: len(inputs) // BATCH][: steps - len(losses)]:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(inputs[batch]), targets[batch])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            losses.append(loss.item())
    with torch.no_grad():
        right = model(held_out_inputs).argmax(dim=1) == held_out_targets
    return losses, right.double().mean().item()


def as_one(models: Sequence[tuple[nn.Module, int]], data: Data, steps: int) -> tuple[Run, ...]:
    """The same trainings by Firstlight, what it takes to decide how included."""
    recipe = Recipe(
        loss="cross_entropy", steps=steps, batch_size=BATCH, momentum=MOMENTUM, clip_norm=CLIP
    )
    return adapter_for(models[0][0]).train(
        [model for model, _ in models],
        data,
        recipe,
        learning_rates=[RATE] * len(models),
        seeds=[seed for _, seed in models],
    )


class Clock:
    """Processor and wall seconds of a block."""

    def __enter__(self) -> Clock:
        self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.processor = time.process_time() - self._start[0]
        self.wall = time.perf_counter() - self._start[1]


def by_width(widths: Sequence[int], data: Data, steps: int, console: Console) -> None:
    """Plain against as one, width by width."""
    precision = str(data[0].dtype).removeprefix("torch.")
    table = Table(
        title=f"{len(STARTS)} starts x {SEEDS} seeds, {LAYERS} layers, {steps} steps, {precision}"
    )
    table.add_column("width", justify="right")
    for head in (
        "plain s",
        "as one s",
        "times",
        "times, not read as a chain",
        "wall: plain s",
        "as one s",
        "times",
        "loss differs by",
        "accuracies that differ",
        "at most together",
    ):
        table.add_column(head, justify="right")
    for width in widths:
        models = started(width, data)
        with Clock() as before:
            runs = as_one(models, data, steps)
        with Clock() as clock:
            wanted = [plain(model, data, seed, steps) for model, seed in models]
        with Clock() as after:
            again = as_one(models, data, steps)
        wrapped = [(Wrapped(model), seed) for model, seed in models]
        with Clock() as mapped:
            as_one(wrapped, data, steps)
        assert again == runs
        ours, wall = (before.processor + after.processor) / 2, (before.wall + after.wall) / 2
        pairs = list(zip(runs, wanted, strict=True))
        difference = max(
            abs(a - b)
            for run, (losses, _) in pairs
            for a, b in zip(run.losses, losses, strict=True)
        )
        moved = sum(run.score != score for run, (_, score) in pairs)
        recipe = Recipe(loss="cross_entropy", steps=steps, batch_size=BATCH)
        count = adapter_for(models[0][0]).together(models[0][0], data, recipe).count
        table.add_row(
            str(width),
            f"{clock.processor:.2f}",
            f"{ours:.2f}",
            f"{clock.processor / ours:.1f}",
            f"{clock.processor / mapped.processor:.1f}",
            f"{clock.wall:.2f}",
            f"{wall:.2f}",
            f"{clock.wall / wall:.1f}",
            f"{difference:.1e}",
            f"{moved} of {len(models)}",
            str(count),
        )
    console.print(table)


def by_count(
    counts: Sequence[int], width: int, data: Data, steps: int, console: Console
) -> list[dict[str, float | str]]:
    """What 1, 2, 4, ... networks cost on both sides; the rows of the picture."""
    table = Table(title=f"cost by number of networks: width {width}, {steps} steps, processor time")
    for head in ("networks", "plain s", "as one s", "times", "ms per network and step"):
        table.add_column(head, justify="right")
    models = started(width, data)
    models = models * (1 + max(counts) // len(models))
    as_one(models[:2], data, 1)  # what is loaded once
    rows: list[dict[str, float | str]] = []
    for count in counts:
        some = models[:count]
        with Clock() as before:
            as_one(some, data, steps)
        with Clock() as clock:
            for model, seed in some:
                plain(model, data, seed, steps)
        with Clock() as after:
            as_one(some, data, steps)
        theirs, ours = clock.processor, (before.processor + after.processor) / 2
        table.add_row(
            str(count),
            f"{theirs:.2f}",
            f"{ours:.2f}",
            f"{theirs / ours:.1f}",
            f"{1e3 * ours / count / steps:.3f}",
        )
        rows += [
            {"networks": count, "seconds": theirs, "how": "one after another, plain PyTorch"},
            {"networks": count, "seconds": ours, "how": "as one, Firstlight"},
        ]
    console.print(table)
    return rows


def draw(rows: Sequence[dict[str, float | str]], path: str, title: str) -> None:
    """Both costs against the number of networks, on logarithmic axes."""
    import altair as alt

    base = alt.Chart(alt.Data(values=list(rows)), title=title, width=480, height=320)
    encoded = base.encode(
        x=alt.X("networks:Q", scale=alt.Scale(type="log", base=2), title="networks"),
        y=alt.Y("seconds:Q", scale=alt.Scale(type="log"), title="processor seconds"),
        color=alt.Color("how:N", title=None, legend=alt.Legend(orient="top")),
        tooltip=["how:N", "networks:Q", alt.Tooltip("seconds:Q", format=".3g")],
    )
    encoded.mark_line(point=True).save(path, **({"inline": True} if path.endswith("l") else {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 32, 64, 128, 256])
    parser.add_argument("--networks", nargs="*", type=int, default=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--double", action="store_true", help="in double precision")
    parser.add_argument("--out", help="where to draw the cost by number of networks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=150)
    data = digits()
    if options.double:
        data = (data[0].double(), data[1], data[2].double(), data[3])
    width = options.widths[0]
    warm = [(network(width).to(data[0].dtype), seed) for seed in range(2)]
    as_one(warm, data, 1)  # what is loaded once
    plain(warm[0][0], data, 0, 1)
    by_width(options.widths, data, options.steps, console)
    if not options.networks:
        return
    rows = by_count(options.networks, width, data, options.steps, console)
    if options.out:
        title = f"{LAYERS} layers of width {width}, {options.steps} steps, one core"
        draw(rows, options.out, title)
        console.print(f"drawn: {options.out}")


if __name__ == "__main__":
    main()
