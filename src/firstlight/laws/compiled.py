"""The compiled path: kernels made for this machine when they pay, run on all of its cores.

llvmlite turns the text of `kernels` into machine code in about 0.05 s, without a compiler and
without files. Whatever goes wrong here, the NumPy path draws the same bits. Threads are started for
one draw and end with it: nothing that a fork could break outlives a call.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.laws import quick
from firstlight.laws.kernels import Form, Kind
from firstlight.laws.loops import along_rows, down_columns

_CHUNK_ELEMENTS = 1 << 18
"""What a thread takes at a time: about half a millisecond."""

_CHUNK_COLUMNS = 1 << 12
"""Columns whose places in memory are listed at a time: 32 kB."""

_PAYS_FROM = 3 << 21
"""Elements that take NumPy as long as compiling: a kernel missed for as many is compiled."""

_CALL = 1 << 12
"""What NumPy's many calls cost for a tensor however small, in elements."""

_LAST_BLOCK = 1 << 32
"""Kernels count rows and blocks of four columns in 32 bits."""

Kernel = Callable[..., None]
Which = tuple[Kind, Form, bool, bool]
_kernels: dict[Which, Kernel | None] = {}  # None: could not be compiled
_missed: dict[Which, int] = {}


@dataclass(frozen=True, kw_only=True)
class Region:
    """What to draw of one matrix, and where to.

    Args:
        kind: the quantile function, or that the words themselves are written.
        numbers: the law's, in the order of `kernels.NUMBERS`.
        key: of the matrix's stream.
        rows: consecutive rows.
        columns: consecutive columns.
        out: of shape (len(rows), axes of the columns …), in any order in memory; uint16 holds
            bfloat16, uint32 words.
        exact: whether binary64 is not rounded to binary32 on its way.
    """

    kind: Kind
    numbers: tuple[float, ...]
    key: tuple[int, int]
    rows: range
    columns: range
    out: NDArray[Any]
    exact: bool = False

    @property
    def quickly(self) -> bool:
        """Whether `quick` draws the same bits."""
        return not self.exact and quick.usable(self.kind, self.numbers)

    @property
    def form(self) -> Form:
        """The type that is written."""
        return "exact" if self.exact else _FORMS[self.out.dtype.num]


_FORMS: dict[int, Form] = {
    np.dtype(np.float32).num: "float32",
    np.dtype(np.float64).num: "float64",
    np.dtype(np.float16).num: "float16",
    np.dtype(np.uint16).num: "bfloat16",
    np.dtype(np.uint32).num: "word",
}


def cores() -> int:
    """Threads to draw with: NUMBA_NUM_THREADS or OMP_NUM_THREADS, else one for each core."""
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # no such call on macOS and Windows
        available = os.cpu_count() or 1
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        asked = os.environ.get(name, "").split(",")[0].strip()
        if asked.isdecimal() and int(asked):
            return min(int(asked), available)
    return available


