"""10,000 plain layers, no norm, no skip: do they train? ReLU with biases, tanh with and without.

    python benchmarks/ten_thousand.py [--tasks REGEX] [--starts REGEX] [--rates ...] [--seeds 0 1 2]
    python benchmarks/ten_thousand.py --depth 1000        # the same in minutes
    python benchmarks/ten_thousand.py --show              # what is kept, without training

The network is an ordinary ``nn.Sequential`` of ``nn.Linear(64, 64)`` and an activation, on
scikit-learn's 1,797 digits (a quarter held out), batches of 64, SGD with momentum 0.9, the norm of
the whole gradient clipped at 1. Every start gets the same learning rates, and, where there are
biases, the same two choices: one rate for all, or the biases' rate times q, the second moment at
which Firstlight's plan runs the chain. Firstlight's start is trained until two looks in a row are
above 90 %, for at most --steps steps or --minutes minutes; the others for --few steps: what they
can still tell apart at all stands in the column "spread" (standard deviation of the logits
between held-out samples over their root mean square; 0: all inputs give the same output).

Every run is kept in results/ten_thousand.jsonl as it ends; a run that is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch
from chains import digits
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.planning.chains import operating
from firstlight.records.network import ActivationRef

RESULTS = Path(__file__).parent / "results" / "ten_thousand.jsonl"
RATES = (0.003, 0.001, 0.01, 0.0003)
STARTS = ("plan", "he_normal", "glorot_normal", "default")
WIDTH, BATCH, MOMENTUM, CLIP = 64, 64, 0.9, 1.0
LOOK_EVERY, GOAL, ENOUGH = 5, 0.85, 0.90


@dataclass(frozen=True, kw_only=True)
class Task:
    """An activation, with trainable biases or without any."""

    activation: str
    biases: bool

    def __str__(self) -> str:
        return f"{self.activation}, {'trainable' if self.biases else 'no'} biases"


TASKS = (
    Task(activation="relu", biases=True),
    Task(activation="tanh", biases=False),
    Task(activation="tanh", biases=True),
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """Held-out accuracy after some steps, and the time that training took until then.

    On a machine that does other things besides, `seconds` is longer than `core_seconds`, the time
    that a core worked for it.
    """

    step: int
    accuracy: float
    loss: float
    seconds: float
    core_seconds: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training: where it started, how, and what came of it."""

    task: str
    depth: int
    start: str
    rate: float
    bias_rate: float
    spread: float
    start_core_seconds: float
    looks: tuple[Look, ...]
    seed: int = 0

    @property
    def key(self) -> tuple[str, int, str, float, float, int]:
        """What makes it this run and no other."""
        return self.task, self.depth, self.start, self.rate, round(self.bias_rate, 6), self.seed


def network(task: Task, depth: int) -> nn.Sequential:
    """The plain network, at PyTorch's default start."""
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[task.activation]
    layers: list[nn.Module] = []
    width = 64
    for _ in range(depth):
        layers += [nn.Linear(width, WIDTH, bias=task.biases), activation()]
        width = WIDTH
    return nn.Sequential(*layers, nn.Linear(width, 10, bias=task.biases))


