from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from firstlight.errors import BadInputError
from firstlight.records.checkup import Checkup, Estimate, Observation, Reading
from firstlight.records.race import Race, Run, Start
from firstlight.reporting.page import script_json, to_fragment, to_page
from firstlight.reporting.race_charts import learning_chart, race_chart
from firstlight.reporting.signal_map import MOST_POINTS, signal_chart

from . import samples

RECORDS = samples.everything()
VOID = {"meta", "br", "img", "path", "line", "rect", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page as a browser would: elements, attributes, text, scripts, balance of tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            attrs, code = self.scripts[-1]
            self.scripts[-1] = (attrs, code + data)
        elif not self.stack or self.stack[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def pages():
    bundle = {"first": RECORDS["plan"], "second": RECORDS["audit"]}
    records = {**RECORDS, "hostile": samples.hostile(), "bundle": bundle}
    return {name: to_page(record) for name, record in records.items()}


@pytest.mark.parametrize("name", [*RECORDS, "hostile", "bundle"])
def test_pages_are_whole_small_and_offline(name, pages):
    text, page = pages[name], Page(pages[name])
    assert page.stack == [] and len(text.encode()) < 3_000_000
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "image", "form"}
        assert not {"src", "href", "xlink:href", "srcset", "data", "poster"} & set(attrs), tag
        assert not [key for key in attrs if key.startswith("on")]
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    # Outside the libraries no address stands but the names of XML namespaces.
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert set(re.findall(r"https?://[\w./]+", own)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


@pytest.mark.parametrize("name", ["story", "audit"])
def test_the_policy_allows_exactly_the_scripts_of_the_page(name, pages):
    page = Page(pages[name])
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv"))
    code = [code for attrs, code in page.scripts if not attrs]
    hashes = [base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in code]
    allowed = " ".join(f"'sha256-{h}'" for h in hashes) or "'none'"
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}"
    assert len(code) == (2 if name == "story" else 0)


def test_a_story_is_told_in_order(pages):
    words = Page(pages["story"]).words
    parts = [
        "Thirty plain layers, before and after",
        "After initialization: MLP is healthy at step zero.",
        "What was wrong",
        "backward vanishing",
        "The signal map",
        "The prescription",
        "net.{2,4…56}.weight",
        "The proof",
        "92.1 ± 0.7 %",
        "How this was made",
        "Command: firstlight demo --seed 0",
        "Seed: 0",
    ]
    after = 0
    for part in parts:
        assert part in words[after:], part
        after += words[after:].index(part)


@pytest.mark.parametrize("name", RECORDS)
def test_headings_tables_and_pictures_are_named(name, pages):
    page = Page(pages[name])
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("table") == tags.count("caption") > 0 or name == "race"
    charts = [a for t, a in page.elements if "fl-chart" in (a.get("class") or "").split()]
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    drawn = {
        "sick": 2,
        "healthy": 2,
        "receipt": 2,
        "race": 2,
        "story": 4,
        "prediction": 3,
        "coordinate check": 1,
    }
    assert len(charts) == drawn.get(name, 0)


def test_hostile_strings_stay_text(pages):
    page = Page(pages["hostile"])
    assert "img" not in {tag for tag, _ in page.elements}
    assert [a.get("type") for a, _ in page.scripts] == ["application/json"] * 4 + [None] * 2
    assert "{{7*7}}" in page.words and "49" not in page.words
    specs = [code for attrs, code in page.scripts if attrs]
    for spec in specs:
        assert not set("<>&\u2028") & set(spec)
    assert "onerror=alert(1)" in json.dumps([json.loads(spec) for spec in specs])


def test_script_json_cannot_end_a_script():
    value = {"</script><!--": ["&", "\u2028", "<"]}
    text = script_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


@pytest.mark.parametrize("name", [*RECORDS, "hostile"])
def test_fragments_are_static_and_scoped(name):
    text = to_fragment({**RECORDS, "hostile": samples.hostile()}[name])
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert page.stack == [] and "script" not in tags and "html" not in tags
    assert not [a for _, a in page.elements if a.get("id")]
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.S)
    selectors = re.findall(r"(?:^|[{}])\s*([^{}@]+?)\s*\{", style)
    parts = [part.strip() for selector in selectors for part in selector.split(",")]
    assert parts and all(p.startswith((".firstlight", "#vg-tooltip-element")) for p in parts)
    if name == "sick":
        assert tags.count("svg") >= 2 and "is not healthy" in page.words
        assert RECORDS["sick"]._repr_html_() == text


