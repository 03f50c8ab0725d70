"""Each finding's cure, pasted as it stands, makes the finding go in the model's own framework.

`tests/verdicts/test_cures.py` does the same for every kind of finding in torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from framework_table import FRAMEWORKS, Framework
from plants import PLANTS, Tensors, planted

import firstlight as fl
from firstlight.records.checkup import Checkup, Finding
from firstlight.records.network import Network, Operation, Parameter, plain_layout
from firstlight.reporting.code import is_code
from firstlight.verdicts.cures import HABITS, Habit, habit_of, initialize

# Flax and Keras warn of each other's and of their own future.
pytestmark = pytest.mark.filterwarnings("ignore")

WRITTEN = [FRAMEWORKS[name] for name in ("keras", "nnx", "functions") if name in FRAMEWORKS]

FOREIGN = {
    "keras": r"\btorch\b|\bnn\.|\bjax\b|\boptax\b|requires_grad|detach\(|no_grad",
    "jax": r"\btorch\b|\bnn\.|\bkeras\b|requires_grad|detach\(|no_grad|get_layer",
}
"""What a report on a model of one framework must not say."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault.

    Args:
        name: unique.
        kind: of its finding.
        network: where it is planted.
        change: what it does to the logical tensors.
        feed: what it does to the keywords of `check` and the batch, given as ``batch``.
        words: the frameworks in which only words can tell the cure.
    """

    name: str
    kind: str
    network: str = "mlp"
    change: Callable[[Tensors], None] | None = None
    feed: Callable[[Framework, dict[str, Any]], None] | None = None
    words: tuple[str, ...] = ()


def _pixels(_framework: Framework, given: dict[str, Any]) -> None:
    given["batch"] = 50 * given["batch"] + 128


def _far_targets(_framework: Framework, given: dict[str, Any]) -> None:
    given["target"] = given["target"] + 30


def _large_steps(framework: Framework, given: dict[str, Any]) -> None:
    if framework.name == "keras":
        given["optimizer"] = import_module("keras").optimizers.SGD(100.0)
    else:
        given["optimizer"] = import_module("optax").sgd(100.0)


def _of_logits(framework: Framework, given: dict[str, Any]) -> None:
    """Keras looks at a head before it reads a loss by name; told so, it takes logits."""
    if framework.name == "keras":
        losses = import_module("keras").losses
        given["loss"] = losses.SparseCategoricalCrossentropy(from_logits=True)


def _silent_norms(found: Tensors) -> None:
    for name in ("bn1.weight", "bn2.weight"):
        found[name] *= 0.02 * np.random.default_rng(7).standard_normal(found[name].shape)


_PLANTED = ("zeros", "duplicated", "positive", "not a number", "dead", "overconfident", "too small")

CASES = (
    *(
        Case(name=plant.name, kind=kind, network=plant.network, change=plant.change)
        for plant in PLANTS
        if plant.name in (*_PLANTED, "clones")
        for kind in plant.kinds[-1:]
    ),
    Case(name="pixels", kind="input-scale", feed=_pixels),
    Case(name="far targets", kind="loss-at-start", network="autoencoder", feed=_far_targets),
    Case(name="large steps", kind="update-ratio", feed=_large_steps),
    Case(name="silent norms", kind="wrong-law", network="convnet", change=_silent_norms),
    Case(
        name="softmax",
        kind="head-mismatch",
        network="softmaxed",
        feed=_of_logits,
        words=("nnx", "functions"),
    ),
    Case(
        name="forgotten layer",
        kind="unreachable",
        network="forgetful",
        words=("nnx", "functions"),
    ),
    Case(name="two zero factors", kind="no-gradient", network="low rank"),
)

EACH = [(f, c) for f in WRITTEN for c in CASES if c.network != "convnet" or "convnet" in f.networks]


def _all(findings: tuple[Finding, ...]) -> Iterator[Finding]:
    for finding in findings:
        yield finding
        yield from _all(finding.consequences)


def _data(framework: Framework, case: Case) -> dict[str, Any]:
    network = case.network if case.network in framework.networks else "mlp"
    batch, options = framework.data(network)
    given = {"batch": batch, **options}
    if case.feed is not None:
        case.feed(framework, given)
    return given


def _own_words(framework: Framework, checkup: Checkup) -> None:
    page = re.sub(r"(?s)<style.*?</style>|<script.*?</script>", "", checkup._repr_html_())
    for text in (str(checkup), page):
        found = re.search(FOREIGN[checkup.network.framework], text)
        assert found is None, text[max(0, found.start() - 80) : found.end() + 80]


@pytest.mark.parametrize(
    ("framework", "case"), EACH, ids=[f"{f.name}-{c.name.replace(' ', '-')}" for f, c in EACH]
)
def test_the_cure_cures(framework: Framework, case: Case) -> None:
    if framework.missing:
        pytest.skip(framework.missing)
    model, given = framework.build(case.network), _data(framework, case)
    if case.change is not None:
        model = fl.apply(model, fl.plan(model, **_without_optimizer(given)), seed=0).model
        model = planted(model, case.change)
    checkup = fl.check(model, **given)
    _own_words(framework, checkup)
    found = [f for f in _all(checkup.findings) if f.kind == case.kind]
    assert found, [f.kind for f in _all(checkup.findings)]
    assert found[0].severity in ("error", "warning")
    cure = found[0].cure
    assert is_code(cure) is (framework.name not in case.words), cure
    if framework.name in case.words:
        return
    names = {"model": model, "firstlight": fl, **given}
    names |= {
        n: import_module(n) for n in framework.needs + ("optax",) * (framework.name != "keras")
    }
    exec(cure, names)
    healed = fl.check(names["model"], **{key: names[key] for key in given})
    left = [f.kind for f in _all(healed.findings) if f.severity != "note"]
    assert case.kind not in left, cure


def _without_optimizer(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != "optimizer"}


# The table ----------------------------------------------------------------------------------------


def _network(framework: str, *names: str, module: str = "Dense") -> Network:
    parameters = tuple(
        Parameter(name=name, kind="weight", module=module, layout=plain_layout((4, 4)))
        for name in names
    )
    return Network(name="Net", framework=framework, parameters=parameters)


def test_the_habit_is_that_of_the_framework() -> None:
    for framework, habit in HABITS.items():
        assert habit_of(_network(framework)) is habit
    assert habit_of(_network("another")) == Habit()


@pytest.mark.parametrize("framework", [*HABITS, "another"])
def test_every_habit_says_something_about_everything(framework: str) -> None:
    network = _network(framework, "head.kernel")
    habit = habit_of(network)
    head = Operation(index=0, name="head.softmax", kind="softmax", function="softmax")
    said = [
        habit.freezing(network, ["head.kernel"]),
        habit.ending(network, None),
        *(habit.ending(network, head, name) for name in ("linear", "sigmoid", "log_softmax")),
        habit.slower(0.01),
        habit.unfreeze,
    ]
    assert all(words and "\n" not in words for words in said)
    if framework in FOREIGN:
        assert not re.search(FOREIGN[framework], " ".join(said))


@pytest.mark.parametrize(
    ("names", "module", "code"),
    [
        (["late.kernel"], "Dense", "for name in ['late']: model.get_layer(name).trainable = False"),
        (["dense.kernel"], "Dense", None),  # Keras may call it dense_5
        (["multi_head_attention_1.kernel"], "MultiHeadAttention", None),
        (["block.late.kernel"], "Dense", None),
        ([f"late{i}.kernel" for i in range(9)], "Dense", None),
    ],
)
def test_layers_of_keras_are_named_where_they_have_a_name(
    names: list[str], module: str, code: str | None
) -> None:
    said = HABITS["keras"].freezing(_network("keras", *names, module=module), names)
    assert said == code if code else not is_code(said)


def test_many_names_become_patterns_that_add_no_other() -> None:
    norms = [f"blocks.{i}.norm.scale" for i in range(12)]
    network = _network("jax", *norms, *(f"blocks.{i}.fc.kernel" for i in range(12)), "odd[1].w")
    assert "only=['blocks.*.norm.scale']" in initialize(network, norms)
    assert "only=['blocks.*.norm.scale', 'odd[[]1].w']" in initialize(network, [*norms, "odd[1].w"])
    assert "'blocks.3.norm.scale'" in initialize(network, norms[:9])  # a pattern would add three
    assert "overrides={'a.w': 'ones'}" in initialize(_network("jax", "a.w"), ["a.w"], law="ones")
