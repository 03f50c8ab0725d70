"""Telling one batch from something that gives batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from firstlight.errors import BadInputError, said
from firstlight.frameworks.torch.batches import shapes_of

_WHOLE = (Tensor, np.ndarray, np.generic, Mapping, list, tuple, PackedSequence, str, bytes)


def gives_batches(value: Any) -> bool:
    """Whether ``value`` gives batches one by one: a DataLoader, a generator, any other iterable.

    Tensors, arrays, mappings, lists, tuples and data classes are one batch, as everywhere.
    """
    whole = isinstance(value, _WHOLE) or dataclasses.is_dataclass(value)
    return not whole and isinstance(value, Iterable)


def several(value: Any, *, inputs: Callable[[Any], Any] | None, most: int) -> list[Any]:
    """The batches that a model is to be run on.

    Args:
        value: one batch, or what gives batches; of these the first ``most`` are taken. Torch's
            random state is left as it was (a loader takes its workers' seed from it).
        inputs: makes of each batch what the model is called with.
        most: at least one.

    Raises:
        BadInputError: no batch came.
    """
    if inputs is not None and not callable(inputs):
        raise BadInputError(f"inputs: expected a callable, got {type(inputs).__name__}")
    if gives_batches(value):
        with torch.random.fork_rng(devices=[]):
            found = list(islice(value, most))
        if not found:
            raise BadInputError(f"batch: the {type(value).__name__} gave no batch")
    else:
        found = [value]
    return found if inputs is None else [_inputs(inputs, each) for each in found]


def _inputs(function: Callable[[Any], Any], batch: Any) -> Any:
    try:
        return function(batch)
    except Exception as error:
        raise BadInputError(
            f"inputs: raised {type(error).__name__} on a batch of {shapes_of(batch)}: {said(error)}"
        ) from error
