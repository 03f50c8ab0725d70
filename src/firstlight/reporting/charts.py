"""What all charts share: Vega-Lite specifications for the page, static SVG for everything else.

A chart comes in two forms: a specification as wide as its container, with hover, and the same
picture as SVG for print, notebooks and readers without scripts. Altair and vl-convert take most
of a second to import, so that happens when the first chart is drawn.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from firstlight.reporting import theme
from firstlight.reporting.plain import visible

STATIC_WIDTH = 720

_NAMES = re.compile(r"(?<=url\(#)(?:clip|gradient_)\d+|(?<= id=\")(?:clip|gradient_)\d+")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture of a page.

    Args:
        spec: the Vega-Lite specification, as wide as its container.
        svg: the same without hover, at a fixed width.
        description: what it shows, for those who do not see it.
    """

    spec: dict[str, Any]
    svg: str
    description: str


def finish(
    layers: Sequence[Any],
    hover: Sequence[Any],
    description: str,
    height: int,
    still: int = STATIC_WIDTH,
) -> Chart:
    """Both forms of a layered chart; ``hover`` are layers that only the page has.

    Args:
        layers: from back to front.
        hover: likewise.
        description: for those who do not see it.
        height: in pixels.
        still: width of the form without hover.
    """
    import altair as alt
    import vl_convert

    def spec(parts: Sequence[Any], width: int | str) -> dict[str, Any]:
        chart = alt.layer(*parts).properties(width=width, height=height, description=description)
        result: dict[str, Any] = chart.to_dict()
        result.pop("$schema", None)  # an address, which an offline page has no use for
        result = _harmless(result)
        result["config"] = theme.config()
        result["autosize"] = {"type": "fit-x", "contains": "padding"}
        return result

    svg = str(vl_convert.vegalite_to_svg(spec(layers, still), vl_version=version()))
    return Chart(
        spec=spec([*layers, *hover], "container"), svg=_scaling(svg), description=description
    )


def version() -> str | None:
    """The Vega-Lite that Altair writes for, if vl-convert has it; None is vl-convert's own."""
    import altair as alt
    import vl_convert

    wanted = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    known = {v.lstrip("v"): v for v in vl_convert.get_vegalite_versions()}
    return known.get(wanted)


def libraries() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that sets ``vegaEmbed``."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle(vl_version=version())  # type: ignore[call-arg]
    return bundle


def data(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A chart over inline rows."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def hover_strips(
    rows: Sequence[Mapping[str, Any]], x: Mapping[str, Any], titles: Mapping[str, str]
) -> Any:
    """A strip over each row, from halfway to the last to halfway to the next; hovering tells it.

    (Vega-Lite's own ``nearest`` reads its tooltips from the wrong datum: they say "undefined".)

    Args:
        rows: in the order of their field ``x``.
        x: scale and axis of the chart.
        titles: the fields that the tooltip tells, each with its title.
    """
    import altair as alt

    at = [float(row["x"]) for row in rows]
    middles = [(a + b) / 2 for a, b in pairwise(at)]
    # The plot has a small padding; beyond it a strip would lie over the axis.
    edge = 0.01 * (at[-1] - at[0]) or 0.1 if at else 0.0
    ends = [at[0] - edge, *middles, at[-1] + edge] if at else [0.0]
    strips = [
        {**row, "from": low, "to": high}
        for row, (low, high) in zip(rows, pairwise(ends), strict=True)
    ]
    over = alt.selection_point(
        name="over", on="pointerover", clear="pointerout", fields=["x"], empty=False
    )
    return (
        data(strips)
        .mark_rect(fill=theme.INK, strokeWidth=0)
        .encode(
            x=alt.X("from:Q", **x),
            x2="to:Q",
            y=alt.value(0),
            y2=alt.value("height"),
            opacity=alt.when(over).then(alt.value(0.07)).otherwise(alt.value(0)),
            tooltip=[alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()],
        )
        .add_params(over)
    )


def _harmless(value: Any) -> Any:
    """A specification whose strings hold nothing that an SVG may not hold."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_harmless(item) for item in value]
    if isinstance(value, dict):
        return {key: _harmless(item) for key, item in value.items()}
    return value


def _scaling(svg: str) -> str:
    """An SVG that takes the width of its surroundings; it has a viewBox already."""
    head, rest = svg.split(">", 1)
    words = [w for w in head.split(" ") if not w.startswith(("width=", "height="))]
    return " ".join([*words, 'aria-hidden="true"']) + ">" + _own_names(rest)


def _own_names(svg: str) -> str:
    """Clip paths and gradients named by what is drawn, not by how many were drawn before.

    So a record always gives the same page, and drawings of two processes in one notebook do not
    find each other's.
    """
    order = {name: index for index, name in enumerate(dict.fromkeys(_NAMES.findall(svg)))}
    plain = _NAMES.sub(lambda name: str(order[name[0]]), svg)
    digest = hashlib.sha256(plain.encode("utf-8", "backslashreplace")).hexdigest()[:12]
    return _NAMES.sub(lambda name: f"fl-{digest}-{order[name[0]]}", svg)
