"""One way to write numbers in all texts of an exhibit, whatever the formatting that made them."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

Part = TypeVar("Part")

_POWER = re.compile(r"(?<=\d)e(-?)\+?0*(?=\d)")
_PER_CENT = re.compile(r"(?<=\d)%")
_COUNTED = "layer|step|unit|seed|rate|branch|decade|epoch|point"
_ONE = re.compile(rf"(?<![\w.,–−-])1 ((?:hidden )?(?:{_COUNTED}))(?:es|s)\b")


def house_style(text: str) -> str:
    """Exponents without padding, a space before the sign of per cent, and one layer, not layers.

    >>> house_style("9% at 1e-09, 12 % at 2.5e+24, with 1 layers of 0.1 units")
    '9 % at 1e-9, 12 % at 2.5e24, with 1 layer of 0.1 units'
    """
    return _ONE.sub(r"1 \1", _PER_CENT.sub(" %", _POWER.sub(r"e\1", text)))


def in_house_style(part: Part) -> Part:
    """The same measurement, picture, table or tuple with all of its texts so written.

    >>> in_house_style(("8%", 0.5, ("1e-09",)))
    ('8 %', 0.5, ('1e-9',))
    """
    return _written(part)  # type: ignore[no-any-return]


def _written(part: Any) -> Any:
    if isinstance(part, str):
        return house_style(part)
    if isinstance(part, tuple):
        return tuple(map(_written, part))
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{f.name: _written(getattr(part, f.name)) for f in fields(part)})
    return part
