"""The few methods of records that reach down the house, through one table of names.

A `Plan` is plain data, yet ``plan.apply(model)`` is what a user types. The table keeps `records`
free of imports from the rooms below it: a name is resolved when the method is called.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import Any

NOT_SAVED = MappingProxyType({"saved": False})
"""Metadata of a field that holds an object of the user's, not data: files leave it out."""

_TABLE = {
    "apply": "firstlight.verbs.apply:apply",
    "param_groups": "firstlight.verbs.rates:param_groups",
    "scale_inputs": "firstlight.verbs.rates:scale_inputs",
    "save": "firstlight.reporting.files:save",
    "table": "firstlight.reporting.tables:to_pandas",
    "text": "firstlight.reporting.text:to_text",
    "html": "firstlight.reporting.page:to_fragment",
    "interactive": "firstlight.reporting.notebook:Interactive",
}


def call(name: str, *args: Any, **keywords: Any) -> Any:
    """Call the function that the table holds under ``name``."""
    module, function = _TABLE[name].split(":")
    return getattr(import_module(module), function)(*args, **keywords)


class Shown:
    """Records that people look at: text in a terminal, HTML in a notebook, a file on request."""

    __slots__ = ()

    def __str__(self) -> str:
        return str(call("text", self))

    def _repr_html_(self) -> str:
        return str(call("html", self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook keeps: text, and HTML without scripts, which it may show anywhere."""
        makers = {"text/plain": self.__str__, "text/html": self._repr_html_}
        wanted = [kind for kind in makers if include is None or kind in include]
        return {kind: makers[kind]() for kind in wanted if kind not in (exclude or ())}

    def interactive(self, height: int = 900) -> Any:
        """The record for a notebook's cell as its whole page: hover, choose layers, filter, copy.

        Without it a cell shows the same without scripts, which is a tenth of the size and survives
        where notebooks are only looked at.

        Args:
            height: of the frame, in pixels.

        Returns:
            An object to end a cell with.

        Example:
            >>> import firstlight as fl
            >>> frame = fl.predict("relu", depth=3).interactive(height=600)
            >>> frame._repr_html_()[:7]
            '<iframe'
        """
        return call("interactive", self, height)

    def save(self, path: Any) -> None:
        """Write the record to ``path``; its suffix (``.html``, ``.json``, ``.txt``) says the form.

        A race can be written as a table too (``.parquet``).

        The file is written beside its final place and then renamed, so that it is never half there.
        """
        call("save", self, path)
