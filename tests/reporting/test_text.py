from __future__ import annotations

import dataclasses
import io
import math

import pytest
from rich.console import Console

from firstlight.errors import BadInputError
from firstlight.records.checkup import Checkup, Estimate, Observation, Reading
from firstlight.records.network import Network
from firstlight.reporting import terminal
from firstlight.reporting.text import print_record, to_text

from . import samples

RECORDS = samples.everything()
CURE = "receipt = fl.initialize(model, batch, seed=0)"


def printed(record, *, width=80, encoding="utf-8", colour=True, environ=None, full=False):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = Console(
        file=file,
        width=width,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        legacy_windows=False,
        _environ=environ or {},
    )
    print_record(record, console, full=full)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("name", RECORDS)
def test_lines_fit_the_width(name, width):
    lines = to_text(RECORDS[name], width).split("\n")
    # Code to be pasted is never wrapped.
    wide = [line for line in lines if len(line) > width and CURE not in line]
    assert wide == []
    assert all(line == line.rstrip() for line in lines)


def test_verdict_comes_first_then_findings_by_severity_then_the_signal():
    text = to_text(RECORDS["sick"], 120)
    order = [
        "MLP is not healthy at step zero: 2 errors and 1 warning.",
        "ERROR  backward-vanishing  at net.0, net.2, net.4 and 19 more",
        "ERROR  collapsed-samples",
        "WARNING  forward-vanishing",
        "NOTE  loss-at-start",
        "Signal at 30 weighted operations (128 samples, cpu, float32, train mode",
    ]
    assert text.startswith(order[0])
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert f"    {CURE}\n" in text
    assert to_text(RECORDS["healthy"]).startswith("MLP is healthy at step zero.")


def test_findings_are_sorted_whatever_their_order():
    sick = RECORDS["sick"]
    turned = dataclasses.replace(sick, findings=sick.findings[::-1])
    text = to_text(turned)
    assert text.index("ERROR") < text.index("WARNING") < text.index("NOTE")


def test_the_middle_of_a_deep_network_is_folded_with_its_range():
    text = to_text(RECORDS["sick"])
    assert "… 20 more …" in text
    assert "net.10 " not in text
    assert "net.10 " in to_text(RECORDS["sick"], full=True)
    assert "more …" not in to_text(samples.checkup(healthy=True, depth=12))


def test_digits_follow_the_standard_error():
    network = samples.network(2)
    readings = tuple(
        Reading(
            operation=operation.index,
            name=operation.name,
            second_moment=Estimate(value=1.2345**2, standard_error=error),
        )
        for operation, error in zip(network.weighted(), (0.2, 0.0002), strict=True)
    )
    observation = Observation(network=network, readings=readings, parameters=(), samples=8)
    text = to_text(Checkup(observation=observation, findings=()))
    first, second = (line for line in text.split("\n") if line.startswith("net."))
    assert "1.23 " in first  # error of the root 0.08
    assert "1.234 " in second or "1.235 " in second  # four digits at most
    assert "–" in first  # δ was not measured


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_values_beyond_a_log_axis_are_named(value):
    network = samples.network(3)
    readings = tuple(
        Reading(operation=o.index, name=o.name, second_moment=Estimate(value=v))
        for o, v in zip(network.weighted(), (1.0, value, 1.0), strict=True)
    )
    observation = Observation(network=network, readings=readings, parameters=(), samples=8)
    line = to_text(Checkup(observation=observation, findings=())).split("\n")
    row = next(text for text in line if text.startswith("net.2"))
    assert {0.0: " 0 ", math.inf: " inf "}.get(value, " NaN ") in row


def test_an_empty_checkup_does_not_claim_health():
    seen = Observation(
        network=Network(name="M", framework="torch"), readings=(), parameters=(), samples=0
    )
    text = to_text(Checkup(observation=seen, findings=()))
    assert text == "M was not measured, so nothing is known about its health."


def test_what_was_not_looked_into_is_said():
    sick = RECORDS["healthy"]
    network = dataclasses.replace(sick.network, not_looked_into=("lstm", "attention"))
    seen = dataclasses.replace(sick.observation, network=network, raised="ValueError: a\n  b.")
    verdict = to_text(Checkup(observation=seen, findings=()), 200).split("\n")[0]
    assert verdict == (
        "MLP is healthy at step zero; the pass was stopped by an error: ValueError: a b; "
        "not looked into: lstm, attention."
    )


