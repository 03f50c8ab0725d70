"""The close look inside a compiled pass tells what the torch room tells of the same numbers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn

import firstlight as fl


class Chain(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(12, 40, rngs=rngs), nnx.Linear(40, 5, rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))


def test_both_rooms_look_alike():
    chain = Chain(nnx.Rngs(0))
    batch = np.random.default_rng(0).normal(size=(48, 12)).astype(np.float32)
    twin = nn.Sequential(nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 5))
    with torch.no_grad():
        for theirs, ours in ((twin[0], chain.first), (twin[2], chain.second)):
            theirs.weight.copy_(torch.tensor(np.asarray(ours.kernel[...]).T))
            theirs.bias.copy_(torch.tensor(np.asarray(ours.bias[...])))
    runs = fl.check(chain, jnp.asarray(batch)), fl.check(twin, torch.tensor(batch))
    looks = [[r.detail for r in run.layers if r.detail is not None] for run in runs]
    assert [len(look) for look in looks] == [2, 2]
    for a, b in zip(*looks, strict=True):
        assert (a.rows, a.units, a.of_units, a.per_sample) == (
            b.rows,
            b.units,
            b.of_units,
            b.per_sample,
        )
        # Five digits are kept, and float32 sums differ in the seventh.
        for name in ("rms", "unit_means", "unit_stds", "singular_values", "mean_cosine"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-4, atol=3e-5)
