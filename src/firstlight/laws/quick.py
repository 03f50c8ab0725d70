"""The normal quantile by a table, wherever rounding to binary32 hides the difference.

A value is computed here from a cubic polynomial, without logarithm or division, to a relative error
below 2⁻³⁸. Rounded to the 24 bits of binary32 that is the reference's number, unless a point
half-way between two such numbers lies within the error: one value in 8,192 is so close. `kernels`
draws the block of such a value again with the reference's own steps. So no bit changes, and the
table is no part of the specification: it is made of the reference's values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.quantile import Reals, over_fraction
from firstlight.laws.vectors import Code, Vector

ERROR_BITS = 38
"""The error is at most 2⁻³⁸ of a value. `tests/laws/test_quick.py` measures it."""

_NEAR = 1 << (53 - ERROR_BITS)
"""The same in units of a double's last place, which is from 2⁻⁵³ to 2⁻⁵² of it."""

_DROPPED = 1 << 29
"""Doubles between neighbouring binary32 numbers."""

_OCTAVES, _PIECES, _TERMS = 32, 128, 4
"""t = 1 − |fraction| is from 2⁻³² to 1; each octave has 128 pieces with four coefficients."""

_SHIFT = 52 - 7 - 5
"""A double's bits shifted by it: exponent, 7 bits of the piece, and 5 for the 32 bytes of one."""

_FIRST = (1023 - _OCTAVES) << 12
"""What the bits of 2⁻³² are then."""


@lru_cache(maxsize=1)
def table() -> Reals:
    """Coefficients of z/fraction in powers of t, for the pieces of each octave; 131 kB.

    A cubic through four Chebyshev nodes of each piece, found in s = t·2ᵏ with 1 ≤ s < 2.
    """
    octave = 2.0 ** -np.arange(_OCTAVES, 0, -1)[:, None, None]
    middle = (1 + (np.arange(_PIECES) + 0.5) / _PIECES)[:, None]
    nodes = np.cos(np.pi * (np.arange(_TERMS) + 0.5) / _TERMS)
    values = over_fraction(octave * (middle + nodes / (2 * _PIECES)))
    fitted = values @ np.linalg.inv(np.vander(nodes, increasing=True)).T
    made = np.zeros((_OCTAVES, _PIECES, _TERMS))
    for power in range(_TERMS - 1, -1, -1):  # Horner's rule in 2·128·(s − middle)
        by_s = np.zeros_like(made)
        by_s[..., 1:] = made[..., :-1]
        made = 2 * _PIECES * (by_s - middle * made)
        made[..., 0] += fitted[..., power]
    memory = np.empty(made.size + 8)
    begin = -memory.ctypes.data // 8 % 8  # a row lies in one line of the cache
    aligned = memory[begin : begin + made.size].reshape(made.shape)
    aligned[...] = made / octave ** np.arange(_TERMS)
    return aligned


def usable(kind: str, numbers: Sequence[float]) -> bool:
    """Whether all values of a law stay where the error is bounded and binary32 has 24 bits.

    Args:
        kind: the quantile function.
        numbers: the law's, in the order of `kernels.NUMBERS`.

    Returns:
        False for laws with a location, whose sum could cancel all but the error; for values that
        could be subnormal or infinite; and for cuts that are not symmetric.
    """
    if kind not in ("normal", "truncated"):
        return False
    scale, location, middle, half = numbers[:4]
    if location or not 2.0**-80 <= scale <= 2.0**80:
        return False
    return kind == "normal" or (not middle and 2.0**-10 <= half <= 1.0 - 2.0**-31)


