"""Tests of the bit stream: dieharder on single and interleaved streams, and pairs of neighbours.

    python benchmarks/randomness.py            # about 15 minutes; apt-get install dieharder
    python benchmarks/randomness.py --pairs    # only the pairs of neighbours: seconds
    python benchmarks/randomness.py --streams repeated    # a control, which must fail

A word of an interleaved stream comes from another name, seed, row or stacked matrix than the word
before it: what a generator shares between such streams shows as a pattern between neighbours, which
the tests of one stream cannot see. Every test is dieharder's at its own sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.addresses import stream_key
from firstlight.laws.elementwise import stream_words

Words = NDArray[np.uint32]
SIDE, LENGTH = 1024, 1 << 13
"""Streams that are interleaved and words of each at a time."""

TESTS = {
    "0": "birthdays",
    "2": "rank 32 × 32",
    "8": "count the 1s, stream",
    "15": "runs",
    "16": "craps",
    "17": "Marsaglia-Tsang gcd",
    "100": "STS monobit",
    "101": "STS runs",
    "206": "DAB DCT",
    "209": "DAB monobit 2",
}


def _interleaved(keys: list[tuple[int, int]]) -> Iterator[Words]:
    for first in range(0, 1 << 34, LENGTH):
        columns = range(first, first + LENGTH)
        yield np.stack([stream_words(key, range(1), columns)[0] for key in keys], axis=1)


def one_tensor() -> Iterator[Words]:
    """A tensor of 2¹⁴ columns, row after row."""
    key = stream_key(0, "layer.weight")
    for row in range(0, 1 << 32, 512):
        yield stream_words(key, range(row, row + 512), range(1 << 14))


def down_columns() -> Iterator[Words]:
    """A tensor of 2²⁰ rows, column after column."""
    key = stream_key(0, "layer.weight")
    for column in range(0, 1 << 34, 16):
        yield np.ascontiguousarray(stream_words(key, range(1 << 20), range(column, column + 16)).T)


def names() -> Iterator[Words]:
    """1,024 layers' weights in turn."""
    return _interleaved([stream_key(0, f"layers.{i}.weight") for i in range(SIDE)])


def seeds() -> Iterator[Words]:
    """One weight under 1,024 seeds in turn."""
    return _interleaved([stream_key(i, "layer.weight") for i in range(SIDE)])


def stacks() -> Iterator[Words]:
    """1,024 experts of one weight in turn."""
    return _interleaved([stream_key(0, "layer.weight", stack=f"expert={i}") for i in range(SIDE)])


def near_keys() -> Iterator[Words]:
    """1,024 keys that differ in their last bits only, which no hash has told apart, in turn."""
    return _interleaved([(i & 31, i >> 5) for i in range(SIDE)])


def repeated() -> Iterator[Words]:
    """A control that must fail: 512 names in turn, each twice, as if two layers were alike."""
    return _interleaved([stream_key(0, f"layers.{i // 2}.weight") for i in range(SIDE)])


CONTROL = "repeated"
STREAMS: dict[str, Callable[[], Iterator[Words]]] = {
    "one tensor": one_tensor,
    "down columns": down_columns,
    "names": names,
    "seeds": seeds,
    "stacks": stacks,
    "near keys": near_keys,
    CONTROL: repeated,
}


