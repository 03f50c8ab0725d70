"""Looking must not touch: a picture of a whole JAX model, bit for bit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import Array


def _array(value: Any) -> Any:
    if isinstance(value, Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if hasattr(value, "dtype"):
        return str(value.dtype), value.shape, np.asarray(value).tobytes()
    return repr(value)


def picture(model: Any) -> Any:
    """Everything that a model holds: identities of its parts, modes, and all bits of its arrays."""
    if isinstance(model, nnx.Module):
        return [
            (
                path,
                id(node),
                id(node.get_value()) if isinstance(node, nnx.Variable) else None,
                _array(node.get_value()) if isinstance(node, nnx.Variable) else None,
                {k: id(v) for k, v in vars(node).items()} if isinstance(node, nnx.Module) else None,
            )
            for path, node in nnx.iter_graph(model)
        ]
    if isinstance(model, linen.Module) and model.scope is not None:
        return picture(model.variables), model.scope.rngs
    leaves, structure = jax.tree.flatten(model)
    return str(structure), [(id(leaf), _array(leaf)) for leaf in leaves]


@pytest.fixture
def untouched() -> Callable[[Any], Any]:
    """A context: the model is the same after it as before, however it ends."""

    @contextmanager
    def context(model: Any) -> Iterator[None]:
        before = picture(model)
        try:
            yield
        finally:
            assert picture(model) == before

    return context
