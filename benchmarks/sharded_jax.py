"""Every technique × sharding on one, two and eight devices of JAX: are the bits those of one?

    python benchmarks/sharded_jax.py [--size 64] [--only normal] [--dtype float32 bfloat16]

One process with eight virtual devices of the CPU, two axes of a mesh. A cell tells how many of the
ways to draw gave the bits of one device: the start called with ``out_sharding=``, the same under
``jit(out_shardings=)``, and a plan applied to a sharded array and to a shape without values.
*drawn*: numbers drawn for the first of them, in units of the matrix, and the most at once; a
structured law draws the whole matrix.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from functools import cache
from math import prod
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console
from rich.table import Table

import firstlight as fl
import firstlight.jax as init
from firstlight.laws import parts
from firstlight.records.law import Law

SPECS = {
    "rows": P("a"),
    "columns": P(None, "a"),
    "both": P("a", "b"),
    "one axis twice": P(("a", "b")),
    "copies": P(None, "b"),
    "all copies": P(),
}
MESHES = {1: (1, 1), 2: (2, 1), 8: (4, 2)}
NOT_OURS = ("constant", "variance_scaling", "zeros", "ones")
"""JAX's own functions, or none without arguments."""


def product(params: Any, x: Any) -> Any:
    """A layer whose matrix is planned."""
    return x @ params["fc"]["kernel"]


def places(spec: P) -> dict[int, NamedSharding]:
    """A sharding over the first one, two and eight devices."""
    grids = {n: np.array(jax.devices()[:n]).reshape(shape) for n, shape in MESHES.items()}
    return {n: NamedSharding(Mesh(grid, ("a", "b")), spec) for n, grid in grids.items()}


@cache
def planned(shape: tuple[int, ...], dtype: str) -> fl.Plan:
    """A plan whose law is put in later."""
    real = jnp.zeros(shape, dtype)
    return fl.plan((product, {"fc": {"kernel": real}}), np.ones((2, shape[0]), np.float32))


def counted() -> list[int]:
    """A list to which every region that is drawn from now on adds its size."""
    drawn: list[int] = []
    fill = parts.fill

    def noting(law: Any, key: Any, rows: range, columns: range, out: Any) -> None:
        drawn.append(len(rows) * len(columns))
        fill(law, key, rows, columns, out)

    parts.fill = noting
    return drawn


def applied(law: Law, struct: Any, values: bool) -> Any:
    """A plan of this law in an array at the struct's place, or in the struct itself."""
    plan = planned(struct.shape, str(struct.dtype)).edit("fc.kernel", law)
    zeros = jnp.zeros(struct.shape, struct.dtype, device=struct.sharding)
    old = zeros if values else struct
    model = fl.apply((product, {"fc": {"kernel": old}}), plan, seed=3).model
    return model[1]["fc"]["kernel"]


def main() -> None:
    """Print a row for each technique and type, a column for each number of devices and sharding."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--only", default="")
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    begun = time.perf_counter()
    shape = (chosen.size, chosen.size)
    table = Table("technique", "type", *SPECS, "drawn", "most")
    drawn, good, all_ways, key = counted(), 0, 0, jax.random.key(1)
    for technique in fl.techniques():
        name = technique.name
        if chosen.only not in name or name in NOT_OURS or not hasattr(init, name):
            continue
        start = getattr(init, name)(name="fc.weight", seed=3)
        for dtype in chosen.dtype:
            try:
                alone = np.asarray(start(key, shape, dtype))
                law = start.law(shape)[0]
            except fl.BadInputError as error:
                table.add_row(name, dtype, str(error)[:60])
                break
            row, share, most = [], "", ""
            for spec in SPECS.values():
                same = asked = 0
                for number, here in places(spec).items():
                    drawn.clear()
                    ways = [start(key, shape, dtype, out_sharding=here)]
                    if drawn and number == 8:
                        share = f"{sum(drawn) / prod(shape):.3g}"
                        most = f"{max(drawn) / prod(here.shard_shape(shape)):.3g} parts"
                    draw = jax.jit(lambda k, s=start, d=dtype: s(k, shape, d), out_shardings=here)
                    ways.append(draw(key))
                    struct = jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=here)
                    ways += [applied(law, struct, values=known) for known in (True, False)]
                    asked += len(ways)
                    same += sum(
                        np.array_equal(np.asarray(way), alone)
                        and way.sharding.is_equivalent_to(here, 2)
                        for way in ways
                    )
                good, all_ways = good + same, all_ways + asked
                row.append(f"{same}/{asked}")
            table.add_row(name, dtype, *row, share or "whole", most)
    console = Console(width=140)
    console.print(table)
    console.print(
        f"{good} of {all_ways} are the bits of one device, where they were asked to be;"
        f" {time.perf_counter() - begun:.0f} s, jax {jax.__version__}"
    )


if __name__ == "__main__":
    main()
