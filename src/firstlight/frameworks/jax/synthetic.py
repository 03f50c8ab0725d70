"""A batch for a model that came without one, by what its first weights need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from firstlight.errors import BadInputError
from firstlight.frameworks.jax.view import View
from firstlight.records.network import Parameter

SAMPLES = 64
_SEED = 3
_IMAGE_SIZES = (8, 16, 28, 32, 64, 96, 224)
_SEQUENCE = 16
_MOST = 100
"""Batches that are tried: the weight at the input may stand anywhere, where names are sorted."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A batch that a model may take.

    Args:
        shape: samples first.
        dtype: of its numbers.
        vocabulary: tokens are below it; None for normal numbers.
    """

    shape: tuple[int, ...]
    dtype: Any
    vocabulary: int | None = None

    @property
    def abstract(self) -> jax.ShapeDtypeStruct:
        """The batch without its numbers."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype)

    def drawn(self) -> Array:
        """Standard normal numbers, or tokens."""
        generator = np.random.default_rng(_SEED)
        if self.vocabulary is not None:
            return jnp.asarray(generator.integers(0, self.vocabulary, self.shape, np.int32))
        return jnp.asarray(generator.standard_normal(self.shape, np.float32)).astype(self.dtype)


def guesses(view: View) -> Iterator[Guess]:
    """Batches to try, likeliest first."""
    weights = [p for p in view.parameters if p.kind in ("weight", "recurrent", "embedding")]
    # An embedding stands where tokens enter, wherever a dictionary sorts it.
    weights.sort(key=lambda parameter: parameter.kind != "embedding")
    tried: set[Guess] = set()
    for parameter in weights:
        for guess in _of(parameter, view.arrays[parameter.name].dtype):
            if guess not in tried and len(tried) < _MOST:
                tried.add(guess)
                yield guess


def _of(parameter: Parameter, dtype: Any) -> Iterator[Guess]:
    layout = parameter.layout
    shape: tuple[int, ...]
    if parameter.kind == "embedding":
        for shape in ((SAMPLES, _SEQUENCE), (SAMPLES,)):
            yield Guess(shape=shape, dtype=jnp.int32, vocabulary=layout.shape[0])
        return
    if not layout.kernel:
        for shape in ((SAMPLES, layout.in_), (SAMPLES, _SEQUENCE, layout.in_)):
            yield Guess(shape=shape, dtype=dtype)
        return
    groups = dict(layout.stacks).get("group", 1)
    channels, rank = layout.in_ * groups, len(layout.kernel)
    # Libraries that store (out, in, kernel …) have channels first in the data too.
    last = layout.roles.index("in") > layout.roles.index("kernel")
    for size in _IMAGE_SIZES:
        samples = SAMPLES if size < 64 else 8
        places = (size,) * rank
        shape = (samples, *places, channels) if last else (samples, channels, *places)
        yield Guess(shape=shape, dtype=dtype)


def runs(view: View, guess: Guess) -> None:
    """Trace the model on a batch without computing anything; raises what the model raises."""

    def traced(arrays: Any, batch: Any) -> Any:
        with view.bound(arrays, jax.random.key(_SEED)) as model:
            output = view.run(model, (batch,), {})
        return [leaf for leaf in jax.tree.leaves(output) if isinstance(leaf, Array)]

    jax.eval_shape(traced, dict(view.arrays), guess.abstract)


def synthetic_batch(view: View) -> Array:
    """A standard normal (or random token) batch that the model accepts.

    Raises:
        BadInputError: it runs on none of those tried.
    """
    tried, last = 0, "nothing to try"
    for guess in guesses(view):
        tried += 1
        try:
            runs(view, guess)
        except Exception as error:
            last = " ".join(str(error).split())[:160]
            continue
        return guess.drawn()
    raise BadInputError(
        f"batch: none given, and {view.name} ran on none of {tried} synthetic ones ({last});"
        " pass a batch"
    )