def test_drawings_share_no_identifiers(pages):
    # Two SVGs in one page would find each other's clip paths and gradients.
    drawings = re.findall(r'<svg[^>]*class="marks".*?</svg>', pages["story"], flags=re.S)
    assert len(drawings) == 4
    assert not any(re.search(r'url\(#|\sid="', drawing) for drawing in drawings)


def rows(chart, *fields):
    """The inline rows of a specification that have all these fields."""
    return (
        [row for data in chart.spec["datasets"].values() for row in data if set(fields) <= set(row)]
        if "datasets" in chart.spec
        else [
            row
            for layer in chart.spec["layer"]
            for row in layer.get("data", {}).get("values", [])
            if set(fields) <= set(row)
        ]
    )


def test_the_map_holds_the_numbers_and_marks_the_findings():
    sick, healthy = RECORDS["sick"], RECORDS["healthy"]
    chart = signal_chart(sick, healthy, "backward", sick.findings)
    points = {(r["series"], r["x"]): r for r in rows(chart, "series", "y")}
    assert len(points) == 60
    first = next(r for r in sick.layers if r.name == "net.0").delta_square_per_sample
    point = points["before", 1]
    assert point["y"] == pytest.approx(math.sqrt(first.value))
    # Two standard errors: 12 % of the square are 6 % of the root.
    assert point["high"] / point["y"] == pytest.approx(1.12)
    marks = {r["label"]: r for r in rows(chart, "label", "first")}
    assert list(marks) == ["1"]
    assert (marks["1"]["x"], marks["1"]["first"], marks["1"]["last"]) == (1, 1, 22)
    forward = signal_chart(sick, healthy, "forward", sick.findings)
    assert {r["label"] for r in rows(forward, "label", "first")} == {"2", "3", "4"}
    tip = next(r for r in rows(chart, "name", "after") if r["x"] == 1)
    assert tip["name"] == "net.0" and "×" in tip["before"] and "±" in tip["after"]
    assert "before: 3.1e-15 at the first" in chart.description


def strange(values):
    network = samples.network(len(values))
    readings = tuple(
        Reading(operation=o.index, name=o.name, second_moment=Estimate(value=v, standard_error=v))
        for o, v in zip(network.weighted(), values, strict=True)
        if v is not None
    )
    seen = Observation(network=network, readings=readings, parameters=(), samples=8)
    return Checkup(observation=seen, findings=())


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 0.0, 0.0],
        [math.nan, math.inf],
        [1.0, 0.0, math.nan, math.inf, 1e300, 1e-300],
        [1.0],
        [1.0, None, 2.0],
        [5e-324, 1.0],
    ],
)
def test_log_axes_survive_zero_and_what_is_not_finite(values):
    chart = signal_chart(strange(values), None, "forward", ())
    points = {r["x"]: r for r in rows(chart, "series", "edge")}
    known = [v for v in values if v is not None]
    scale = chart.spec["layer"][1]["encoding"]["y"]["scale"]
    low, high = scale["domain"]
    for (_, point), value in zip(sorted(points.items()), known, strict=True):
        assert low <= point["low"] <= point["y"] <= point["high"] <= high
        edge = "low" if value == 0 else "" if math.isfinite(value) else "high"
        assert point["edge"] == edge
    json.dumps(chart.spec, allow_nan=False)
    assert len(to_page(strange(values))) > 900_000