def battery(stream: str, test: str) -> tuple[list[tuple[str, float, str]], float]:
    """Statistics of a dieharder test, each with p-value and assessment; and seconds."""
    start = time.perf_counter()
    command = ["dieharder", "-g", "200", "-d", test, "-c", ",", "-D", "test_name"]
    command += ["-D", "ntuple", "-D", "pvalues", "-D", "assessment"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        with contextlib.suppress(BrokenPipeError):  # it ends when it has enough
            for words in STREAMS[stream]():
                process.stdin.write(memoryview(words.reshape(-1)).cast("B"))
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        printed = process.stdout.read().decode()
    lines = [line.split(",") for line in printed.splitlines() if line.count(",") >= 3]
    found = [
        (f"{name.strip()} {size.strip()}", float(p), verdict.strip())
        for name, size, p, verdict in (line[:4] for line in lines)
    ]
    return found, time.perf_counter() - start


def pairs(bits: int) -> None:
    """Correlations of neighbouring streams: values, their sizes, and each bit with each."""
    n = 1 << bits
    name, line = "layer.weight", range(n)
    of_name = [stream_words(stream_key(0, f"layers.{i}.weight"), range(1), line)[0] for i in (0, 1)]
    of_seed = [stream_words(stream_key(i, name), range(1), line)[0] for i in (0, 1)]
    of_stack = [
        stream_words(stream_key(0, name, stack=f"expert={i}"), range(1), line)[0] for i in (0, 1)
    ]
    of_row = list(stream_words(stream_key(0, name), range(2), line))
    long = stream_words(stream_key(0, name), range(1), range(n + 4))[0]
    tall = np.ascontiguousarray(stream_words(stream_key(0, name), range(n), range(2)).T)
    near = [stream_words((i, 0), range(1), line)[0] for i in (0, 1)]
    print(f"\nPairs of streams, {n:,} words each: z-scores, N(0, 1) if they are independent.\n")
    print("| pair | values | sizes | equal bits | largest of 1,024 pairs of bits |")
    print("|---|---|---|---|---|")
    for label, (a, b) in {
        "names layers.0 and layers.1": of_name,
        "seeds 0 and 1": of_seed,
        "stacks 0 and 1": of_stack,
        "rows 0 and 1": of_row,
        "columns c and c + 1": (long[:-4], long[1:-3]),
        "columns c and c + 4, the next block": (long[:-4], long[4:]),
        "down columns 0 and 1": tall,
        "rows r and r + 1 of a column": (tall[0][:-1], tall[0][1:]),
        "keys (0, 0) and (1, 0)": near,
    }.items():
        print(f"| {label} | " + " | ".join(f"{z:+.2f}" for z in scores(a, b)) + " |", flush=True)


def scores(a: Words, b: Words) -> tuple[float, float, float, float]:
    """z-scores of the correlation of two streams' values and sizes, and of the bits they share."""
    root = np.sqrt(a.size)
    x, y = (word / 2.0**31 - 1 for word in (a, b))  # uniform on ±1: variance 1/3
    size_x, size_y = abs(x) - 0.5, abs(y) - 0.5  # variance 1/12
    equal = 16 - np.bitwise_count(a ^ b).mean()  # variance 8
    table = np.zeros((32, 32))
    for start in range(0, a.size, 1 << 18):
        one, two = (
            np.unpackbits(np.ascontiguousarray(w[start : start + (1 << 18)]).view(np.uint8))
            .reshape(-1, 32)
            .astype(np.float32)
            * 2
            - 1
            for w in (a, b)
        )
        table += one.T @ two
    largest = table.reshape(-1)[np.abs(table).argmax()] / root
    return (
        float((x * y).mean() * 3 * root),
        float((size_x * size_y).mean() * 12 * root),
        float(equal * root / np.sqrt(8)),
        float(largest),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", action="store_true", help="no dieharder")
    parser.add_argument("--bits", type=int, default=22, help="log₂ of the words of a pair")
    usual = [stream for stream in STREAMS if stream != CONTROL]
    parser.add_argument("--streams", nargs="*", default=usual, choices=list(STREAMS))
    parser.add_argument("--tests", nargs="*", default=list(TESTS))
    options = parser.parse_args()
    pairs(options.bits)
    if options.pairs:
        return
    if not shutil.which("dieharder"):
        sys.exit("randomness: dieharder is not installed; on Debian: apt-get install dieharder")
    print("\n| stream | test | p-values | assessment | s |\n|---|---|---|---|---|")
    every: list[float] = []
    for stream in options.streams:
        for test in options.tests:
            found, seconds = battery(stream, test)
            every += [p for _, p, _ in found]
            values = ", ".join(f"{p:.3f}" for _, p, _ in found)
            verdicts = ", ".join(dict.fromkeys(verdict for *_, verdict in found))
            label = TESTS.get(test, test)
            print(f"| {stream} | {label} | {values} | {verdicts} | {seconds:.0f} |", flush=True)
    low, high = min(every), max(every)
    print(f"\n{len(every)} p-values, from {low:.4f} to {high:.4f}; below 0.01: ", end="")
    print(f"{sum(p < 0.01 for p in every)}, above 0.99: {sum(p > 0.99 for p in every)}")


if __name__ == "__main__":
    main()
