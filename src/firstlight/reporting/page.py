"""Records as HTML: one self-contained page, or a fragment for a notebook.

Whatever comes from a model (names, errors) is untrusted: templates escape by themselves, data for
charts is JSON with every sign escaped that could end a script, and the page's own policy lets the
browser run the page's two scripts, by their hashes, and load nothing at all. The pages of a gallery
share the larger script, a file beside them, so theirs lets them load scripts of their own place.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from firstlight.reporting.chapter import Chapter, Item
from firstlight.reporting.charts import libraries
from firstlight.reporting.plain import visible
from firstlight.reporting.views import chapters

_TEMPLATES = Path(__file__).parent / "templates"

NOTICE = (
    "/* Vega, Vega-Lite and Vega-Embed. Copyright (c) University of Washington Interactive Data "
    "Lab and contributors. BSD 3-Clause License. */\n"
)
"""First line of the charts' libraries."""


def to_page(record: Any) -> str:
    """A record as one HTML page that needs nothing else: no network, no other file.

    Args:
        record: a record that has ``.save()`` (a Checkup, say, or a Plan), or a tuple or
            dictionary of them.

    Returns:
        The page; charts are interactive where scripts run, and static pictures elsewhere.
    """
    return render(chapters(record))


def render(
    parts: list[Chapter],
    template: str = "page.html",
    *,
    code: str = "",
    source: str = "",
    styles: Sequence[str] = ("style.css",),
    **more: Any,
) -> str:
    """A page of chapters.

    Args:
        parts: what the page shows.
        template: that lays it out.
        code: a script of its own, in place of that of the charts.
        source: address of the charts' libraries, which a page of a gallery shares; in the page
            itself if there is none.
        styles: style sheets, in their order.
        more: what else the template asks for.
    """
    drawn = any(
        part.maps or part.scores or part.theory or part.exhibit or _figures(part) for part in parts
    )
    # A page without charts needs no libraries and stays small.
    acts = drawn or any(
        part.plan or part.sections or any(i.code for i in _items(part)) for part in parts
    )
    scripts = [_script(code)] if code else [_script(read_template("page.js"))] if acts else []
    if drawn and not source:
        scripts.insert(0, _script(library()))
    # A page opened from a file is "self" to one browser and "file:" to another.
    allowed = ["'self' file:"] if drawn and source else []
    allowed += [f"'sha256-{_sha256(script)}'" for script in scripts]
    return (
        _environment()
        .get_template(template)
        .render(
            chapters=parts,
            style=Markup("".join(map(read_template, styles))),
            scripts=scripts,
            source=source if drawn else "",
            policy="default-src 'none'; style-src 'unsafe-inline'; script-src "
            + (" ".join(allowed) or "'none'"),
            **more,
        )
    )


def _items(part: Chapter) -> tuple[Item, ...]:
    return (*part.findings, *part.remaining)


def _figures(part: Chapter) -> bool:
    return any(section.figures for section in part.sections)


def to_fragment(record: Any) -> str:
    """A record as HTML for a notebook: no scripts, static pictures, styles under one class."""
    return (
        _environment()
        .get_template("fragment.html")
        .render(chapters=chapters(record), style=Markup(read_template("style.css")))
    )


def marked(text: str) -> Markup:
    """Text in which names stand in backticks, with the names set as code.

    >>> print(marked("‖δ‖ at `fc<1>`"))
    ‖δ‖ at <code>fc&lt;1&gt;</code>
    """
    parts = visible(text).split("`")
    if len(parts) % 2 == 0:  # an odd backtick: it means itself
        return escape(visible(text))
    pieces = [escape(part) for part in parts]
    names = [Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(pieces)]
    return Markup("").join(names)


def script_json(value: Any) -> Markup:
    r"""JSON that can stand in a script element, whatever strings it holds.

    >>> print(script_json({"name": "</script>"}))
    {"name":"\u003c/script\u003e"}
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII only: no U+2028
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _harmless(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_harmless,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = script_json
    environment.filters["marked"] = marked
    environment.filters["safe_svg"] = Markup
    return environment


@lru_cache(maxsize=1)
def library() -> str:
    """What draws the charts, with its licence's notice."""
    return NOTICE + libraries()


def read_template(name: str) -> str:
    """A file among the templates."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _script(code: str) -> Markup:
    """Code of ours as the content of a script element."""
    if "</script" in code.lower() or "<!--" in code:
        raise ValueError("the script cannot stand in a page: it holds a closing tag or a comment")
    return Markup(code)


def _sha256(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
