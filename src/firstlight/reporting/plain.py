"""Strings of other people, made harmless before anything is drawn or printed."""

from __future__ import annotations

import unicodedata

_UNSEEN = ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")
"""Control, formatting (bidirectional overrides), surrogates, unassigned, line ends."""


def visible(text: str) -> str:
    r"""``text`` with each sign that is not seen, but acts, written as an escape; ``\n`` stays.

    A parameter's name must not be able to colour, move or clear a terminal, turn the direction of
    a line, or stop a drawing (a control character in an SVG aborts vl-convert and Python with it).

    >>> print(visible("fc1" + chr(27) + "[2J"))
    fc1\x1b[2J
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        sign.encode("unicode_escape").decode("ascii")
        if sign != "\n" and unicodedata.category(sign) in _UNSEEN
        else sign
        for sign in text
    )
