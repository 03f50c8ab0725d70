"""Kernels: closed forms to 1e-9, printed values, Price's theorem, the diagonal."""

from __future__ import annotations

import math

import pytest
from closed_forms import KERNELS as CLOSED
from theory_tables import KERNEL_POINTS, KERNELS, printed

from firstlight.records.network import ActivationRef
from firstlight.theory.activations import activation_names
from firstlight.theory.gains import moments
from firstlight.theory.mean_field import derivative_kernel, kernel

POINTS = (
    (1.0, 1.0, 0.3), (1.0, 1.0, -0.6), (0.5, 2.0, 0.7), (0.1, 6.0, 0.0), (4.0, 4.0, 0.95),
    (1.0, 1.0, 0.9999), (1.0, 3.0, -0.9999), (16.0, 9.0, 0.5), (0.01, 0.02, 0.99),
)  # fmt: skip


@pytest.mark.parametrize("point", POINTS, ids=str)
@pytest.mark.parametrize("key", CLOSED, ids=str)
def test_closed_forms(key, point):
    act = ActivationRef(name=key[0], parameter=key[1])
    value, slope = CLOSED[key](*point)
    assert kernel(act, *point) == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert derivative_kernel(act, *point) == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("row", KERNELS, ids=lambda row: row[0])
def test_printed_values(row):
    act = ActivationRef(name=row[0], parameter=None if row[1] == "-" else float(row[1]))
    for index, point in enumerate(KERNEL_POINTS):
        value, tolerance = printed(row[2 + 2 * index])
        assert kernel(act, *point) == pytest.approx(value, rel=0, abs=tolerance)
        slope, tolerance = printed(row[3 + 2 * index])
        assert derivative_kernel(act, *point) == pytest.approx(slope, rel=0, abs=tolerance)


@pytest.mark.parametrize("name", activation_names())
def test_price(name):
    # ∂K/∂q_ab = K̇, by a central difference of fourth order. Away from |c| = 1 kernels are smooth
    # in q_ab even for kinked φ: h⁴ and rounding/h both give about 1e-10.
    a, b, c, h = 0.8, 1.7, 0.4, 4e-3
    root = math.sqrt(a * b)

    def at(step: float) -> float:
        return kernel(name, a, b, c + step / root)

    difference = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert derivative_kernel(name, a, b, c) == pytest.approx(difference, rel=2e-8, abs=1e-10)


@pytest.mark.parametrize("name", activation_names())
@pytest.mark.parametrize("q", [0.2, 1.0, 5.0])
def test_diagonal_is_the_second_moment(name, q):
    got = moments(name, q)
    assert kernel(name, q, q, 1.0) == pytest.approx(got.second_moment, rel=1e-12)
    assert derivative_kernel(name, q, q, 1.0) == pytest.approx(
        got.derivative_second_moment, rel=1e-12
    )
    assert kernel(name, q, q, 0.0) == pytest.approx(got.mean**2, rel=1e-11, abs=1e-15)


@pytest.mark.parametrize("name", ["relu", "selu", "hardtanh", "gelu", "softsign"])
def test_perfect_correlation_is_the_limit(name):
    # 1 − c = 1e-10 changes K by at most about q·E φ′²·1e-10.
    for sign in (1.0, -1.0):
        limit = kernel(name, 1.0, 2.0, sign)
        assert kernel(name, 1.0, 2.0, sign * (1 - 1e-10)) == pytest.approx(limit, abs=3e-10)
        assert derivative_kernel(name, 1.0, 1.0, sign * (1 - 1e-10)) == pytest.approx(
            derivative_kernel(name, 1.0, 1.0, sign), abs=2e-5
        )