def started(task: Task, depth: int, start: str, x: Tensor, seed: int) -> nn.Sequential:
    """The network with its weights drawn."""
    torch.manual_seed(seed)
    model = network(task, depth)
    if start == "plan":
        fl.plan(model, x[:BATCH]).apply(model, seed=seed)
    elif start != "default":
        draw = {"he_normal": nn.init.kaiming_normal_, "glorot_normal": nn.init.xavier_normal_}[
            start
        ]
        for layer in model:
            if isinstance(layer, nn.Linear):
                draw(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return model


def spread(logits: Tensor) -> float:
    """Standard deviation between samples over root mean square; 0 if there is nothing at all."""
    wide = logits.detach().double()
    whole = wide.square().mean().sqrt()
    return float((wide - wide.mean(0)).square().mean().sqrt() / whole) if whole > 0 else 0.0


def packed(parameters: list[nn.Parameter]) -> nn.Parameter:
    """The parameters' values and gradients laid side by side in one tensor of which they are views.

    SGD and clipping act on each number by itself or on the sum of squares, so that nothing changes
    but the number of calls.
    """
    whole = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    whole.grad = torch.zeros_like(whole)
    at = 0
    for parameter in parameters:
        here = slice(at, at + parameter.numel())
        parameter.data = whole.data[here].view_as(parameter)
        parameter.grad = whole.grad[here].view_as(parameter)
        at = here.stop
    return whole


def train(
    model: nn.Sequential,
    data: tuple[Tensor, Tensor, Tensor, Tensor],
    *,
    rate: float,
    bias_rate: float,
    steps: int,
    seconds: float,
    seed: int,
) -> Iterator[Look]:
    """Train, and look at the held-out digits every few steps.

    Args:
        model: changed in place.
        data: training inputs and targets, held-out inputs and targets.
        rate: learning rate of the weights.
        bias_rate: learning rate of the biases, relative to the weights'.
        steps: at most so many.
        seconds: at most so long.
        seed: of the order of the data.
    """
    x, y, held_x, held_y = data
    named = list(model.named_parameters())
    kinds = {kind: [p for name, p in named if name.endswith(kind)] for kind in ("weight", "bias")}
    flat = {kind: packed(parameters) for kind, parameters in kinds.items() if parameters}
    relative = {"weight": 1.0, "bias": bias_rate}
    groups = [{"params": [p], "lr": rate * relative[kind]} for kind, p in flat.items()]
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM)
    generator = torch.Generator().manual_seed(1 + seed)
    began, core_began = time.perf_counter(), time.process_time()
    for step in range(1, steps + 1):
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        optimizer.zero_grad(set_to_none=False)
        loss = functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(list(flat.values()), CLIP)
        optimizer.step()
        late = time.perf_counter() - began > seconds
        if step % LOOK_EVERY == 0 or step == steps or late:
            with torch.no_grad():
                accuracy = float((model(held_x).argmax(1) == held_y).float().mean())
            yield Look(
                step=step,
                accuracy=accuracy,
                loss=loss.item(),
                seconds=time.perf_counter() - began,
                core_seconds=time.process_time() - core_began,
            )
        if late:
            return


def enough(looks: list[Look]) -> bool:
    """Whether the last two looks are above what is wanted."""
    return len(looks) > 1 and min(looks[-2].accuracy, looks[-1].accuracy) > ENOUGH


def bias_rates(task: Task, depth: int) -> tuple[float, ...]:
    """The relative rates of biases to try: 1, and the second moment of the plan's chain."""
    length = operating(ActivationRef(name=task.activation), depth).length
    return (1.0,) if not task.biases or length == 1 else (length, 1.0)


def kept() -> list[Run]:
    """The runs of the file, in its order."""
    if not RESULTS.exists():
        return []
    runs = []
    for line in RESULTS.read_text().splitlines():
        fields = json.loads(line)
        looks = tuple(Look(**look) for look in fields.pop("looks"))
        runs.append(Run(**fields, looks=looks))
    return runs


def sweep(options: argparse.Namespace, console: Console) -> None:
    """Train what is asked for and not kept."""
    data = digits()
    done = {run.key for run in kept()}
    for seed, task, start in product(options.seeds, TASKS, STARTS):
        if not re.search(options.tasks, str(task)) or not re.search(options.starts, start):
            continue
        settings = [
            (rate, bias_rate)
            for rate in options.rates
            for bias_rate in bias_rates(task, options.depth)
            if (str(task), options.depth, start, rate, round(bias_rate, 6), seed) not in done
        ]
        if not settings:
            continue
        console.print(f"[bold]{task}[/bold], {start}, seed {seed}")
        began = time.process_time()
        model = started(task, options.depth, start, data[0], seed)
        start_seconds = time.process_time() - began
        drawn = [parameter.detach().clone() for parameter in model.parameters()]
        with torch.no_grad():
            apart = spread(model(data[2]))
        console.print(f"  start drawn in {start_seconds:.0f} s of a core, spread {apart:.2g}")
        for rate, bias_rate in settings:
            # Not load_state_dict, whose time grows with the square of the depth.
            with torch.no_grad():
                for parameter, values in zip(model.parameters(), drawn, strict=True):
                    parameter.copy_(values)
            console.print(f"  rate {rate:g}, biases × {bias_rate:.2g}")
            run = Run(
                task=str(task),
                depth=options.depth,
                start=start,
                rate=rate,
                bias_rate=bias_rate,
                spread=apart,
                start_core_seconds=start_seconds,
                looks=_looks(model, data, options, start, rate, bias_rate, seed, console),
                seed=seed,
            )
            with RESULTS.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")


