"""The Jacobian's singular values against matrices that can be written down."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.frameworks.jax.adapter import JaxAdapter

RNG = np.random.default_rng(2)


def linear(parameters, x):
    return x @ parameters["w"]


def test_of_a_matrix_they_are_its_own(untouched):
    matrix = RNG.standard_normal((7, 5)).astype(np.float32)
    model = (linear, {"w": matrix})
    with untouched(model):
        reading = JaxAdapter().jacobian(model, RNG.standard_normal((6, 7)).astype(np.float32))
    expected = np.linalg.svd(matrix.astype(float), compute_uv=False)
    np.testing.assert_allclose(reading.largest, expected, rtol=1e-5)
    assert reading.smallest == pytest.approx(expected[-1], rel=1e-5)
    assert (reading.inputs, reading.outputs, reading.samples, reading.exact) == (7, 5, 6, True)
    assert reading.mean_square.value == pytest.approx((expected**2).mean(), rel=1e-5)


def test_large_ones_are_found_by_random_products():
    matrix = np.diag(np.r_[np.full(4, 3.0), np.full(96, 0.5)]).astype(np.float32)
    reading = JaxAdapter().jacobian((linear, {"w": matrix}), np.ones((16, 100), np.float32))
    assert not reading.exact
    # Only four values lie above the rest, 36 times smaller when squared; two power iterations.
    np.testing.assert_allclose(reading.largest[:4], 3.0, rtol=1e-3)
    expected = (4 * 9 + 96 * 0.25) / 100
    # A mean over 16 samples of 12 products each: its standard error is about 5 %.
    assert reading.mean_square.value == pytest.approx(expected, rel=0.25)


def test_samples_that_a_norm_ties_together_are_taken_one_by_one():
    def centred(parameters, x):
        return (x - x.mean(axis=0)) @ parameters["w"]

    batch = RNG.standard_normal((8, 3)).astype(np.float32)
    reading = JaxAdapter().jacobian((centred, {"w": jnp.eye(3)}), batch)
    assert reading.samples == 4
    np.testing.assert_allclose(reading.largest, 1 - 1 / 8, rtol=1e-5)


def test_of_tokens_their_embeddings_are_varied():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.table = nnx.Embed(11, 4, rngs=rngs)
            self.head = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, ids):
            return self.head(self.table(ids))

    model = Net(nnx.Rngs(0))
    found = fl.check(model, RNG.integers(0, 11, (5,)), jacobian=True).observation.jacobian
    expected = np.linalg.svd(np.asarray(model.head.kernel[...]), compute_uv=False)
    np.testing.assert_allclose(found.largest, expected, rtol=1e-5)


def test_whole_numbers_without_an_embedding_have_none():
    def of_counts(parameters, counts):
        return counts.sum(axis=1, keepdims=True) * parameters["w"]

    with pytest.raises(BadInputError, match="neither floating inputs nor embeddings"):
        JaxAdapter().jacobian((of_counts, {"w": jnp.ones(3)}), jnp.ones((4, 2), int))
