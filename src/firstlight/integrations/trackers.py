"""Records to experiment trackers: one function each; numbers by operation, words, the page."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firstlight.errors import BadInputError
from firstlight.records.checkup import Checkup
from firstlight.records.plan import Plan, Receipt
from firstlight.records.race import Race
from firstlight.records.transfer import CoordinateCheck
from firstlight.records.watched import Watched
from firstlight.reporting.page import to_page
from firstlight.reporting.text import to_text

Record = Checkup | Plan | Receipt | Race | CoordinateCheck | Watched


def numbers(record: Record, step: int = 0) -> Iterator[tuple[str, float, int]]:
    """What a tracker can draw: name, value and step.

    Args:
        record: a `Checkup` or the one after in a `Receipt` (E[z²] and ‖δ‖² by operation, loss,
            numbers of errors and warnings), or a `Watched` training (lowest and highest by step);
            other records have words only.
        step: of a checkup's numbers.
    """
    if isinstance(record, Receipt) and record.after is not None:
        yield from numbers(record.after, step)
    elif isinstance(record, Watched):
        for glance in record:
            for name, ends in (("second_moment", glance.forward), ("delta", glance.backward)):
                if ends is not None:
                    yield f"firstlight/{name}/lowest", ends[0], glance.step
                    yield f"firstlight/{name}/highest", ends[1], glance.step
            if glance.loss is not None:
                yield "firstlight/loss", glance.loss, glance.step
            yield "firstlight/dead", glance.dead, glance.step
            yield "firstlight/alarms", float(len(glance.alarms)), glance.step
    elif isinstance(record, Checkup):
        for reading in record.layers:
            if reading.second_moment is not None:
                name = f"firstlight/second_moment/{reading.name}"
                yield name, reading.second_moment.value, step
            if reading.delta_square_per_sample is not None:
                name = f"firstlight/delta/{reading.name}"
                yield name, reading.delta_square_per_sample.value, step
        if record.observation.loss is not None:
            yield "firstlight/loss", record.observation.loss, step
        for severity in ("error", "warning"):
            found = sum(f.severity == severity for f in record.findings)
            yield f"firstlight/{severity}s", float(found), step


def log_to_tensorboard(writer: Any, record: Record, *, step: int = 0) -> None:
    """Scalars, and the record's text, into a TensorBoard run.

    Args:
        writer: a ``torch.utils.tensorboard.SummaryWriter``, or tensorboardX's.
        record: see `numbers`.
        step: of a checkup.
    """
    _checked(record)
    for name, value, at in numbers(record, step):
        writer.add_scalar(name, value, at)
    # A block of code in Markdown: names from the model are shown as they are.
    lines = "\n".join(f"    {line}" for line in to_text(record).splitlines())
    writer.add_text(f"firstlight/{_kind(record)}", lines, step)


def log_to_wandb(run: Any, record: Record, *, step: int = 0) -> None:
    """Scalars into a W&B run's history, and the page as HTML.

    Args:
        run: what ``wandb.init`` returned.
        record: see `numbers`.
        step: of a checkup; kept beside the numbers as ``firstlight/step``, since W&B's own step
            cannot go back.
    """
    import wandb

    _checked(record)
    by_step: dict[int, dict[str, Any]] = {}
    for name, value, at in numbers(record, step):
        by_step.setdefault(at, {"firstlight/step": at})[name] = value
    for values in by_step.values():
        run.log(values)
    run.log({f"firstlight/{_kind(record)}": wandb.Html(to_page(record), inject=False)})


def log_to_mlflow(record: Record, *, step: int = 0, client: Any = None, run_id: str = "") -> None:
    """Metrics into an MLflow run, and the page and the JSON as artifacts.

    Args:
        record: see `numbers`.
        step: of a checkup.
        client: an ``mlflow.MlflowClient``; None makes one.
        run_id: of the run; empty takes the active one.

    Raises:
        BadInputError: no run is active and none was named.
    """
    import mlflow

    _checked(record)
    if not run_id:
        active = mlflow.active_run()
        if active is None:
            raise BadInputError("mlflow: no active run; call within mlflow.start_run()")
        run_id = active.info.run_id
    client = client or mlflow.MlflowClient()
    for name, value, at in numbers(record, step):
        client.log_metric(run_id, _metric(name), value, step=at)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".html", ".json"):
            path = Path(folder) / f"{_kind(record)}{suffix}"
            record.save(path)
            client.log_artifact(run_id, str(path), "firstlight")


def _metric(name: str) -> str:
    """A name of the signs that MLflow allows."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in name)


def _kind(record: Record) -> str:
    return type(record).__name__.lower()


def _checked(record: Any) -> None:
    if not isinstance(record, Record):
        raise BadInputError(
            f"record: expected a Checkup, Plan, Receipt, Race, CoordinateCheck or Watched, got"
            f" {type(record).__name__}"
        )
