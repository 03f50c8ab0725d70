"""Calibration in one pass: time in forward passes, forwards by depth, exactness; `lsuv` beside.

    python benchmarks/calibration.py [plain depth others balance] [--rounds 5]

*time*: processor time of one thread (on an idle machine, wall time) over that of one plain forward
pass without gradients, each the least of some rounds that take turns. *measuring* is the pass with
its bookkeeping, guard included, on weights that are drawn; *whole* is `firstlight.calibrate`, which
draws them too. `lsuv` runs with its orthonormal start. *exactness*: smallest and largest second
moment over target at the operations with a weight, measured afterwards by torch's hooks alone, on
the same batch (for shared weights at each use); `lsuv` aims at a std of one, so of its results the
variance is taken. Where `lsuv` raises or leaves weights out, the table says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from lsuv import lsuv_with_singlebatch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.records.law import Identity
from firstlight.records.plan import Plan
from firstlight.verbs.apply import drawn

Measured = dict[str, list[Tensor]]


def dense(depth: int, width: int = 512) -> nn.Sequential:
    """Plain dense layers."""
    return nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU())])


def convolutions(depth: int, channels: int = 64) -> nn.Sequential:
    """Plain convolutions on 32 × 32 images."""
    sizes = [3, *(channels,) * depth]
    pairs = pairwise(sizes)
    return nn.Sequential(*[m for a, b in pairs for m in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())])


class Shared(nn.Module):
    """One transformer layer twelve times, as in ALBERT."""

    def __init__(self, times: int = 12) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
        self.head, self.times = nn.Linear(128, 10), times

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        for _ in range(self.times):
            x = self.layer(x)
        return self.head(x.mean(dim=1))


class Unrolled(nn.Module):
    """A ReLU cell by hand, from a state of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.turn = nn.Linear(64, 256), nn.Linear(256, 256, bias=False)
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        state = x.new_zeros(len(x), 256)
        for step in range(x.shape[1]):
            state = torch.relu(self.read(x[:, step]) + self.turn(state))
        return self.head(state)


class Recurrent(nn.Module):
    """Two layers of torch's LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(64, 256, num_layers=2, batch_first=True)
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        return self.head(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    """Six pre-norm layers of attention and a wide layer."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(6)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(dim=1))


