"""What every adapter must do, on every network that its framework has in `framework_table`.

Look without touching, be silent on sensible starts, give a start that meets the bars, draw the same
weights again, and keep what it found in files.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from architectures import ARCHITECTURES
from framework_table import FRAMEWORKS, Framework
from plants import tensors

import firstlight as fl
from firstlight.records.checkup import Checkup
from firstlight.records.plan import Receipt
from firstlight.verbs.adapters import adapter_for

# Flax and Keras warn of each other's and of their own future.
pytestmark = pytest.mark.filterwarnings("ignore")

CASES = [(f, n) for f in FRAMEWORKS.values() for n in f.networks]
each = pytest.mark.parametrize(
    ("framework", "network"), CASES, ids=[f"{f.name}-{n}" for f, n in CASES]
)
each_framework = pytest.mark.parametrize("framework", FRAMEWORKS.values(), ids=lambda f: f.name)

PLAIN_DEPTH = ("deep_relu", "deep_tanh")
"""Which no framework's own start suits: in PyTorch's and Flax's the gradient vanishes."""


@pytest.fixture(autouse=True)
def _present(framework: Framework) -> None:
    if framework.missing:
        pytest.skip(framework.missing)


@lru_cache(maxsize=4)
def _started(name: str, network: str) -> tuple[Receipt, Any, Any]:
    """Receipt, the model that was handed in, and the batch."""
    framework = FRAMEWORKS[name]
    batch, options = framework.data(network)
    model = framework.build(network)
    return fl.initialize(model, batch, seed=0, **options), model, batch


def _errors(checkup: Checkup) -> list[str]:
    return [f"{f.kind} at {f.where}" for f in checkup.findings if f.severity == "error"]


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@each
def test_looking_is_silent_and_leaves_no_trace(framework: Framework, network: str) -> None:
    model = framework.build(network)
    batch, options = framework.data(network)
    before = framework.picture(model, batch)
    checkup = fl.check(model, batch, **options)
    audit = fl.audit(model)
    plan = fl.plan(model, batch, **options)
    wrong = (({"pixels": batch}, options), (batch, {**options, "target": options["target"][:7]}))
    for fed, wanted in wrong:
        with pytest.raises(fl.FirstlightError) as raised:
            fl.check(model, fed, **wanted)
        assert "\n" not in str(raised.value)
    assert framework.picture(model, batch) == before

    names = [p.name for p in adapter_for(model).inspect(model).parameters]
    assert names == [p.name for p in checkup.network.parameters]
    assert names == [entry.name for entry in audit] == [entry.name for entry in plan]
    assert checkup.network.operations and checkup.layers
    assert checkup.observation.loss is not None and checkup.observation.undecided_loss is not None
    if network not in PLAIN_DEPTH:
        assert not _errors(checkup)


@each
def test_initialize_meets_the_bars(framework: Framework, network: str) -> None:
    receipt, _, _ = _started(framework.name, network)
    assert receipt.after is not None
    assert not _errors(receipt.after)
    seen = receipt.after.observation
    assert seen.loss == pytest.approx(seen.undecided_loss, rel=0.05)
    off = {name: got for name, got in _moments(receipt) if not 0.25 <= got <= 4}
    assert not off
    sizes = _deltas(receipt.after, ARCHITECTURES[network].stream)
    assert sizes and max(sizes) <= 100 * min(sizes)


def _moments(receipt: Receipt) -> list[tuple[str, float]]:
    """Second moment over target of each weighted operation that has one."""
    assert receipt.after is not None
    found = []
    for operation in receipt.after.network.weighted():
        reading = receipt.after.observation.reading(operation.index)
        for name in operation.parameters:
            target = receipt.plan[receipt.after.network.parameter(name).name].target
            if target and reading is not None and reading.second_moment is not None:
                found.append((operation.name, reading.second_moment.value / target))
    assert found
    return found


def _deltas(checkup: Checkup, stream: str) -> list[float]:
    """RMS of δ along the depth: at additions of data, or at the weights before the head.

    A weight that is used at every step of a sequence is one place, with the mean over its uses.
    """
    found: dict[tuple[str, ...], list[float]] = {}
    for operation in checkup.network.operations:
        reading = checkup.observation.reading(operation.index)
        if reading is None or reading.delta_mean_square is None:
            continue
        if stream == "adds" and operation.kind == "add" and len(set(operation.inputs)) > 1:
            found[(operation.name,)] = [reading.delta_mean_square.value]
        elif stream == "weights" and operation.kind == "weighted":
            found.setdefault(operation.parameters, []).append(reading.delta_mean_square.value)
    sizes = [math.sqrt(sum(squares) / len(squares)) for squares in found.values()]
    return sizes[:-1] if stream == "weights" and len(sizes) > 2 else sizes


