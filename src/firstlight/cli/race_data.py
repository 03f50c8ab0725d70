"""The data of a race by name: ``digits``, ``file.npz``, or a factory."""

from __future__ import annotations

from typing import Any

import numpy as np

from firstlight.cli.sources import from_npz, made
from firstlight.errors import BadInputError

_SEED = 0
_HELD_OUT = 5
"""One sample in so many is held out where the file does not say which."""

_NAMES = ("x", "y", "held_out_x", "held_out_y")


def race_data(text: str, model_name: str) -> Any:
    """Training and held-out data.

    Args:
        text: ``digits``; an .npz with x and y, and held_out_x and held_out_y (without them every
            fifth sample of a fixed shuffle is held out); the name of a factory beside the model's;
            or ``file.py:factory`` or ``module:factory``.
        model_name: where a factory without a module lives.

    Raises:
        BadInputError: none of these, or the factory raised.
    """
    if text == "digits":
        return digits()
    if text.endswith(".npz"):
        arrays = from_npz(text, "data")
        if set(arrays) == set(_NAMES):
            return tuple(arrays[name] for name in _NAMES)
        if set(arrays) == set(_NAMES[:2]):
            return _split(arrays["x"], arrays["y"], text)
        raise BadInputError(
            f"data '{text}': has {', '.join(sorted(arrays)) or 'nothing'}; expected x and y, or"
            f" {', '.join(_NAMES)}"
        )
    if text.isidentifier():
        return made(f"{model_name.rpartition(':')[0]}:{text}")
    if ":" in text:
        return made(text)
    raise BadInputError(
        f"data '{text}': expected digits, a file.npz, the name of a factory beside the model's, or"
        " module:factory"
    )


def digits() -> tuple[Any, ...]:
    """The 1,797 digits of 8 × 8 pixels in [0, 1], every fifth of a fixed shuffle held out."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise BadInputError(
            "data 'digits': needs scikit-learn; pip install 'firstlight[demo]'"
        ) from error
    images, labels = load_digits(return_X_y=True)
    return _split((images / 16).astype(np.float32), labels.astype(np.int64), "digits")


def _split(x: Any, y: Any, what: str) -> tuple[Any, ...]:
    if not x.shape or not y.shape or len(x) != len(y) or len(x) < _HELD_OUT:
        raise BadInputError(
            f"data '{what}': x has shape {x.shape}, y {y.shape}; expected as many of each, at least"
            f" {_HELD_OUT}"
        )
    order = np.random.default_rng(_SEED).permutation(len(x))
    held_out = np.arange(len(x)) % _HELD_OUT == 0
    train, rest = order[~held_out], order[held_out]
    return x[train], y[train], x[rest], y[rest]
