"""Work for several real processes over gloo: one spawn runs many cases, tests read the outcomes.

Importing torch costs seconds in each process, so all cases of a world size share its processes.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.distributed.tensor.placement_types import _StridedShard

import firstlight as fl
import firstlight.torch as init
from firstlight.frameworks.torch.sharding import held, here
from firstlight.records.codec import from_json
from firstlight.records.network import Layout

SEED = 11
HEIGHT, WIDTH = 15, 10
"""Of the tensors: neither is a multiple of two and four processes along every axis."""


def digest(tensor: Tensor) -> str:
    plain = tensor.detach().clone().reshape(-1)  # ``numpy`` would pin the memory's size
    return hashlib.sha256(plain.view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def digests(model: nn.Module) -> dict[str, str]:
    return {
        name: digest(p.full_tensor() if isinstance(p, DTensor) else p)
        for name, p in model.named_parameters()
    }


_KERNEL = (HEIGHT, WIDTH, 3, 3)
SPECIAL: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "constant": ((HEIGHT, WIDTH), {"val": 0.3}),
    "sparse": ((HEIGHT, WIDTH), {"sparsity": 0.3}),
    "delta_orthogonal": (_KERNEL, {}),
    "dirac": (_KERNEL, {}),
    "torch_conv": (_KERNEL, {}),
    "forget_bias": ((4 * WIDTH,), {"packed": "lstm"}),
    "chrono": ((4 * WIDTH,), {"packed": "lstm"}),
    "mimetic": ((3 * WIDTH, WIDTH), {"packed": "qkv", "heads": 2}),
    "torch_bias": ((HEIGHT,), {"fan_in": 7}),
    "torch_bilinear": ((HEIGHT, WIDTH, 3), {}),
    "torch_multihead_packed": ((3 * WIDTH, WIDTH), {"packed": "qkv"}),
    "flax_embed": (
        (HEIGHT, WIDTH),
        {"layout": Layout(shape=(HEIGHT, WIDTH), view=(HEIGHT, WIDTH), roles=("index", "out"))},
    ),
}
"""Shape and options of the techniques that do not draw a plain matrix by name alone."""


def plain_model() -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, HEIGHT),
        nn.ReLU(),
        nn.LayerNorm(HEIGHT),
        nn.Linear(HEIGHT, WIDTH, bias=False),
        nn.Tanh(),
        nn.Linear(WIDTH, 3),
    )


class Attention(nn.Module):
    """A block as tensor parallelism cuts it: columns first, then rows."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(23, 16, padding_idx=3)
        self.up = nn.Linear(16, 24)
        self.down = nn.Linear(24, 16)
        self.head = nn.Linear(16, 23, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.tokens(x)
        return self.head(y + self.down(torch.relu(self.up(y))))


def placements_of(world: int) -> dict[str, tuple[tuple[int, ...], list[Any]]]:
    """Every placement of a matrix, with the shape of the mesh."""
    flat: dict[str, tuple[tuple[int, ...], list[Any]]] = {
        "rows": ((world,), [Shard(0)]),
        "columns": ((world,), [Shard(1)]),
        "replicated": ((world,), [Replicate()]),
    }
    if world < 4:
        return flat
    square = (2, world // 2)
    return flat | {
        "hybrid": (square, [Replicate(), Shard(0)]),
        "rows and columns": (square, [Shard(0), Shard(1)]),
        "columns and rows": (square, [Shard(1), Shard(0)]),
        "rows twice": (square, [Shard(0), Shard(0)]),
        "rows from the right": (square, [_StridedShard(0, split_factor=world // 2), Shard(0)]),
        "columns from the right": (square, [_StridedShard(1, split_factor=2), Shard(1)]),
    }


def is_as_torch_cuts(tensor: DTensor, whole: Tensor) -> bool:
    """Whether the local part is, bit for bit, the one that torch itself would cut from a whole."""
    wanted = distribute_tensor(whole, tensor.device_mesh, tensor.placements, src_data_rank=None)
    mine, theirs = here(tensor), here(wanted)
    return mine.shape == theirs.shape and digest(mine) == digest(theirs)


def every_law(names: list[str], world: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Technique × placement: whether the bits are right, and what was sent while drawing."""
    found: dict[str, Any] = {}
    for (place, (shape, placements)), name in product(placements_of(world).items(), names):
        mesh = _mesh(*shape)
        size, options = SPECIAL.get(name, ((HEIGHT, WIDTH), {}))
        if any(getattr(p, "dim", 0) >= len(size) for p in placements):
            continue
        function: Callable[..., Tensor] = getattr(init, f"{name}_")
        whole = function(torch.empty(size, dtype=dtype), name="w", seed=SEED, **options)
        tensor = distribute_tensor(torch.empty_like(whole), mesh, placements, src_data_rank=None)
        with CommDebugMode() as sent:
            function(tensor, name="w", seed=SEED, **options)
        found[f"{name}, {place}"] = is_as_torch_cuts(tensor, whole), sent.get_total_counts()
    return found


@cache
def _mesh(*shape: int) -> DeviceMesh:
    """One for each shape: a mesh opens connections between all of its processes."""
    names = ("dp", "tp")[: len(shape)]
    return init_device_mesh("cpu", shape, mesh_dim_names=names)


def _applied(model: nn.Module, plan: Any, **how: Any) -> dict[str, Any]:
    with CommDebugMode() as sent:
        receipt = fl.apply(model, plan, seed=SEED, **how)
    shares = {entry.name: entry.achieved.share for entry in receipt}
    found = {"sent": sent.get_total_counts(), "shares": shares}
    return found | {"bits": digests(model)}


def _on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def models(plans: dict[str, str], world: int) -> dict[str, Any]:
    """Models under every way of sharding, by name."""
    plan, block = from_json(plans["plain"]), from_json(plans["block"])
    found: dict[str, Any] = {}

    model = _on_meta(plain_model)
    fully_shard(model[0], mesh=_mesh(world))
    fully_shard(model, mesh=_mesh(world))
    model.to_empty(device="cpu")
    found["FSDP2 on meta"] = _applied(model, plan)
    # A forward pass leaves the root gathered: what is written must survive that.
    model(torch.ones(2, 16)).sum().backward()
    for parameter in model.parameters():
        parameter.grad = None
    found["FSDP2 after a pass"] = _applied(model, plan)

    model = plain_model()
    fully_shard(model, mesh=_mesh(world))
    found["FSDP2 of a real model"] = _applied(model, plan)
    found["FSDP2 in bfloat16"] = _applied(_sharded(plain_model().bfloat16(), world), plan)

    model = Attention()
    mesh = _mesh(world)
    style = {"up": ColwiseParallel(), "down": RowwiseParallel()}
    parallelize_module(model, mesh, style)
    found["tensor parallel"] = _applied(model, block)

    if world == 4:
        grid = _mesh(2, 2)
        model = Attention()
        parallelize_module(model, grid["tp"], style)
        fully_shard(model, mesh=grid["dp"])
        found["tensor parallel in FSDP2"] = _applied(model, block)
        found["strided"] = any(
            isinstance(each, _StridedShard)
            for p in model.parameters()
            if isinstance(p, DTensor)
            for each in p.placements
        )
        model = plain_model()
        fully_shard(model, mesh=grid)
        found["HSDP"] = _applied(model, plan)

    model = plain_model()
    found["DDP"] = _applied(nn.parallel.DistributedDataParallel(model), plan)
    found["DDP"]["bits"] = digests(model)
    return found


def _sharded(model: nn.Module, world: int) -> nn.Module:
    fully_shard(model, mesh=_mesh(world))
    return model


def architectures(plans: dict[str, str], world: int) -> dict[str, Any]:
    """Models of transformers from their configs, block by block under FSDP2."""
    import tiny_transformers

    warnings.simplefilter("ignore")  # transformers' own, at import and in some configs
    mesh, found = _mesh(world), {}
    for name, plan in plans.items():
        model = tiny_transformers.build(name)
        for module in [m for m in model.modules() if type(m).__name__.endswith(_BLOCKS)]:
            fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)
        found[name] = _applied(model, from_json(plan))
        found[name]["sharded"] = sum(isinstance(p, DTensor) for p in model.parameters())
    return found


_BLOCKS = ("Block", "DecoderLayer", "EncoderLayer", "BertLayer", "ViTLayer", "GPTNeoXLayer")


def flattened(plans: dict[str, str], world: int) -> dict[str, Any]:
    """FSDP1: by param_init_fn, and a plan drawn while its parameters are gathered."""
    warnings.filterwarnings("ignore", message="FSDP is switching to use `NO_SHARD`")
    plan, found = from_json(plans["plain"]), {}
    cpu = torch.device("cpu")
    for original in (False, True):
        model = _on_meta(plain_model)
        wrapped = FullyShardedDataParallel(
            model,
            param_init_fn=init.param_init_fn(model, plan, seed=SEED),
            device_id=cpu,
            use_orig_params=original,
            auto_wrap_policy=lambda module, recurse, nonwrapped_numel: (
                recurse or isinstance(module, nn.Linear)
            ),
        )
        found[f"refused {original}"] = _said(lambda: fl.apply(wrapped, plan, seed=SEED))  # noqa: B023
        with FullyShardedDataParallel.summon_full_params(wrapped):
            found[f"param_init_fn {original}"] = {
                _bare(name): digest(p) for name, p in wrapped.named_parameters()
            }
        with FullyShardedDataParallel.summon_full_params(wrapped):
            fl.apply(wrapped, plan, seed=SEED + 1)
        with FullyShardedDataParallel.summon_full_params(wrapped):
            found[f"summoned {original}"] = {
                _bare(name): digest(p) for name, p in wrapped.named_parameters()
            }
    return found


def _bare(name: str) -> str:
    return name.replace("_fsdp_wrapped_module.", "")


def _said(work: Callable[[], Any]) -> str:
    try:
        work()
    except fl.BadInputError as error:
        return str(error)
    return ""


def asked(plans: dict[str, str], world: int) -> dict[str, Any]:
    """What is said where something cannot be done, and plans that need no batch."""
    plan = from_json(plans["plain"])
    model = _sharded(plain_model(), world)
    batch = torch.ones(4, 16)
    found: dict[str, Any] = {
        "check": _said(lambda: fl.check(model, batch)),
        "jacobian": _said(lambda: fl.check(model, batch, jacobian=True)),
        "calibrate": _said(lambda: fl.calibrate(model, plan, batch, seed=0)),
        "initialize": _said(lambda: fl.initialize(model, batch, seed=0)),
        "seed": _said(lambda: fl.apply(model, plan)),
    }
    with CommDebugMode() as sent:
        fans = fl.plan(model)
        receipt = fl.initialize(model, seed=SEED)
    found["sent"] = sent.get_total_counts()
    found["shapes"] = {entry.name: entry.layout.shape for entry in fans}
    found["modules"] = {p.name: p.module for p in fans.network.parameters}
    found["checked"] = (receipt.before, receipt.after)
    found["text"] = " ".join(str(receipt).split())
    tensor = distribute_tensor(torch.empty(HEIGHT, WIDTH), _mesh(world), [Shard(0)])
    found["drop-in"] = _said(lambda: init.he_normal_(tensor))
    generator = torch.Generator().manual_seed(5)
    init.he_normal_(tensor, generator)
    same = init.he_normal_(torch.empty(HEIGHT, WIDTH), torch.Generator().manual_seed(5))
    found["generator"] = is_as_torch_cuts(tensor, same)
    one = fl.plan(plain_model(), torch.full((4, 16), 1.0 + dist.get_rank()))
    found["apart"] = str(one["0.weight"].law)
    found["agreed"] = str(init.agreed(one)["0.weight"].law)
    found["fullest"] = digest(torch.from_numpy(dict(_adapter().values(model))["0.weight"]))
    found["whole"] = digest(model[0].weight.full_tensor())
    return found


def _adapter() -> Any:
    from firstlight.frameworks.torch.adapter import TorchAdapter

    return TorchAdapter()


def torch_functions(world: int) -> dict[str, Any]:
    """The drop-ins that torch has too, and what torch's own init refuses."""
    calls: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], dict[str, Any]]] = {
        "uniform_": (init.uniform_, (7, 5), {}),
        "trunc_normal_": (init.trunc_normal_, (7, 5), {}),
        "constant_": (init.constant_, (7, 5), {"val": 0.3}),
        "ones_": (init.ones_, (7, 5), {}),
        "zeros_": (init.zeros_, (7, 5), {}),
        "eye_": (init.eye_, (7, 5), {}),
        "sparse_": (init.sparse_, (7, 5), {"sparsity": 0.4}),
        "orthogonal_": (init.orthogonal_, (7, 5), {}),
        "dirac_": (init.dirac_, (7, 5, 3), {}),
        "kaiming_uniform_": (init.kaiming_uniform_, (7, 5, 3), {"mode": "fan_out"}),
        "one row": (init.he_normal_, (1, 5), {}),
        "packed": (init.xavier_uniform_, (21, 7), {"packed": "qkv"}),
        "complex": (init.normal_, (7, 5), {}),
    }
    found = {}
    for name, (function, shape, options) in calls.items():
        dtype = torch.complex64 if name == "complex" else torch.float32
        whole = function(torch.zeros(shape, dtype=dtype), name="w", seed=SEED, **options)
        for axis in range(len(shape)):
            part = distribute_tensor(
                torch.zeros(shape, dtype=dtype), _mesh(world), [Shard(axis)], src_data_rank=None
            )
            function(part, name="w", seed=SEED, **options)
            found[f"{name} {axis}"] = is_as_torch_cuts(part, whole)
    return found


def places_drawn(world: int) -> int:
    """How many numbers an elementwise law computes for the part that is here."""
    from firstlight.laws import parts

    drawn = []
    fill = parts.fill

    def counted(law: Any, key: Any, rows: range, columns: range, out: Any) -> None:
        drawn.append(len(rows) * len(columns))
        fill(law, key, rows, columns, out)

    parts.fill = counted
    try:
        tensor = distribute_tensor(
            torch.empty(HEIGHT, WIDTH), _mesh(world), [Shard(0)], src_data_rank=None
        )
        init.he_normal_(tensor, name="w", seed=0)
    finally:
        parts.fill = fill
    return sum(drawn) - here(tensor).numel()


def rank_of_duplicates(world: int) -> tuple[int, int]:
    """The demonstration: the rank of a 16 × 16 weight by torch's own start, and by ours."""
    model = nn.Sequential(_on_meta(lambda: nn.Linear(16, 16, bias=False)))
    fully_shard(model, mesh=_mesh(world))
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may not have complete support on cpu"
        model[0].reset_parameters()
    theirs = int(torch.linalg.matrix_rank(model[0].weight.full_tensor()))
    fl.initialize(model, seed=0)
    return theirs, int(torch.linalg.matrix_rank(model[0].weight.full_tensor()))


def _run(rank: int, world: int, folder: str, jobs: list[tuple[str, str, tuple[Any, ...]]]) -> None:
    warnings.simplefilter("error")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    found: dict[str, Any] = {}
    for name, function, arguments in jobs:
        try:
            torch.manual_seed(0)
            found[name] = globals()[function](*arguments, world)
        except Exception:
            found[name] = traceback.format_exc()
            break  # the others would wait for this process
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


def outcomes(world: int, jobs: list[tuple[str, str, tuple[Any, ...]]]) -> Iterator[dict[str, Any]]:
    """What each process found, by the name of the job.

    Args:
        world: number of processes.
        jobs: name, function of this module, arguments before ``world``.
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_run, (world, folder, jobs), nprocs=world)
        for rank in range(world):
            yield pickle.loads(Path(folder, f"{rank}.pickle").read_bytes())


__all__ = ["Layout", "digests", "held", "outcomes"]
