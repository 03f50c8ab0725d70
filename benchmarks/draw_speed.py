"""How fast weights are drawn, beside torch, NumPy, JAX and Keras: one run, in turns, best of each.

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

_REST = 0.3
"""Seconds between draws: JAX gives its memory back in the background, on the next one's time."""


def timed(draw: Draw) -> tuple[float, float]:
    """Seconds by the clock and of all cores together."""
    start, used = time.perf_counter(), time.process_time()
    draw()
    return time.perf_counter() - start, time.process_time() - used


def in_turns(draws: dict[str, Draw], rounds: int) -> dict[str, tuple[float, float]]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in draws}
    for _ in range(rounds):
        for name, draw in draws.items():
            time.sleep(_REST)
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

    def of_keras(name: str, *bounds: float) -> dict[str, Draw]:
        if not with_jax:
            return {}
        os.environ.setdefault("KERAS_BACKEND", "jax")
        import keras

        sample, seed = getattr(keras.random, name), keras.random.SeedGenerator(0)

        def draw_it() -> object:
            drawn = sample(shape, *bounds, seed=seed)
            return drawn.block_until_ready() if hasattr(drawn, "block_until_ready") else drawn

        draw_it()
        return {f"keras.random.{name} ({keras.backend.backend()})": draw_it}

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
    table(
        f"normal, {size}",
        in_turns(normal | of_jax("normal") | of_keras("normal"), rounds),
        elements,
    )
    table(
        f"uniform, {size}",
        in_turns(uniform | of_jax("uniform") | of_keras("uniform"), rounds),
        elements,
    )
    cut = truncated | of_jax("truncated_normal", -2.0, 2.0) | of_keras("truncated_normal")
    table(f"truncated normal at ±2σ, {size}", in_turns(cut, max(1, rounds // 2)), elements)


_FIRST = """
import time, numpy as np
from firstlight.laws.draw import draw
from firstlight.laws.together import Asked, draw_together
from firstlight.records.law import Normal
from firstlight.records.network import plain_layout
law = Normal(std=1)
start = time.perf_counter()
{what}
print(time.perf_counter() - start)
"""

_ONE_BY_ONE = """
for i in range({count}):
    draw(law, {shape}, name=f"w{{i}}", seed=0)
"""

_TOGETHER = """
layout = plain_layout({shape})
draw_together(
    [
        Asked(law=law, layout=layout, name=f"w{{i}}", out=np.empty({shape}, np.float32))
        for i in range({count})
    ],
    seed=0,
)
"""


def fresh(what: str, count: int, shape: tuple[int, ...], tries: int = 5) -> float:
    """Seconds of the first draws of a process, imports of Firstlight not counted."""
    program = _FIRST.format(what=what.format(count=count, shape=shape))
    command = [sys.executable, "-c", program]
    return min(float(subprocess.check_output(command, text=True)) for _ in range(tries))


def small(rounds: int) -> None:
    import numpy as np
    import torch

    from firstlight.laws.draw import draw
    from firstlight.laws.together import Asked, draw_together
    from firstlight.records.law import Normal
    from firstlight.records.network import plain_layout

    first = fresh(_ONE_BY_ONE, 1, (4000, 4000))
    print(f"\nfirst draw of a process, 16 M elements: {first:.3f} s")
    for way, what in (("together, as apply does", _TOGETHER), ("one by one", _ONE_BY_ONE)):
        seconds = fresh(what, 1000, (25, 40))
        print(f"1,000 tensors of 1,000 elements, new process, {way}: {seconds:.3f} s")
    law, tensors = Normal(std=1), [torch.zeros(25, 40) for _ in range(1000)]
    draw(law, (2000, 4000), name="w", seed=0)  # compiles

    def ours() -> None:
        for i in range(1000):
            draw(law, (25, 40), name=f"w{i}", seed=0)

    def of_torch() -> None:
        for tensor in tensors:
            torch.nn.init.normal_(tensor)

    layout, values = plain_layout((25, 40)), [np.empty((25, 40), np.float32) for _ in range(1000)]
    asked = [Asked(law=law, layout=layout, name=f"w{i}", out=out) for i, out in enumerate(values)]
    draws: dict[str, Draw] = {
        "Firstlight": ours,
        "Firstlight, together": lambda: draw_together(asked, seed=0),
        "torch.nn.init.normal_": of_torch,
    }
    best = in_turns(draws, 4 * rounds)
    table("1,000 tensors of 1,000 elements, kernels compiled", best, 1_000_000)


def orthogonal(sizes: list[int], rounds: int) -> None:
    import numpy as np
    import torch

    from firstlight.laws.draw import draw
    from firstlight.records.law import Orthogonal
    from firstlight.records.network import Layout

    most = max(sizes)
    shapes = [(1, n, n) for n in sizes]
    shapes += [(1, 2 * most, most), (1, most, 2 * most), (4, most // 2, most // 2)]
    for stacks, rows, columns in shapes:
        shape = (stacks, rows, columns)
        layout = Layout(shape=shape, view=shape, roles=("expert", "out", "in"))
        memory, tensor = np.zeros(shape, np.float32), torch.zeros(shape)

        def ours(layout: Layout = layout, memory: np.ndarray = memory) -> None:
            draw(Orthogonal(), layout, name="w", seed=0, out=memory)

        def of_torch(tensor: torch.Tensor = tensor) -> None:
            for one in tensor:
                torch.nn.init.orthogonal_(one)

        draws: dict[str, Draw] = {"Firstlight": ours, "torch.nn.init.orthogonal_": of_torch}
        experts = f"{stacks} experts of " if stacks > 1 else ""
        title = f"orthogonal, {experts}{rows} × {columns}"
        table(title, in_turns(draws, rounds), memory.size)
        errors = []
        for values in (memory[0], tensor[0].numpy()):
            q = values.astype(np.float64)
            errors.append(abs((q.T @ q if rows >= columns else q @ q.T) - np.eye(min(q.shape))))
        print(f"largest |QᵀQ − 1|: {errors[0].max():.1e}, torch {errors[1].max():.1e}")


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