def compile_kernel(kind: Kind, form: Form, by_rows: bool, quickly: bool = False) -> Kernel:
    """Machine code for the processor that this runs on; ``quickly`` if it can fuse, too."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    width = 8 if features.get("avx2") or features.get("avx512f") else 4
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
    )
    # Every other processor that there are wheels of llvmlite for has fused multiplications.
    fuses = features.get("fma") or not llvm.get_process_triple().startswith(("x86", "i"))
    table = quick.table() if quickly and fuses else None
    address = 0 if table is None else table.ctypes.data
    text = (along_rows if by_rows else down_columns)(kind, form, width, address)
    module = llvm.parse_assembly(text)
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    arguments = [pointer, pointer, *[whole] * 7] + [pointer] * (not by_rows)
    name = "rows" if by_rows else "columns"
    kernel = ctypes.CFUNCTYPE(None, *arguments)(engine.get_function_address(name))
    kernel.memory = engine, table  # type: ignore[attr-defined]  # owns the code and what it reads
    return kernel


def _kernel(which: Which, size: int) -> Kernel | None:
    """The kernel, if it is there or if now it pays to compile it."""
    if which not in _kernels:
        _missed[which] = _missed.get(which, 0) + size + _CALL
        if _missed[which] < _PAYS_FROM:
            return None
        try:
            _kernels[which] = compile_kernel(*which)
        except Exception:  # no llvmlite, an unknown processor: NumPy draws the same
            _kernels[which] = None
    return _kernels[which]


@lru_cache(maxsize=1 << 12)
def _in_memory(numbers: tuple[float, ...]) -> ctypes.Array[ctypes.c_double]:
    return (ctypes.c_double * len(numbers))(*numbers)


def _merged(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """Size and stride of axes, as few as there can be."""
    axes: list[tuple[int, int]] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1] == size * stride:
            axes[-1] = (axes[-1][0] * size, stride)
        else:
            axes.append((size, stride))
    return axes or [(1, 1)]


def _offsets(axes: list[tuple[int, int]], columns: range) -> NDArray[np.int64]:
    """Where columns are in memory, in elements from the first one."""
    rest = np.arange(columns.start, columns.stop, dtype=np.int64)
    places = np.zeros(len(columns), np.int64)
    for size, stride in reversed(axes):
        rest, index = np.divmod(rest, size)
        places += index * stride
    return places


def _chunks(region: Region, by_rows: bool) -> Iterator[tuple[range, range]]:
    """Rows and columns of pieces that one call fills; they begin between blocks of four columns."""
    rows, columns = region.rows, region.columns
    if by_rows:
        wide = min(len(columns) + 4, _CHUNK_ELEMENTS)
        high = max(1, _CHUNK_ELEMENTS // wide)
    else:
        high = min(len(rows), _CHUNK_ELEMENTS)
        wide = max(4, min(_CHUNK_COLUMNS, _CHUNK_ELEMENTS // high // 4 * 4))
    aligned = columns.start // 4 * 4
    for row in range(rows.start, rows.stop, high):
        for column in range(aligned, columns.stop, wide):
            yield (
                range(row, min(row + high, rows.stop)),
                range(max(column, columns.start), min(column + wide, columns.stop)),
            )


def fill(region: Region) -> bool:
    """Draw a region into its memory, if a kernel is there or pays.

    Args:
        region: what and where to; its memory is written to.

    Returns:
        Whether it has been drawn.
    """
    out, rows, columns = region.out, region.rows, region.columns
    if max(rows.stop, -(-columns.stop // 4)) > _LAST_BLOCK or not out.flags.aligned:
        return False
    item = out.itemsize
    strides = tuple(stride // item for stride in out.strides)
    axes = _merged(out.shape[1:], strides[1:])
    by_rows = len(axes) == 1 and axes[0][1] == 1 and len(columns) >= 4
    kernel = _kernel((region.kind, region.form, by_rows, region.quickly), out.size)
    if kernel is None:
        return False
    base, apart = out.__array_interface__["data"][0], strides[0]
    numbers = _in_memory(region.numbers)

    def one(high: range, wide: range) -> None:
        before, skipped = (high.start - rows.start) * apart, wide.start - columns.start
        ends = (high.start, high.stop, wide.start, wide.stop, apart)
        if by_rows:
            kernel(base + (before + skipped) * item, numbers, *region.key, *ends)
            return
        offsets = _offsets(axes, range(skipped, skipped + len(wide)))
        kernel(base + before * item, numbers, *region.key, *ends, offsets.ctypes.data)

    chunks = list(_chunks(region, by_rows))
    if out.size < 2 * _CHUNK_ELEMENTS:
        for chunk in chunks:
            one(*chunk)
    else:
        _on_all_cores(one, chunks, min(cores(), out.size // _CHUNK_ELEMENTS))
    return True


def _on_all_cores(
    one: Callable[[range, range], None], chunks: list[tuple[range, range]], threads: int
) -> None:
    """Each thread, this one too, takes the next chunk when it is done with one; empties the list.

    Nothing is handed from thread to thread for a chunk: that would have them wait for the
    interpreter's lock, up to 5 ms at a time.
    """

    def work() -> None:
        while True:
            try:
                chunk = chunks.pop()
            except IndexError:
                return
            one(*chunk)

    with ThreadPoolExecutor(max(1, threads - 1)) as pool:  # starts no thread before it has work
        others = [pool.submit(work) for _ in range(threads - 1)]
        try:
            work()
        finally:
            chunks.clear()
        for other in others:
            other.result()
