"""The 1,797 handwritten digits that scikit-learn carries, ready to train on."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

_SHUFFLE_SEED = 0
_HELD_OUT = 360


class Data(NamedTuple):
    """Inputs of 64 standardised pixels (float32), labels 0–9; a held-out fifth."""

    x: Tensor
    y: Tensor
    held_out_x: Tensor
    held_out_y: Tensor


@cache
def digits() -> Data:
    """Shuffled once, split, standardised pixel by pixel; a pixel that never varies is zero.

    >>> data = digits()
    >>> tuple(data.x.shape), len(data.held_out_y), abs(float(data.x.mean())) < 1e-6
    ((1437, 64), 360, True)
    """
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(x))
    x, y = x[order], y[order]
    train = x[:-_HELD_OUT]
    spread = train.std(axis=0)
    x = (x - train.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    images, labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)
    return Data(images[:-_HELD_OUT], labels[:-_HELD_OUT], images[-_HELD_OUT:], labels[-_HELD_OUT:])


@cache
def doubled() -> Data:
    """The digits in float64, where a rounding error must not pass for a signal."""
    data = digits()
    return Data(data.x.double(), data.y, data.held_out_x.double(), data.held_out_y)
