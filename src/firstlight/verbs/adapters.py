"""Which adapter reads a model: found by its type among the frameworks that are already imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, cast

from firstlight.errors import BadInputError
from firstlight.records.adapter import Adapter, Transferring

# Framework module, what tells its models, adapter. In order: under Keras's torch backend a Keras
# layer is a torch module too, so Keras stands before torch.
_TABLE = (
    ("keras", "firstlight.frameworks.keras.adapter:is_model", "KerasAdapter"),
    ("torch", "firstlight.frameworks.torch.adapter:is_model", "TorchAdapter"),
    ("jax", "firstlight.frameworks.jax.adapter:is_model", "JaxAdapter"),
)


def _lookup(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(module), name)


def adapter_for(model: Any) -> Adapter:
    """The adapter for a model's framework.

    Raises:
        BadInputError: the model is of no framework that Firstlight reads.
    """
    for framework, is_model, adapter in _TABLE:
        if framework in sys.modules and _lookup(is_model)(model):
            room = is_model.partition(":")[0]
            return cast(Adapter, _lookup(f"{room}:{adapter}")())
    if isinstance(model, type):
        raise BadInputError(
            f"model: {model.__module__}.{model.__name__} is a class; make a model of it first:"
            f" {model.__name__}(...)"
        )
    raise BadInputError(
        f"model: {type(model).__module__}.{type(model).__name__} is not a model that Firstlight"
        " reads; expected a torch.nn.Module, a Keras model, or of JAX a Flax or Equinox module,"
        " (linen module, variables) or (function, parameters)"
    )


def first_of(build: Callable[[], Any]) -> Any:
    """A first model, to see what it is; the random states of the frameworks stay as they were."""
    for framework, is_model, name in _TABLE:
        if framework in sys.modules:
            adapter = _lookup(f"{is_model.partition(':')[0]}:{name}")()
            build = partial(adapter.build, build, 0)
    return build()


def transferring(model: Any, what: str) -> Transferring:
    """The adapter, if models of its framework are trained by parameter groups.

    Args:
        model: of any framework that Firstlight reads.
        what: is asked for, for the message.

    Raises:
        BadInputError: another framework than torch.
    """
    adapter = adapter_for(model)
    if not isinstance(adapter, Transferring):
        raise BadInputError(
            f"model: {what} are for torch models, got one of {adapter.name}; the factors of each"
            " parameter are in plan.rates (adam, sgd), for optax.multi_transform and its like"
        )
    return adapter
