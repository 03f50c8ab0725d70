"""Numbers in words: only the digits that the measurement supports."""

from __future__ import annotations

import math
import re

_SUPERSCRIPT = str.maketrans("-+0123456789", "⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹")


def _exponent(value: float) -> int:
    """Decimal exponent of the leading digit."""
    return math.floor(math.log10(abs(value)))


def number(value: float | None, error: float | None = None, digits: int = 3) -> str:
    """A number with the digits that its standard error supports, at most four.

    The last digit shown is the leading digit of the error. Without an error ``digits`` are shown.

    Args:
        value: any float; None prints as a dash.
        error: its standard error, in the same unit.
        digits: significant digits where there is no error.

    Returns:
        ``0.98``, ``4.6e-12``, ``0``, ``NaN``, ``-inf`` or ``–``.

    >>> number(0.98342, 0.0123), number(4.631e-12, 2e-13), number(2.302585), number(0.0)
    ('0.98', '4.6e-12', '2.30', '0')
    """
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if error is not None and math.isfinite(error) and error > 0:
        digits = min(4, max(1, _exponent(value) - _exponent(error) + 1))
    scientific = f"{value:.{digits - 1}e}"
    exponent = int(scientific.partition("e")[2])
    if not -3 <= exponent < 5:
        mantissa, _, power = scientific.partition("e")
        return f"{mantissa}e{int(power)}"
    decimals = digits - 1 - exponent
    return f"{round(value, decimals):.{max(0, decimals)}f}"


def counted(value: float) -> str:
    """A number with three digits, but counts as counts.

    >>> counted(300.0), counted(-0.0), counted(0.3), counted(2.0e7)
    ('300', '0', '0.300', '2.00e7')
    """
    if abs(value) < 1e5 and value == round(value):
        return str(round(value))
    return number(value)


def with_error(value: float, error: float | None) -> str:
    """``0.98 ± 0.01``: a number and its standard error, or the number alone.

    >>> with_error(0.98342, 0.0123), with_error(0.5, None)
    ('0.98 ± 0.01', '0.500')
    """
    shown = number(value, error)
    if error is None or not math.isfinite(error) or error <= 0 or not math.isfinite(value):
        return shown
    return f"{shown} ± {number(error, digits=1)}"


def score(mean: float, interval: tuple[float, float], *, percent: bool) -> str:
    """A race's mean with half the width of its interval: ``92.1 ± 0.8 %``.

    >>> score(0.9213, (0.9133, 0.9293), percent=True)
    '92.1 ± 0.8 %'
    >>> score(0.51234, (float("nan"), float("nan")), percent=False)
    '0.512'
    """
    scale, unit = (100.0, " %") if percent else (1.0, "")
    value, half = mean * scale, (interval[1] - interval[0]) / 2 * scale
    if not math.isfinite(value):
        return number(value)
    if not math.isfinite(half) or half <= 0:
        return f"{number(value)}{unit}"
    decimals = max(0, -_exponent(float(f"{half:.0e}")))
    if decimals > 4:
        return f"{number(value, half)} ± {number(half, digits=1)}{unit}"
    return f"{value:.{decimals}f} ± {half:.{decimals}f}{unit}"


def typeset(text: str) -> str:
    """A formatted number as print has it: exponents, minus signs, no line break within.

    >>> [typeset(n).replace(chr(160), "~") for n in ("4.6e-12", "-0.5", "0.98 ± 0.01", "9 %")]
    ['4.6~×~10⁻¹²', '−0.5', '0.98~±~0.01', '9~%']
    >>> typeset("-inf is infinite")
    '−∞ is infinite'
    """
    text = re.sub(
        r"(\d)e([+-]?\d+)", lambda m: f"{m[1]} × 10{str(int(m[2])).translate(_SUPERSCRIPT)}", text
    )
    text = re.sub(r"(?<![\w⁻])-(?=[\d.i])", "−", text)
    text = re.sub(r"\binf\b", "∞", text)
    return re.sub(r"(?<=[×±]) | (?=[×±%])", "\N{NO-BREAK SPACE}", text)


def power_of_ten(exponent: int) -> str:
    """The label of a tick on a log axis.

    >>> power_of_ten(0), power_of_ten(-1), power_of_ten(-12)
    ('1', '0.1', '10⁻¹²')
    """
    plain = {-2: "0.01", -1: "0.1", 0: "1", 1: "10", 2: "100"}
    return plain.get(exponent, f"10{str(exponent).translate(_SUPERSCRIPT)}")
