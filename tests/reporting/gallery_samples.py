"""A gallery of made-up exhibits: every form of picture, every verdict, titles that mean harm."""

from __future__ import annotations

import math

from firstlight.exhibits.pictures import picture, table
from firstlight.records.exhibit import Claim, Exhibit, Measurement
from firstlight.reporting.gallery_page import (
    INDEX,
    LIBRARY,
    exhibit_page,
    index_page,
    missing_page,
    navigation,
    page_name,
)
from firstlight.reporting.page import library

HARM = "<img src=x onerror=alert(1)> & </script><script>alert(2)</script>"
DEPTH = list(range(1, 31))
STARTS = ["glorot_normal", "he_normal", "lecun_normal", "PyTorch's default", "small 0.01"]
FALL = [10 ** (-i / 3) for i in DEPTH]


def _picture(form, title, **options):
    alt = f"What {title} tells, made up from 30 numbers."
    return picture(form, title, alt=alt, **options)


LINES = _picture(
    "lines",
    "Lines on lines",
    x=DEPTH,
    y={"ReLU": FALL, "tanh": FALL, "sigmoid": [v**0.5 for v in FALL]},
    x_title="layer",
    y_title="variance of the pre-activations over all units and samples",
    y_log=True,
)
POINTS = _picture(
    "points",
    "Points on points",
    x=[1e-7, 1e-5, 1e-3, 0.1],
    y={"tanh": [1, 2, 3, 4], "ReLU": [1, 2, 3, 4], "lost": [math.nan, 2, math.inf, 1]},
    x_title="relative noise",
    y_title="steps",
    x_log=True,
    bands={"ReLU": ([0.5, 1.5, 2.5, 3.5], [1.5, 2.5, 3.5, 4.5])},
)
BARS = _picture(
    "bars",
    "Bars",
    x=STARTS,
    y={"before": [1, 2, 3, 4, 5], HARM: [5, 4, 3, 2, 1]},
    x_title="start",
    y_title="a share",
)
MAP = _picture(
    "map",
    "Map",
    x=[str(i) for i in DEPTH],
    y={"sigmoid from glorot_uniform at a rate of 0.01": FALL, HARM: FALL, "tanh": FALL},
    x_title="layer, counted from the input of the network",
    y_title="ratio of the gradient's norm at this layer to that at the last layer (log colour)",
    y_log=True,
)


def _exhibit(name, title, verdict, *pictures):
    return Exhibit(
        name=name,
        title=title,
        claim="Claimed.",
        sources=("Nobody 2020, Nothing",),
        verdict=verdict,
        conditions="It was so in 3 of 4 layers, and <b>0.5</b> elsewhere.",
        measurements=(Measurement(name=HARM, value=1e-9, expected="at most 1e-6", met=True),),
        lesson="One. Two. Three.",
        pictures=pictures,
        tables=(table("Numbers", ("start", *STARTS), [(HARM, 1, 2e-9, 3, 4, 5)] * 3),),
        pace="quick",
        seed=0,
        seconds=1.5,
    )


EXHIBITS = {
    "all-forms": _exhibit("all-forms", "All forms", "holds", LINES, POINTS, BARS, MAP),
    "harm": _exhibit("harm", HARM, "holds under these conditions", LINES),
    "refuted": _exhibit("refuted", "Never so", "does not hold", BARS),
}
TITLES = {name: shown.title for name, shown in EXHIBITS.items()} | {"broken": "It fell over"}
CLAIMS = {
    "First": (
        Claim(said=f"All is well with {HARM}.", exhibits=("all-forms", "harm")),
        Claim(said="Depth never hurts.", exhibits=("refuted",)),
    ),
    "Second": (Claim(said="Größe zählt: every start will do.", exhibits=("harm", "broken")),),
}


def write(folder):
    """All files of the gallery."""
    for name, shown in EXHIBITS.items():
        page = exhibit_page(shown, navigation(name, TITLES))
        (folder / page_name(name)).write_text(page, encoding="utf-8")
    missing = missing_page(TITLES["broken"], f"ValueError: {HARM}", navigation("broken", TITLES))
    (folder / page_name("broken")).write_text(missing, encoding="utf-8")
    (folder / LIBRARY).write_text(library(), encoding="utf-8")
    index = index_page(CLAIMS, TITLES, EXHIBITS, {"broken": f"ValueError: {HARM}"}, "firstlight")
    (folder / INDEX).write_text(index, encoding="utf-8")
