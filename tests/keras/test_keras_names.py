"""Names and addresses of a Keras model's weights, and what its axes do."""

from __future__ import annotations

from typing import Any

import keras
import keras_models as zoo
import pytest
from keras import layers

from firstlight.frameworks.keras.models import weights


def _parameters(model: Any) -> dict[str, Any]:
    return {w.parameter.name: w.parameter for w in weights(model)}


def _plain() -> Any:
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), layers.Dense(3), zoo.Block(3), layers.Dense(2)]
    )


def test_a_model_built_again_has_the_same_names() -> None:
    first, second = _parameters(_plain()), _parameters(_plain())
    assert list(first) == list(second)
    assert "dense.kernel" in first
    assert "block.mix" in first
    assert "block.dense_2.kernel" in first


def test_a_model_that_is_saved_and_loaded_has_the_same_names(tmp_path: Any) -> None:
    layers.Dense(1)  # the model's own automatic names do not begin at zero
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (
        list(_parameters(model))
        == list(_parameters(loaded))
        == [
            "dense.kernel",
            "dense.bias",
            "dense_1.kernel",
            "dense_1.bias",
        ]
    )


def test_names_of_the_users_stay() -> None:
    assert list(_parameters(zoo.mlp()))[::2] == ["fc1.kernel", "fc2.kernel", "head.kernel"]


def test_statistics_seeds_and_counters_are_no_parameters() -> None:
    model = zoo.convnet()
    model.compile("adam", "mse")
    found = _parameters(model)
    assert not [n for n in found if "moving" in n or "seed" in n or "adam" in n]
    assert len(found) == len(model.trainable_variables)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("both.forward_lstm.lstm_cell.kernel", "both.weight_ih_l0"),
        ("both.backward_lstm.lstm_cell.recurrent_kernel", "both.weight_hh_l0_reverse"),
        ("gru.gru_cell.kernel", "gru.weight_ih_l0"),
        ("head.kernel", "head.weight"),
        ("head.bias", None),
    ],
)
def test_numbers_are_drawn_under_torchs_words(name: str, address: str | None) -> None:
    assert _parameters(zoo.recurrent())[name].address == address


def _built(layer: Any, *shapes: Any) -> Any:
    layer.build(*shapes)
    return layer


IMAGE = (None, 8, 8, 4)
LAYOUTS = [
    (lambda: _built(layers.Dense(3), (None, 4)), "kernel", (3, 4), (4, 3)),
    (lambda: _built(layers.Conv2D(6, 3), IMAGE), "kernel", (6, 4, 3, 3), (36, 54)),
    (lambda: _built(layers.Conv2D(6, 3, groups=2), IMAGE), "kernel", (2, 3, 2, 3, 3), (18, 27)),
    (
        lambda: _built(layers.DepthwiseConv2D(3, depth_multiplier=2), IMAGE),
        "kernel",
        (4, 2, 1, 3, 3),
        (9, 18),
    ),
    (
        lambda: _built(layers.Conv2DTranspose(6, 4, strides=2), IMAGE),
        "kernel",
        (6, 4, 4, 4),
        (16, 96),
    ),
    (lambda: _built(layers.Embedding(7, 5), None), "embeddings", (7, 5), (1, 5)),
    (
        lambda: _built(layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (None, 5, 4)),
        "kernel",
        (2, 3, 4),
        (4, 6),
    ),
    (
        lambda: _built(layers.EinsumDense("ace,cef->acf", (5, 3)), (None, 5, 4)),
        "kernel",
        (5, 3, 4),
        (4, 3),
    ),
    (
        lambda: _built(layers.SeparableConv2D(6, 3), IMAGE),
        "depthwise_kernel",
        (4, 1, 1, 3, 3),
        (9, 9),
    ),
    (lambda: _built(layers.LSTMCell(3), (None, 4)), "kernel", (4, 3, 4), (4, 3)),
    (lambda: _built(layers.GRUCell(3), (None, 4)), "recurrent_kernel", (3, 3, 3), (3, 3)),
]


@pytest.mark.parametrize(("make", "name", "logical", "fans"), LAYOUTS)
def test_axes_and_fans(make: Any, name: str, logical: tuple[int, ...], fans: Any) -> None:
    parameter = _parameters(make())[name]
    assert parameter.layout.logical == logical
    assert (parameter.fans.forward, parameter.fans.backward) == fans


def test_attention_heads_are_no_matrices_of_their_own() -> None:
    found = _parameters(_built(layers.MultiHeadAttention(2, 3), (None, 5, 4), (None, 5, 4)))
    assert found["query.kernel"].layout.logical == (2, 3, 4)
    assert found["attention_output.kernel"].layout.logical == (4, 2, 3)
    assert found["attention_output.kernel"].fans.forward == 6


def test_a_layer_at_two_places_is_tied() -> None:
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="same")], name="inner")
    given = keras.Input((4,))
    outer = keras.Model(given, inner.layers[0](inner(given)))
    parameter = _parameters(outer)["inner.same.kernel"]
    assert parameter.ties == ("same.kernel",)


def test_frozen_and_quantised_weights_are_kept_and_named() -> None:
    model = zoo.mlp()
    model.layers[0].trainable = False
    model.layers[1].quantize("int8")
    found = _parameters(model)
    assert not found["fc1.kernel"].trainable
    assert found["fc2.kernel"].kind == "other"
    assert found["fc2.kernel"].dtype == "int8"
    assert not found["fc2.kernel"].trainable
    assert found["head.kernel"].trainable
