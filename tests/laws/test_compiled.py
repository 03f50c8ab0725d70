"""The compiled kernels give the bits of the NumPy reference, wherever they write to."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import BadInputError
from firstlight.laws import compiled, elementwise, sparse
from firstlight.laws.addresses import stream_key
from firstlight.laws.draw import draw, draw_matrix
from firstlight.laws.loops import along_rows, down_columns
from firstlight.laws.philox import words
from firstlight.records.law import (
    Constant,
    Identity,
    Normal,
    Orthogonal,
    Sparse,
    Stacked,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import Layout, plain_layout

TYPES = (np.float32, np.float64, np.float16, np.uint16)
SIZES = st.floats(1e-9, 1e9, allow_nan=False)
MEANS = st.just(0.0) | st.floats(-1e6, 1e6)
CUTS = st.tuples(st.floats(-4, 4), st.floats(1e-3, 12))
LAWS = st.one_of(
    st.builds(Normal, mean=MEANS, std=SIZES | st.just(0.0)),
    st.builds(lambda low, width: Uniform(low=low, high=low + width), MEANS, SIZES),
    st.builds(
        lambda mean, std, cut: TruncatedNormal(
            mean=mean, std=std, low_sigma=cut[0], high_sigma=min(sum(cut), 6.0)
        ),
        MEANS,
        SIZES,
        CUTS,
    ),
    st.builds(Constant, value=MEANS),
)
PLAIN = [Normal(mean=0.1, std=0.5), Uniform(low=-0.2, high=0.7), TruncatedNormal(std=0.3)]


@pytest.fixture(autouse=True)
def _always(monkeypatch):
    monkeypatch.setattr(compiled, "_PAYS_FROM", 0)


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(f"u{values.itemsize}")


class Reference:
    """The NumPy path, while this is open."""

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(compiled, "fill", lambda region: False)
        self.patch.setattr(elementwise._Shape, "quickly", False)

    def __exit__(self, *_):
        self.patch.undo()


def test_the_kernels_can_be_compiled_here():
    assert compiled._kernel(("normal", "float32", True, True), 1) is not None


@settings(max_examples=150, deadline=None)
@given(
    law=LAWS,
    key=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    start=st.tuples(st.integers(0, 2**32 - 100), st.integers(0, 2**34 - 200)),
    shape=st.tuples(st.integers(0, 40), st.integers(0, 70)),
    dtype=st.sampled_from(TYPES),
    transposed=st.booleans(),
)
def test_any_region_of_any_law_in_any_type(law, key, start, shape, dtype, transposed):
    rows, columns = (range(a, a + n) for a, n in zip(start, shape, strict=True))
    made = [
        np.full(shape[::-1], 77, dtype).T if transposed else np.full(shape, 77, dtype)
        for _ in range(2)
    ]
    elementwise.fill(law, key, rows, columns, made[0])
    with Reference():
        elementwise.fill(law, key, rows, columns, made[1])
    assert np.array_equal(bits(made[0]), bits(made[1]))


LAYOUTS = [
    plain_layout(()),
    plain_layout((13,)),
    plain_layout((9, 5, 3, 3)),
    Layout(shape=(3, 5, 6, 7), view=(3, 5, 6, 7), roles=("kernel", "kernel", "in", "out")),
    Layout(shape=(36, 7), view=(3, 12, 7), roles=("qkv", "out", "in")),
    Layout(shape=(7, 36), view=(7, 3, 12), roles=("in", "qkv", "out")),
    Layout(shape=(2, 7, 3, 5), view=(2, 7, 3, 5), roles=("head", "in", "gate", "out")),
    Layout(shape=(4,), view=(4,), roles=("gate",)),
    Layout(shape=(0, 3), view=(0, 3), roles=("out", "in")),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout.roles))
@pytest.mark.parametrize("dtype", TYPES)
def test_any_layout_and_any_strides(layout, dtype):
    for law in PLAIN:
        with Reference():
            expected = draw(law, layout, name="w", seed=3, out=np.empty(layout.shape, dtype))
        assert np.array_equal(
            bits(draw(law, layout, name="w", seed=3, out=np.empty(layout.shape, dtype))),
            bits(expected),
        )
        with_gaps = np.full(tuple(2 * n for n in layout.shape), 77, dtype)
        target = with_gaps[tuple(slice(None, None, 2) for _ in layout.shape)]
        if layout.shape:
            assert draw(law, layout, name="w", seed=3, out=target) is target
            assert np.array_equal(bits(target), bits(expected))
            assert (with_gaps == 77).sum() >= with_gaps.size - target.size
        backwards = np.empty(layout.shape[::-1], dtype).T
        draw(law, layout, name="w", seed=3, out=backwards)
        assert np.array_equal(bits(backwards), bits(expected))


def test_types_of_16_bits_are_rounded_once_more_to_nearest_even():
    import torch

    for law in (*PLAIN, Normal(std=1e-6), Uniform(low=-1e5, high=1e5), Normal(std=1e38)):
        single = torch.from_numpy(draw(law, (64, 100), name="w", seed=1))
        for dtype, own in ((torch.bfloat16, np.uint16), (torch.float16, np.float16)):
            found = draw(law, (64, 100), name="w", seed=1, out=np.empty((64, 100), own))
            expected = single.to(dtype).view(torch.int16).numpy()
            assert np.array_equal(found.view(np.int16), expected)


def test_memory_of_ml_dtypes_is_bfloat16():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    own = draw(PLAIN[0], (5, 7), name="w", seed=1, out=np.empty((5, 7), bfloat16))
    assert np.array_equal(own, draw(PLAIN[0], (5, 7), name="w", seed=1).astype(bfloat16))


def test_ties_and_special_numbers_of_16_bits():
    law = Constant(value=1 + 2**-8)  # half way between two bfloat16: to the even one
    assert draw(law, (2,), name="w", seed=0, out=np.empty(2, np.uint16)).tolist() == [0x3F80] * 2
    law = Constant(value=1 + 3 * 2**-8)
    assert draw(law, (2,), name="w", seed=0, out=np.empty(2, np.uint16)).tolist() == [0x3F82] * 2


def test_stacked_and_structured_laws_write_to_memory_too():
    layout = Layout(shape=(12, 5), view=(3, 4, 5), roles=("gate", "out", "in"))
    law = Stacked(laws=(Normal(std=1), Orthogonal(), Constant(value=2)))
    out = np.empty((12, 5), np.float16)
    draw(law, layout, name="w", seed=0, out=out)
    assert np.array_equal(out, draw(law, layout, name="w", seed=0).astype(np.float16))


@pytest.mark.parametrize("law", PLAIN, ids=str)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_and_chunks_change_nothing(law, threads, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    monkeypatch.setattr(compiled, "_CHUNK_ELEMENTS", 64)
    monkeypatch.setattr(compiled, "_CHUNK_COLUMNS", 8)
    for shape in ((3, 1001), (1001, 3), (40, 51)):
        for out in (np.empty(shape, np.float32), np.empty(shape[::-1], np.float32).T):
            draw(law, shape, name="w", seed=0, out=out)
            part = draw_matrix(law, plain_layout(shape), name="w", seed=0, columns=range(1, 3))
            with Reference():
                expected = draw(law, shape, name="w", seed=0)
            assert np.array_equal(out, expected)
            assert np.array_equal(part, expected[:, 1:3])


def test_asked_threads_are_respected(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1,4")
    assert compiled.cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert compiled.cores() >= 1


def _sum(seed: int) -> float:
    return float(draw(Normal(std=1), (600, 1000), name="w", seed=seed).sum())


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # JAX warns, too
def test_works_after_a_fork_and_within_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    expected = [_sum(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_sum, range(4))) == expected
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_sum, range(4)) == expected


def test_without_a_compiler_numpy_draws_the_same(monkeypatch):
    expected = draw(PLAIN[0], (70, 70), name="w", seed=0)
    monkeypatch.setattr(compiled, "_kernels", {})
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    assert np.array_equal(draw(PLAIN[0], (70, 70), name="w", seed=0), expected)
    assert set(compiled._kernels.values()) == {None}


def test_small_draws_load_nothing_and_large_ones_compile():
    program = """
