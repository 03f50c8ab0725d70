"""Isometries drawn in blocks are the product of single reflectors, small and large."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.laws import isometry as module
from firstlight.laws.elementwise import standard_normals
from firstlight.laws.isometry import isometry
from firstlight.laws.philox import words
from firstlight.laws.quantile import normal_quantile, signed_fraction

KEY = (5, 7)


def one_by_one(tall: int, narrow: int) -> np.ndarray:
    """As docs/addresses.md says it: H₁H₂ ⋯ applied one after the other, in binary64."""
    normals = normal_quantile(signed_fraction(words(KEY, range(tall), range(narrow))))
    q = np.eye(tall, narrow)
    signs = np.empty(narrow)
    for j in reversed(range(narrow)):
        x = normals[j:, j]
        beta = -np.copysign(np.sqrt((x**2).sum()), x[0])
        v = x / (x[0] - beta)
        v[0] = 1
        q[j:] -= np.outer((beta - x[0]) / beta * v, v @ q[j:])
        signs[j] = np.sign(beta)
    return q * signs


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (9, 4), (260, 256), (257, 257), (300, 270)])
def test_blocks_are_the_product_of_reflectors(shape):
    expected = one_by_one(*shape)
    assert np.abs(isometry(*shape, KEY) - expected).max() < 1e-13
    if shape[0] != shape[1]:
        assert np.abs(isometry(*shape[::-1], KEY) - expected.T).max() < 1e-13


def test_large_ones_in_single_precision_are_within_what_the_page_promises(monkeypatch):
    monkeypatch.setattr(module, "_SINGLE_FROM", 1)
    single = isometry(500, 300, KEY)
    assert single.dtype == np.float32
    # 1e-6 of the gain is promised; rounding an element near 1 costs 6e-8.
    assert np.abs(single - one_by_one(500, 300)).max() < 5e-7
    wide = single.astype(np.float64)
    assert np.abs(wide.T @ wide - np.eye(300)).max() < 5e-7


def test_normals_that_structured_laws_use_are_not_rounded(monkeypatch):
    from firstlight.laws import compiled

    expected = normal_quantile(signed_fraction(words(KEY, range(3, 70), range(5, 99))))
    for pays in (0, 1 << 40):
        monkeypatch.setattr(compiled, "_PAYS_FROM", pays)
        monkeypatch.setattr(compiled, "_kernels", {})
        assert np.array_equal(standard_normals(KEY, range(3, 70), range(5, 99)), expected)
