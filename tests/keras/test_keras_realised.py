"""What real layers start with: the framework's law where it is right, ours where it is not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.stats import ks_2samp

import firstlight as fl
import firstlight.keras as ours

theirs = keras.initializers
L = keras.layers
DENSE = (lambda **k: L.Dense(150, **k), (None, 200), "kernel")
CONV = (lambda **k: L.Conv2D(48, 3, **k), (None, 8, 8, 24), "kernel")
EINSUM = (lambda **k: L.EinsumDense("abc,cde->abde", (None, 8, 16), **k), (None, 5, 96), "kernel")
SEPARATE = (
    lambda kernel_initializer: L.SeparableConv2D(64, 3, pointwise_initializer=kernel_initializer),
    (None, 8, 8, 96),
    "pointwise_kernel",
)
TABLE = (
    lambda kernel_initializer: L.Embedding(300, 40, embeddings_initializer=kernel_initializer),
    (None, 5),
    "embeddings",
)


def started(lib, name, layer, **options):
    make, shape, variable = layer
    built = make(kernel_initializer=getattr(lib, name)(seed=11, **options))
    built.build(shape)
    return np.asarray(keras.ops.convert_to_numpy(getattr(built, variable)))


SAME = [
    (name, layer)
    for layer in (DENSE, CONV, EINSUM, SEPARATE)
    for name in (
        "GlorotNormal",
        "GlorotUniform",
        "HeNormal",
        "HeUniform",
        "LecunNormal",
        "LecunUniform",
        "VarianceScaling",
        "RandomNormal",
        "RandomUniform",
    )
] + [("RandomUniform", TABLE), ("RandomNormal", TABLE)]


@pytest.mark.parametrize(("name", "layer"), SAME)
def test_the_same_law_where_keras_is_right(name, layer):
    a, b = (started(lib, name, layer).ravel() for lib in (ours, theirs))
    # A pair of samples of one law fails at p = 1e-4 once in ten thousand; 38 pairs are drawn, and
    # seeds are fixed. A deviation wrong by 5 % moves the distribution by 0.012, and is seen below.
    assert ks_2samp(a, b).pvalue > 1e-4
    n = a.size
    if name in ("GlorotNormal", "HeNormal", "LecunNormal", "VarianceScaling"):
        # Cut at two deviations of the parent; an uncut law leaves 2 % of thousands outside.
        assert max(abs(a).max() / a.std(), abs(b).max() / b.std()) < 2 / 0.8796 * 1.05
    assert abs(a.mean()) < 5 * a.std() / np.sqrt(n)
    assert a.std() == pytest.approx(b.std(), rel=5 * np.sqrt(2) / np.sqrt(2 * n))


@pytest.mark.parametrize("layer", [DENSE, CONV], ids=["dense", "conv"])
def test_orthogonal_is_an_isometry_in_layers(layer):
    for lib in (ours, theirs):
        w = started(lib, "Orthogonal", layer, gain=1.5).reshape(
            -1, layer[0]().get_config().get("units") or 48
        )
        gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
        assert np.allclose(gram, 2.25 * np.eye(len(gram)), atol=1e-4)


DEPTHWISE = (
    lambda kernel_initializer: L.DepthwiseConv2D(
        3, depth_multiplier=4, depthwise_initializer=kernel_initializer
    ),
    (None, 8, 8, 64),
    "kernel",
)
TRANSPOSED = (lambda **k: L.Conv2DTranspose(16, 3, **k), (None, 8, 8, 64), "kernel")
STRIDED = (lambda **k: L.Conv2DTranspose(16, 4, strides=2, **k), (None, 8, 8, 64), "kernel")
GROUPED = (lambda **k: L.Conv2D(64, 3, groups=4, **k), (None, 8, 8, 64), "kernel")
LSTM = (lambda **k: L.LSTMCell(64, **k), (None, 64), "kernel")
GRU = (lambda **k: L.GRUCell(64, **k), (None, 64), "kernel")


@pytest.mark.parametrize(
    ("name", "layer", "right", "keras_has"),
    [
        # fan_in is 9, Keras counts all 64 channels (keras#11773)
        ("HeNormal", DEPTHWISE, 2 / 9, 2 / (9 * 64)),
        # fan_in is 9 · 64 inputs, Keras takes the outputs (tensorflow#31192)
        ("HeNormal", TRANSPOSED, 2 / (9 * 64), 2 / (9 * 16)),
        # and a stride of 2 leaves 16/4 taps to each output
        ("HeNormal", STRIDED, 2 / (4 * 64), 2 / (16 * 16)),
        # fan_out is that of one group
        ("GlorotUniform", GROUPED, 1 / (9 * 16), 2 / (9 * 16 + 9 * 64)),
        # fan_out is that of one gate
        ("GlorotUniform", LSTM, 1 / 64, 2 / (64 + 256)),
        ("GlorotUniform", GRU, 1 / 64, 2 / (64 + 192)),
    ],
)
def test_the_right_variance_where_keras_is_wrong(name, layer, right, keras_has):
    a, b = (started(lib, name, layer) for lib in (ours, theirs))
    # Variances of uniform and cut normal laws have smaller errors than the normal's √(2/n).
    error = 5 * np.sqrt(2 / a.size)
    assert a.var() == pytest.approx(right, rel=error)
    assert b.var() == pytest.approx(keras_has, rel=error)


@pytest.mark.parametrize("cell", ["LSTMCell", "GRUCell"])
def test_each_gate_is_orthogonal_by_itself(cell):
    layer = getattr(L, cell)(12, recurrent_initializer=ours.Orthogonal(seed=0))
    layer.build((None, 5))
    for gate in np.split(
        keras.ops.convert_to_numpy(layer.recurrent_kernel),
        layer.units and layer.recurrent_kernel.shape[1] // 12,
        axis=1,
    ):
        assert np.allclose(gate.T @ gate, np.eye(12), atol=1e-5)


def test_gates_stand_where_keras_looks_for_them():
    """The gate that keeps the state is the second of an LSTM and, in Keras, the first of a GRU."""
    bias = ours.ForgetBias(value=2.0)
    lstm = L.LSTMCell(3, bias_initializer=bias, unit_forget_bias=False)
    gru = L.GRUCell(3, bias_initializer=bias)
    for layer in (lstm, gru):
        layer.build((None, 5))
    assert keras.ops.convert_to_numpy(lstm.bias).tolist() == [0] * 3 + [2] * 3 + [0] * 6
    added = keras.ops.convert_to_numpy(gru.bias).sum(axis=0)
    assert added.tolist() == [2] * 3 + [0] * 6


def test_the_numbers_are_those_of_every_framework():
    """A Keras kernel is the transpose of what `draw` gives under torch's name."""
    init = ours.HeNormal(seed=5)
    dense = L.Dense(8, kernel_initializer=init, name="fc1")
    conv = L.Conv2D(8, 3, groups=2, kernel_initializer=init, name="conv")
    depthwise = L.DepthwiseConv2D(3, depthwise_initializer=init, name="dw")
    deconv = L.Conv2DTranspose(8, 3, kernel_initializer=init, name="up")
    dense.build((None, 4))
    for layer in (conv, depthwise, deconv):
        layer.build((None, 8, 8, 4))
    kernel = keras.ops.convert_to_numpy
    law = "he_truncated_normal"
    drawn = fl.draw(law, (8, 4), name="fc1.weight", seed=5)
    assert np.array_equal(kernel(dense.kernel), drawn.T)
    drawn = fl.draw(law, (8, 4, 3, 3), name="up.weight", seed=5)
    assert np.array_equal(kernel(deconv.kernel), drawn.transpose(2, 3, 0, 1))
    assert kernel(conv.kernel).shape == (3, 3, 2, 8)
    assert kernel(depthwise.kernel).std() == pytest.approx(np.sqrt(2 / 9), rel=0.5)


@pytest.mark.parametrize(
    ("axes", "fan"),
    [
        ({"axes": ("kernel", "kernel", "group", "out")}, 9),
        ({"axes": ("kernel", "kernel", "out", "in")}, 9 * 4),
        ({"input_axes": [2], "output_axes": [3]}, 64),
        ({"input_axes": [0, 1, 2], "output_axes": [0, 1, 3]}, 9 * 64),
        ({}, 9 * 64),
    ],
)
def test_axes_that_are_given_win(axes, fan):
    w = keras.ops.convert_to_numpy(ours.HeNormal(seed=1, **axes)((3, 3, 64, 4)))
    assert w.var() == pytest.approx(2 / fan, rel=5 * np.sqrt(2 / w.size))
