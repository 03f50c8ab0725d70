"""How things look in a terminal: colours by meaning, signs that the encoding can carry, tables.

Every string of a record passes `Look.say` before it is laid out: it replaces signs that the
terminal cannot show (which changes widths, so it must come first) and makes control characters
visible (a parameter's name must not be able to colour, move or clear anything).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from firstlight.reporting.plain import visible
from firstlight.reporting.signal import Scale

THEME = Theme(
    {
        "healthy": "bold green",
        "error": "bold red",
        "warning": "bold yellow",
        "note": "bold cyan",
        "name": "bold",
        "number": "cyan",
        "label": "dim",
        "track": "dim",
    }
)
"""The one table of colours; styles are named by what they mean."""

NARROW = 64
"""Below this many columns a table becomes a list of small blocks."""

_ASCII = {
    "σ": "sigma",
    "δ": "delta",
    "φ": "phi",
    "ξ": "xi",
    "χ": "chi",
    "ψ": "psi",
    "∇": "grad ",
    "√": "sqrt ",
    "±": "+-",
    "×": "x",
    "·": ".",
    "●": "o",
    "━": "=",
    "…": "...",
    "−": "-",
    "–": "-",
    "—": "-",
    "→": "->",
    "←": "<-",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "≠": "!=",
    "∞": "inf",
    "‖": "||",
    "½": "1/2",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "²": "^2",
    "³": "^3",
    "⁶": "^6",
    "₀": "0",
    "₁": "1",
    "ᵀ": "^T",
    "⁻": "^-",
    "′": "'",
    "⟨": "<",
    "⟩": ">",
}

_RULE = box.Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
_ASCII_RULE = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the output can show.

    Args:
        width: columns.
        encoding: of the terminal or file.
        full: whether deep networks are shown whole.
    """

    width: int
    encoding: str = "utf-8"
    full: bool = False

    @property
    def narrow(self) -> bool:
        """Whether tables must become lists."""
        return self.width < NARROW

    def say(self, text: str) -> str:
        """``text`` as the terminal can show it, with control characters made visible.

        >>> Look(width=80, encoding="ascii").say("±2σ ≤ √2 …")
        '+-2sigma <= sqrt 2 ...'
        """
        return "".join(self._sign(sign) for sign in visible(text))

    def _sign(self, sign: str) -> str:
        try:
            sign.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            if sign in _ASCII:
                return _ASCII[sign]
            plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode("ascii")
            return plain or "?"
        return sign

    def text(self, text: str, style: str = "") -> Text:
        """Styled text; brackets in it are not markup."""
        return Text(self.say(text), style=style)

    def name(self, name: str, room: int = 40) -> str:
        """A name that fits into ``room`` columns; its end tells more than its beginning."""
        name, sign = self.say(name).replace("\n", "\\n"), self.say("…")
        return name if len(name) <= room else sign + name[len(sign) - room :]

    def dots(self, values: Sequence[float], scale: Scale, cells: int) -> str:
        """A point (or the span of several) on a track from end to end of a log scale.

        >>> Look(width=80).dots([1.0], Scale(-2, 2), 9)
        '····●····'
        """
        if not values:
            return ""
        at = [min(cells - 1, int(scale.place(value) * cells)) for value in values]
        return self.say("".join("●" if min(at) <= i <= max(at) else "·" for i in range(cells)))


@dataclass(frozen=True)
class Code:
    """Code to be pasted: never wrapped, so that the terminal's own wrapping can be undone."""

    text: Text


def table(look: Look, heads: Sequence[str], rows: Sequence[Sequence[Text]]) -> RenderableType:
    """Rows under heads; on a narrow terminal each row becomes a small block.

    The first column is the name; columns whose head begins with ``>`` are right-aligned.
    """
    if look.narrow:
        return _blocks(look, heads, rows)
    shape = _RULE if look.say("─") == "─" else _ASCII_RULE
    grid = Table(box=shape, show_edge=False, pad_edge=False, header_style="label", padding=(0, 1))
    for index, head in enumerate(heads):
        justify = "right" if head.startswith(">") else "left"
        grid.add_column(
            look.text(head.lstrip(">")),
            justify=justify,  # type: ignore[arg-type]
            no_wrap=justify == "right",
            overflow="fold",
            style="name" if index == 0 else "",
        )
    for row in rows:
        grid.add_row(*row)
    return grid


def _blocks(look: Look, heads: Sequence[str], rows: Sequence[Sequence[Text]]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(Text.assemble(row[0], style="name"))
        pairs = [(h, c) for h, c in zip(heads[1:], row[1:], strict=True) if c.plain]
        grid.add_row(Padding(labelled(look, pairs), (0, 0, 0, 2)))
    return grid


def labelled(look: Look, pairs: Sequence[tuple[str, Text]]) -> Table:
    """Label and text, line by line."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="label", overflow="fold", max_width=max(10, look.width * 2 // 5))
    grid.add_column(overflow="fold")
    for label, text in pairs:
        grid.add_row(look.text(label.lstrip(">")), text)
    return grid


def show(console: Console, blocks: Sequence[RenderableType | Code]) -> None:
    """Print blocks with the theme of this package."""
    with console.use_theme(THEME):
        for block in blocks:
            if isinstance(block, Code):
                console.print(block.text, no_wrap=True, overflow="ignore", crop=False)
            else:
                console.print(block, highlight=False)
