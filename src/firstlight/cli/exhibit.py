"""``firstlight exhibit``: list the exhibits, run one, or write a gallery of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.exhibits.gallery import told
from firstlight.exhibits.touring import in_order, write_gallery
from firstlight.exhibits.workers import usable_cores
from firstlight.records.codec import to_json
from firstlight.records.exhibit import Exhibit
from firstlight.reporting.files import save
from firstlight.reporting.terminal import THEME
from firstlight.reporting.text import print_record

_STYLES = {"holds": "healthy", "does not hold": "error", "not run": "error"}


def exhibit(
    *names: Annotated[str, Parameter(help="Exhibits, by the names of the list.")],
    all: Annotated[bool, Parameter(negative="", help="All of them, as a gallery.")] = False,  # noqa: A002
    quick: Annotated[
        bool, Parameter(negative="", help="A class-room pace: fewer steps and seeds.")
    ] = False,
    out: Annotated[
        Path | None,
        Parameter(help="Folder for a gallery: a page each, and an index claim by claim."),
    ] = None,
    workers: Annotated[
        int | None, Parameter(help="Processes of a gallery; as many as cores by default.")
    ] = None,
    seed: Annotated[int, Parameter(help="Of all that is drawn.")] = 0,
    html: Annotated[Path | None, Parameter(help="Also write a page that needs no network.")] = None,
    json: Annotated[
        list[Path] | None,
        Parameter(
            negative="",
            consume_multiple=True,
            help="Print JSON instead of text, or write it to a .json file.",
        ),
    ] = None,
    quiet: Annotated[bool, Parameter(negative="", help="Print nothing but errors.")] = False,
) -> int:
    """What is taught about initialization, as experiments with measured verdicts.

    Without NAMES it lists the exhibits. Exit status 1 if an exhibit of a gallery failed.
    """
    files = _json_files(json)
    for name in names:
        told(name)  # an unknown name is said before anything runs
    if all or out is not None:
        if html is not None:
            raise BadInputError("html: a gallery has a page for each exhibit already; leave it out")
        folder = Path("firstlight-gallery") if out is None else out
        return _gallery(
            folder,
            () if all else names,
            files,
            quick=quick,
            seed=seed,
            workers=workers,
            quiet=quiet,
        )
    if workers is not None:
        raise BadInputError("workers: only a gallery has several; give --out DIR too")
    if not names:
        return _list()
    if len(names) > 1:
        raise BadInputError(f"exhibit: {len(names)} names; give --out DIR for a gallery of them")
    with Console(stderr=True).status(f"running {names[0]}"):
        shown = fl.exhibit(names[0], quick=quick, seed=seed)
    if html is not None:
        save(shown, html if html.suffix == ".html" else html.with_suffix(".html"))
    _give(shown, files, quiet=quiet)
    return 0


def _json_files(json: list[Path] | None) -> list[Path] | None:
    """None for text, empty for JSON on standard output, else the one file."""
    if json and (len(json) > 1 or json[0].suffix != ".json"):
        came = " ".join(map(str, json))
        raise BadInputError(
            f"json: expected a .json file or nothing, got '{came}'; names come first"
        )
    return json


def _give(shown: Any, files: list[Path] | None, *, quiet: bool) -> None:
    for path in files or ():
        save(shown, path)
    if quiet:
        return
    if files is not None and not files:
        sys.stdout.write(to_json(shown) + "\n")
    elif isinstance(shown, Exhibit):
        print_record(shown)


def _list() -> int:
    table = Table(box=None, pad_edge=False, title="Exhibits", title_justify="left")
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it asks")
    for name in in_order(fl.exhibit_names()):
        table.add_row(name, told(name)[0])
    console = Console()
    console.print(table)
    console.print("\nRun one: firstlight exhibit NAME [--quick]", highlight=False)
    console.print("Run all: firstlight exhibit --all --out DIR [--quick]", highlight=False)
    return 0


def _gallery(
    folder: Path,
    names: Iterable[str],
    files: list[Path] | None,
    *,
    quick: bool,
    seed: int,
    workers: int | None,
    quiet: bool,
) -> int:
    """Write it, telling each exhibit's end in a line and the rest in a bar."""
    printed = files is not None and not files  # then JSON has standard output for itself
    console = Console(stderr=printed, quiet=quiet, theme=THEME)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    shown: dict[str, Exhibit] = {}
    running: list[str] = []
    ends: Counter[str] = Counter()
    names = tuple(names) or fl.exhibit_names()
    events = write_gallery(
        folder,
        names,
        quick=quick,
        seed=seed,
        workers=usable_cores() if workers is None else workers,
    )
    try:
        with progress, closing(events):
            task = progress.add_task("starting", total=len(set(names)))
            for event in events:
                if event.kind == "started":
                    running.append(event.name)
                    progress.update(task, description=", ".join(running))
                    continue
                running.remove(event.name)
                progress.update(task, description=", ".join(running), advance=1)
                failed = event.kind == "failed"
                if not failed:
                    shown[event.name] = event.value
                verdict = "not run" if failed else event.value.verdict
                told_end = event.value if failed else f"{event.value.seconds:.1f} s"
                ends[verdict] += 1
                console.print(
                    f"{event.name:24} [{_STYLES.get(verdict, 'warning')}]{verdict}[/]", end="  "
                )
                console.print(told_end, markup=False, highlight=False)
    except KeyboardInterrupt:
        _give(shown, files, quiet=not printed)
        sys.stderr.write(
            f"firstlight: interrupted; {len(shown)} of {len(set(names))} exhibits are in {folder}\n"
        )
        return 130
    _give(shown, files, quiet=quiet)
    counts = ", ".join(f"{ends[verdict]} {verdict}" for verdict in sorted(ends))
    console.print(f"Verdicts: {counts}", highlight=False)
    console.print(str(folder / "index.html"), markup=False, highlight=False, soft_wrap=True)
    return 1 if ends["not run"] else 0
