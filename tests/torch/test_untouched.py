"""Looking must not touch: bit for bit the same after check, audit and plan, however they end."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import models as zoo
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

import firstlight as fl
from firstlight.errors import ModelRaisedError, NoRuleError
from firstlight.frameworks.torch import guard


def _tensor(tensor: Tensor) -> tuple[Any, ...]:
    gradient = tensor.grad if tensor.is_leaf else None
    plain = tensor.layout == torch.strided
    dense = tensor.detach() if plain else tensor.detach().to_dense()
    dense = dense.int_repr() if dense.is_quantized else dense
    values = dense.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return (
        "tensor",
        id(tensor),
        tensor.data_ptr() if plain else tensor.layout,
        tensor.dtype,
        tuple(tensor.shape),
        values,
        tensor.requires_grad,
        None if gradient is None else _tensor(gradient),
    )


def _value(value: Any, path: str, picture: dict[str, Any]) -> None:
    """Write down a value and everything inside it, by path."""
    if isinstance(value, Tensor):
        picture[path] = _tensor(value)
    elif isinstance(value, np.ndarray):
        picture[path] = (id(value), value.tobytes())
    elif isinstance(value, torch.Generator):
        picture[path] = value.get_state().numpy().tobytes()
    elif isinstance(value, nn.Module):
        picture[path] = id(value)
        for key, item in vars(value).items():
            _value(item, f"{path}.{key}", picture)
    elif isinstance(value, dict):
        picture[path] = (id(value), list(value))
        for key, item in value.items():
            _value(item, f"{path}[{key!r}]", picture)
    elif isinstance(value, list | tuple):
        picture[path] = (id(value), len(value))
        for index, item in enumerate(value):
            _value(item, f"{path}[{index}]", picture)
    elif isinstance(value, int | float | str | bool | set | None):
        picture[path] = (type(value), repr(value))
    else:
        picture[path] = id(value)


def picture_of(model: nn.Module, batch: Any) -> dict[str, Any]:
    """All that must not change; written without any of Firstlight's own code."""
    picture: dict[str, Any] = {}
    _value(model, "model", picture)
    _value(batch, "batch", picture)
    picture["python"] = random.getstate()
    picture["numpy"] = repr(np.random.get_state(legacy=False))
    picture["torch"] = torch.get_rng_state().numpy().tobytes()
    picture["grad mode"] = torch.is_grad_enabled()
    picture["inference mode"] = torch.is_inference_mode_enabled()
    picture["autocast"] = (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))
    picture["default dtype"] = torch.get_default_dtype()
    picture["autocast cache"] = torch.is_autocast_cache_enabled()
    picture["threads"] = torch.get_num_threads()
    for name, hooks in vars(torch_modules).items():
        if name.startswith("_global") and isinstance(hooks, dict):
            picture[name] = list(hooks)
    return picture


@contextmanager
def unchanged_after(model: nn.Module, batch: Any) -> Iterator[None]:
    before = picture_of(model, batch)
    try:
        yield
    finally:
        after = picture_of(model, batch)
        different = [
            key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
        ]
        assert not different, f"touched: {sorted(different)}"


@pytest.fixture
def unchanged() -> Callable[[nn.Module, Any], Any]:
    return unchanged_after