import sys, numpy as np
import firstlight as fl
for i in range(50):
    fl.draw("he_normal", shape=(30, 30), name=f"w{i}", seed=0)
assert "llvmlite" not in sys.modules and "numba" not in sys.modules
fl.draw("he_normal", shape=(2000, 4000), name="w", seed=0)
assert "llvmlite" in sys.modules and "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("kind", ["uniform", "normal", "truncated"])
@pytest.mark.parametrize("text", [along_rows, down_columns])
def test_vectors_are_multiplied_and_nothing_is_contracted(kind, text):
    llvm = pytest.importorskip("llvmlite.binding")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("x86_64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu="x86-64-v3", features="+fma,+avx2", opt=3)
    assembly = machine.emit_assembly(llvm.parse_assembly(text(kind, "float32", 8)))
    assert re.search(r"vpmuludq\s.*ymm", assembly)
    assert not re.search(r"vfn?m(add|sub)", assembly)
    assert "divsd" not in assembly


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 3), np.int32),
        np.empty((3, 2), np.float32),
        np.broadcast_to(np.float32(0), (2, 3)),
    ],
)
def test_memory_that_does_not_fit_is_refused(out):
    with pytest.raises(BadInputError, match=r"draw: out must be writable, of shape \(2, 3\)"):
        draw(Normal(std=1), (2, 3), name="w", seed=0, out=out)


