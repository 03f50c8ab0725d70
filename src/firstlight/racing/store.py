"""A folder that keeps a race: its spec, and one file for each finished unit."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firstlight.errors import BadInputError
from firstlight.racing.spec import differences
from firstlight.racing.units import Unit
from firstlight.records.codec import from_json, to_json
from firstlight.records.race import Run
from firstlight.records.whole_files import write_atomically

_SPEC, _UNITS, _MOST = "spec.json", "units", 3


class Store:
    """The finished units of one race.

    A file is written beside its place and renamed, so that a kill at any moment leaves it whole or
    absent. The number of models that train as one is decided when the folder is made, and kept.

    Args:
        folder: a new or empty one, or one that holds the same race.
        spec: what the race is; see `firstlight.racing.spec`.
        counts: for each optimizer, how many jobs a unit has at most; the folder's own go first.

    Raises:
        BadInputError: the folder holds something else, or cannot be written.
    """

    def __init__(
        self, folder: str | os.PathLike[str], spec: Mapping[str, Any], counts: Mapping[str, int]
    ) -> None:
        self.folder = Path(folder)
        path = self.folder / _SPEC
        try:
            self._make(path)
        except OSError as error:
            raise BadInputError(
                f"folder {folder}: cannot be made ({error.strerror}); name a folder that can"
            ) from error
        plain = json.loads(json.dumps(spec))
        if not path.exists():
            text = json.dumps({"spec": plain, "together": dict(counts)}, indent=1)
            write_atomically(path, text.encode())
        known = self._read_spec(path)
        differing = differences(plain, known["spec"])
        if differing:
            more = f" and {len(differing) - _MOST} more" if len(differing) > _MOST else ""
            raise BadInputError(
                f"folder {folder}: holds another race: {'; '.join(differing[:_MOST])}{more};"
                " name another folder, or race as before"
            )
        self.counts: dict[str, int] = known["together"]

    def _make(self, spec: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # What a killed writer left behind has a name with a dot.
        others = sorted(p.name for p in self.folder.iterdir() if not p.name.startswith("."))
        if set(others) - {_UNITS} and not spec.exists():
            raise BadInputError(
                f"folder {self.folder}: holds other files ({others[0]}) and no race; name a new or"
                " empty folder"
            )
        (self.folder / _UNITS).mkdir(exist_ok=True)

    def _read_spec(self, path: Path) -> dict[str, Any]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if set(found) >= {"spec", "together"}:
                return dict(found)
            reason = "no spec in it"
        except (OSError, ValueError) as error:
            reason = str(error)
        raise BadInputError(
            f"{path}: not the spec of a race ({' '.join(reason.split())}); name another folder"
        )

    def load(self, unit: Unit) -> tuple[Run, ...] | None:
        """The runs of a unit, or None if it is not finished.

        Raises:
            BadInputError: the file is damaged, or of other jobs.
        """
        path = self._path(unit)
        if not path.exists():
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
        content = from_json(text, str(path))
        jobs = [asdict(job) for job in unit.jobs]
        whole = isinstance(content, dict) and len(content.get("runs", ())) == len(jobs)
        if not whole or list(content["jobs"]) != jobs:
            raise BadInputError(f"{path}: not the runs of this unit; delete it to train them again")
        return tuple(content["runs"])

    def keep(self, unit: Unit, runs: Sequence[Run]) -> None:
        """Write the runs of a finished unit."""
        jobs = [asdict(job) for job in unit.jobs]
        text = to_json({"jobs": jobs, "runs": list(runs)})
        write_atomically(self._path(unit), text.encode())

    def _path(self, unit: Unit) -> Path:
        return self.folder / _UNITS / f"{unit.name}.json"
