"""The exhibits by name: found as files, imported when they run."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import time
from functools import cache
from pathlib import Path
from typing import Any

from firstlight.errors import BadInputError, near_names
from firstlight.exhibits.experiment import Experiment, Pace
from firstlight.exhibits.wording import house_style, in_house_style
from firstlight.laws.addresses import checked_seed
from firstlight.records.exhibit import Exhibit, Grid, Picture

_FOLDER = Path(__file__).parent / "experiments"


def exhibit_names() -> tuple[str, ...]:
    """The names of all exhibits, in alphabetical order.

    Example:
        >>> import firstlight as fl
        >>> "zero-weights" in fl.exhibit_names()
        True
    """
    modules = pkgutil.iter_modules([str(_FOLDER)])
    return tuple(sorted(module.name.replace("_", "-") for module in modules))


def exhibit(name: str, *, quick: bool = False, seed: int = 0) -> Exhibit:
    """Run one exhibit: a claim of the field as an experiment, with a measured verdict.

    Args:
        name: one of `exhibit_names`.
        quick: a class-room pace: fewer steps and seeds, ten seconds or so.
        seed: of all that is drawn, an integer in [0, 2⁶⁴).

    Returns:
        An `Exhibit`: ``.verdict``, ``.conditions``, ``.measurements``, ``.lesson``, ``.pictures``,
        ``.save("page.html")``.

    Raises:
        BadInputError: no such exhibit; torch or scikit-learn is not installed.

    Example:
        >>> import firstlight as fl
        >>> shown = fl.exhibit("worked-by-hand", quick=True)
        >>> shown.title, shown.verdict
        ('Backpropagation worked by hand', 'holds')
    """
    pace = Pace.QUICK if quick else Pace.FULL
    checked_seed(seed)
    experiment = experiment_of(name)
    began = time.perf_counter()
    measured = experiment.measure(pace, seed)
    judgement = experiment.judge(measured)
    shown = [in_house_style(part) for part in experiment.show(measured)]
    title, claim = told(name)
    return Exhibit(
        name=name,
        title=title,
        claim=claim,
        sources=tuple(experiment.sources),
        verdict=judgement.verdict,
        conditions=house_style(judgement.conditions),
        measurements=in_house_style(tuple(judgement.measurements)),
        lesson=experiment.lesson,
        pictures=tuple(part for part in shown if isinstance(part, Picture)),
        tables=tuple(part for part in shown if isinstance(part, Grid)),
        pace=pace.value,
        seed=seed,
        seconds=time.perf_counter() - began,
    )


def experiment_of(name: str) -> Experiment[Any]:
    """The experiment that the module of this name states."""
    _path(name)
    module = f"firstlight.exhibits.experiments.{name.replace('-', '_')}"
    try:
        found = importlib.import_module(module).EXPERIMENT
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "firstlight":
            raise
        raise BadInputError(
            f"exhibit '{name}': needs {error.name}; pip install 'firstlight[demo]'"
        ) from error
    assert isinstance(found, Experiment)
    return found


@cache
def told(name: str) -> tuple[str, str]:
    """Title and claim of an exhibit: its module's docstring, read without importing it.

    >>> told("zero-weights")[0]
    'Why not zero?'
    """
    tree = ast.parse(_path(name).read_text(encoding="utf-8"))
    title, _, claim = inspect.cleandoc(ast.get_docstring(tree) or "").partition("\n\n")
    return title.strip().removesuffix("."), " ".join(claim.replace("``", "").split())


def _path(name: str) -> Path:
    if name not in exhibit_names():
        raise BadInputError(f"exhibit: no '{name}'; {near_names(name, exhibit_names())}")
    return _FOLDER / f"{name.replace('-', '_')}.py"