def test_a_network_of_ten_thousand_layers_stays_small():
    deep = samples.checkup(healthy=False, depth=10_000)
    values = {r.name: r for r in deep.layers}
    zero = dataclasses.replace(values["net.14"], second_moment=Estimate(value=0.0))
    readings = tuple(zero if r.name == "net.14" else r for r in deep.layers)
    deep = Checkup(
        observation=dataclasses.replace(deep.observation, readings=readings), findings=deep.findings
    )
    chart = signal_chart(deep, None, "forward", deep.findings)
    points = rows(chart, "series", "edge")
    assert len({r["x"] for r in points}) <= MOST_POINTS + 10
    assert [r["x"] for r in points if r["edge"] == "low"][:1] == [8]
    assert len(to_page(deep).encode()) < 3_000_000


def broken_race(**changes):
    run = Run(
        seed=0, learning_rate=1.0, losses=(2.0, 50.0, math.nan), score=math.nan, diverged=True
    )
    nothing = (math.nan, math.nan)
    start = Start(
        name="ones", learning_rate=1.0, searched=(), runs=(run,), mean=math.nan, interval=nothing
    )
    race = dataclasses.replace(RECORDS["race"], starts=(start,), steps=5)
    return dataclasses.replace(race, **changes)


@pytest.mark.parametrize(
    "race",
    [
        broken_race(),
        broken_race(starts=()),
        broken_race(score_name="held-out loss", chance=None, higher_is_better=False),
        dataclasses.replace(samples.race(1), chance=None),
    ],
)
def test_races_that_went_wrong_are_shown_all_the_same(race: Race):
    text = to_page(race)
    assert race.verdict in Page(text).words
    if race.starts and race.starts[0].name == "ones":
        losses = [r["y"] for r in rows(learning_chart(race), "low", "high")]
        # Cut off at twice the first loss, and held there after the run ended.
        assert losses == [2.0, 4.0, 4.0, 4.0, 4.0]


def test_every_seed_is_a_point_of_the_race():
    chart = race_chart(RECORDS["race"])
    seeds = rows(chart, "seed")
    expected = sorted(run.score for start in RECORDS["race"].starts for run in start.runs)
    assert sorted({r["x"] for r in seeds}) == pytest.approx(expected)
    means = {r["start"]: (r["low"], r["x"], r["high"]) for r in rows(chart, "low", "start")}
    plan = RECORDS["race"]["plan"]
    assert means["plan"] == pytest.approx((plan.interval[0], plan.mean, plan.interval[1]))


def test_learning_curves_are_medians_over_seeds():
    race = samples.race(seeds=5, steps=40)
    points = [r for r in rows(learning_chart(race), "low", "y") if r["start"] == "plan"]
    middle = sorted(run.losses[7] for run in race["plan"].runs)[2]
    assert next(r["y"] for r in points if r["x"] == 7) == pytest.approx(middle)


def test_colours_leave_the_choice_to_the_page():
    text = json.dumps(signal_chart(RECORDS["sick"], None, "forward", ()).spec)
    bare = re.sub(r"var\(--fl-[\w-]+, #[0-9a-f]{6}\)", "", text)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b", bare)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_of_text_and_lines_in_both_themes():
    text = to_fragment(RECORDS["plan"])
    light, dark = re.findall(r"\.firstlight \{\s*(--fl-paper.*?)\}", text, flags=re.S)
    for block in (light, dark):
        colours = dict(re.findall(r"--fl-([\w-]+): (#[0-9a-f]{6});", block))
        paper = luminance(colours["paper"])

        def ratio(name, paper=paper, colours=colours):
            pair = sorted((luminance(colours[name]), paper))
            return (pair[1] + 0.05) / (pair[0] + 0.05)

        # WCAG 2: 4.5 for text, 3 for lines that carry meaning.
        for name in ("ink", "muted", "error", "warning", "note", "good"):
            assert ratio(name) >= 4.5, name
        for name in (f"series-{i}" for i in range(1, 7)):
            assert ratio(name) >= 3, name


def test_pages_refuse_what_is_no_record():
    with pytest.raises(BadInputError, match="cannot show str; expected a Checkup"):
        to_page("hello")
