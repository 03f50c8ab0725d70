"""A matrix drawn by several processes: the rank of what they hold together, and the time of each.

    python benchmarks/sharded.py [--processes 1 2 4] [--size 4096]

Real processes over gloo on this machine. *rank*: of a 16 × 16 normal matrix whose rows are spread
over the processes. Torch 2.13 draws on a CPU's mesh the same bytes in every process; ours depend on
seed, name and place alone. *digest*: of the whole matrix, gathered afterwards. *sent*: collective
calls while drawing. *seconds*: the slowest process, at ``--size``², of one thread each.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode

import firstlight.torch as ours

STARTS = {
    "torch.nn.init.normal_": torch.nn.init.normal_,
    "firstlight.torch.normal_": lambda w: ours.normal_(w, name="fc.weight", seed=0),
    "torch.nn.init.orthogonal_": torch.nn.init.orthogonal_,
    "firstlight.torch.orthogonal_": lambda w: ours.orthogonal_(w, name="fc.weight", seed=0),
}


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:10]


def _work(rank: int, world: int, size: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="DTensor random operators")
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,))
    found: dict[str, Any] = {}
    for name, start in STARTS.items():
        torch.manual_seed(0)
        small = distribute_tensor(torch.empty(16, 16), mesh, [Shard(0)], src_data_rank=None)
        try:
            with CommDebugMode() as sent:
                start(small)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {str(error).split(chr(10))[0][:60]}"
            continue
        whole = small.full_tensor()
        large = distribute_tensor(torch.empty(size, size), mesh, [Shard(0)], src_data_rank=None)
        start(large)  # compiles, touches memory
        dist.barrier()
        begin = time.perf_counter()
        start(large)
        seconds = time.perf_counter() - begin
        found[name] = (
            int(torch.linalg.matrix_rank(whole)),
            _digest(whole),
            sent.get_total_counts(),
            seconds,
        )
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--size", type=int, default=2048)
    options = parser.parse_args()
    table = Table(title="A matrix whose rows are spread over processes")
    for head in ("start", "processes", "rank of 16", "digest", "sent", "seconds"):
        table.add_column(head, justify="left" if head in ("start", "digest") else "right")
    for world in options.processes:
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(_work, (world, options.size, folder), nprocs=world)
            each = [
                pickle.loads(Path(folder, f"{rank}.pickle").read_bytes()) for rank in range(world)
            ]
        for name, found in each[0].items():
            if isinstance(found, str):
                table.add_row(name, str(world), found)
                continue
            seconds = max(ranks[name][3] for ranks in each)
            table.add_row(name, str(world), *map(str, found[:3]), f"{seconds:.3f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
