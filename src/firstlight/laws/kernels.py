"""The elementwise laws as machine code: bit for bit the arithmetic of `philox` and `quantile`.

A vector holds one number for each of several counters. Everything stays in registers from the
counter to the rounded value. The four words of a counter go through the quantile function side by
side, since one chain of dependent operations would leave the processor waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from firstlight.laws import quick
from firstlight.laws.quantile import _DENOMINATOR, _LN2, _LOG_SERIES, _NUMERATOR, _SQRT_HALF_BITS
from firstlight.laws.vectors import Code, Vector

Kind = Literal["uniform", "normal", "truncated", "word"]
Form = Literal["float32", "float64", "float16", "bfloat16", "exact", "word"]

NUMBERS = ("scale", "location", "middle", "half", "low", "high")
"""What a law is to a kernel: doubles, in this order."""

ELEMENT = {"float32": "float", "float64": "double", "exact": "double"}
ELEMENT |= {"float16": "i16", "bfloat16": "i16", "word": "i32"}
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
_TWO52, _TWO21 = 0x4330000000000000, 0x4140000000000000
"""Bits of 2⁵² and 2²¹: an integer m below 2³², or-ed in, makes 2⁵² + m and 2²¹ + m·2⁻³¹."""

Lanes = list[Vector]


def philox(c0: Vector, c2: Vector, keys: Sequence[tuple[Vector, Vector]]) -> Lanes:
    """Ten rounds; 32-bit words in 64-bit lanes."""
    c1 = c3 = c0.code.constant("i64", 0)
    c0, c2 = c0 & 0xFFFFFFFF, c2 & 0xFFFFFFFF  # they are no more: one multiplication is enough
    for k0, k1 in keys:
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> 32) ^ c1 ^ k0,
            product1 & 0xFFFFFFFF,
            (product0 >> 32) ^ c3 ^ k1,
            product0 & 0xFFFFFFFF,
        )
    return [c0, c1, c2, c3]


def _fractions(words: Lanes) -> tuple[Lanes, Lanes]:
    """Sizes x = (m + ½)·2⁻³¹ and signed fractions; or-ed into the bits of 2²¹, m counts 2⁻³¹."""
    sizes = [((word & 0x7FFFFFFF) | _TWO21).to("double") - (2.0**21 - 2.0**-32) for word in words]
    signs = [(word & 0x80000000) << 32 for word in words]
    signed = [(x.to("i64") ^ sign).to("double") for x, sign in zip(sizes, signs, strict=True)]
    return sizes, signed


def _step(value: Lanes, w: Lanes, coefficient: float) -> Lanes:
    """One step of Horner's rule."""
    products = [v * x for v, x in zip(value, w, strict=True)]
    return [product + coefficient for product in products]


def _minus_log(y: Lanes) -> Lanes:
    """−ln y.

    (bits − H) >> 52 is an arithmetic shift, which few processors have for vectors: with 2⁶³ added
    it is a logical one, and its result e + 2048. What the shift drops, plus H, is the mantissa.
    """
    half_way = int(_SQRT_HALF_BITS)
    shifted = [x.to("i64") + ((1 << 63) - half_way) for x in y]
    exponent = [((t >> 52) | _TWO52).to("double") - (2.0**52 + 2048.0) for t in shifted]
    mantissa = [((t & (1 << 52) - 1) + half_way).to("double") for t in shifted]
    s = [(m - 1.0) / (m + 1.0) for m in mantissa]
    square = [x * x for x in s]
    series = [x.code.constant("double", _LOG_SERIES[-1]) for x in s]
    for coefficient in _LOG_SERIES[-2::-1]:
        series = _step(series, square, coefficient)
    return [e * -_LN2 - p * x for p, x, e in zip(series, s, exponent, strict=True)]


def _normal(sizes: Lanes, signed: Lanes) -> Lanes:
    w = _minus_log([(1.0 - x) * (x + 1.0) for x in sizes])
    above = [u.code.constant("double", _NUMERATOR[-1]) for u in w]
    below = [u.code.constant("double", _DENOMINATOR[-1]) for u in w]
    above = _step(above, w, _NUMERATOR[-2])
    for n, d in zip(_NUMERATOR[-3::-1], _DENOMINATOR[-2::-1], strict=True):
        above, below = _step(above, w, n), _step(below, w, d)
    ratio = [n / d for n, d in zip(above, below, strict=True)]
    return [z * u for z, u in zip(ratio, signed, strict=True)]


def _bfloat16(single: Vector) -> Vector:
    """The upper half of the bits, rounded to nearest even."""
    bits = single.to("i32")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).to("i16", "trunc")


