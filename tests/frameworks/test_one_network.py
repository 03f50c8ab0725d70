"""One seed, one network: the same architecture by the same names, whoever builds it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from architectures import ARCHITECTURES, Array
from framework_table import FRAMEWORKS, Framework
from plants import PLANTS, Plant, planted, signature, tensors

import firstlight as fl
from firstlight.records.checkup import Checkup

# Flax and Keras warn of each other's and of their own future.
pytestmark = pytest.mark.filterwarnings("ignore")

OTHERS = [f for name, f in FRAMEWORKS.items() if name != "torch" and f.stored_alike]
SAME = [
    pytest.param(f, n, id=f"{f.name}-{n}")
    for f in OTHERS
    for n in f.networks
    if ARCHITECTURES[n].same
]

TORCH = FRAMEWORKS["torch"]


def _skip_if_missing(framework: Framework) -> None:
    if framework.missing or TORCH.missing:
        pytest.skip(framework.missing or TORCH.missing or "")


@lru_cache(maxsize=64)
def _initialized(name: str, network: str, calibrate: bool) -> tuple[dict[str, Array], Array]:
    """Logical tensors and the output."""
    framework = FRAMEWORKS[name]
    batch, options = framework.data(network)
    model = framework.build(network)
    receipt = fl.initialize(model, batch, seed=0, calibrate=calibrate, **options)
    return tensors(receipt.model), framework.output(receipt.model, batch)


def _assert_near(found: Array, wanted: Array, share: float) -> None:
    """Within a share of the root mean square: rounding grows with the depth, not with a value."""
    scale = float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64))))
    assert np.max(np.abs(found - wanted), initial=0.0) <= share * scale


@pytest.mark.parametrize(("framework", "network"), SAME)
def test_the_same_numbers_and_the_same_output(framework: Framework, network: str) -> None:
    _skip_if_missing(framework)
    wanted, output = _initialized("torch", network, calibrate=False)
    found, ours = _initialized(framework.name, network, calibrate=False)
    assert found.keys() == wanted.keys()
    assert not [name for name in wanted if not np.array_equal(found[name], wanted[name])]
    _assert_near(ours, output, 1e-4)


@pytest.mark.parametrize(("framework", "network"), SAME)
def test_calibrated_the_same_to_rounding(framework: Framework, network: str) -> None:
    _skip_if_missing(framework)
    wanted, output = _initialized("torch", network, calibrate=True)
    found, ours = _initialized(framework.name, network, calibrate=True)
    for name, values in wanted.items():
        _assert_near(found[name], values, 1e-4)
    _assert_near(ours, output, 1e-3)


# Faults -------------------------------------------------------------------------------------------

FAULTY = [(f, p) for f in FRAMEWORKS.values() for p in PLANTS if p.network in f.networks]


@lru_cache(maxsize=64)
def _spoiled(name: str, plant_name: str) -> Checkup:
    framework = FRAMEWORKS[name]
    plant = next(p for p in PLANTS if p.name == plant_name)
    batch, options = framework.data(plant.network)
    model = framework.build(plant.network)
    started = fl.apply(model, fl.plan(model, batch, **options), seed=0).model
    return fl.check(planted(started, plant.change), batch, **options)


@pytest.mark.parametrize(
    ("framework", "plant"), FAULTY, ids=[f"{f.name}-{p.name}" for f, p in FAULTY]
)
def test_a_fault_is_found_alike(framework: Framework, plant: Plant) -> None:
    if framework.missing:
        pytest.skip(framework.missing)
    if not framework.stored_alike and plant.network != "mlp":
        pytest.skip("its layers are in a list")
    checkup = _spoiled(framework.name, plant.name)
    assert checkup.findings, "nothing found"
    leading = checkup.findings[0]
    assert leading.kind in plant.kinds
    assert leading.severity != "note"
    _, _, named = next(s for s in signature(checkup, leading.severity) if s[1] == leading.kind)
    assert plant.culprit is None or any(place.startswith(plant.culprit) for place in named)
    if not TORCH.missing:
        wanted = _spoiled("torch", plant.name)
        assert signature(checkup, "error", "warning") == signature(wanted, "error", "warning")


@pytest.mark.parametrize("framework", FRAMEWORKS.values(), ids=lambda f: f.name)
def test_what_no_gradient_reaches(framework: Framework) -> None:
    if framework.missing:
        pytest.skip(framework.missing)
    batch, options = framework.data("mlp")
    checkup = fl.check(framework.build("detached"), batch, **options)
    hidden = {f"{layer}.{leaf}" for layer in ("fc1", "fc2") for leaf in ("weight", "bias")}
    assert signature(checkup, "error") == {("error", "unreachable", frozenset(hidden))}