class Bottleneck(nn.Module):
    """ResNet-50's block without its norms."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(inputs, width, 1)
        self.b = nn.Conv2d(width, width, 3, stride, 1)
        self.c = nn.Conv2d(width, 4 * width, 1)
        changes = stride > 1 or inputs != 4 * width
        self.skip = nn.Conv2d(inputs, 4 * width, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        h = functional.relu(self.a(x))
        return functional.relu(self.skip(x) + self.c(functional.relu(self.b(h))))


def resnet50() -> nn.Sequential:
    """ResNet-50 for small images, a quarter as wide, without norms."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    inputs = 16
    for width, blocks, stride in ((16, 3, 1), (32, 4, 2), (64, 6, 2), (128, 3, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, stride if block == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def results(model: nn.Module, batch: Tensor) -> Measured:
    """What each weight gives at each use, by hooks; attention's inner products by its inputs."""
    seen: Measured = {}

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, result: Any) -> None:
            if isinstance(module, nn.MultiheadAttention):
                packed = functional.linear(inputs[0], module.in_proj_weight, module.in_proj_bias)
                seen.setdefault(f"{name}.in_proj_weight", []).append(packed)
                seen.setdefault(f"{name}.out_proj.weight", []).append(result[0])
            elif isinstance(module, nn.LSTM):
                first = functional.linear(inputs[0], module.weight_ih_l0, module.bias_ih_l0)
                seen.setdefault(f"{name}.weight_ih_l0", []).append(first)
            else:
                seen.setdefault(f"{name}.weight", []).append(result)

        return hook

    kinds = (nn.Linear, nn.Conv2d, nn.MultiheadAttention, nn.LSTM)
    handles = [m.register_forward_hook(keep(n)) for n, m in model.named_modules()
               if isinstance(m, kinds)]  # fmt: skip
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        model(batch)
    torch.backends.mha.set_fastpath_enabled(True)
    for handle in handles:
        handle.remove()
    return seen


def span(ratios: Iterable[float]) -> str:
    """Smallest and largest."""
    found = list(ratios)
    return f"{min(found):.4g}–{max(found):.4g}" if found else "–"


def exactness(model: nn.Module, batch: Tensor, targets: dict[str, float]) -> str:
    """Second moments over targets; results of zeros (a state's start) are left out."""
    seen = results(model, batch)
    squares = ((float(r.square().mean()), t) for n, t in targets.items() for r in seen.get(n, []))
    return span(square / target for square, target in squares if square)


def lsuv_exactness(model: nn.Module, batch: Tensor, targets: dict[str, float]) -> str:
    """Variances over one, at the same weights."""
    seen = results(model, batch)
    variances = (float(r.var()) for n in targets for r in seen.get(n, []))
    return span(v for v in variances if v)


def seconds(*functions: Callable[[], Any], rounds: int) -> list[float]:
    """The least wall time of each; they take turns, so that a busy machine hits all alike."""
    least = [float("inf")] * len(functions)
    for _ in range(rounds):
        for i, function in enumerate(functions):
            start = time.process_time()
            function()
            least[i] = min(least[i], time.process_time() - start)
    return least


def targeted(model: nn.Module, batch: Tensor, every: bool, states: bool = False) -> Plan:
    """The model's plan; every weight with a target, if asked, of one where the rules have none.

    But for an identity that keeps a recurrent state, unless ``states``: what it makes grows from
    zero on, so the rules leave its scale alone.
    """
    plan = fl.plan(model, batch)
    chosen = {p.name for p in plan.network.parameters if p.kind == "weight"}
    users = {n for op in plan.network.weighted() for n in op.parameters}
    entries = (
        replace(e, target=e.target or 1.0, calibrate=True)
        if e.name in chosen & users and every and (states or not isinstance(e.law, Identity))
        else e
        for e in plan
    )
    return replace(plan, entries=tuple(entries))


def targets_of(plan: Plan) -> dict[str, float]:
    """Targets by name."""
    return {e.name: e.target for e in plan if e.calibrate and e.target is not None}


def run_forward(model: nn.Module, batch: Tensor) -> None:
    """One plain pass."""
    with torch.no_grad():
        model(batch)


def lsuv(model: nn.Module, batch: Tensor) -> None:
    """The package, silent."""
    lsuv_with_singlebatch(model, batch, verbose=False)


def row(
    table: Table,
    name: str,
    build: Callable[[], nn.Module],
    batch: Tensor,
    *,
    rounds: int,
    with_lsuv: bool = True,
) -> None:
    """Measure one model."""
    torch.manual_seed(0)
    model, rival = build(), build()
    plan = targeted(model, batch, every=True)
    targets = targets_of(plan)
    adapter = TorchAdapter()
    arrays = [(e.name, drawn(e, 0, "")) for e in plan if e.action == "draw"]

    def measure() -> Any:
        fresh = [(n, values.copy()) for n, values in arrays]
        begin = time.process_time()
        found = adapter.calibrate(model, [batch], targets, arrays=fresh)
        spent.append(time.process_time() - begin)
        return found

    spent: list[float] = []
    forward, _, whole = seconds(
        lambda: run_forward(model, batch),
        measure,
        lambda: fl.calibrate(model, plan, batch, seed=0),
        rounds=rounds,
    )
    calibration = measure()
    calibrated = fl.calibrate(model, plan, batch, seed=0)
    calibrated.apply(model, seed=0)
    cells = [
        name,
        f"{1000 * forward:.0f}",
        str(calibration.forwards),
        f"{min(spent) / forward:.2f}",
        f"{whole / forward:.2f}",
        exactness(model, batch, targets),
    ]
    if with_lsuv:
        try:
            theirs = seconds(lambda: lsuv(rival, batch), rounds=1)[0]
            times = f"{theirs / min(spent):.0f} · {theirs / whole:.1f}"
            cells += [f"{theirs / forward:.0f}", times, lsuv_exactness(rival, batch, targets)]
        except Exception as error:
            cells += ["–", "–", f"{type(error).__name__}"]
    else:
        cells += ["–", "–", "–"]
    table.add_row(*cells)


def balance(table: Table, activation: type[nn.Module], depth: int) -> None:
    """What the backward balance does to a chain of Gaussian layers."""
    for backward in (False, True):
        torch.manual_seed(0)
        layers = [m for _ in range(depth) for m in (nn.Linear(256, 256), activation())]
        model, batch = nn.Sequential(*layers), torch.randn(256, 256)
        plan = targeted(model, batch, every=True)
        normal = fl.plan(model, batch, technique="lecun_normal")
        laws = {e.name: e.law for e in normal}
        plan = replace(plan, entries=tuple(replace(e, law=laws[e.name]) for e in plan))
        plan = fl.calibrate(model, plan, batch, seed=0, backward=backward)
        plan.apply(model, seed=0)
        first = model[0](batch)
        last = model[1 : 2 * depth - 3](first)
        delta = torch.autograd.grad(last, first, torch.randn(last.shape))[0]
        table.add_row(
            f"{depth} × {activation.__name__}",
            "balanced" if backward else "forward",
            f"{float(last.detach().square().mean() / first.detach().square().mean()):.3g}",
            f"{float(delta.square().sum() / last.numel()):.3g}",
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=[], metavar="plain|depth|others|balance")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=170)
    heads = ("model", "forward ms", "forwards", "measuring", "whole", "exactness")
    rival = ("lsuv: forwards' time", "× measuring · × whole", "its exactness")

    def table(title: str, rows: list[tuple[str, Callable[[], nn.Module], Tensor]]) -> None:
        made = Table(title=title)
        for head in (*heads, *rival):
            made.add_column(head, justify="left" if head == "model" else "right")
        for name, build, batch in rows:
            row(made, name, build, batch, rounds=options.rounds, with_lsuv=not name.isdigit())
        console.print(made)

    wanted = options.tables or ["plain", "depth", "others", "balance"]
    if "plain" in wanted:
        rows = [
            ("dense, width 512, batch 256", lambda: dense(50), torch.randn(256, 512)),
            ("64 channels, 32 × 32, batch 2", lambda: convolutions(50), torch.randn(2, 3, 32, 32)),
        ]
        table("50 plain layers: time in forward passes", rows)
    if "depth" in wanted:
        batch = torch.randn(256, 256)
        depths = (10, 50, 200)
        table("depth: dense, width 256", [(str(d), partial(dense, d, 256), batch) for d in depths])
    if "others" in wanted:
        rows = [
            ("six layers of attention", Attention, torch.randn(32, 32, 128)),
            ("one layer twelve times", Shared, torch.randn(32, 32, 128)),
            ("unrolled ReLU cell", Unrolled, torch.randn(128, 32, 64)),
            ("nn.LSTM, two layers", Recurrent, torch.randn(64, 32, 64)),
            ("ResNet-50 without norms, ¼ width", resnet50, torch.randn(16, 3, 32, 32)),
        ]
        table("attention, shared weights, recurrences, residual branches", rows)
    if "balance" in wanted:
        drift = Table(title="backward balance: Gaussian layers of width 256, no head")
        for head in ("chain", "calibration", "forward, last/first", "‖δ‖², first/last"):
            drift.add_column(head, justify="left" if head in ("chain", "calibration") else "right")
        for activation in (nn.ReLU, nn.Tanh, nn.GELU, nn.SELU, nn.Sigmoid):
            balance(drift, activation, 20)
        console.print(drift)


if __name__ == "__main__":
    main()