def _float16(single: Vector) -> Vector:
    """Rounded to nearest even; below 2⁻¹⁴, adding ½ does it; from 2¹⁶ all is infinite."""
    bits = single.to("i32")
    size = bits & 0x7FFFFFFF
    usual = (size + 0xC8000FFF + ((size >> 13) & 1)) >> 13
    tiny = (size.to("float") + 0.5).to("i32") - 0x3F000000
    rounded = usual.chosen(size, "ult", 0x38800000, tiny)
    rounded = rounded.chosen(size, "uge", 0x47800000, size.code.constant("i32", 0x7C00))
    return (rounded | ((bits >> 16) & 0x8000)).to("i16", "trunc")


def _stored(value: Vector, form: Form) -> Vector:
    if form == "exact":
        return value
    single = value.to("float", "fptrunc")
    if form == "float64":
        return single.to("double", "fpext")
    if form == "bfloat16":
        return _bfloat16(single)
    return _float16(single) if form == "float16" else single


def elements(kind: Kind, form: Form, words: Lanes, law: dict[str, Vector]) -> Lanes:
    """The elements of a law, by the reference's own steps."""
    if kind == "word":  # the stream's own bits
        return [word.to("i32", "trunc") for word in words]
    sizes, z = _fractions(words)
    if kind == "truncated":
        z = [law["half"] * u + law["middle"] for u in z]
        sizes = [(u.to("i64") & (1 << 63) - 1).to("double") for u in z]
    if kind != "uniform":
        z = _normal(sizes, z)
    if kind == "truncated":
        z = _cut(z, law)
    return [_stored(x * law["scale"] + law["location"], form) for x in z]


def quick_elements(
    kind: Kind, form: Form, words: Lanes, law: dict[str, Vector], table: int
) -> tuple[Lanes, str]:
    """The elements of a law that `quick.usable` admits; whether any is doubtful."""
    sizes = [((word & 0x7FFFFFFF) | _TWO21).to("double") - (2.0**21 - 2.0**-32) for word in words]
    if kind == "truncated":
        sizes = [law["half"] * x for x in sizes]
    rests = [1.0 - x for x in sizes]
    z = [r * x for r, x in zip(quick.over_fractions(rests, table), sizes, strict=True)]
    if kind == "truncated":
        z = [x.chosen(x, "ogt", law["high"], law["high"]) for x in z]
    values = [x * law["scale"] for x in z]
    signs = [(word & 0x80000000) << 32 for word in words]
    signed = [(x.to("i64") ^ sign).to("double") for x, sign in zip(values, signs, strict=True)]
    return [_stored(x, form) for x in signed], quick.doubtful(values)


def _cut(z: Lanes, law: dict[str, Vector]) -> Lanes:
    z = [x.chosen(x, "olt", law["low"], law["low"]) for x in z]
    return [x.chosen(x, "ogt", law["high"], law["high"]) for x in z]


def loaded(code: Code, kind: Kind) -> tuple[dict[str, Vector], list[tuple[Vector, Vector]]]:
    """The law's numbers and the ten keys, in each lane."""
    law = {}
    needed = {"truncated": NUMBERS, "word": ()}.get(kind, NUMBERS[:2])
    for index, name in enumerate(needed):
        code.lines.append(f"  %at_{name} = getelementptr double, ptr %numbers, i64 {index}")
        code.lines.append(f"  %{name} = load double, ptr %at_{name}")
        law[name] = code.splat("double", f"%{name}")
    keys = []
    k0, k1 = code.splat("i64", "%k0"), code.splat("i64", "%k1")
    for _ in range(10):
        keys.append((k0 & 0xFFFFFFFF, k1 & 0xFFFFFFFF))
        k0, k1 = (k0 + _INCREMENTS[0]) & 0xFFFFFFFF, (k1 + _INCREMENTS[1]) & 0xFFFFFFFF
    return law, keys


def counted(code: Code, first: str) -> Vector:
    """The numbers from ``first`` on, one in each lane."""
    steps = ", ".join(f"i64 {lane}" for lane in range(code.width))
    return code.splat("i64", first) + Vector(code=code, kind="i64", name=f"<{steps}>")


def woven(code: Code, lanes: Lanes) -> tuple[str, str]:
    """Four vectors as one in the order of columns: its type and name."""
    width, kind = code.width, lanes[0].kind
    pair = ", ".join(f"i32 {i}" for i in range(2 * width))
    halves = [
        code.emit(kind, f"shufflevector {a}, {b}, <{2 * width} x i32> <{pair}>").name
        for a, b in (lanes[:2], lanes[2:])
    ]
    order = ", ".join(f"i32 {j * width + lane}" for lane in range(width) for j in range(4))
    two = f"<{2 * width} x {kind}>"
    whole = code.emit(
        kind,
        f"shufflevector {two} {halves[0]}, {two} {halves[1]}, <{4 * width} x i32> <{order}>",
    )
    return f"<{4 * width} x {kind}>", whole.name
