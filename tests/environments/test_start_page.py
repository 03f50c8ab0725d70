"""Whoever follows the start page gets what it shows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from newcomer import PAGE, Step, follow, steps


@pytest.fixture
def environment():
    """The page's commands are those beside the interpreter that runs the tests."""
    beside = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{beside}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
def test_the_page_prints_what_it_shows(tmp_path, environment):
    given = list(steps(PAGE.read_text(encoding="utf-8"), install=False))
    commands = [step.shell for step in given if step.expected is not None]
    assert {command.split()[1] for command in commands} >= {"check", "plan", "race", "train.py"}
    follow(given, tmp_path, environment)
    assert (tmp_path / "report.html").stat().st_size < 3e6


def test_lines_for_installing_come_first():
    text = PAGE.read_text(encoding="utf-8")
    first, *rest = steps(text, install=True)
    assert "pip install" in first.shell
    assert rest == list(steps(text, install=False))


def test_another_output_is_told(tmp_path, environment):
    shown = Step(shell="echo 7 findings", expected="8 findings\n")
    with pytest.raises(AssertionError, match="7 findings"):
        follow([shown], tmp_path, environment)


def test_a_command_that_fails_is_told(tmp_path, environment):
    with pytest.raises(AssertionError, match="stopped at: false"):
        follow([Step(shell="false", expected="")], tmp_path, environment)
