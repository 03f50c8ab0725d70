"""Bad input gets one clear line: where, what came, what is allowed, what to do next."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import models as zoo
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError


def net() -> nn.Module:
    return zoo.mlp(1)


def x() -> Tensor:
    return zoo.vectors(0)


def y() -> Tensor:
    return zoo.labels(0)


def with_value(value: float) -> Tensor:
    batch = x()
    batch[3, 4] = value
    return batch


class _NoParameters(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class _TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        return self.fc(one) + two


class _Returns(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.fc = nn.Linear(zoo.FEATURES, zoo.CLASSES)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.fc(x))


class _BreaksBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise ValueError("no derivative\nhere")


def integers() -> nn.Module:
    model = nn.Linear(3, 3)
    model.weight = nn.Parameter(torch.ones(3, 3, dtype=torch.int32), requires_grad=False)
    return model


def ends_in_backward(model: nn.Module, batch: Tensor) -> Tensor:
    loss = functional.cross_entropy(model(batch), y())
    torch.autograd.backward(loss)
    return loss


RACED = {"seeds": 1, "steps": 1, "search_seeds": 1}


def raced(**changes: Any) -> Any:
    options = {**RACED, **changes}
    data = options.pop("data", (x(), y(), x(), y()))
    return fl.race(options.pop("build", net), data, **options)


CASES: dict[str, tuple[Callable[[], Any], type[FirstlightError], str]] = {
    # The model.
    "nothing": (
        lambda: fl.check(None, x()),
        BadInputError,
        "model: builtins.NoneType is not a model that Firstlight reads; expected a torch.nn.Module",
    ),
    "a function": (
        lambda: fl.plan(lambda batch: batch, x()),
        BadInputError,
        "model: builtins.function is not a model",
    ),
    "an array": (
        lambda: fl.audit(np.ones(3)),
        BadInputError,
        "model: numpy.ndarray is not a model",
    ),
    "a class": (
        lambda: fl.check(nn.Linear, x()),
        BadInputError,
        "model: torch.nn.modules.linear.Linear is a class; make a model of it first: Linear(...)",
    ),
    "no parameters": (
        lambda: fl.check(_NoParameters(), x()),
        BadInputError,
        "model: _NoParameters has no parameters, so there is nothing to initialize",
    ),
    "no parameters to audit": (
        lambda: fl.audit(_NoParameters()),
        BadInputError,
        "model: _NoParameters has no parameters",
    ),
    "meta": (
        lambda: fl.check(nn.Linear(3, 3, device="meta"), torch.randn(4, 3)),
        BadInputError,
        "weight: on the meta device, it has no values; plan and apply first",
    ),
    "meta to audit": (
        lambda: fl.audit(nn.Linear(3, 3, device="meta")),
        BadInputError,
        "weight: on the meta device",
    ),
    "integers": (
        lambda: fl.check(integers(), torch.randn(4, 3)),
        ModelRaisedError,
        "Linear: raised RuntimeError on a batch of (4, 3) float32: ",
    ),
    "lazy": (
        lambda: fl.check(nn.LazyLinear(3), x()),
        BadInputError,
        "weight: a lazy parameter without a shape yet; run the model once on a batch",
    ),
    "lazy to audit": (lambda: fl.audit(nn.LazyLinear(3)), BadInputError, "weight: a lazy"),
    # The batch.
    "wrong shape": (
        lambda: fl.check(net(), torch.randn(8, 5)),
        ModelRaisedError,
        "Sequential: raised RuntimeError on a batch of (8, 5) float32: mat1 and mat2 shapes cannot"
        " be multiplied (8x5 and 32x64)",
    ),
    "wrong dtype": (
        lambda: fl.check(net(), x().double()),
        ModelRaisedError,
        "on a batch of (128, 32) float64: mat1 and mat2 must have the same dtype",
    ),
    "missing argument": (
        lambda: fl.check(_TwoInputs(), torch.randn(4, 3)),
        ModelRaisedError,
        "_TwoInputs: raised TypeError on a batch of (4, 3) float32: ",
    ),
    "unknown keyword": (
        lambda: fl.check(net(), {"pixels": x()}),
        ModelRaisedError,
        "unexpected keyword argument 'pixels'",
    ),
    "NaN": (
        lambda: fl.check(net(), with_value(math.nan)),
        BadInputError,
        "batch: 1 of 4096 values are NaN or infinite; clean the data before",
    ),
    "infinity in NumPy": (
        lambda: fl.plan(net(), with_value(-math.inf).numpy()),
        BadInputError,
        "batch: 1 of 4096 values are NaN or infinite",
    ),
    "empty": (
        lambda: fl.check(net(), x()[:0]),
        BadInputError,
        "batch: a tensor of shape (0, 32) is empty; pass at least one sample",
    ),
    "no tensor": (
        lambda: fl.check(net(), ()),
        BadInputError,
        "batch: no tensor in a tuple; expected a tensor, tuple or mapping",
    ),
    "a string": (lambda: fl.check(net(), "x"), BadInputError, "batch: no tensor in a str"),
    "meta batch": (
        lambda: fl.check(net(), torch.empty(4, 32, device="meta")),
        BadInputError,
        "batch: a tensor of shape (4, 32) is on the meta device and has no values; pass real data",
    ),
    "no batch": (
        lambda: fl.check(_TwoInputs()),
        BadInputError,
        "batch: none given, and _TwoInputs ran on none of 2 synthetic ones",
    ),
    "target only": (
        lambda: fl.check(net(), target=y()),
        BadInputError,
        "batch: missing, but a target was given; pass both",
    ),
    # Loss, target, step.
    "loss without target": (
        lambda: fl.check(net(), x(), loss="mse"),
        BadInputError,
        "target: missing; a loss needs one (or pass step=lambda model, batch: …)",
    ),
    "unknown loss": (
        lambda: fl.check(net(), x(), loss="cross_entropie", target=y()),
        BadInputError,
        "loss: unknown name 'cross_entropie'; did you mean 'cross_entropy'",
    ),
    "a number for a loss": (
        lambda: fl.check(net(), x(), loss=3, target=y()),
        BadInputError,
        "loss: expected a name, a callable (output, target) or None, got int",
    ),
    "a loss for each sample": (
        lambda: fl.check(net(), x(), loss=nn.CrossEntropyLoss(reduction="none"), target=y()),
        BadInputError,
        "loss: must return a scalar tensor, the loss; got (128,)",
    ),
    "no loss fits": (
        lambda: fl.check(net(), x(), target=torch.zeros(128, 4, dtype=torch.long)),
        BadInputError,
        "target: shape (128, 4) torch.int64 with output (128, 10) fits no loss by itself",
    ),
    "NaN in the target": (
        lambda: fl.check(net(), x(), loss="mse", target=torch.full((128, 10), math.nan)),
        BadInputError,
        "target: 1280 of 1280 values are NaN or infinite",
    ),
    "short target": (
        lambda: fl.check(net(), x(), loss="cross_entropy", target=y()[:5]),
        BadInputError,
        "Expected input batch_size (128) to match target batch_size (5).",
    ),
    "no floating output": (
        lambda: fl.check(_Returns(lambda z: z.argmax(dim=1)), x(), target=y()),
        BadInputError,
        "output: no floating tensor to compute a loss from, got (128,) int64; pass step=",
    ),
    "a number for a step": (
        lambda: fl.check(net(), x(), step=3),
        BadInputError,
        "step: expected a callable (model, batch) → loss, got int",
    ),
    "a step without a loss": (
        lambda: fl.check(net(), x(), step=lambda model, batch: None),
        BadInputError,
        "step: must return a scalar tensor, the loss; got NoneType",
    ),
    "a graph that is gone": (
        lambda: fl.check(net(), x(), step=ends_in_backward),
        ModelRaisedError,
        "Sequential: its backward pass raised RuntimeError: Trying to backward through the graph a"
        " second time",
    ),
    "backward raises": (
        lambda: fl.check(_Returns(_BreaksBackward.apply), x()),
        ModelRaisedError,
        "_Returns: its backward pass raised ValueError: no derivative here",
    ),
    # Techniques, plans, seeds.
    "technique": (
        lambda: fl.plan(net(), x(), technique="he_norml"),
        BadInputError,
        "technique: none is called 'he_norml'; did you mean 'he_normal'",
    ),
    "technique to look up": (
        lambda: fl.technique("xaviar_uniform"),
        BadInputError,
        "technique: none is called 'xaviar_uniform'; did you mean 'xavier_uniform'",
    ),
    "technique to draw": (
        lambda: fl.draw("othogonal", (3, 3), name="w", seed=0),
        BadInputError,
        "technique: none is called 'othogonal'; did you mean 'orthogonal'",
    ),
    "option": (
        lambda: fl.technique("he_normal", slop=0.2),
        BadInputError,
        "he_normal: no option 'slop'; did you mean 'slope'?",
    ),
    "shape to draw": (
        lambda: fl.draw("he_normal", (3, 0), name="w", seed=0),
        BadInputError,
        "draw: shape must be positive integers (out, in, …), got (3, 0)",
    ),
    "keep": (
        lambda: fl.plan(net(), x(), keep=["encoder.*"]),
        BadInputError,
        "keep: pattern 'encoder.*' matches none of the 4 parameters; the first are 0.weight,",
    ),
    "keep a number": (
        lambda: fl.plan(net(), x(), keep=[0]),  # type: ignore[list-item]
        BadInputError,
        "keep: expected names or patterns, got 0",
    ),
    "no such entry": (
        lambda: fl.plan(net(), x())["0.wieght"],
        BadInputError,
        "plan: no parameter '0.wieght'; did you mean '0.weight'",
    ),
    "another model": (
        lambda: fl.plan(net(), x()).apply(zoo.mlp(2), seed=0),
        BadInputError,
        "2.weight: the plan has shape (10, 64), the model (64, 64); make the plan from this model",
    ),
    "no plan": (
        lambda: fl.apply(net(), "he_normal"),  # type: ignore[arg-type]
        BadInputError,
        "plan: expected a Plan, got str; make one with firstlight.plan(model)",
    ),
    "negative seed": (
        lambda: fl.plan(net(), x()).apply(net(), seed=-1),
        BadInputError,
        "seed: expected an integer from 0 to 2**64 - 1, got -1",
    ),
    "broken seed": (
        lambda: fl.initialize(net(), x(), seed=1.5),  # type: ignore[arg-type]
        BadInputError,
        "seed: expected an integer from 0 to 2**64 - 1, got 1.5",
    ),
    "huge seed": (
        lambda: fl.draw("zeros", (1,), name="w", seed=1 << 64),
        BadInputError,
        "seed: expected an integer from 0 to 2**64 - 1, got 18446744073709551616",
    ),
    "namespace": (
        lambda: fl.plan(net(), x()).apply(net(), seed=0, namespace=3),  # type: ignore[arg-type]
        BadInputError,
        "namespace: expected a string, got 3",
    ),
    # Races.
    "no steps": (
        lambda: raced(steps=0),
        BadInputError,
        "race: steps must be an integer of at least 1, got 0",
    ),
    "half a step": (lambda: raced(steps=1.5), BadInputError, "race: steps must be an integer"),
    "no seeds": (lambda: raced(seeds=0), BadInputError, "race: seeds must be an integer of at"),
    "no batch size": (lambda: raced(batch_size=0), BadInputError, "race: batch_size must be"),
    "no techniques": (
        lambda: raced(techniques=()),
        BadInputError,
        "race: techniques is empty; name at least one, 'plan' or 'he_normal'",
    ),
    "technique to race": (
        lambda: raced(techniques=("plan", "he_norml")),
        BadInputError,
        "technique: none is called 'he_norml'; did you mean 'he_normal'",
    ),
    "technique twice": (
        lambda: raced(techniques=("plan", "plan")),
        BadInputError,
        "race: technique 'plan' is named twice; once is enough",
    ),
    "negative rate": (
        lambda: raced(learning_rates=(0.1, -0.1)),
        BadInputError,
        "race: learning_rates: expected positive numbers, at least one; got [0.1, -0.1]",
    ),
    "half the data": (
        lambda: raced(data=(x(), y())),
        BadInputError,
        "or (training set, held-out set), got 2 parts",
    ),
    "no data": (lambda: raced(data=None), BadInputError, "data: expected (inputs, targets, held"),
    "mismatched data": (
        lambda: raced(data=(x(), y()[:5], x(), y())),
        BadInputError,
        "data: training part has 128 inputs and 5 targets; both must be equal and above 0",
    ),
    "mismatched held-out data": (
        lambda: raced(data=(x(), y(), x(), y()[:5])),
        BadInputError,
        "data: held-out part has 128 inputs and 5 targets",
    ),
    "empty data": (
        lambda: raced(data=(x()[:0], y()[:0], x(), y())),
        BadInputError,
        "data: training part has 0 inputs and 0 targets; both must be equal and above 0",
    ),
    "ragged data": (
        lambda: raced(data=([[1.0], [1.0, 2.0]], [0, 1], x(), y())),
        BadInputError,
        "data: a list whose rows differ in length or kind",
    ),
    "words for data": (
        lambda: raced(data=("abcd", y(), x(), y())),
        BadInputError,
        "data: expected four arrays of numbers, one row for each sample; got <U4 of shape ()",
    ),
    "NaN to train on": (
        lambda: raced(data=(with_value(math.nan), y(), x(), y())),
        BadInputError,
        "data: training inputs hold NaN or infinite values; clean them first",
    ),
    "NaN held out": (
        lambda: raced(data=(x(), y(), with_value(math.inf).numpy(), y())),
        BadInputError,
        "data: held-out inputs hold NaN or infinite values; clean them first",
    ),
    "NaN targets": (
        lambda: raced(data=(x(), torch.full((128, 10), math.nan), x(), y())),
        BadInputError,
        "data: training targets hold NaN or infinite values",
    ),
    "a model instead of a builder": (
        lambda: raced(build=net()),
        BadInputError,
        "build: expected a function that returns a new model, got Sequential; pass lambda: Model()",
    ),
    "a builder of numbers": (lambda: raced(build=lambda: 3), BadInputError, "builtins.int is not"),
    "a builder that raises": (
        lambda: raced(build=lambda: 1 / 0),
        ModelRaisedError,
        "race: build raised ZeroDivisionError: division by zero",
    ),
    "wrong shape to train on": (
        lambda: raced(data=(x()[:, :5], y(), x()[:, :5], y()), techniques=("default",)),
        ModelRaisedError,
        "race: training raised RuntimeError: mat1 and mat2 shapes cannot be multiplied",
    ),
    "unknown loss to train on": (
        lambda: raced(loss="cross_entropi"),
        BadInputError,
        "loss: unknown name 'cross_entropi'; did you mean 'cross_entropy'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_clear_line(name: str) -> None:
    call, kind, words = CASES[name]
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert words in message, message
    assert "\n" not in message and "Traceback" not in message
    assert type(caught.value) is kind


@pytest.mark.parametrize("seed", [-1, 2.5, True, "7", 1 << 64])
def test_a_bad_seed_writes_nothing(seed: Any) -> None:
    model = net()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(BadInputError, match="seed: expected an integer"):
        fl.plan(model, x()).apply(model, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_numpy_integers_are_seeds() -> None:
    model = net()
    assert fl.plan(model, x()).apply(model, seed=np.uint64(3)).seed == 3  # type: ignore[arg-type]


def test_the_users_own_error_is_the_cause() -> None:
    with pytest.raises(ModelRaisedError) as caught:
        fl.check(zoo.Raises(ZeroDivisionError("a\nb")), x())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_cannot_be_differentiated_is_a_finding() -> None:
    checkup = fl.check(_Returns(lambda z: z.argmax(dim=1)), x())
    assert [finding.kind for finding in checkup.findings] == ["unreachable"]