def _looks(
    model: nn.Sequential,
    data: tuple[Tensor, Tensor, Tensor, Tensor],
    options: argparse.Namespace,
    start: str,
    rate: float,
    bias_rate: float,
    seed: int,
    console: Console,
) -> tuple[Look, ...]:
    """The curve of one training, until it is high enough or out of steps."""
    steps = options.steps if start == "plan" else min(options.few, options.steps)
    found: list[Look] = []
    for look in train(
        model,
        data,
        rate=rate,
        bias_rate=bias_rate,
        steps=steps,
        seconds=60 * options.minutes,
        seed=seed,
    ):
        found.append(look)
        console.print(
            f"    step {look.step}: {look.accuracy:.1%}, loss {look.loss:.3g},"
            f" {look.seconds:.0f} s ({look.core_seconds:.0f} s of a core)"
        )
        if enough(found):
            break
    return tuple(found)


def _best(runs: list[Run]) -> Run:
    return max(runs, key=lambda run: max(look.accuracy for look in run.looks))


def show(depth: int, console: Console) -> None:
    """Print what is kept for a depth: the ends of all runs, and the best curve of each start."""
    runs = [run for run in kept() if run.depth == depth]
    order = {str(task): at for at, task in enumerate(TASKS)}
    runs.sort(key=lambda run: (order[run.task], STARTS.index(run.start), run.rate, run.seed))
    table = Table(title=f"{depth:,} plain layers of width {WIDTH}: every run")
    for head in ("network", "start"):
        table.add_column(head)
    for head in (
        "spread",
        "rate",
        "biases ×",
        "seed",
        "steps",
        "held out",
        "> 85 % at step",
        "seconds",
        "core s",
    ):
        table.add_column(head, justify="right")
    for run in runs:
        first = next((look for look in run.looks if look.accuracy > GOAL), None)
        table.add_row(
            run.task,
            run.start,
            f"{run.spread:.2g}",
            f"{run.rate:g}",
            f"{run.bias_rate:.2g}",
            str(run.seed),
            str(run.looks[-1].step),
            f"{run.looks[-1].accuracy:.1%}",
            str(first.step) if first else "–",
            f"{(first or run.looks[-1]).seconds:.0f}",
            f"{(first or run.looks[-1]).core_seconds:.0f}",
        )
    console.print(table)
    groups: dict[tuple[str, str, bool], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.task, run.start, run.bias_rate != 1), []).append(run)
    curves = Table(
        title="Held-out accuracy at step (seconds of a core), each at its best rate of those above"
    )
    curves.add_column("network")
    curves.add_column("start")
    curves.add_column("curve")
    for (task, start, apart), those in groups.items():
        run = _best(those)
        points = "  ".join(
            f"{k.step}: {k.accuracy:.0%} ({k.core_seconds:.0f} s)" for k in run.looks
        )
        biases = f", biases × {run.bias_rate:.2g}" if apart else ""
        curves.add_row(task, f"{start}, rate {run.rate:g}{biases}, seed {run.seed}", points)
    console.print(curves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=10_000)
    parser.add_argument("--tasks", default="", help="networks that match this expression")
    parser.add_argument("--starts", default="", help="starts that match this expression")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES)
    parser.add_argument("--seeds", type=int, nargs="*", default=(0,))
    parser.add_argument("--steps", type=int, default=40, help="most steps of Firstlight's start")
    parser.add_argument("--few", type=int, default=10, help="most steps of the others")
    parser.add_argument("--minutes", type=float, default=10, help="longest training")
    parser.add_argument("--show", action="store_true", help="print what is kept, train nothing")
    options = parser.parse_args()
    # Products that have vanished are slow as subnormals and no use to anybody.
    torch.set_flush_denormal(True)
    RESULTS.parent.mkdir(exist_ok=True)
    if not options.show:
        console = Console(stderr=True)
        sweep(options, console)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        console.print(f"most memory: {peak:.1f} GiB")
    show(options.depth, Console(width=150))


if __name__ == "__main__":
    main()
