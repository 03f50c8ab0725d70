"""``firstlight stream``: a start straight to sharded files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

import firstlight as fl
from firstlight.cli.options import AsJson, Quiet
from firstlight.cli.sources import model_factory, plan_from
from firstlight.records.codec import to_json


def stream(
    model: str,
    folder: Path,
    /,
    *,
    plan: Annotated[Path | None, Parameter(help="Draw this plan (JSON).")] = None,
    technique: Annotated[
        str | None, Parameter(help="One technique for all weights; see firstlight techniques.")
    ] = None,
    dtype: Annotated[
        str | None, Parameter(help="float32, bfloat16, float16 or float64; its own by default.")
    ] = None,
    shard_size: Annotated[str, Parameter(help="Most bytes of a file: 5GB, 500MB.")] = "5GB",
    seed: Annotated[int | None, Parameter(help="0 … 2⁶⁴ − 1.")] = None,
    namespace: Annotated[str, Parameter(help="Keeps models with equal names apart.")] = "",
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Write a start to sharded safetensors without holding the model; goes on where it stopped.

    A factory that builds on the meta device (``with torch.device("meta")``) takes no memory.
    """
    built = model_factory(model)()
    chosen = None if plan is None else plan_from(plan)
    errors = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, disable=quiet or not errors.is_terminal) as progress:
        task = progress.add_task("", total=None)
        written = fl.stream(
            built,
            folder,
            plan=chosen,
            technique=technique,
            seed=seed,
            namespace=namespace,
            dtype=dtype,
            shard_size=shard_size,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if not quiet:
        sys.stdout.write(f"{to_json(written) if json else written}\n")
    return 0
