"""Follow the start page as a newcomer does: save its files, type its commands, compare the output.

    python newcomer.py [--python python3.12]

Run like this, it begins with the page's own install lines, in a copy of the sources and an
environment that has nothing; it wants the network. `test_start_page.py` follows the rest of
the page with the environment that the tests run in.
"""

from __future__ import annotations

import argparse
import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "start.md"
SOURCES = ("src", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

_BLOCK = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_MARK = "--- printed by the step before ---"


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the reader does: lines of shell, and what they should print, if that is shown."""

    shell: str
    expected: str | None = None


def steps(text: str, *, install: bool) -> Iterator[Step]:
    """The page's steps in order; without ``install``, those after its lines in ``sh``."""
    for block in _BLOCK.finditer(text):
        info, body = block["info"], block["body"]
        if info == "sh" and install:
            yield Step(shell=body)
        elif info.startswith("{code-block} python") and body.startswith(":caption: "):
            caption, _, code = body.partition("\n")
            name = caption.removeprefix(":caption: ")
            yield Step(shell=f"printf %s {shlex.quote(code.lstrip())} > {shlex.quote(name)}")
        elif info == "console":
            command, _, expected = body.partition("\n")
            yield Step(shell=command.removeprefix("$ "), expected=expected)


def follow(given: list[Step], folder: Path, environment: dict[str, str]) -> None:
    """Take the steps in one shell.

    Raises:
        AssertionError: a step failed, or printed something else than the page shows.
    """
    # As in a reader's shell, a command of several goes on; its last status counts.
    script = "".join(
        f"set {'-e' if step.expected is None else '+e'}\n{step.shell}\n"
        f"status=$?; [ $status = 0 ] || exit $status; echo; echo {_MARK!r}\n"
        for step in given
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**environment, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    printed = done.stdout.split(_MARK)[:-1]
    for step, got in zip(given, printed, strict=False):
        if step.expected is not None:
            matches = doctest.OutputChecker().check_output(step.expected, got, FLAGS)
            assert matches, f"$ {step.shell}\npage:\n{step.expected}\nprinted:\n{got}"
    rest = f"stopped at: {given[len(printed)].shell}\n" if len(printed) < len(given) else ""
    assert done.returncode == 0, f"{rest}{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def main() -> None:
    """The whole page, from nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="stands for the page's python3")
    python = Path(shutil.which(parser.parse_args().python) or sys.executable)
    dropped = {"PYTHONPATH", "VIRTUAL_ENV", "KERAS_BACKEND"}
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    with tempfile.TemporaryDirectory() as name:
        folder, front = Path(name, "firstlight"), Path(name, "bin")
        front.mkdir()
        # A link would lead python3 to this environment: venv follows it, and finds what is here.
        (front / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} "$@"\n')
        (front / "python3").chmod(0o755)
        folder.mkdir()
        for source in SOURCES:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, folder / source)
        environment["PATH"] = f"{front}{os.pathsep}{environment['PATH']}"
        follow(list(steps(PAGE.read_text(encoding="utf-8"), install=True)), folder, environment)
    sys.stdout.write("the start page prints what it shows in a fresh environment\n")


if __name__ == "__main__":
    main()
