"""A pass over a model on the meta device: weights have shapes, what is around them values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.layouts import describe_parameters, named_tensors
from firstlight.frameworks.torch.shapes import NoValueError, Shapes
from firstlight.frameworks.torch.starting import Place, starting_values

_CUSTOM = {"norm-scale": 1.0, "norm-shift": 0.0}
"""Where the model's code does not say what a norm starts at."""


def lacks_values(model: nn.Module) -> bool:
    """Whether a parameter of the model is on the meta device."""
    return any(parameter.is_meta for parameter in model.parameters())


def check_values_present(model: nn.Module) -> None:
    """Refuse a model whose values are asked for and missing.

    Raises:
        BadInputError: a parameter is on the meta device; it is named.
    """
    for name, parameter in named_tensors(model).items():
        if parameter.is_meta:
            raise BadInputError(
                f"{name}: on the meta device, it has no values; plan and apply first:"
                " firstlight.plan(model) needs none, firstlight.torch.materialise(model) gives it"
                " memory, firstlight.stream(model, folder) writes files without any"
            )


def off_meta() -> AbstractContextManager[Any]:
    """A block whose new tensors have values, also inside ``with torch.device("meta")``."""
    here = torch.get_default_device().type == "meta"
    return torch.device("cpu") if here else nullcontext()


@contextmanager
def among_shapes(model: nn.Module, known: Mapping[Place, Tensor] | None = None) -> Iterator[Shapes]:
    """A block in which the model runs without values for its weights.

    Buffers have those that the model's own code tells; so have parameters that it fills with
    constants, and norms those that norms start with.

    Args:
        model: whose weights have no values.
        known: its `starting_values`, if they have been asked for.
    """
    known = starting_values(model) if known is None else known
    with Shapes() as shapes:
        named = named_tensors(model)
        for parameter in describe_parameters(model):
            custom, tensor = _CUSTOM.get(parameter.kind), named[parameter.name]
            if custom is not None and tensor.is_meta:
                start = torch.full(tensor.shape, custom, dtype=tensor.dtype, device="cpu")
                shapes.known.give(tensor, start)
        for (path, local), value in known.items():
            module = model.get_submodule(path)
            held = module._parameters.get(local, module._buffers.get(local))
            if held is not None and held.is_meta:
                shapes.known.give(held, value)
        yield shapes


def no_value(model: nn.Module, error: NoValueError) -> BadInputError:
    """What to say of a pass that asks for numbers that nothing can give."""
    return BadInputError(
        f"model: {type(model).__name__} is on the meta device, and in its pass {error}; plan a"
        " model with values, or a step that leaves this part out"
    )
