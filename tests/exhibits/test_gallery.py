"""The gallery from the command line: what is written, what is kept, what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from firstlight.cli.app import run
from firstlight.errors import BadInputError
from firstlight.exhibits.gallery import exhibit, exhibit_names
from firstlight.exhibits.touring import write_gallery
from firstlight.exhibits.workers import each
from firstlight.records.codec import from_json
from firstlight.records.exhibit import Exhibit
from firstlight.reporting.files import load

from .tasks import task

FAST = "worked-by-hand"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_task_that_fails_or_dies_takes_nothing_down_with_it():
    events = list(each(task, ["raises", "one", "dies", "two", "threads"], workers=1))
    ends = {event.name: event for event in events if event.kind != "started"}
    assert [event.name for event in events if event.kind == "started"] == list(ends)
    assert ends["raises"].kind == ends["dies"].kind == "failed"
    assert ends["raises"].value == "ValueError: no way"
    assert "-9" in ends["dies"].value
    assert ends["threads"].value == 1
    assert ends["one"].value != ends["two"].value != os.getpid()  # a new process in its place


def test_workers_take_tasks_side_by_side_and_end_with_the_iterator():
    events = each(task, ["a", "b", "c"], workers=2)
    assert [next(events).kind for _ in range(2)] == ["started", "started"]
    pid = next(event.value for event in events if event.kind == "done")
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_gallery_of_two_with_one_that_fails(tmp_path, monkeypatch, capsys):
    def fail_then_pass(task, names, workers):
        from firstlight.exhibits.workers import Event

        assert workers == 2
        for name in names:
            yield Event(name, "started")
            bad = name == "zero-weights"
            yield Event(
                name, "failed" if bad else "done", "ValueError: no way" if bad else task(name)
            )

    monkeypatch.setattr("firstlight.exhibits.touring.each", fail_then_pass)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    names = [FAST, "zero-weights"]
    assert run(["exhibit", *names, "--out", "out", "--quick", "--workers", "2"]) == 1
    out = capsys.readouterr().out
    assert "ValueError: no way" in out and "1 holds, 1 not run" in out
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["index.html", "notes.txt", "vega.js", f"{FAST}.html", "zero-weights.html"]
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    index = (tmp_path / "out" / "index.html").read_text()
    assert f'href="{FAST}.html"' in index and 'href="zero-weights.html"' not in index
    assert "It did not run: ValueError: no way" in index
    page = (tmp_path / "out" / f"{FAST}.html").read_text()
    assert '<script src="vega.js">' in page and len(page) < 300_000  # not a library in each
    assert "Not run: ValueError: no way" in (tmp_path / "out" / "zero-weights.html").read_text()


def test_a_second_gallery_takes_the_place_of_the_first_in_real_processes(tmp_path):
    for seed in (0, 1):
        events = list(write_gallery("out", [FAST], quick=True, seed=seed))
        assert [event.kind for event in events] == ["started", "done"]
        assert isinstance(events[1].value, Exhibit)
    page = (tmp_path / "out" / f"{FAST}.html").read_text()
    assert "--seed 1" in page and "--seed 0" not in page


def test_ctrl_c_keeps_what_is_done(tmp_path):
    code = "import sys; from firstlight.cli import main; main()"
    # The slow one comes after the fast one: the interrupt falls into it.
    names = [FAST, "saddle"]
    options = ["--out", "out", "--workers", "1", "--json", "done.json"]
    command = [sys.executable, "-c", code, "exhibit", *names, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    page = tmp_path / "out" / f"{FAST}.html"
    while not page.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "firstlight: interrupted; 1 of 2 exhibits are in out\n"
    index = (tmp_path / "out" / "index.html").read_text()
    assert f'href="{FAST}.html"' in index and "It was not reached." in index
    assert not list((tmp_path / "out").glob("*.part"))
    assert list(load("done.json")) == [FAST]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["worked-by-hnd"], "no 'worked-by-hnd'; did you mean 'worked-by-hand'?"),
        (["--all", "--out", "file"], "'file' is a file; name a folder"),
        (["--all", "--out", "taken"], "'taken/index.html' is there and not of a gallery"),
        ([FAST, "--workers", "2"], "workers: only a gallery has several"),
        ([FAST, "--out", "out", "--workers", "0"], "workers: expected at least 1, got 0"),
        ([FAST, "zero-weights"], "2 names; give --out DIR"),
        (["--json", FAST], "expected a .json file or nothing, got 'worked-by-hand'"),
        (["--all", "--html", "x.html"], "a gallery has a page for each exhibit already"),
        ([FAST, "--seed", "-1"], "seed"),
    ],
)
def test_wrong_use_is_one_line(arguments, words, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "index.html").write_text("<title>my own</title>")
    assert run(["exhibit", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert (tmp_path / "taken" / "index.html").read_text() == "<title>my own</title>"


def test_the_list_names_every_exhibit_and_its_question(capsys):
    assert run(["exhibit"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in exhibit_names())
    assert "Why not zero?" in out


def test_one_exhibit_as_text_json_and_page(tmp_path, capsys):
    assert run(["exhibit", FAST, "--quick", "--html", "page.html"]) == 0
    assert "Backpropagation worked by hand" in capsys.readouterr().out
    assert "vegaEmbed" in (tmp_path / "page.html").read_text()  # by itself it holds its library
    assert run(["exhibit", FAST, "--quick", "--json"]) == 0
    printed = from_json(capsys.readouterr().out)
    assert run(["exhibit", FAST, "--quick", "--seed", "0", "--json", "x.json", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    saved = load("x.json")
    assert printed.measurements == saved.measurements == exhibit(FAST, quick=True).measurements
    assert json.loads((tmp_path / "x.json").read_text())["firstlight"] == 1


def test_a_seed_or_worker_count_is_looked_at_before_anything_is_written(tmp_path):
    with pytest.raises(BadInputError, match="workers"):
        next(write_gallery("out", [FAST], workers=0))
    assert not (tmp_path / "out").exists()