VERBS: dict[str, Callable[..., Any]] = {
    "check": fl.check,
    "plan": fl.plan,
    "audit": lambda model, batch, **options: fl.audit(model),
    "compare": lambda model, batch, **options: fl.plan(
        model, batch, compare=["he_normal", "zeros"], **options
    ),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", zoo.TRICKY)
def test_nothing_is_touched(name: str, verb: str, unchanged: Any) -> None:
    specimen = zoo.TRICKY[name]()
    with unchanged(specimen.model, [specimen.batch, specimen.options]):
        try:
            VERBS[verb](specimen.model, specimen.batch, **specimen.options)
        except NoRuleError:
            assert verb in ("plan", "compare") and name in ("lora", "weight norm", "spectral norm")


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_nothing_is_touched_when_the_model_raises(verb: str, unchanged: Any) -> None:
    model, batch = zoo.Raises(), zoo.vectors(0)
    with (
        unchanged(model, batch),
        pytest.raises(ModelRaisedError, match="Raises: raised RuntimeError") as caught,
    ):
        VERBS[verb](model, batch)
    assert "half-way, over two lines" in str(caught.value) and "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_nothing_is_touched_by_an_interrupt_in_forward(verb: str, unchanged: Any) -> None:
    model, batch = zoo.Raises(KeyboardInterrupt()), zoo.vectors(0)
    with unchanged(model, batch), pytest.raises(KeyboardInterrupt):
        VERBS[verb](model, batch)


class _InterruptedBackward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.bn = nn.Linear(zoo.FEATURES, 8), nn.BatchNorm1d(8)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        def interrupt(_: Tensor) -> None:
            raise KeyboardInterrupt

        hidden = self.bn(self.fc1(x))
        hidden.register_hook(interrupt)
        return self.fc2(hidden)


def test_nothing_is_touched_by_an_interrupt_in_backward(unchanged: Any) -> None:
    model, batch = _InterruptedBackward(), zoo.vectors(0)
    with unchanged(model, batch), pytest.raises(KeyboardInterrupt):
        fl.check(model, batch)


def test_ctrl_c_while_things_are_put_back(unchanged: Any, monkeypatch: Any) -> None:
    """Restoring is interrupted in its midst, and at the worst place: with a container emptied."""
    interrupted: list[Any] = []

    def interrupt(state: Any) -> None:
        if len(interrupted) < 3 and state.container:
            interrupted.append(state.container)
            state.container.clear()
            raise KeyboardInterrupt
        restore(state)

    restore = guard._ContainerState.restore
    monkeypatch.setattr(guard._ContainerState, "restore", interrupt)
    model, batch = zoo.Remembering(), zoo.vectors(0)
    with unchanged(model, batch), pytest.raises(KeyboardInterrupt):
        fl.check(model, batch)
    assert len(interrupted) == 3


def test_a_batch_that_wants_gradients_gets_none(unchanged: Any) -> None:
    model, batch = zoo.mlp(2), zoo.vectors(0).requires_grad_()
    with unchanged(model, batch):
        fl.check(model, batch, target=zoo.labels(0))
    assert batch.grad is None


def test_a_synthetic_batch_leaves_no_trace(unchanged: Any) -> None:
    model = zoo.ConvNet(0.5)
    with unchanged(model, None):
        fl.check(model)


def test_a_synthetic_batch_on_which_the_model_raises_leaves_no_trace(unchanged: Any) -> None:
    model = zoo.Raises()
    with unchanged(model, None), pytest.raises(fl.BadInputError, match="ran on none of 2"):
        fl.check(model)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_callers_modes_stay_and_do_not_matter(context: Any, unchanged: Any) -> None:
    model, batch = zoo.mlp(2), zoo.vectors(0)
    with context(), unchanged(model, batch):
        inside = fl.check(model, batch, target=zoo.labels(0))
    outside = fl.check(model, batch, target=zoo.labels(0))
    assert inside.observation == outside.observation


def test_an_optimizer_in_the_step_does_not_move() -> None:
    model, batch = zoo.mlp(2), zoo.vectors(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(module: nn.Module, inputs: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(inputs), zoo.labels(0))
        loss.backward()
        optimizer.step()
        return loss

    with unchanged_after(model, batch):
        checkup = fl.check(model, batch, step=step)
    assert not optimizer.state
    assert checkup.observation == fl.check(model, batch, target=zoo.labels(0)).observation


def test_modules_run_in_the_mode_of_training() -> None:
    model = zoo.ConvNet(0.5).eval()
    seen: list[bool] = []
    model.dropout.register_forward_hook(lambda module, args, output: seen.append(module.training))
    checkup = fl.check(model, zoo.images(0))
    assert seen == [True] and checkup.observation.mode == "train" and not model.training


def _train_once(model: nn.Module, batch: Any) -> None:
    model(batch).sum().backward()


TOUCHES: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "a weight": lambda model, batch: model.conv1.weight.data[0, 0, 0, 0].add_(1e-7),
    "the sign of a zero": lambda model, batch: model.bn1.bias.data[0].mul_(-1),
    "a buffer": lambda model, batch: model.bn1.num_batches_tracked.add_(1),
    "statistics and gradients": _train_once,
    "an empty gradient": lambda model, batch: setattr(
        model.conv1.weight, "grad", torch.zeros_like(model.conv1.weight)
    ),
    "a flag": lambda model, batch: model.bn1.eval(),
    "requires_grad": lambda model, batch: model.conv1.weight.requires_grad_(False),
    "a hook": lambda model, batch: model.conv1.register_forward_hook(lambda *_: None),
    "a global hook": lambda model, batch: torch_modules.register_module_forward_hook(
        lambda *_: None
    ),
    "an attribute": lambda model, batch: setattr(model, "calls", 1),
    "Python's random": lambda model, batch: random.random(),
    "NumPy's random": lambda model, batch: np.random.rand(),
    "torch's random": lambda model, batch: torch.rand(()),
    "autocast's type": lambda model, batch: torch.set_autocast_dtype("cpu", torch.float16),
    "the batch": lambda model, batch: batch.neg_(),
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_the_fixture_sees_a_touch(touch: str) -> None:
    model, batch = zoo.ConvNet(), zoo.images(0)
    hooks = dict(torch_modules._global_forward_hooks)
    autocast = torch.get_autocast_dtype("cpu")
    try:
        with pytest.raises(AssertionError, match="touched"), unchanged_after(model, batch):
            TOUCHES[touch](model, batch)
    finally:
        torch_modules._global_forward_hooks.clear()
        torch_modules._global_forward_hooks.update(hooks)
        torch.set_autocast_dtype("cpu", autocast)
