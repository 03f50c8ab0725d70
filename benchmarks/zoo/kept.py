"""Results that are kept as they come, in a file of JSON lines: a benchmark can be cut short."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class Kept(Generic[R]):
    """The records in a file, by their ``key``.

    Args:
        kind: the dataclass; empty fields are left out of the file.
        path: of the file, which need not be there; None keeps nothing.
    """

    def __init__(self, kind: type[R], path: Path | None) -> None:
        self.path = path
        self.records: dict[Hashable, R] = {}
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        for line in lines:
            try:
                record = kind(**json.loads(line))
            except json.JSONDecodeError:  # a kill cut it short
                continue
            self.records[_key(record)] = record

    def add(self, record: R) -> R:
        """Keep one more, in one write."""
        self.records[_key(record)] = record
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(_line(record))
        return record

    def tidy(self) -> None:
        """Put the file in order, each record once, all or nothing."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = self.path.with_suffix(".new")
            ordered = sorted(self.records.items(), key=lambda item: str(item[0]))
            new.write_text("".join(_line(record) for _, record in ordered))
            new.replace(self.path)


def _key(record: Any) -> Hashable:
    return record.key  # type: ignore[no-any-return]


def _line(record: Any) -> str:
    fields = asdict(record).items()
    return json.dumps({k: v for k, v in fields if v not in ("", None, (), {})}) + "\n"
