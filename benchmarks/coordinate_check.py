"""Width transfer beside mup: rates, trainings, and the verdict of the coordinate check.

    python benchmarks/coordinate_check.py [--widths 64 128 256 512 1024] [--seeds 3]

Needs mup beside Firstlight (pip install --no-deps --target FOLDER mup, FOLDER on PYTHONPATH);
without it the first two tables are left out.

1. The rate of every parameter, by `MuAdam` and `MuSGD` on mup's own models and by a plan on the
   same networks with a plain `nn.Linear` at the end. mup divides the readout's input by m, we its
   start and rate; so mup's rate of it counts × 1/m (Adam) and × 1/m² (SGD).
2. Both trained from the same function: the largest difference of the losses, over the drop of the
   loss, in float64. Equal but for rounding, if start, multipliers and rates say the same. Beside
   it the same for one rate for all, which must not be small.
3. The coordinate check of right and wrong scalings over the widths: what was expected, what was
   said, the exponents of the change of the output and of the worst operation.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from transfer_networks import MLP, ConvNet, Transformer, digits, sentences

import firstlight as fl

BASE, STEPS = 64, 10
HAS_MUP = importlib.util.find_spec("mup") is not None


def mup_model(network: Callable[..., nn.Module], width: int, **options: Any) -> nn.Module:
    """The network with mup's readout and shapes relative to those at the base width."""
    from mup import MuReadout, set_base_shapes

    made, base, delta = (network(w, readout=MuReadout, **options) for w in (width, BASE, BASE * 2))
    return set_base_shapes(made, base, delta=delta)


def mup_optimizer(kind: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """MuAdam or MuSGD."""
    import mup

    return {"adam": mup.MuAdam, "sgd": mup.MuSGD}[kind](model.parameters(), lr=lr)


def rates(kind: str, network: Callable[..., nn.Module], width: int, x: Tensor) -> list[tuple]:
    """Name, mup's rate in terms of a plain readout, and ours, both relative."""
    theirs = mup_model(network, width)
    by_tensor = {
        id(p): group["lr"]
        for group in mup_optimizer(kind, theirs, 1.0).param_groups
        for p in group["params"]
    }
    m = width / BASE
    readout = {"adam": 1 / m, "sgd": 1 / m**2}[kind]
    last = [name for name, _ in theirs.named_parameters()][-1]
    mine = network(width)
    plan = fl.plan(mine, x, base=network(BASE))
    ours = {
        id(p): group["lr"]
        for group in plan.param_groups(kind, mine, lr=1.0)
        for p in group["params"]
    }
    tensors = dict(mine.named_parameters())
    return [
        (name, by_tensor[id(p)] * (readout if name == last else 1.0), ours[id(tensors[name])])
        for name, p in theirs.named_parameters()
    ]


def training_difference(
    kind: str,
    network: Callable[..., nn.Module],
    width: int,
    data: tuple[Tensor, Tensor],
    lr: float,
    *,
    one_rate: bool = False,
) -> float:
    """Largest difference of the losses of both, over the drop of mup's; or of one rate for all."""
    x, y = data
    torch.manual_seed(0)
    theirs = mup_model(network, width).double()
    mine = network(width).double()
    mine.load_state_dict(theirs.state_dict())
    last = list(mine.parameters())[-1]
    with torch.no_grad():
        last /= width / BASE  # the same function: mup divides in the forward pass
    plan = fl.plan(mine, _like(x), base=network(BASE).double())
    eps = {"eps": 1e-30} if kind == "adam" else {}  # so that Adam's step has no scale of its own
    groups: Any = mine.parameters() if one_rate else plan.param_groups(kind, mine, lr=lr)
    ours = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[kind](groups, lr=lr, **eps)
    original = mup_optimizer(kind, theirs, lr)
    for group in original.param_groups:
        group.update(eps)
    losses: list[list[float]] = [[], []]
    for number, (model, optimizer) in enumerate(((theirs, original), (mine, ours))):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(_like(x)), y)
            losses[number].append(float(loss.detach()))
            loss.backward()
            optimizer.step()
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    return apart / abs(losses[0][0] - losses[0][-1])


