"""``firstlight race``: does the start matter, for this model and this data?"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

import firstlight as fl
from firstlight.cli.options import AsJson, Html, Loss, Quiet, give
from firstlight.cli.race_data import race_data
from firstlight.cli.sources import model_factory
from firstlight.errors import BadInputError
from firstlight.reporting.files import save

Hook = Callable[..., None]


def race(
    model: str,
    /,
    *,
    data: Annotated[
        str,
        Parameter(
            help="digits (1,797 images, scikit-learn's), file.npz (x and y, and held_out_x and"
            " held_out_y or a fifth is held out), or a factory of the data: beside the model's, or"
            " module:factory."
        ),
    ],
    techniques: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            consume_multiple=True,
            help="default, plan, and names from firstlight techniques.",
        ),
    ] = ("default", "plan", "he_normal"),
    seeds: Annotated[int, Parameter(help="Scored trainings of each start.")] = 10,
    steps: Annotated[int, Parameter(help="Optimizer steps of each training.")] = 300,
    batch_size: Annotated[int, Parameter(help="Samples in a step.")] = 64,
    optimizers: Annotated[
        tuple[str, ...],
        Parameter(negative="", consume_multiple=True, help="sgd, adam, adamw, rmsprop."),
    ] = ("sgd",),
    learning_rates: Annotated[
        tuple[float, ...] | None,
        Parameter(
            negative="", consume_multiple=True, help="Searched for each start; a table by default."
        ),
    ] = None,
    search_seeds: Annotated[int, Parameter(help="Trainings of each rate in the search.")] = 2,
    looks: Annotated[int, Parameter(help="Held-out scores on the way.")] = 10,
    target: Annotated[float | None, Parameter(help="Tell the steps to this score.")] = None,
    loss: Loss = None,
    folder: Annotated[
        Path | None, Parameter(help="Keep what is finished there; the same command goes on.")
    ] = None,
    workers: Annotated[int, Parameter(help="Processes; 1 trains in this one.")] = 1,
    out: Annotated[
        Path | None, Parameter(help="Also write the race: .json, .parquet, .html or .txt.")
    ] = None,
    json: AsJson = False,
    html: Html = None,
    quiet: Quiet = False,
) -> int:
    """Does the start matter? Paired short trainings from several starts, and a verdict."""
    if workers < 1:
        raise BadInputError(f"workers: must be at least 1, got {workers}")
    build = model_factory(model)
    parts = race_data(data, model)
    with _workers(workers) as executor, _live(quiet) as (progress, watch):
        record = fl.race(
            build,
            parts,
            loss=loss,
            techniques=techniques,
            seeds=seeds,
            steps=steps,
            batch_size=batch_size,
            optimizers=optimizers,
            learning_rates=learning_rates,
            search_seeds=search_seeds,
            looks=looks,
            target=target,
            executor=executor,
            folder=folder,
            progress=progress,
            watch=watch,
        )
    if out is not None:
        save(record, out)
    give(record, as_json=json, html=html, quiet=quiet)
    return 0


@contextmanager
def _workers(count: int) -> Iterator[Executor | None]:
    """Processes that are gone at the end, also after Ctrl-C."""
    if count == 1:
        yield None
        return
    executor = ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("spawn"), initializer=_deaf
    )
    try:
        yield executor
        executor.shutdown()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise


def _deaf() -> None:
    """Ctrl-C reaches all processes of a terminal; the first one decides what comes of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _live(quiet: bool) -> Iterator[tuple[Hook | None, Hook | None]]:
    """A bar of the steps and a table of the starts, in a terminal only."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None, None
        return
    bar = Progress(
        TextColumn("racing"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task("racing", total=None)
    with Live(bar, console=console, transient=True, refresh_per_second=8) as live:

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        def watch(standings: tuple[Any, ...]) -> None:
            live.update(Group(bar, standings_table(standings)))

        yield progress, watch


def standings_table(standings: tuple[Any, ...]) -> Table:
    """Each start: runs done, best score so far, runs diverged."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    several = len({standing.optimizer for standing in standings}) > 1
    for head in ("start", "runs", "best score", "diverged"):
        table.add_column(head, justify="left" if head == "start" else "right")
    for at in standings:
        name = f"{at.technique}, {at.optimizer}" if several else at.technique
        best = "–" if at.best is None else f"{at.best:.4g}"
        gone = f"[yellow]{at.diverged}[/]" if at.diverged else "0"
        table.add_row(name, f"{at.done} of {at.runs}", best, gone)
    return table
