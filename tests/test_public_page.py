"""The public page: cheap to import, and every name means the same before and after."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.errors import FirstlightError
from firstlight.records.race import Race

HEAVY = (
    "torch",
    "keras",
    "jax",
    "flax",
    "tensorflow",
    "scipy",
    "rich",
    "jinja2",
    "altair",
    "cyclopts",
    "numba",
)


def loaded_after(code: str) -> set[str]:
    """The heavy modules in a new interpreter after some code."""
    listing = f"import sys; {code}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_loads_no_framework_and_nothing_slow():
    assert loaded_after("import firstlight") == set()


def test_the_test_above_can_fail():
    assert "torch" in loaded_after("import firstlight.frameworks.torch.adapter")
    assert "scipy" in loaded_after("import firstlight.theory.formulas")


def test_drawing_and_listing_need_no_framework():
    code = (
        "import firstlight as fl; fl.techniques(); fl.exhibit_names();"
        " fl.draw('he_normal', (3, 3), name='w', seed=0)"
    )
    assert "torch" not in loaded_after(code)


def _import_everything() -> None:
    for module in pkgutil.walk_packages(fl.__path__, "firstlight."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _uses(tmp_path):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x, y = torch.randn(16, 4), torch.arange(16) % 2
    plan = fl.plan(model, x)
    path = tmp_path / "checkup.json"
    fl.check(model, x).save(path)
    fl.stream(model, tmp_path / "w", plan=plan, seed=0)
    return {
        "apply": lambda: fl.apply(model, plan, seed=0),
        "audit": lambda: fl.audit(model),
        "audit_checkpoint": lambda: fl.audit_checkpoint(tmp_path / "w", plan, seed=0),
        "check": lambda: fl.check(model, x, target=y),
        "coordinate_check": lambda: fl.coordinate_check(
            lambda n: nn.Linear(4, n), x, target=y, widths=(2, 4), steps=1, seeds=1
        ),
        "draw": lambda: fl.draw("he_normal", (3, 3), name="w", seed=0),
        "calibrate": lambda: fl.calibrate(model, fl.plan(model, x), x, seed=0),
        "exhibit": lambda: fl.exhibit("worked-by-hand", quick=True),
        "exhibit_names": fl.exhibit_names,
        "initialize": lambda: fl.initialize(model, x, seed=0),
        "load": lambda: fl.load(path),
        "plan": lambda: fl.plan(model, x),
        "predict": lambda: fl.predict("relu", depth=3),
        "race": lambda: fl.race(
            lambda: nn.Sequential(nn.Linear(4, 2)),
            (x, y, x, y),
            techniques=("default",),
            seeds=1,
            steps=1,
            learning_rates=(0.1,),
        ),
        "stream": lambda: fl.stream(model, tmp_path / "weights", plan=plan, seed=0),
        "technique": lambda: fl.technique("he_normal"),
        "techniques": fl.techniques,
        "Watch": lambda: fl.Watch(model, x, target=y, alarm="none").step(),
    }


def test_every_public_name_works_twice_after_everything_has_been_imported(tmp_path):
    _import_everything()
    uses = _uses(tmp_path)
    for name in fl.__all__:
        value = getattr(fl, name)
        if name in uses:
            first, second = uses[name](), uses[name]()
            assert type(first) is type(second)
            assert first is not None
        elif name == "__version__":
            assert value.count(".") == 2
        else:
            assert issubclass(value, FirstlightError | Warning), name
    assert set(uses) < set(fl.__all__)
    assert isinstance(uses["race"](), Race)
    assert np.array_equal(uses["draw"](), uses["draw"]())


def test_no_public_name_is_also_a_submodule():
    submodules = {module.name for module in pkgutil.iter_modules(fl.__path__)}
    assert not submodules & set(fl.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'chek'"):
        _ = fl.chek
