"""A race as a long table, one row for each run and step: for pandas, and as a Parquet file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from firstlight.errors import BadInputError
from firstlight.records.codec import from_json, to_json
from firstlight.records.race import Race

_KEY = b"firstlight"
_HINT = "pip install 'firstlight[race]'"


def columns(race: Race) -> dict[str, list[Any]]:
    """The columns of the table.

    A row is a run at a step: the loss of that step's batch, and the held-out score after it where
    one was taken. Where a run diverged, its steps end; its later looks are those of what it ended
    as, and are left out.
    """
    found: dict[str, list[Any]] = {
        "technique": [],
        "optimizer": [],
        "seed": [],
        "learning_rate": [],
        "step": [],
        "loss": [],
        "score": [],
        "diverged": [],
    }
    for start in race.starts:
        for run in start.runs:
            count = len(run.losses)
            known = len(run.scores) == len(race.looks)
            scores = dict(zip(race.looks, run.scores, strict=True)) if known else {}
            scores.setdefault(count, run.score)
            for name, value in (
                ("technique", start.name),
                ("optimizer", start.optimizer),
                ("seed", run.seed),
                ("learning_rate", run.learning_rate),
                ("diverged", run.diverged),
            ):
                found[name] += [value] * count
            found["step"] += range(1, count + 1)
            found["loss"] += run.losses
            found["score"] += [scores.get(step, math.nan) for step in range(1, count + 1)]
    return found


def to_pandas(race: Race) -> Any:
    """The table as a `pandas.DataFrame`."""
    try:
        import pandas
    except ImportError as error:
        raise BadInputError(f"race: to_pandas needs pandas; {_HINT}") from error
    return pandas.DataFrame(columns(race))


def write_parquet(race: Any, path: Path) -> None:
    """The table as Parquet, with the whole record in the file's metadata.

    Raises:
        BadInputError: something else than a race, or pyarrow is not installed.
    """
    if not isinstance(race, Race):
        raise BadInputError(
            f"save: a {type(race).__name__} cannot be written as .parquet; only a Race is a table;"
            " use .json"
        )
    arrow, parquet = _arrow()
    table = arrow.table(columns(race)).replace_schema_metadata({_KEY: to_json(race).encode()})
    parquet.write_table(table, path)


def read_parquet(path: Path) -> Any:
    """The record that `write_parquet` put into a file."""
    arrow, parquet = _arrow()
    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (OSError, arrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(
            f"load: {path}: cannot be read ({reason}); give a file that race.save() wrote"
        ) from error
    if _KEY not in metadata:
        raise BadInputError(f"load: {path}: Parquet, but no race in it; write one with race.save()")
    return from_json(metadata[_KEY].decode(), str(path))


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BadInputError(f"Parquet files need pyarrow; {_HINT}") from error
    return pyarrow, pyarrow.parquet
