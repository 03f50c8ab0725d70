"""A gallery: exhibits run side by side, their pages and an index in one folder."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path

from firstlight.errors import BadInputError
from firstlight.exhibits.claims import CLAIMS
from firstlight.exhibits.gallery import exhibit, exhibit_names, told
from firstlight.exhibits.workers import Event, each
from firstlight.laws.addresses import checked_seed
from firstlight.records.exhibit import Exhibit
from firstlight.records.whole_files import write_atomically
from firstlight.reporting.gallery_page import (
    GENERATOR,
    INDEX,
    LIBRARY,
    exhibit_page,
    index_page,
    missing_page,
    navigation,
    page_name,
)
from firstlight.reporting.page import NOTICE, library


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of exhibits in the order in which the claims come to them."""
    first = dict.fromkeys(n for said in CLAIMS.values() for claim in said for n in claim.exhibits)
    place = {name: i for i, name in enumerate(first)}
    return tuple(sorted(set(names), key=lambda name: (place.get(name, len(place)), name)))


def write_gallery(
    out: str | os.PathLike[str],
    names: Iterable[str] = (),
    *,
    quick: bool = False,
    seed: int = 0,
    workers: int = 1,
) -> Generator[Event, None, None]:
    """Run exhibits, write a page for each as soon as it is done, and the index at the end.

    Each file is written beside its place and renamed. Other files in the folder stay; one that has
    a page's name and is none of a gallery's is not written over. An exhibit that fails gets a page
    that says why. If the iterator is closed early (Ctrl-C), what is done stays, and the index
    tells what was not reached.

    Args:
        out: the folder; it is made if there is none.
        names: exhibits, all by default.
        quick: the class-room pace.
        seed: of all that is drawn.
        workers: processes of one thread each, at least 1.

    Yields:
        What happens: exhibits that start, are done (the value is an `Exhibit`), or fail (why).

    Raises:
        BadInputError: no such exhibit, fewer than one worker, or the folder cannot be used.
    """
    checked_seed(seed)
    if workers < 1:
        raise BadInputError(f"workers: expected at least 1, got {workers}")
    titles = {name: told(name)[0] for name in in_order(tuple(names) or exhibit_names())}
    folder = _folder(out, titles)
    write_atomically(folder / LIBRARY, library().encode())
    shown: dict[str, Exhibit] = {}
    failed: dict[str, str] = {}
    events = each(partial(_one, titles=titles, quick=quick, seed=seed), titles, workers)
    try:
        for event in events:
            if event.kind == "done":
                shown[event.name], page = event.value
                write_atomically(folder / page_name(event.name), page.encode())
                yield Event(event.name, "done", shown[event.name])
                continue
            if event.kind == "failed":
                failed[event.name] = event.value
            yield event
    finally:
        events.close()
        _finish(folder, titles, shown, failed, _command(titles, quick=quick, seed=seed))


def _one(name: str, titles: dict[str, str], quick: bool, seed: int) -> tuple[Exhibit, str]:
    """Run an exhibit and draw its page, which takes a while too."""
    shown = exhibit(name, quick=quick, seed=seed)
    return shown, exhibit_page(shown, navigation(name, titles))


def _finish(
    folder: Path,
    titles: dict[str, str],
    shown: dict[str, Exhibit],
    failed: dict[str, str],
    command: str,
) -> None:
    """The index, and pages that hold the place of exhibits without one."""
    for name, title in titles.items():
        path = folder / page_name(name)
        if name in failed or (name not in shown and not path.exists()):
            reason = failed.get(name, "the gallery was interrupted before")
            write_atomically(path, missing_page(title, reason, navigation(name, titles)).encode())
    write_atomically(folder / INDEX, index_page(CLAIMS, titles, shown, failed, command).encode())


def _command(names: Iterable[str], *, quick: bool, seed: int) -> str:
    chosen = "--all" if set(names) == set(exhibit_names()) else " ".join(names)
    pace = " --quick" if quick else ""
    return f"firstlight exhibit {chosen}{pace} --seed {seed} --out DIR"


def _folder(out: str | os.PathLike[str], names: Iterable[str]) -> Path:
    """The folder, made if need be, in which nobody else's file has one of our names."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"out: '{out}' is a file; name a folder for the gallery")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (INDEX, LIBRARY, *map(page_name, names)):
            path = folder / name
            if path.exists() and not _ours(path):
                raise BadInputError(
                    f"out: '{path}' is there and not of a gallery; name another folder"
                )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInputError(
            f"out: '{out}' cannot be used ({reason}); name a folder that you may write to"
        ) from error
    return folder


def _ours(path: Path) -> bool:
    """Whether a gallery wrote this file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1000).decode("utf-8", "replace")
    return head.startswith(NOTICE) or f'content="{GENERATOR}"' in head
