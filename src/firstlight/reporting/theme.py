"""Colours and type of charts: named by meaning, chosen by the page's style sheet.

A chart never holds a colour but a CSS variable with a fallback. One drawing then serves light,
dark and print, and still has colours where a notebook strips the style sheet. The series colours
are Okabe and Ito's, told apart under every common colour blindness, darkened or lightened until
they have three to one against the page.
"""

from __future__ import annotations

from typing import Any

INK = "var(--fl-ink, #1d2430)"
MUTED = "var(--fl-muted, #5b6472)"
GRID = "var(--fl-grid, #e4e7ec)"
PAPER = "var(--fl-paper, #ffffff)"

BEFORE = "var(--fl-series-1, #c85200)"
AFTER = "var(--fl-series-2, #0072b2)"
SERIES = (
    BEFORE,
    AFTER,
    "var(--fl-series-3, #00855f)",
    "var(--fl-series-4, #a8558a)",
    "var(--fl-series-5, #7a6a00)",
    "var(--fl-series-6, #4b5563)",
)

SEVERITY = {
    "error": "var(--fl-error, #b3261e)",
    "warning": "var(--fl-warning, #8a5a00)",
    "note": "var(--fl-note, #4a5a75)",
}
ON_SEVERITY = "var(--fl-on-severity, #ffffff)"

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def series_colors(names: list[str]) -> dict[str, str]:
    """A colour for each start of a race; ``default`` and ``plan`` look as before and after do."""
    fixed = {"default": BEFORE, "plan": AFTER}
    used = [fixed[name] for name in names if name in fixed]
    free = [color for color in SERIES if color not in used] or list(SERIES)
    rest = [name for name in names if name not in fixed]
    chosen = {name: free[i % len(free)] for i, name in enumerate(rest)}
    return {name: fixed.get(name) or chosen[name] for name in names}


def config() -> dict[str, Any]:
    """The Vega-Lite configuration that all charts share."""
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": MUTED,
            "titleColor": MUTED,
            "gridColor": GRID,
            "domainColor": GRID,
            "tickColor": GRID,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 10,
            "labelPadding": 6,
            "tickSize": 4,
        },
        "legend": {
            "labelColor": MUTED,
            "titleColor": MUTED,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 6,
        },
        "text": {"color": INK, "fontSize": 12},
        "rule": {"color": MUTED},
    }
