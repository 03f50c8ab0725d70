"""Options that several commands share, and how a record is given."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from firstlight.cli.sources import source_of
from firstlight.records.codec import to_json
from firstlight.records.whole_files import write_atomically
from firstlight.reporting.files import save
from firstlight.reporting.machine import to_junit, to_sarif
from firstlight.reporting.text import print_record

Loss = Annotated[str | None, Parameter(help="cross_entropy, mse or binary_cross_entropy.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of text.")]
Html = Annotated[Path | None, Parameter(help="Also write a page that needs no network.")]
Quiet = Annotated[bool, Parameter(negative="", help="Print nothing but errors.")]


def give(record: Any, *, as_json: bool, html: Path | None, quiet: bool) -> None:
    """Print a record as text or JSON, and write its page if one is asked for."""
    if html is not None:
        save(record, html if html.suffix == ".html" else html.with_suffix(".html"))
    if quiet:
        return
    if as_json:
        sys.stdout.write(to_json(record) + "\n")
    else:
        print_record(record)


def for_machines(checkup: Any, model: str, *, sarif: Path | None, junit: Path | None) -> None:
    """Write a checkup for code scanning or test reports, with the place of the model's factory."""
    if sarif is not None:
        uri, line = source_of(model)
        text = to_sarif(checkup, uri=uri, line=line)
        write_atomically(sarif, text.encode("utf-8", "backslashreplace"))
    if junit is not None:
        write_atomically(junit, to_junit(checkup).encode("utf-8", "backslashreplace"))
