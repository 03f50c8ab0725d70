"""A batch for a model that came without one, by what its first weight needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.errors import BadInputError
from firstlight.frameworks.torch import batches
from firstlight.frameworks.torch.guard import untouched
from firstlight.frameworks.torch.observing import check_model
from firstlight.frameworks.torch.posing import AsOnCpu
from firstlight.frameworks.torch.starting import starting_values
from firstlight.frameworks.torch.valueless import among_shapes

SAMPLES = 64
_SEED = 3
_IMAGE_SIZES = (8, 16, 28, 32, 64, 96, 224)
_SEQUENCE = 16


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(_SEED))


def _tokens(vocabulary: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randint(0, vocabulary, shape, generator=generator)


def _candidates(model: nn.Module) -> Iterator[Any]:
    """Batches to try, likeliest first."""
    own = getattr(model, "dummy_inputs", None)
    if own is not None:
        yield own
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            yield _tokens(module.num_embeddings, SAMPLES, _SEQUENCE)
            yield _tokens(module.num_embeddings, SAMPLES)
            return
        if isinstance(module, nn.Linear):
            yield _normal(SAMPLES, module.in_features)
            yield _normal(SAMPLES, _SEQUENCE, module.in_features)
            return
        if isinstance(module, nn.RNNCellBase):
            yield _normal(SAMPLES, module.input_size)
            return
        if isinstance(module, nn.RNNBase):
            yield _normal(SAMPLES, _SEQUENCE, module.input_size)
            return
        if isinstance(module, nn.modules.conv._ConvNd):
            rank = len(module.kernel_size)
            for size in _IMAGE_SIZES:
                yield _normal(SAMPLES if size < 64 else 8, module.in_channels, *(size,) * rank)
            return


def synthetic_batch(model: nn.Module, *, shapes: bool = False) -> Any:
    """A standard normal (or random token) batch that the model accepts.

    Args:
        model: left as it was.
        shapes: whether its shapes are enough; of a model on the meta device the batch is on the
            CPU, with values.

    Returns:
        The first of the candidates on which the model runs.

    Raises:
        BadInputError: it runs on none of them.
    """
    device = check_model(model, shapes=shapes)
    here = torch.device("cpu") if device.type == "meta" else device
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    dtype = next(floating, torch.get_default_dtype())
    known = {} if device == here else starting_values(model)
    tried, last = 0, "nothing to try"
    for candidate in _candidates(model):
        tried += 1
        batch = batches.placed(candidate, here)
        if isinstance(batch, Tensor) and batch.is_floating_point():
            batch = batch.to(dtype)
        try:
            with untouched(model), batches.eagerly(), torch.no_grad():
                if device == here:
                    batches.call(model, batch)
                else:
                    with among_shapes(model, known):
                        given = batches.placed(batch, device)
                        with AsOnCpu():
                            batches.call(model, given)
        except Exception as error:
            last = " ".join(str(error).split())[:160]
            continue
        return batch
    raise BadInputError(
        f"batch: none given, and {type(model).__name__} ran on none of {tried} synthetic ones"
        f" ({last}); pass a batch"
    )
