"""A race as text, page, table and files, from the statistics that a real one has."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from firstlight.errors import BadInputError
from firstlight.racing.results import Question, race_of
from firstlight.records.codec import from_json, to_json
from firstlight.records.race import Race, Run
from firstlight.reporting.files import load, save
from firstlight.reporting.page import to_page
from firstlight.reporting.race_curves import difference_chart, score_chart
from firstlight.reporting.text import to_text

from . import samples
from .test_page import rows

LOOKS = (2, 4)


def race(optimizers=("sgd", "adam"), target=0.8) -> Race:
    random = np.random.default_rng(0)
    asked = Question(
        techniques=("default", "plan"),
        optimizers=optimizers,
        seeds=(0, 1, 2, 3),
        steps=4,
        batch_size=8,
        search_seeds=1,
        momentum=0.9,
        clip_norm=1.0,
        looks=LOOKS,
        target=target,
    )
    raced = []
    for optimizer in optimizers:
        for name, final in (("default", 0.3), ("plan", 0.9)):
            runs = []
            for seed in range(4):
                gone = name == "default" and seed == 3
                scores = (final / 2, final + 0.01 * random.standard_normal())
                runs.append(
                    Run(
                        seed=seed,
                        optimizer=optimizer,
                        learning_rate=0.1,
                        losses=(2.0, 1.5, math.nan) if gone else (2.0, 1.5, 1.2, 1.0),
                        scores=scores,
                        score=scores[-1],
                        diverged=gone,
                    )
                )
            raced.append((name, optimizer, 0.1, [(0.1, final)], runs))
    return race_of(asked, raced, higher_is_better=True, chance=0.1, remarks=("told aloud",))


RACE = race()


def test_the_text_holds_scores_pairs_targets_and_remarks():
    words = " ".join(to_text(RACE, 100).split())
    assert words.startswith("Under sgd, plan reaches ")
    for part in (
        "default, adam",
        "1 of 4 (5–70 %)",
        "reached 80 %",
        "4 of 4 4",
        "0 of 4 > 4",
        "default − plan, adam",
        "Told aloud.",
        "2 of 16 runs diverged; each counts as a held-out accuracy of 10.0%",
    ):
        assert part in words, part


def test_the_page_has_four_charts_that_tell_the_numbers():
    page = to_page(RACE)
    for part in ("Held-out accuracy on the way", "Paired differences", "Told aloud.", "All pairs"):
        assert part in page
    pairs = rows(difference_chart(RACE), "p", "x", "top")[: len(RACE.comparisons)]
    assert {r["pair"] for r in pairs} == {"default − plan, sgd", "default − plan, adam"}
    for row, pair in zip(pairs, RACE.comparisons, strict=True):
        assert row["x"] == pytest.approx(100 * pair.difference)
        assert (row["low"], row["high"]) == pytest.approx([100 * end for end in pair.interval])
    points = [r for r in rows(score_chart(RACE), "start", "y") if r["start"] == "plan, adam"]
    curve = RACE["plan", "adam"].curve
    assert {(r["x"], r["y"]) for r in points} == set(zip(curve.steps, curve.mean, strict=True))


@pytest.mark.parametrize("suffix", ["json", "parquet"])
def test_a_race_comes_back_as_it_was(suffix, tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / f"race.{suffix}"
    RACE.save(path)
    assert load(path) == RACE or to_json(load(path)) == to_json(RACE)


def test_the_table_has_a_row_for_each_run_and_step(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = RACE.to_pandas()
    names = ["technique", "optimizer", "seed", "learning_rate", "step", "loss", "score", "diverged"]
    assert list(table.columns) == names
    assert len(table) == 2 * (4 * 4 + 3 * 4 + 3)
    of = table[(table.technique == "plan") & (table.optimizer == "adam") & (table.seed == 2)]
    run = RACE["plan", "adam"].runs[2]
    assert of.step.tolist() == [1, 2, 3, 4] and of.loss.tolist() == list(run.losses)
    assert of.score.dropna().tolist() == list(run.scores)
    RACE.save(tmp_path / "race.parquet")
    assert pandas.read_parquet(tmp_path / "race.parquet").equals(table)


def test_what_is_no_race_is_no_table(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(BadInputError, match=r"a Plan cannot be written as \.parquet; only a Race"):
        save(samples.plan(), tmp_path / "plan.parquet")
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(BadInputError, match=r"x\.parquet: cannot be read"):
        load(tmp_path / "x.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_a_race_saved_before_there_were_curves_still_loads():
    new = {"optimizer", "scores", "diverged_", "curve", "loss_curve", "area", "area_interval"}
    new |= {"reach", "looks", "worst", "comparisons", "remarks"}

    def older(node, kind=""):
        if isinstance(node, list):
            return [older(part) for part in node]
        if not isinstance(node, dict):
            return node
        kind = node.get("record", "")
        gone = new - ({"optimizer"} if kind == "Race" else set())
        gone |= {"diverged"} if kind == "Start" else set()
        return {key: older(part) for key, part in node.items() if key not in gone}

    old = json.dumps(older(json.loads(to_json(race(("sgd",))))))
    found = from_json(old)
    assert found["plan"].mean == race(("sgd",))["plan"].mean and found.comparisons == ()
    assert "plan" in to_text(found) and "Training loss" in to_page(found)


def test_one_start_and_one_seed_are_shown():
    alone = race(("sgd",), target=None)
    one = dataclasses.replace(alone, starts=alone.starts[:1], comparisons=())
    assert "on the way" in to_page(one) and "pair" not in to_text(one)
