"""Records as HTML: one self-contained page, or a fragment for a notebook.

Whatever comes from a model (names, errors) is untrusted: templates escape by themselves, data for
charts is JSON with every sign escaped that could end a script, and the page's own policy lets the
browser run the page's two scripts, by their hashes, and load nothing at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from firstlight.reporting.charts import libraries
from firstlight.reporting.plain import visible
from firstlight.reporting.views import chapters

_TEMPLATES = Path(__file__).parent / "templates"

_NOTICE = (
    "/* Vega, Vega-Lite and Vega-Embed. Copyright (c) University of Washington Interactive Data "
    "Lab and contributors. BSD 3-Clause License. */\n"
)


def to_page(record: Any) -> str:
    """A record as one HTML page that needs nothing else: no network, no other file.

    Args:
        record: a Checkup, Plan, Receipt, Audit, Race, Prediction, Story, or a tuple or dictionary
            of them.

    Returns:
        The page; charts are interactive where scripts run, and static pictures elsewhere.
    """
    parts = chapters(record)
    drawn = any(part.maps or part.scores or part.theory or part.exhibit for part in parts)
    # A page without charts needs no libraries and stays small.
    scripts = [_script(_NOTICE + _libraries()), _script(_text("page.js"))] if drawn else []
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts) or "'none'"
    return (
        _environment()
        .get_template("page.html")
        .render(
            chapters=parts,
            style=Markup(_text("style.css")),
            scripts=scripts,
            policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src {hashes}",
        )
    )


def to_fragment(record: Any) -> str:
    """A record as HTML for a notebook: no scripts, static pictures, styles under one class."""
    return (
        _environment()
        .get_template("fragment.html")
        .render(chapters=chapters(record), style=Markup(_text("style.css")))
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
def _libraries() -> str:
    return libraries()


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _script(code: str) -> Markup:
    """Code of ours as the content of a script element."""
    if "</script" in code.lower() or "<!--" in code:
        raise ValueError("the script cannot stand in a page: it holds a closing tag or a comment")
    return Markup(code)


def _sha256(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
