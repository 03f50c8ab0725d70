"""Draws through the drop-ins beside the frameworks' own initializers, in one run.

    KERAS_BACKEND=torch python benchmarks/drop_in_speed.py --only torch
    KERAS_BACKEND=jax python benchmarks/drop_in_speed.py --only jax
    [--elements 25000000] [--rounds 5] [--threads 2]

Each row times ours and theirs in turn and compares the best of the rounds; a ratio above 1 means
that ours is faster. Processor time counts what all threads take: other processes change it little,
while wall time on a busy machine is luck. Tensors are allocated before torch's calls, since its
functions fill in place; JAX's and Keras's return new arrays. Jitted: the framework's compiled, ours
through its callback.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call: the processors' and on the wall."""
    processor, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - processor, time.perf_counter() - wall


Row = tuple[str, Callable[[], object], Callable[[], object]]


def torch_rows(shape: tuple[int, int]) -> Iterator[Row]:
    """Ours and torch's by function and type."""
    import torch

    import firstlight.torch as ours

    theirs = torch.nn.init
    for dtype in (torch.float32, torch.bfloat16):
        w = torch.empty(shape, dtype=dtype)
        kind = str(dtype).removeprefix("torch.")
        for name, options in (
            ("uniform_", {"a": -1.0}),
            ("normal_", {}),
            ("trunc_normal_", {}),
            ("xavier_uniform_", {}),
            ("kaiming_normal_", {}),
        ):
            yield (
                f"torch {name} {kind}",
                lambda name=name, w=w, options=options: getattr(ours, name)(w, **options),
                lambda name=name, w=w, options=options: getattr(theirs, name)(w, **options),
            )
    w = torch.empty(shape[0], shape[1] // 2).T
    yield (
        "torch normal_ float32, transposed view",
        lambda: ours.normal_(w),
        lambda: theirs.normal_(w),
    )
    q = torch.empty(1024, 1024)
    yield "torch orthogonal_ 1024²", lambda: ours.orthogonal_(q), lambda: theirs.orthogonal_(q)
    s = torch.empty(3072, 3072)
    yield "torch sparse_ 3072²", lambda: ours.sparse_(s, 0.9), lambda: theirs.sparse_(s, 0.9)
    for name, options in (("zeros_", ()), ("constant_", (0.3,)), ("eye_", ())):
        w = torch.empty(shape)
        yield (
            f"torch {name}",
            lambda name=name, w=w, options=options: getattr(ours, name)(w, *options),
            lambda name=name, w=w, options=options: getattr(theirs, name)(w, *options),
        )
    kernel = torch.empty(1024, 1024, 3, 3)
    yield "torch dirac_ 1024²·3²", lambda: ours.dirac_(kernel), lambda: theirs.dirac_(kernel)


def jax_rows(shape: tuple[int, int]) -> Iterator[Row]:
    """Ours and JAX's by function, eagerly and jitted."""
    import jax

    import firstlight.jax as ours

    theirs = jax.nn.initializers
    key = jax.random.key(0)
    for name, arguments in (
        ("uniform", (1.0,)),
        ("normal", (1.0,)),
        ("truncated_normal", (1.0,)),
        ("he_normal", ()),
        ("glorot_uniform", ()),
    ):
        pair = [getattr(module, name)(*arguments) for module in (ours, theirs)]
        for how in ("eager", "jitted"):
            calls = [
                (lambda init: jax.jit(lambda key: init(key, shape)) if how == "jitted" else None)(i)
                or (lambda key, init=i: init(key, shape))
                for i in pair
            ]
            yield (
                f"jax {name} {how}",
                lambda call=calls[0]: call(key).block_until_ready(),
                lambda call=calls[1]: call(key).block_until_ready(),
            )


def keras_rows(shape: tuple[int, int]) -> Iterator[Row]:
    """Ours and Keras's by class, on the backend of KERAS_BACKEND (torch by default)."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras

        import firstlight.keras as ours
    except ImportError:
        return
    theirs, backend = keras.initializers, keras.backend.backend()

    def ready(tensor: Any) -> None:
        if backend == "jax":
            tensor.block_until_ready()

    small = (1024, 1024)
    for name, size, arguments in (
        ("GlorotUniform", shape, ()),
        ("HeNormal", shape, ()),
        ("RandomNormal", shape, ()),
        ("TruncatedNormal", shape, ()),
        ("Zeros", shape, ()),
        ("Constant", shape, (0.3,)),
        ("Identity", shape, ()),
        ("Orthogonal", small, ()),
    ):
        pair = [getattr(module, name)(*arguments) for module in (ours, theirs)]
        types = ("float32", "bfloat16") if size is shape and name != "Identity" else ("float32",)
        for dtype in types:
            yield (
                f"keras on {backend} {name} {dtype}",
                lambda init=pair[0], size=size, dtype=dtype: ready(init(size, dtype)),
                lambda init=pair[1], size=size, dtype=dtype: ready(init(size, dtype)),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=25_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    side = math.isqrt(options.elements)
    shape = (side, side)
    print(f"{side}² = {side * side / 1e6:.1f} M elements, {options.threads} threads")
    print(
        f"{'processor seconds':44}{'ours':>9}{'theirs':>9}"
        f"{'ratio':>8}{'wall ratio':>12}{'first':>9}"
    )
    for rows in (torch_rows, jax_rows, keras_rows):
        for label, ours, theirs in rows(shape):
            if options.only not in label:
                continue
            _, first = timed(ours)
            theirs()  # compiled, if it is
            times = [(*timed(ours), *timed(theirs)) for _ in range(options.rounds)]
            mine, my_wall, its, its_wall = (min(column) for column in zip(*times, strict=True))
            print(
                f"{label:44}{mine:8.4f}s{its:8.4f}s{its / mine:8.2f}{its_wall / my_wall:12.2f}"
                f"{first:8.2f}s",
                flush=True,
            )


if __name__ == "__main__":
    main()