def _like(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


@dataclass(frozen=True)
class Case:
    """One scaling, and what the check ought to say of it."""

    name: str
    build: Callable[[int], nn.Module]
    data: tuple[Tensor, Tensor]
    right: bool
    options: dict[str, Any] = field(default_factory=dict)


def half_right(width: int) -> nn.Module:
    """The MLP with the right start of its readout, for one rate for all: half of μP."""
    model = MLP(width)
    with torch.no_grad():
        model.fc_3.weight *= (BASE / width) ** 0.5
    return model


def cases() -> list[Case]:
    """Right and wrong ones."""
    images, words = digits(), sentences()
    pictures = (images[0].view(-1, 1, 8, 8), images[1])
    sgd = {"optimizer": "sgd"}
    tied = lambda n: Transformer(n, tied=True)  # noqa: E731
    found = [
        Case("MLP, one rate, Adam", MLP, images, False),
        Case("MLP, one rate, SGD", MLP, images, False, sgd),
        Case(
            "MLP, readout's start right, one rate",
            half_right,
            images,
            False,
        ),
        Case("MLP, plan with base, Adam", MLP, images, True, {"base": BASE}),
        Case("MLP, plan with base, SGD", MLP, images, True, {"base": BASE, **sgd}),
        Case("transformer, one rate, Adam", Transformer, words, False),
        Case("transformer, plan with base, Adam", Transformer, words, True, {"base": BASE}),
        Case("transformer, plan with base, SGD", Transformer, words, True, {"base": BASE, **sgd}),
        Case("tied transformer, one rate, Adam", tied, words, False),
        Case("tied transformer, plan with base, Adam", tied, words, True, {"base": BASE}),
        Case("tied transformer, plan with base, SGD", tied, words, True, {"base": BASE, **sgd}),
        Case("convolutions, one rate, Adam", ConvNet, pictures, False),
        Case("convolutions, plan with base, Adam", ConvNet, pictures, True, {"base": BASE}),
        Case("convolutions, plan with base, SGD", ConvNet, pictures, True, {"base": BASE, **sgd}),
    ]
    if HAS_MUP:
        for name, network, data in (("MLP", MLP, images), ("transformer", Transformer, words)):
            found.append(
                Case(
                    f"mup's {name}, MuAdam",
                    lambda n, network=network: mup_model(network, n),
                    data,
                    True,
                    {"optimizer": lambda model: mup_optimizer("adam", model, 1e-3)},
                )
            )
    return found


def beside_mup(console: Console, width: int) -> None:
    """Tables 1 and 2."""
    table = Table(
        "network", "optimizer", "parameters", "rates that differ", "losses apart", "at one rate"
    )
    for name, network, data, lrs in (
        ("MLP", MLP, digits(), {"adam": 3e-3, "sgd": 0.1}),
        ("transformer", Transformer, sentences(), {"adam": 3e-3, "sgd": 0.1}),
    ):
        for kind, lr in lrs.items():
            found = rates(kind, network, width, data[0])
            wrong = [n for n, theirs, ours in found if abs(ours / theirs - 1) > 1e-6]
            apart, other = (
                training_difference(kind, network, width, data, lr, one_rate=one)
                for one in (False, True)
            )
            said = ", ".join(wrong) or "none"
            table.add_row(name, kind, str(len(found)), said, f"{apart:.1e}", f"{other:.1e}")
            if kind == "adam":
                for each, theirs, ours in found:
                    console.print(f"  {name} {each}: mup {theirs:.4g}, plan {ours:.4g}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of the names of the cases")
    arguments = parser.parse_args()
    console = Console(width=150)
    torch.set_num_threads(1)
    if HAS_MUP:
        beside_mup(console, 3 * BASE)
    else:
        console.print("mup is not installed: its rates and trainings are left out")
    table = Table("scaling", "ought to be", "said", "change of the output", "worst", "s")
    wrong = 0
    for case in cases():
        if arguments.only not in case.name:
            continue
        x, y = case.data
        begun = time.perf_counter()
        check = fl.coordinate_check(
            case.build, x, target=y, widths=arguments.widths, seeds=arguments.seeds, **case.options
        )
        moved = [op for op in check.operations if op.change_slope is not None]
        worst = max(moved, key=lambda op: abs(op.change_slope.value))
        output = next(op for op in check.operations if op.is_output)
        said = (
            "right" if check.healthy else ", ".join(dict.fromkeys(f.kind for f in check.findings))
        )
        wrong += check.healthy != case.right
        table.add_row(
            case.name,
            "right" if case.right else "wrong",
            said,
            str(output.change_slope),
            f"{worst.name} {worst.change_slope}",
            f"{time.perf_counter() - begun:.0f}",
        )
        console.print(f"{case.name}: {said}", highlight=False)
    console.print(table)
    console.print(f"{wrong} of {len(table.rows)} verdicts are not what they ought to be")


if __name__ == "__main__":
    main()