@pytest.mark.parametrize("rows", [range(7), range(2**32 - 5, 2**32)], ids=str)
@pytest.mark.parametrize("columns", [range(3, 70), range(2**34 - 66, 2**34)], ids=str)
def test_compiled_words_are_those_of_the_stream(rows, columns):
    found = elementwise.stream_words((3, 2**32 - 1), rows, columns)
    assert compiled._kernels["word", "word", True, False] is not None
    assert np.array_equal(found, words((3, 2**32 - 1), rows, columns))
    with Reference():
        assert np.array_equal(elementwise.stream_words((3, 2**32 - 1), rows, columns), found)


def _sparse(rows: int, columns: int) -> np.ndarray:
    """Sparse(zero_fraction=0.7, std=1) at w, 3 as docs/addresses.md words it."""
    values = draw(Normal(std=1), (rows, columns), name="w", seed=3)
    drawn = words(stream_key(3, "w", stream="pattern"), range(rows), range(columns))
    zeros = np.argsort(drawn, axis=1, kind="stable")[:, round(0.3 * columns) :]
    np.put_along_axis(values, zeros, 0, axis=1)
    return values


def _identity(rows: int, columns: int) -> np.ndarray:
    """Identity(gain=-0.3), whose zeros are −0 as those of the product are."""
    return (-0.3 * np.eye(rows, columns)).astype(np.float32)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("law", "expected"),
    [(Sparse(zero_fraction=0.7, std=1), _sparse), (Identity(gain=-0.3), _identity)],
)
def test_matrices_are_written_straight_to_any_memory(law, expected, dtype, monkeypatch):
    monkeypatch.setattr(sparse, "_STRIP_ELEMENTS", 64)
    rounded = np.empty((9, 45), dtype)
    elementwise.rounded_into(rounded, expected(9, 45))
    with_gaps = np.full((18, 90), 77, dtype)
    for out in (with_gaps[::2, ::2], np.empty((45, 9), dtype).T, np.empty((9, 45), dtype)):
        draw(law, (9, 45), name="w", seed=3, out=out)
        assert np.array_equal(bits(out), bits(rounded))
    assert (with_gaps == 77).sum() >= with_gaps.size - rounded.size


def test_equal_words_keep_the_first_columns(monkeypatch):
    tied = np.array([[5, 1, 5, 5], [9, 9, 9, 9], [3, 2, 1, 0]], np.uint32)
    monkeypatch.setattr(sparse, "stream_words", lambda key, rows, columns: tied)
    found = sparse._kept((0, 0), range(3), 4, 2)
    assert found.astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]
