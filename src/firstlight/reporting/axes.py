"""Axes of exhibits' pictures: powers of ten, titles and names that find room on a phone."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from firstlight.reporting.numbers import counted, number, power_of_ten, typeset

X_SIGNS, Y_SIGNS, MAP_SIGNS = 46, 36, 32
"""Signs of a title for which a phone has room: along a chart, up its side, over a map."""

PLOT, MAP = 300, 220
"""Pixels of a plot, and of a map beside its rows' names, on a phone."""
_SIGN = 6.0
"""Pixels of a sign at the axes' size."""


def log_ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """Ticks of a log axis from ``low`` to ``high``, both positive: powers of ten, or 1, 2 and 5.

    >>> log_ticks(3e-9, 2.0)
    [(1e-08, '10⁻⁸'), (1e-06, '10⁻⁶'), (0.0001, '10⁻⁴'), (0.01, '0.01'), (1.0, '1')]
    >>> [label for _, label in log_ticks(16, 128)]
    ['20', '50', '100']
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first >= 2:
        step = math.ceil((last - first + 1) / most)
        exponents = [k for k in range(first, last + 1) if k % step == 0]
        return [(10.0**k, power_of_ten(k)) for k in exponents]
    steps = (1, 2, 5) if last - first >= 0 or high / low > 4 else range(1, 10)
    values = [m * 10.0**k for k in range(first - 1, last + 1) for m in steps]
    inside = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    return [(v, typeset(number(v, digits=1))) for v in inside] or [(low, typeset(counted(low)))]


def far_ticks(low: float, high: float) -> tuple[list[float], str]:
    """Ticks of a plain axis whose numbers are tiny or huge, and the expression that labels them.

    Plain figures would fill the axis with noughts. The first and the last tick are its ends.

    >>> ticks, labels = far_ticks(-9e-8, 9.5e-8)
    >>> [f"{tick:.0e}" for tick in ticks]
    ['-1e-07', '-5e-08', '0e+00', '5e-08', '1e-07']
    """
    rough = (high - low) / 4 or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough * (1 - 1e-9))
    counts = range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
    words = {str(k): typeset(number(k * step, digits=2)) for k in counts}
    return [
        k * step for k in counts
    ], f"{json.dumps(words)}[toString(round(datum.value / {step!r}))]"


def log_labels(ticks: Sequence[tuple[float, str]]) -> str:
    """The expression that labels these ticks; each has one significant digit."""
    words = {f"{v:.0e}": label for v, label in ticks}
    # JavaScript has no leading zero in an exponent.
    keyed = {_short(key): label for key, label in words.items()}
    return f"{json.dumps(keyed)}[format(datum.value, '.0e')] || datum.label"


def _short(scientific: str) -> str:
    digit, _, power = scientific.partition("e")
    return f"{digit}e{power[0]}{int(power[1:])}"


def wrapped(title: str, signs: int) -> str | list[str]:
    """A title in as many lines as it needs.

    >>> wrapped("step", 10), wrapped("variance of the pre-activations", 20)
    ('step', ['variance of the', 'pre-activations'])
    """
    lines = textwrap.wrap(title, signs, break_on_hyphens=False) or [""]
    return lines if len(lines) > 1 else title


def word_axis(title: str, words: Sequence[str], pixels: int = PLOT) -> dict[str, Any]:
    """An axis of words: in several lines, or aslant where a phone has no room for them upright."""
    room = pixels / max(1, len(words)) / _SIGN
    lines = {word: textwrap.wrap(word, max(8, int(room)), break_long_words=False) for word in words}
    longest = max((len(line) for parts in lines.values() for line in parts), default=0)
    options: dict[str, Any] = {"title": wrapped(title, int(pixels / _SIGN)), "labelAngle": 0}
    if all(_numeric(word) for word in words):
        options["labelOverlap"] = True  # of numbers some can be left out
    elif longest > room:
        options |= {"labelAngle": -40, "labelAlign": "right", "labelOverlap": False}
        options |= {"labelLimit": 150, "labelBaseline": "middle"}
    else:
        options |= {"labelExpr": split_labels(lines), "labelOverlap": False}
    return options


def row_axis(names: Sequence[str], signs: int = 20) -> dict[str, Any]:
    """The names of a map's rows, in two or three lines if they are long."""
    lines = {name: textwrap.wrap(name, signs) for name in names}
    return {"title": None, "labelLimit": 160, "labelExpr": split_labels(lines)}


def split_labels(lines: dict[str, list[str]]) -> str:
    """The expression that breaks words into their lines; words are data and stay strings."""
    several = {word: parts for word, parts in lines.items() if len(parts) > 1}
    return f"{json.dumps(several)}[datum.label] || datum.label" if several else "datum.label"


def _numeric(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