@each
def test_a_plan_is_drawn_again_bit_for_bit(framework: Framework, network: str) -> None:
    receipt, given, batch = _started(framework.name, network)
    first = tensors(receipt.model)
    assert receipt.seed == 0 and type(receipt.model) is type(given)
    fresh = framework.build(network)
    again = fl.apply(fresh, receipt.plan, seed=0)
    assert _is_same(tensors(again.model), first)
    assert np.array_equal(
        framework.output(again.model, batch), framework.output(receipt.model, batch)
    )
    other = tensors(fl.apply(framework.build(network), receipt.plan, seed=1).model)
    assert any(not np.array_equal(other[name], first[name]) for name in first)


@each
def test_the_reports_survive_a_file(framework: Framework, network: str, tmp_path: Path) -> None:
    receipt, _, _ = _started(framework.name, network)
    for name, record in (("plan", receipt.plan), ("checkup", receipt.after)):
        record.save(tmp_path / f"{name}.json")
        assert fl.load(tmp_path / f"{name}.json") == record
    kept = {entry.name for entry in fl.load(tmp_path / "plan.json")}
    assert kept == dict(adapter_for(receipt.model).values(receipt.model)).keys()


@each_framework
def test_models_that_cannot_change_are_answered_by_new_ones(framework: Framework) -> None:
    """One rule for all: the weights are in ``.model``, and nowhere half."""
    batch, options = framework.data("mlp")
    model = framework.build("mlp")
    before = tensors(model)
    receipt = fl.initialize(model, batch, seed=0, **options)
    assert "fc1" in str(receipt) and "fc1" in receipt._repr_html_()
    mutable = receipt.model is model
    assert _is_same(tensors(model), before) is not mutable
    assert mutable == (framework.name in ("torch", "keras", "nnx"))


@each_framework
def test_calibration_reaches_its_targets(framework: Framework) -> None:
    batch, options = framework.data("mlp")
    model = framework.build("mlp")
    plan = fl.plan(model, batch, **options)
    brought = fl.calibrate(model, plan, batch, seed=0)
    started = fl.apply(model, brought, seed=0)
    checkup = fl.check(started.model, batch, **options)
    measured = {
        op.name: reading.second_moment.value
        for op in checkup.network.weighted()
        if (reading := checkup.observation.reading(op.index)) and reading.second_moment
    }
    # Scales are rounded to nine digits, sums are of float32.
    assert measured["fc2"] == pytest.approx(brought[_named(model, "fc2.weight")].target, rel=1e-3)


def _named(model: Any, address: str) -> str:
    parameters = adapter_for(model).inspect(model).parameters
    return next(p.name for p in parameters if (p.address or p.name) == address)


@each_framework
def test_what_was_asked_for_is_drawn_and_recognised(framework: Framework) -> None:
    batch, _ = framework.data("mlp")
    model = framework.build("mlp")
    plan = fl.plan(model, batch, technique="glorot_uniform")
    started = fl.apply(model, plan, seed=3)
    audit = fl.audit(started.model)
    name = _named(started.model, "fc2.weight")
    assert "glorot_uniform" in [law.technique for law in audit[name].laws]
    kept = fl.initialize(started.model, batch, keep=[name], seed=4)
    assert kept[name].action == "keep"
    assert np.array_equal(tensors(kept.model)["fc2.weight"], tensors(started.model)["fc2.weight"])


@each_framework
def test_a_short_race(framework: Framework, tmp_path: Path) -> None:
    batch, options = framework.data("mlp")
    data = (batch[:48], options["target"][:48], batch[48:], options["target"][48:])
    race = fl.race(
        lambda: framework.build("mlp"),
        data,
        techniques=("default", "zeros"),
        learning_rates=(0.03, 0.3),
        seeds=2,
        search_seeds=1,
        steps=4,
    )
    assert [start.name for start in race.starts] == ["default", "zeros"]
    race.save(tmp_path / "race.json")
    assert fl.load(tmp_path / "race.json") == race


@each_framework
def test_what_is_frozen_stays(framework: Framework) -> None:
    if framework.freeze is None:
        pytest.skip("JAX freezes nothing: what is trained is up to the optimizer")
    batch, options = framework.data("mlp")
    model = framework.build("mlp")
    framework.freeze(model, "fc1")
    before = tensors(model)
    receipt = fl.initialize(model, batch, seed=0, **options)
    after = tensors(receipt.model)
    assert np.array_equal(after["fc1.weight"], before["fc1.weight"])
    assert not np.array_equal(after["fc2.weight"], before["fc2.weight"])
    assert receipt[_named(model, "fc1.weight")].action == "keep"
