"""The quick quantile is near enough to the reference, and where it is not, the reference draws."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.laws import compiled, elementwise, quick
from firstlight.laws.loops import along_rows
from firstlight.laws.philox import words
from firstlight.laws.quantile import over_fraction, signed_fraction
from firstlight.records.law import Normal, TruncatedNormal, Uniform

LAWS = [
    Normal(std=0.02),
    Normal(std=1e-20),
    TruncatedNormal(std=0.7),
    TruncatedNormal(std=2.0, low_sigma=-0.01, high_sigma=0.01),
    TruncatedNormal(std=1.0, low_sigma=-6.0, high_sigma=6.0),
]


def test_the_table_is_within_its_error_in_every_piece():
    rng = np.random.default_rng(0)
    pieces = quick.table().reshape(-1, 4)
    octave, piece = np.divmod(np.arange(len(pieces)), 128)
    within = np.concatenate(
        [np.zeros((len(pieces), 1)), rng.uniform(size=(len(pieces), 200))], axis=1
    )
    t = (1 + (piece[:, None] + within) / 128) * 2.0 ** (octave[:, None] - 32)
    bits = t.view(np.int64) >> quick._SHIFT & ~31
    assert np.array_equal((bits - quick._FIRST) // 32, np.indices(t.shape)[0])
    value = np.zeros_like(t)
    for coefficients in pieces.T[::-1]:
        value = value * t + coefficients[:, None]
    error = np.abs(value / over_fraction(t) - 1).max()
    # 2⁻⁵⁰ for the products after it, which the reference rounds as well.
    assert 2.0**-41 < error < 2.0**-quick.ERROR_BITS - 2.0**-50


def _drawn(law, quickly: bool, dtype, by_rows: bool, monkeypatch, seed: int = 5) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "_PAYS_FROM", 0)
        patch.setattr(compiled, "_kernels", {})
        if not quickly:
            patch.setattr(quick, "usable", lambda kind, numbers: False)
        out = np.empty((1000, 2000) if by_rows else (2000, 1000), dtype)
        out = out if by_rows else out.T
        elementwise.fill(law, (seed, 1), range(1000), range(2000), out)
        assert [which[3] for which in compiled._kernels] == [quickly]
        assert None not in compiled._kernels.values()  # it could be compiled
        return np.ascontiguousarray(out).view(f"u{out.itemsize}")


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("by_rows", [True, False])
def test_no_bit_changes(law, by_rows, monkeypatch):
    found, expected = (
        _drawn(law, quickly, np.float32, by_rows, monkeypatch) for quickly in (True, False)
    )
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.uint16])
def test_no_bit_changes_in_other_types(dtype, monkeypatch):
    for law in LAWS[::2]:
        assert np.array_equal(
            _drawn(law, True, dtype, True, monkeypatch),
            _drawn(law, False, dtype, True, monkeypatch),
        )


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_no_bit_changes_in_numpy(law):
    shape, drawn = elementwise._shape(law), words((7, 8), range(300), range(4001))
    expected = shape.quantiles(signed_fraction(drawn)) * shape.scale
    assert np.array_equal(shape.values(drawn).astype(np.float32), expected.astype(np.float32))
    assert (shape.values(drawn) != expected).any()  # it did go by the table


def test_without_the_second_draw_some_bits_would_change(monkeypatch):
    expected = _drawn(LAWS[0], False, np.float32, True, monkeypatch)
    monkeypatch.setattr(quick, "_NEAR", -1)
    found = _drawn(LAWS[0], True, np.float32, True, monkeypatch)
    assert 2 < (found != expected).sum() < found.size / 2**12


def test_laws_that_could_leave_the_bound_are_not_quick():
    refused = [
        Normal(mean=0.1, std=1.0),
        Normal(std=0.0),
        Normal(std=1e-30),
        Normal(std=1e30),
        Uniform(low=-1.0, high=1.0),
        TruncatedNormal(std=1.0, low_sigma=-1.0, high_sigma=2.0),
        TruncatedNormal(std=1.0, low_sigma=-1e-4, high_sigma=1e-4),
    ]
    for law in refused:
        shape = elementwise._shape(law)
        assert not quick.usable(shape.kind, shape.numbers), law
    for law in LAWS:
        shape = elementwise._shape(law)
        assert quick.usable(shape.kind, shape.numbers), law


def test_a_processor_without_fused_multiplications_gets_the_reference():
    assert "llvm.fma" not in along_rows("normal", "float32", 8)
    assert "llvm.fma" in along_rows("normal", "float32", 8, quick.table().ctypes.data)
