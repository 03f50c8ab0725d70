"""Records to files and back."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from firstlight.errors import BadInputError
from firstlight.records.codec import from_json, to_json
from firstlight.records.whole_files import atomic_path, write_atomically
from firstlight.reporting.story import Story

SUFFIXES = (".html", ".json", ".parquet", ".txt")

_STORY = {field.name for field in fields(Story)}


def save(record: Any, path: str | os.PathLike[str]) -> None:
    """Write a record, a story or a tuple or dictionary of records.

    Args:
        record: what to write.
        path: its suffix chooses the form: ``.html`` (one offline page), ``.json`` (`load` reads
            it back), ``.parquet`` (a race as a table, which `load` reads back too), ``.txt``.

    Raises:
        BadInputError: unknown suffix, or the place cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        came = f"suffix '{suffix}'" if suffix else "no suffix"
        raise BadInputError(f"save: {path} has {came}; known: {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        from firstlight.reporting.tables import write_parquet  # brings pyarrow

        with atomic_path(path) as temporary:
            write_parquet(record, temporary)
        return
    if suffix == ".json":
        # A story is not one of the shared records, so it travels as a dictionary of them.
        plain = {n: getattr(record, n) for n in _STORY} if isinstance(record, Story) else record
        text = to_json(plain) + "\n"
    elif suffix == ".html":
        from firstlight.reporting.page import to_page  # brings jinja2 and altair

        text = to_page(record)
    else:
        from firstlight.reporting.text import to_text  # brings rich

        text = to_text(record) + "\n"
    # A lone surrogate (a file name that was not UTF-8, say) must not stop a report.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` wrote as JSON or Parquet.

    Raises:
        BadInputError: no such file, or not a saved record.
    """
    if Path(path).suffix.lower() in (".html", ".txt"):
        raise BadInputError(f"load: {path} is a report to read; load the .json saved beside it")
    if Path(path).suffix.lower() == ".parquet":
        from firstlight.reporting.tables import read_parquet  # brings pyarrow

        return read_parquet(Path(path))
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(f"load: {path}: not UTF-8 text; expected a saved record") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInputError(
            f"load: {path}: cannot be read ({reason}); give a .json that .save() wrote"
        ) from error
    record = from_json(text, str(path))
    return Story(**record) if isinstance(record, dict) and set(record) == _STORY else record
