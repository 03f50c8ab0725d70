"""A 7-billion Llama, on the meta device, to sharded safetensors: seconds, GB/s, peak memory.

    python benchmarks/large_model.py [--layers 32] [--dtype bfloat16] [--folder DIR] [--keep]
    python benchmarks/large_model.py --peer-layers 4

Each measurement has a process of its own, so that its peak memory (VmHWM) is its own. *peer*:
transformers' own start of the largest such model that fits in memory, built from its config and
saved; it is told per GB as well, since it is smaller.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn
from rich.table import Table


def config(layers: int) -> Any:
    """Llama 2's sizes at 7 billion parameters."""
    import transformers

    return transformers.LlamaConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=layers,
        num_attention_heads=32,
        max_position_embeddings=4096,
    )


def peak() -> float:
    """GB of memory that this process held at its worst."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    return float("nan")


def ours(layers: int, dtype: str, folder: str) -> dict[str, Any]:
    """Plan and stream."""
    import torch
    import transformers

    import firstlight as fl

    imported = peak()
    begin = time.perf_counter()
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config(layers))
    built = time.perf_counter()
    plan = fl.plan(model)
    planned = time.perf_counter()
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)
        written = fl.stream(
            model,
            folder,
            plan=plan,
            seed=0,
            dtype=dtype,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    return {
        "parameters": written.parameters,
        "GB": written.size / 1e9,
        "build": built - begin,
        "plan": planned - built,
        "write": written.seconds,
        "imported": imported,
        "peak": peak(),
    }


def theirs(layers: int, dtype: str, folder: str) -> dict[str, Any]:
    """Build from the config and save."""
    import torch
    import transformers

    imported = peak()
    begin = time.perf_counter()
    torch.set_default_dtype(getattr(torch, dtype))
    model = transformers.LlamaForCausalLM(config(layers))
    built = time.perf_counter()
    model.save_pretrained(folder)
    end = time.perf_counter()
    number = sum(p.numel() for p in model.parameters())
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    return {
        "parameters": number,
        "GB": size / 1e9,
        "build": built - begin,
        "plan": 0.0,
        "write": end - built,
        "imported": imported,
        "peak": peak(),
    }


def apart(which: str, layers: int, dtype: str, folder: str) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--only", which, "--layers", str(layers)]
    command += ["--dtype", dtype, "--folder", folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--peer-layers", type=int, default=8)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--folder")
    parser.add_argument("--keep", action="store_true", help="leave the files there")
    parser.add_argument("--only", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure = ours if options.only == "ours" else theirs
        print(json.dumps(measure(options.layers, options.dtype, options.folder)))
        return
    table = Table(title=f"Llama, {options.dtype}, to safetensors")
    for head in ("who", "layers", "billion", "GB", "build s", "plan s", "draw and write s"):
        table.add_column(head, justify="left" if head == "who" else "right")
    for head in ("GB/s of all", "peak GB", "of it imports"):
        table.add_column(head, justify="right")
    base = Path(options.folder) if options.folder else Path(tempfile.mkdtemp())
    rows = (("firstlight", "ours", options.layers), ("transformers", "theirs", options.peer_layers))
    for who, which, layers in rows:
        folder = base / which
        found = apart(which, layers, options.dtype, str(folder))
        if not options.keep:
            shutil.rmtree(folder)
        seconds = found["build"] + found["plan"] + found["write"]
        table.add_row(
            who,
            str(layers),
            f"{found['parameters'] / 1e9:.2f}",
            f"{found['GB']:.1f}",
            *(f"{found[part]:.1f}" for part in ("build", "plan", "write")),
            f"{found['GB'] / seconds:.2f}",
            f"{found['peak']:.2f}",
            f"{found['imported']:.2f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
