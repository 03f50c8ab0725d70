"""Keras's behaviours, asked of Keras and of the drop-ins."""

from __future__ import annotations

import keras
import pytest
from keras_behaviours import DIFFERENT, FIXED, RANDOM, ROWS, half

import firstlight.keras as ours

theirs = keras.initializers


@pytest.mark.parametrize("row", ROWS)
def test_keras_does(row):
    ask, answer = ROWS[row]
    assert ask(theirs) == answer


@pytest.mark.parametrize("row", ROWS)
def test_firstlight_does(row):
    ask, answer = ROWS[row]
    assert ask(ours) == (DIFFERENT[row][0] if row in DIFFERENT else answer)


def test_no_difference_is_listed_that_is_none():
    assert set(DIFFERENT) <= set(ROWS)
    assert all(ROWS[row][1] != other for row, (other, _) in DIFFERENT.items())


def test_every_name_of_keras_is_there():
    names = {name for name in dir(theirs) if not name.startswith("_")}
    assert names <= set(dir(ours))


@pytest.mark.parametrize("name", [*RANDOM, *FIXED])
def test_a_config_of_keras_is_read(name):
    config = getattr(theirs, name)().get_config()
    assert getattr(ours, name).from_config(config).get_config().items() >= config.items()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_orthogonal_in_sixteen_bits(dtype):
    """Keras decomposes in the variable's own dtype, which the backends' QR does not take."""
    assert half(theirs, dtype) != "orthogonal"
    assert half(ours, dtype) == "orthogonal"
