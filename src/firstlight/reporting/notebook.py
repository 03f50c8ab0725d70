"""The interactive page of a record in the cell of a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from firstlight.errors import BadInputError
from firstlight.reporting.page import to_page


@dataclass(frozen=True)
class Interactive:
    """A frame around a record's page.

    The page runs as in a tab of its own: its scripts reach neither the notebook nor the network,
    and the notebook's styles do not reach it.

    Args:
        record: what is shown.
        height: of the frame, in pixels.
    """

    record: Any
    height: int = 900

    def __post_init__(self) -> None:
        if isinstance(self.height, bool) or not isinstance(self.height, int) or self.height < 1:
            raise BadInputError(f"height: expected pixels, 1 or more, got {self.height!r}")

    def __str__(self) -> str:
        return str(self.record)

    def _repr_html_(self) -> str:
        page = escape(to_page(self.record), quote=True)
        return (
            f'<iframe title="Firstlight report" sandbox="allow-scripts" srcdoc="{page}"'
            f' style="width:100%;height:{self.height}px;border:0"></iframe>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The frame, and text for where frames are not shown."""
        makers = {"text/plain": self.__str__, "text/html": self._repr_html_}
        wanted = [kind for kind in makers if include is None or kind in include]
        return {kind: makers[kind]() for kind in wanted if kind not in (exclude or ())}
