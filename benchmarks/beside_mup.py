"""mup's own rates, trainings and coordinate check, beside those of a plan on the same networks.

Where the embedding makes the logits too, mup's `MuReadout` takes its weight, as `MuSharedReadout`
does; convolutions need nothing more than shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transfer_networks import MLP, ConvNet, Transformer, digits, sentences

import firstlight as fl

BASE, STEPS = 64, 10

Network = Callable[..., nn.Module]


def networks() -> dict[str, tuple[Network, tuple[Tensor, Tensor]]]:
    """The two examples of mup and two more, with what they are trained on."""
    images, words = digits(), sentences()
    return {
        "MLP": (MLP, images),
        "transformer": (Transformer, words),
        "tied transformer": (partial(Transformer, tied=True), words),
        "convolutions": (ConvNet, (images[0].view(-1, 1, 8, 8), images[1])),
    }


def mup_model(network: Network, width: int) -> nn.Module:
    """The network with mup's readout and shapes relative to those at the base width.

    mup multiplies the readout's start with √m. A tied weight starts alike at every width instead,
    so that logits are of order one at the base.
    """
    from mup import MuReadout, set_base_shapes

    made, base, delta = (network(w, readout=MuReadout) for w in (width, BASE, BASE * 2))
    tied = readout_weight(made) is None
    if tied:
        with torch.no_grad():
            made.encoder.weight *= BASE**-0.5
    return set_base_shapes(made, base, delta=delta, rescale_params=not tied)


def mup_optimizer(kind: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """MuAdam or MuSGD."""
    import mup

    return {"adam": mup.MuAdam, "sgd": mup.MuSGD}[kind](model.parameters(), lr=lr)


def readout_weight(model: nn.Module) -> str | None:
    """The name of the weight of mup's readout; None where it is the embedding's."""
    from mup import MuReadout

    found = (f"{n}.weight" for n, module in model.named_modules() if isinstance(module, MuReadout))
    return next((name for name in found if name in dict(model.named_parameters())), None)


def rates(kind: str, network: Network, width: int, x: Tensor) -> list[tuple[str, float, float]]:
    """Name, mup's rate in terms of a plain readout, and ours, both relative."""
    theirs, mine = mup_model(network, width), network(width)
    plan = fl.plan(mine, x, base=network(BASE))
    original, ours = (
        {id(p): group["lr"] for group in groups for p in group["params"]}
        for groups in (
            mup_optimizer(kind, theirs, 1.0).param_groups,
            plan.param_groups(kind, mine, lr=1.0),
        )
    )
    m, tensors = width / BASE, dict(mine.named_parameters())
    last, factor = readout_weight(theirs), {"adam": 1 / m, "sgd": 1 / m**2}[kind]
    return [
        (name, original[id(p)] * (factor if name == last else 1.0), ours[id(tensors[name])])
        for name, p in theirs.named_parameters()
    ]


def training_difference(
    kind: str,
    network: Network,
    width: int,
    data: tuple[Tensor, Tensor],
    lr: float,
    *,
    one_rate: bool = False,
) -> float:
    """Largest difference of the losses of both, over the drop of mup's; or of one rate for all."""
    x, y = data
    x = x.double() if x.is_floating_point() else x
    torch.manual_seed(0)
    theirs, mine = mup_model(network, width).double(), network(width).double()
    mine.load_state_dict(theirs.state_dict())
    plan = fl.plan(mine, x, base=network(BASE).double())
    last = readout_weight(theirs)
    if last is None:
        plan.scale_inputs(mine)
    else:
        with torch.no_grad():
            mine.get_parameter(last).div_(width / BASE)  # mup divides in the forward pass
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
            loss = functional.cross_entropy(model(x), y)
            losses[number].append(float(loss.detach()))
            loss.backward()
            optimizer.step()
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    return apart / abs(losses[0][0] - losses[0][-1])


def plotted(
    build: Callable[[int], nn.Module],
    data: tuple[Tensor, Tensor],
    *,
    mup: bool,
    widths: Sequence[int],
    seeds: int,
    steps: int,
) -> dict[str, float]:
    """The exponents of what mup's own check plots, by module: mean |z| at the last step."""
    from mup.coord_check import get_coord_data

    frame = get_coord_data(
        {width: partial(build, width) for width in widths},
        [data],
        optimizer="adam",
        lr=1e-3,
        mup=mup,
        cuda=False,
        nsteps=steps + 1,  # it records before the step
        nseeds=seeds,
        show_progress=False,
    )
    last = frame[(frame.t == steps + 1) & (frame.module != "")]
    return {
        name: float(
            np.polyfit([math.log(w) for w in rows.width], [math.log(v) for v in rows.l1], 1)[0]
        )
        for name, rows in last.groupby("module")
    }
