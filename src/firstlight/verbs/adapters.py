"""Which adapter reads a model: found by its type among the frameworks that are already imported."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, cast

from firstlight.errors import BadInputError
from firstlight.records.adapter import Adapter

# Framework module, class of its models, adapter. In order: under Keras's torch backend a Keras
# layer is a torch module too, so Keras will stand before torch.
_TABLE = (("torch", "torch.nn:Module", "firstlight.frameworks.torch.adapter:TorchAdapter"),)


def _lookup(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(module), name)


def adapter_for(model: Any) -> Adapter:
    """The adapter for a model's framework.

    Raises:
        BadInputError: the model is of no framework that Firstlight reads.
    """
    for framework, model_class, adapter in _TABLE:
        if framework in sys.modules and isinstance(model, _lookup(model_class)):
            return cast(Adapter, _lookup(adapter)())
    if isinstance(model, type):
        raise BadInputError(
            f"model: {model.__module__}.{model.__name__} is a class; make a model of it first:"
            f" {model.__name__}(...)"
        )
    raise BadInputError(
        f"model: {type(model).__module__}.{type(model).__name__} is not a model that Firstlight"
        " reads; expected a torch.nn.Module"
    )