def quantile(fraction: Reals) -> Reals:
    """The standard normal quantile of signed fractions, to `ERROR_BITS`."""
    rest = np.abs(fraction).reshape(-1)
    np.subtract(1.0, rest, out=rest)
    pieces = rest.view(np.int64) >> np.int64(_SHIFT + 5)
    pieces -= _FIRST >> 5
    c0, c1, c2, c3 = table().reshape(-1, _TERMS).take(pieces, axis=0).T
    value = c3 * rest
    for coefficient in (c2, c1):
        value += coefficient
        value *= rest
    value += c0
    value *= fraction.reshape(-1)
    z: Reals = value.reshape(fraction.shape)
    return z


def near_half_way(values: Reals) -> NDArray[np.bool_]:
    """Which values may round to another binary32 than the reference's."""
    above = values.view(np.int64) + (_NEAR - _DROPPED // 2)
    above &= _DROPPED - 1
    return above <= 2 * _NEAR


def over_fractions(rests: list[Vector], address: int) -> list[Vector]:
    """z/fraction for t = 1 − |fraction|, to `ERROR_BITS`, from the table at an address."""
    return [_over_fraction(rest, address - _FIRST) for rest in rests]


def _over_fraction(rest: Vector, address: int) -> Vector:
    c0, c1, c2, c3 = _gathered((rest.to("i64") >> _SHIFT) & ~31, address)
    return c3.fused(rest, c2).fused(rest, c1).fused(rest, c0)


def _gathered(offset: Vector, address: int) -> list[Vector]:
    """The four coefficients at each lane's offset: rows are read, and four at a time turned."""
    code = offset.code
    rows: list[str] = []
    for lane in range(code.width):
        one = code.emit("i64", f"extractelement {offset}, i32 {lane}").name
        place = code.emit("i64", f"add i64 {one}, {address}").name
        rows.append(code.emit("ptr", f"inttoptr i64 {place} to ptr").name)
    columns: list[Vector] = []
    for half in range(2):
        quarters = [_turned(code, rows[i : i + 4], half) for i in range(0, code.width, 4)]
        columns += [_joined(code, list(parts)) for parts in zip(*quarters, strict=True)]
    return columns


def _turned(code: Code, rows: list[str], half: int) -> list[str]:
    """Two coefficients of four rows, as two vectors of four lanes."""
    parts = []
    for row in rows:
        at = code.emit("ptr", f"getelementptr double, ptr {row}, i64 {2 * half}").name
        parts.append(code.emit("", f"load <2 x double>, ptr {at}, align 16").name)
    even, odd = (
        code.emit(
            "",
            f"shufflevector <2 x double> {one}, <2 x double> {two},"
            " <4 x i32> <i32 0, i32 1, i32 2, i32 3>",
        ).name
        for one, two in ((parts[0], parts[2]), (parts[1], parts[3]))
    )
    return [
        code.emit(
            "",
            f"shufflevector <4 x double> {even}, <4 x double> {odd},"
            f" <4 x i32> <i32 {i}, i32 {4 + i}, i32 {2 + i}, i32 {6 + i}>",
        ).name
        for i in (0, 1)
    ]


def _joined(code: Code, parts: list[str]) -> Vector:
    """One or two vectors of four lanes as one."""
    if len(parts) == 1:
        return Vector(code=code, kind="double", name=parts[0])
    order = ", ".join(f"i32 {i}" for i in range(8))
    first, second = parts
    joined = f"shufflevector <4 x double> {first}, <4 x double> {second}, <8 x i32> <{order}>"
    return code.emit("double", joined)


def doubtful(values: list[Vector]) -> str:
    """The name of a bit: whether any value may round to another binary32 than the reference's."""
    code, limit = values[0].code, 2 * _NEAR
    near = []
    for value in values:
        above = (value.to("i64") + (_NEAR - _DROPPED // 2)) & (_DROPPED - 1)
        near.append(code.emit("i1", f"icmp sle {above}, {code.constant('i64', limit).name}"))
    some = near[0]
    for other in near[1:]:
        some = some | other
    whole = code.emit("i1", f"bitcast {some} to i{code.width}").name
    return code.emit("i1", f"icmp ne i{code.width} {whole}, 0").name
