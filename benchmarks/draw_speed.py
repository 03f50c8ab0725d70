"""How fast weights are drawn, beside torch, NumPy and JAX: all in one run, in turns, best of each.

    python benchmarks/draw_speed.py --sizes 16 100 --rounds 5

Times hold the writing of existing memory (torch, ours) or of new memory (NumPy's and JAX's
generators are called so that they make it).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

Draw = Callable[[], object]


def timed(draw: Draw) -> tuple[float, float]:
    """Seconds by the clock and of all cores together."""
    start, used = time.perf_counter(), time.process_time()
    draw()
    return time.perf_counter() - start, time.process_time() - used


def in_turns(draws: dict[str, Draw], rounds: int) -> dict[str, tuple[float, float]]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in draws}
    for _ in range(rounds):
        for name, draw in draws.items():
            times[name].append(timed(draw))
    return {name: (min(t for t, _ in of), min(c for _, c in of)) for name, of in times.items()}


def table(title: str, best: dict[str, tuple[float, float]], elements: int) -> None:
    """``faster by`` is of the clock; CPU ratios hold on a busy machine too."""
    print(f"\n{title}\n| what | s | M elements/s | faster by | CPU s | CPU ratio |")
    print("|---|---|---|---|---|---|")
    ours = best["Firstlight"]
    for name, (seconds, used) in best.items():
        rate, ratio, of_cpu = elements / seconds / 1e6, seconds / ours[0], used / ours[1]
        cells = f"{seconds:.4f} | {rate:.0f} | {ratio:.2f} × | {used:.4f} | {of_cpu:.2f} ×"
        print(f"| {name} | {cells} |", flush=True)


def large(millions: int, rounds: int, with_jax: bool) -> None:
    import numpy as np
    import torch

    from firstlight.laws.draw import draw
    from firstlight.records.law import Law, Normal, TruncatedNormal, Uniform

    shape = (1000 * millions, 1000)
    elements = shape[0] * shape[1]
    memory, tensor = np.zeros(shape, np.float32), torch.zeros(shape)
    generator = np.random.default_rng(0)

    def ours(law: Law) -> Draw:
        return lambda: draw(law, shape, name="w", seed=0, out=memory)

    def of_jax(name: str, *bounds: float) -> dict[str, Draw]:
        if not with_jax:
            return {}
        import jax

        sample = getattr(jax.random, name)
        jitted = jax.jit(lambda key: sample(key, *bounds, shape=shape))
        key = jax.random.key(0)
        jitted(key).block_until_ready()
        return {f"jax.random.{name} (jit)": lambda: jitted(key).block_until_ready()}

    init = torch.nn.init
    normal: dict[str, Draw] = {
        "Firstlight": ours(Normal(std=0.02)),
        "torch.nn.init.normal_": lambda: init.normal_(tensor, 0, 0.02),
        "NumPy Generator.standard_normal": lambda: generator.standard_normal(
            shape, dtype=np.float32
        ),
    }
    uniform: dict[str, Draw] = {
        "Firstlight": ours(Uniform(low=-0.1, high=0.1)),
        "torch.nn.init.uniform_": lambda: init.uniform_(tensor, -0.1, 0.1),
        "NumPy Generator.random": lambda: generator.random(shape, dtype=np.float32),
    }
    truncated: dict[str, Draw] = {
        "Firstlight": ours(TruncatedNormal(std=0.02)),
        "torch.nn.init.trunc_normal_": lambda: init.trunc_normal_(tensor, 0, 0.02, -0.04, 0.04),
    }
    size = f"{millions} M elements"
    table(f"normal, {size}", in_turns(normal | of_jax("normal"), rounds), elements)
    table(f"uniform, {size}", in_turns(uniform | of_jax("uniform"), rounds), elements)
    cut = truncated | of_jax("truncated_normal", -2.0, 2.0)
    table(f"truncated normal at ±2σ, {size}", in_turns(cut, max(1, rounds // 2)), elements)


_FIRST = """
import time, numpy as np
from firstlight.laws.draw import draw
from firstlight.records.law import Normal
law = Normal(std=1)
start = time.perf_counter()
for i in range({count}):
    draw(law, {shape}, name=f"w{{i}}", seed=0)
print(time.perf_counter() - start)
"""


def fresh(count: int, shape: tuple[int, ...], tries: int = 3) -> float:
    """Seconds of the first draws of a process, imports of Firstlight not counted."""
    program = _FIRST.format(count=count, shape=shape)
    command = [sys.executable, "-c", program]
    return min(float(subprocess.check_output(command, text=True)) for _ in range(tries))


def small(rounds: int) -> None:
    import torch

    from firstlight.laws.draw import draw
    from firstlight.records.law import Normal

    print(f"\nfirst draw of a process, 16 M elements: {fresh(1, (4000, 4000)):.3f} s")
    print(f"1,000 tensors of 1,000 elements, new process: {fresh(1000, (25, 40)):.3f} s")
    law, tensors = Normal(std=1), [torch.zeros(25, 40) for _ in range(1000)]
    draw(law, (2000, 4000), name="w", seed=0)  # compiles

    def ours() -> None:
        for i in range(1000):
            draw(law, (25, 40), name=f"w{i}", seed=0)

    def of_torch() -> None:
        for tensor in tensors:
            torch.nn.init.normal_(tensor)

    best = in_turns({"Firstlight": ours, "torch.nn.init.normal_": of_torch}, 4 * rounds)
    table("1,000 tensors of 1,000 elements, kernels compiled", best, 1_000_000)


def orthogonal(sizes: list[int], rounds: int) -> None:
    import numpy as np
    import torch

    from firstlight.laws.draw import draw
    from firstlight.records.law import Orthogonal

    for rows, columns in [(n, n) for n in sizes] + [(4 * n, n) for n in sizes[:1]]:
        memory = np.zeros((rows, columns), np.float32)
        tensor = torch.zeros(rows, columns)

        def ours(memory: np.ndarray = memory) -> None:
            draw(Orthogonal(), memory.shape, name="w", seed=0, out=memory)

        def of_torch(tensor: torch.Tensor = tensor) -> None:
            torch.nn.init.orthogonal_(tensor)

        draws: dict[str, Draw] = {"Firstlight": ours, "torch.nn.init.orthogonal_": of_torch}
        best = in_turns(draws, rounds)
        table(f"orthogonal {rows} × {columns}", best, rows * columns)
        wide = memory.astype(np.float64)
        theirs = tensor.numpy().astype(np.float64)
        own, other = (abs(q.T @ q - np.eye(columns)).max() for q in (wide, theirs))
        print(f"largest |QᵀQ − 1|: {own:.1e}, torch {other:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[16, 100], help="M elements")
    parser.add_argument("--orthogonal", type=int, nargs="*", default=[1024, 4096])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-jax", action="store_true")
    arguments = parser.parse_args()
    import torch

    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(threads)
    print(f"{os.cpu_count()} cores, {threads} threads, load {os.getloadavg()[0]:.1f}")
    small(arguments.rounds)
    for millions in arguments.sizes:
        large(millions, arguments.rounds, not arguments.no_jax)
    if arguments.orthogonal:
        orthogonal(arguments.orthogonal, max(1, arguments.rounds // 2))


if __name__ == "__main__":
    main()
