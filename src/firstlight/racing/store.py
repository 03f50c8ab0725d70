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


def _is_spec(found: Any) -> bool:
    if not isinstance(found, dict) or not all(
        isinstance(found.get(name), dict) for name in ("spec", "together")
    ):
        return False
    counts = found["together"].values()
    return bool(counts) and all(isinstance(n, int) and n > 0 for n in counts)


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
        if not spec.exists():
            # Units without a spec may be of any race.
            if (self.folder / _UNITS).is_dir() and not any((self.folder / _UNITS).iterdir()):
                others.remove(_UNITS)
            if others:
                raise BadInputError(
                    f"folder {self.folder}: holds other files ({others[0]}) and no race's"
                    f" {_SPEC}; name a new or empty folder"
                )
        (self.folder / _UNITS).mkdir(exist_ok=True)

    def _read_spec(self, path: Path) -> dict[str, Any]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if _is_spec(found):
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
        try:
            content = from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))
        except (BadInputError, OSError) as error:
            words = str(error).removeprefix(f"{path}: ")
            raise BadInputError(
                f"{path}: damaged ({words}); delete it to train its runs again"
            ) from error
        jobs = [asdict(job) for job in unit.jobs]
        whole = isinstance(content, dict) and len(content.get("runs", ())) == len(jobs)
        if not whole or list(content["jobs"]) != jobs:
            raise BadInputError(f"{path}: not the runs of this unit; delete it to train them again")
        return tuple(content["runs"])

    def keep(self, unit: Unit, runs: Sequence[Run]) -> None:
        """Write the runs of a finished unit.

        Raises:
            BadInputError: the disk is full, or the folder gone or not to be written.
        """
        jobs = [asdict(job) for job in unit.jobs]
        text = to_json({"jobs": jobs, "runs": list(runs)})
        write_atomically(self._path(unit), text.encode())

    def _path(self, unit: Unit) -> Path:
        return self.folder / _UNITS / f"{unit.name}.json"