def test_plan_groups_identical_entries():
    lines = [line for line in to_text(RECORDS["plan"], 120).split("\n") if line.startswith("net.")]
    assert [line.split()[0] for line in lines] == [
        "net.0.weight",
        "net.{0,2…58}.bias",
        "net.{2,4…56}.weight",
        "net.58.weight",
    ]
    assert "28 × 128×128" in lines[2] and "mirrored × 1 " in lines[2]
    assert "Not he_normal" in to_text(RECORDS["plan"], full=True)


@pytest.mark.parametrize("width", [40, 64, 80, 100])
def test_long_names_push_no_words_off_the_table(width):
    plan = RECORDS["plan"]
    name = "encoder.layers.0.self_attention.in_projection.weight"
    entries = tuple(dataclasses.replace(e, name=name + e.name[-9:]) for e in plan)
    text = to_text(dataclasses.replace(plan, entries=entries), width)
    words = {word for entry in plan for word in entry.reason.split()}
    assert {word for word in words if word not in text} == set()


def test_receipt_shows_before_and_after():
    text = to_text(RECORDS["receipt"], 100)
    assert "drawn with seed 0" in text
    assert "2 errors, 1 warning and 1 note" in text
    assert "Now: MLP is healthy at step zero." in text


def test_audit_names_what_is_not_as_intended():
    text = to_text(RECORDS["audit"], 120)
    assert "1 not as intended (net.6.weight)" in text
    row = next(line for line in text.split("\n") if line.startswith("net.6.weight"))
    assert "no known law fits" in row and row.endswith("no")


def test_race_says_its_verdict_and_intervals():
    text = to_text(RECORDS["race"], 100)
    assert text.startswith(RECORDS["race"].verdict)
    assert "86 ± 2 %" in text and "edge of search" in text and "Guessing scores 10 %." in text


def test_bundles_show_each_record():
    text = to_text({"left": RECORDS["sick"], "right": RECORDS["healthy"]})
    assert text.index("left") < text.index("is not healthy") < text.index("right")
    assert to_text((RECORDS["plan"], RECORDS["race"])).count("Plan for MLP") == 1
    with pytest.raises(BadInputError, match="cannot show int; expected a Checkup"):
        to_text(3)


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", RECORDS)
def test_ascii_terminals_get_ascii(name, width):
    text = printed(RECORDS[name], width=width, encoding="ascii", colour=False)
    assert text.isascii()
    assert max(len(line) for line in text.split("\n") if CURE not in line) <= width


def test_ascii_forms_are_readable():
    text = printed(RECORDS["sick"], width=120, encoding="ascii", colour=False)
    assert "+-1/sqrt fan_in" in text and "||delta||" in text and "... 20 more ..." in text
    assert "...o..." in text and "---" in text and "?" not in text


def test_colour_is_by_meaning_and_no_color_is_honoured():
    coloured = printed(RECORDS["sick"])
    assert "\x1b[1;31mERROR" in coloured
    assert "\x1b[1;32m" in printed(RECORDS["healthy"])
    plain = printed(RECORDS["sick"], environ={"NO_COLOR": "1"})
    assert "31m" not in plain and "ERROR" in plain
    assert "\x1b" not in to_text(RECORDS["sick"])


def test_to_text_does_not_depend_on_the_environment(monkeypatch):
    expected = to_text(RECORDS["sick"])
    for key, value in (("FORCE_COLOR", "1"), ("COLUMNS", "33"), ("TERM", "dumb")):
        monkeypatch.setenv(key, value)
    assert to_text(RECORDS["sick"]) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_hostile_strings_reach_no_terminal_raw(encoding):
    text = printed(samples.hostile(), encoding=encoding, colour=False)
    assert "\x1b" not in text and "\u2028" not in text
    assert "\\x1b[31m" in text and "[red]" in text


def test_every_style_has_its_meaning_in_one_table():
    assert {"healthy", "error", "warning", "note", "name", "number"} <= set(terminal.THEME.styles)


def test_str_of_records_is_their_text():
    for record in RECORDS.values():
        assert str(record) == to_text(record)
