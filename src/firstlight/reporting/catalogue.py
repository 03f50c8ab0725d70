"""The techniques as text: a table of all, or everything about one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from firstlight.initializers.technique import Technique


def print_techniques(techniques: Sequence[Technique], console: Console | None = None) -> None:
    """A line for each: name and formula."""
    table = Table(box=None, pad_edge=False)
    table.add_column("technique", style="bold", no_wrap=True)
    table.add_column("law")
    for technique in techniques:
        table.add_row(technique.name, escape(technique.formula))  # W[i, j] is no markup
    console = console or Console()
    console.print(table)
    console.print("\nMore on one: firstlight techniques NAME", highlight=False)


def print_technique(technique: Technique, console: Console | None = None) -> None:
    """Everything about one technique."""
    options = ", ".join(f"{name}={value!r}" for name, value in technique.options.items())
    rows = (
        ("technique", f"{technique.name} ({technique.title})"),
        ("aliases", ", ".join(technique.aliases)),
        ("formula", technique.formula),
        ("options", options),
        ("assumes", technique.assumptions),
        ("suits", technique.suits),
        ("not for", technique.not_suits),
        ("differs", technique.differs),
        ("source", technique.source),
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in rows:
        if text:
            table.add_row(name, escape(text))
    (console or Console()).print(table)
