"""The singular values of a model's input–output Jacobian: dynamical isometry, measured.

J_i = ∂ output_i / ∂ input_i of each sample i. It is never formed for large models: J and its
transpose are applied to vectors. Where the smaller side has at most `EXACT` dimensions all rows or
columns are computed; otherwise the mean square comes from ‖Jᵀu‖² of normal u (Hutchinson), and the
largest values from a randomised range finder (Halko, Martinsson & Tropp 2011).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError, said
from firstlight.frameworks.jax.batches import output_array
from firstlight.frameworks.jax.program import trace
from firstlight.frameworks.jax.view import View
from firstlight.measuring.estimates import mean_over_samples
from firstlight.records.checkup import JacobianReading

EXACT = 64
"""Up to so many dimensions on the smaller side, all singular values are computed."""

_SAMPLES = 16
_COUPLED_SAMPLES = 4
"""Where normalization ties the samples of a batch together each one takes passes of its own."""

_LARGEST_EXACT = 2**24
_SHOWN = 8
_OVERSAMPLING = 4
_POWER_ITERATIONS = 2
_SEED = 6

Reals = NDArray[np.floating]


class _Map:
    """J of some samples, as two products.

    Args:
        function: of what is varied.
        inputs: where it is looked at.
    """

    def __init__(self, function: Callable[[Array], Array], inputs: Array) -> None:
        shape = jax.eval_shape(function, inputs)
        batched = inputs.ndim and shape.ndim and inputs.shape[0] == shape.shape[0]
        self._batch = inputs.shape[0] if batched else 1
        self._inputs, self._outputs = inputs, shape

        @jax.jit
        def pulled(inputs: Array, directions: Array) -> Array:
            pull = jax.vjp(function, inputs)[1]
            rows: Array = lax.map(lambda direction: pull(direction)[0], directions)
            return rows

        @jax.jit
        def pushed(inputs: Array, directions: Array) -> Array:
            push = jax.linearize(function, inputs)[1]
            columns: Array = lax.map(push, directions)
            return columns

        self._pulled, self._pushed = partial(pulled, inputs), partial(pushed, inputs)
        self._coupled = self._batch > 1 and self._is_coupled()
        self.samples = min(self._batch, _COUPLED_SAMPLES if self._coupled else _SAMPLES)
        self.m = prod(shape.shape) // self._batch
        self.n = inputs.size // self._batch

    def _is_coupled(self) -> bool:
        """Whether the first sample's output depends on another sample's input."""
        direction = np.zeros((1, *self._outputs.shape), np.float32)
        direction[0, 0] = 1.0
        found = self._pulled(jnp.asarray(direction, self._outputs.dtype))[0]
        return bool(jnp.any(found[1:]))

    def _apply(self, product: Callable[[Array], Array], given: Reals, to: Any) -> Reals:
        """A product for each sample: of all at once, or one by one where they are coupled.

        Args:
            product: of (k, *shape) directions.
            given: (samples, dimensions, k).
            to: what the directions are like.
        """
        places = [slice(i, i + 1) for i in range(self.samples)]
        results = []
        for place in places if self._coupled else [slice(0, self.samples)]:
            directions = np.zeros((given.shape[2], self._batch, given.shape[1]))
            directions[:, place] = given[place].transpose(2, 0, 1)
            shaped = directions.reshape(-1, *to.shape)
            found = np.asarray(product(jnp.asarray(shaped, to.dtype)), np.float64)
            results.append(found.reshape(len(shaped), self._batch, -1)[:, place])
        return np.concatenate(results, axis=1).transpose(1, 2, 0)

    def transposed(self, vectors: Reals) -> Reals:
        """(samples, m, k) to (samples, n, k): Jᵀu."""
        return self._apply(self._pulled, vectors, self._outputs)

    def forward(self, vectors: Reals) -> Reals:
        """(samples, n, k) to (samples, m, k): Jv."""
        return self._apply(self._pushed, vectors, self._inputs)


def _exact(linear: _Map) -> JacobianReading:
    """All singular values, from all rows or all columns."""
    short = min(linear.m, linear.n)
    product = linear.transposed if linear.m <= linear.n else linear.forward
    units = np.broadcast_to(np.eye(short), (linear.samples, short, short))
    values = np.linalg.svd(product(units), compute_uv=False)
    return _reading(linear, values[:, :_SHOWN], values**2, smallest=values[:, -1])


def _randomised(linear: _Map) -> JacobianReading:
    """The largest singular values by a range finder; its normal vectors give the mean square."""
    short = min(linear.m, linear.n)
    shape = (linear.samples, linear.m, _SHOWN + _OVERSAMPLING)
    pulled = linear.transposed(np.random.default_rng(_SEED).standard_normal(shape))
    squares = (pulled**2).sum(axis=1) / short
    # Two normal vectors u, w give (uᵀ J Jᵀ w)², whose mean is tr (JJᵀ)².
    inner = (pulled.transpose(0, 2, 1) @ pulled) ** 2
    pairs = inner.shape[1] * (inner.shape[1] - 1)
    own = np.trace(inner, axis1=1, axis2=2)
    fourth = (inner.sum(axis=(1, 2)) - own) / pairs / short
    for _ in range(_POWER_ITERATIONS):
        back = np.linalg.qr(linear.forward(np.linalg.qr(pulled).Q)).Q
        pulled = linear.transposed(back)
    found = np.linalg.svd(linear.forward(np.linalg.qr(pulled).Q), compute_uv=False)
    return _reading(linear, found[:, :_SHOWN], squares, fourth=fourth)


def _reading(
    linear: _Map,
    largest: Reals,
    squares: Reals,
    *,
    smallest: Reals | None = None,
    fourth: Reals | None = None,
) -> JacobianReading:
    """Means over samples; of one sample, over its normal vectors."""
    each = squares.mean(axis=1)
    known = each if len(each) > 1 or smallest is not None else squares[0]
    mean = float(each.mean())
    power = (squares**2).mean() if fourth is None else fourth.mean()
    condition = None
    if smallest is not None and smallest.all():
        condition = float((largest[:, 0] / smallest).mean())
    return JacobianReading(
        largest=tuple(float(value) for value in largest.mean(axis=0)),
        smallest=None if smallest is None else float(smallest.mean()),
        mean_square=mean_over_samples(known),
        spread=max(float(power) / mean**2 - 1, 0.0) ** 0.5 if mean else None,
        condition=condition,
        inputs=linear.n,
        outputs=linear.m,
        samples=linear.samples,
        exact=smallest is not None,
    )


def _varied(
    view: View, args: tuple[Any, ...], keywords: Mapping[str, Any]
) -> tuple[Callable[[Array], Array], Array]:
    """The model as a function of its first floating input or embedding, and that value."""
    key = jax.random.key(_SEED)
    leaves, tree = jax.tree.flatten((args, dict(keywords)))
    place = next((i for i, leaf in enumerate(leaves) if _floats(leaf)), None)
    if place is not None:

        def of_input(value: Array) -> Array:
            given, named = jax.tree.unflatten(tree, [*leaves[:place], value, *leaves[place + 1 :]])
            with view.bound(view.arrays, key) as model:
                return output_array(view.run(model, given, named))

        return of_input, leaves[place]
    program = trace(view, args, keywords, key)
    tokens = next((op for op in program.operations if op.kind == "embedding"), None)
    if tokens is None:
        raise BadInputError(f"jacobian: {view.name} has neither floating inputs nor embeddings")

    def of_embedding(value: Array) -> Array:
        def tap(index: int, result: Any) -> Any:
            return result + value.astype(result.dtype) if index == tokens.index else result

        return output_array(program.run(view.arrays, args, keywords, key, tap))

    return of_embedding, jnp.zeros(tokens.shape)


def _floats(leaf: Any) -> bool:
    return isinstance(leaf, Array) and bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def jacobian(view: View, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> JacobianReading:
    """Measure the singular values of ∂ output / ∂ input, per sample.

    In training mode, as `observe` has it. For integer inputs the embedded tokens stand for the
    input.

    Args:
        view: a model whose output is, or holds, a floating array.
        args: positional arguments.
        keywords: keyword arguments.

    Returns:
        Means over at most 16 samples (4 where batch normalization ties them together; one where
        input and output do not begin with the same axis).

    Raises:
        BadInputError: nothing to vary, or no array comes out.
        ModelRaisedError: the model, or a derivative of it, raised.
    """
    try:
        linear = _Map(*_varied(view, args, keywords))
        size = linear.samples * prod((linear.m, linear.n))
        exact = min(linear.m, linear.n) <= EXACT and size <= _LARGEST_EXACT
        return _exact(linear) if exact else _randomised(linear)
    except FirstlightError:
        raise
    except Exception as error:
        raise ModelRaisedError(
            f"{view.name}: its Jacobian raised {type(error).__name__}: {said(error, brief=True)}"
        ) from error
