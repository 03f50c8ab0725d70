from __future__ import annotations

import math

import pytest

from firstlight.reporting.grouping import group, pattern, shapes, some
from firstlight.reporting.numbers import number, power_of_ten, score, typeset, with_error
from firstlight.reporting.plain import visible


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (None, None, "–"),
        (0.0, 0.1, "0"),
        (math.nan, 0.1, "NaN"),
        (-math.inf, None, "-inf"),
        (0.98342, 0.0123, "0.98"),
        (0.98342, 0.00123, "0.983"),
        (0.98342, 3.0, "1"),
        (0.98342, math.nan, "0.983"),
        (4.631e-12, 2e-13, "4.6e-12"),
        (123456.0, None, "1.23e5"),
        (12345.0, 400.0, "12300"),
        (0.00099999, None, "0.00100"),
        (-2.5, 0.1, "-2.5"),
    ],
)
def test_only_the_digits_that_the_error_supports(value, error, shown):
    assert number(value, error) == shown


def test_error_is_shown_with_one_digit():
    assert with_error(0.98342, 0.0123) == "0.98 ± 0.01"
    assert with_error(math.nan, 0.1) == "NaN"


@pytest.mark.parametrize(
    ("mean", "interval", "percent", "shown"),
    [
        (0.9213, (0.9133, 0.9293), True, "92.1 ± 0.8 %"),
        (0.86, (0.84, 0.88), True, "86 ± 2 %"),
        (0.5, (0.49904, 0.50096), True, "50.0 ± 0.1 %"),
        (0.25, (math.nan, math.nan), True, "25.0 %"),
        (math.nan, (math.nan, math.nan), True, "NaN"),
        (2.34567, (2.33567, 2.35567), False, "2.35 ± 0.01"),
    ],
)
def test_scores_carry_their_interval(mean, interval, percent, shown):
    assert score(mean, interval, percent=percent) == shown


def test_typeset_and_ticks():
    assert typeset("1e-300") == "1\u00a0×\u00a010⁻³⁰⁰"
    assert typeset("net-1.weight") == "net-1.weight"
    assert [power_of_ten(k) for k in (-3, -2, 0, 2, 3)] == ["10⁻³", "0.01", "1", "100", "10³"]


def test_names_that_differ_in_one_number_become_one():
    assert pattern([f"h.{i}.w" for i in range(12)]) == "h.{0…11}.w"
    assert pattern(["h.0.w", "h.1.b"]) == "h.0.w, h.1.b"
    assert pattern(["a.0.b.0", "a.1.b.1", "a.2.b.2"]) == "a.0.b.0 … a.2.b.2 (3)"
    assert pattern(["l0", "l1", "l5"]) == "l{0…5}"
    assert some(["a"]) == "a"
    assert shapes([(2, 3), (2, 3)]) == "2×3"


def test_groups_join_alternating_entries_in_order():
    class Entry:
        def __init__(self, name):
            self.name = name

    names = ["1.weight", "1.bias", "2.weight", "2.bias"]
    groups = group([Entry(n) for n in names], lambda e: e.name.split(".")[1])
    assert [[e.name for e in g] for g in groups] == [["1.weight", "2.weight"], ["1.bias", "2.bias"]]


def test_signs_that_act_are_made_visible():
    assert visible("a\u202eb\x00\ud800\nc\u2028") == "a\\u202eb\\x00\\ud800\nc\\u2028"
    assert visible("σ ± √2 … 日本") == "σ ± √2 … 日本"
