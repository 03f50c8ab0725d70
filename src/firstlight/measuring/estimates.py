"""Means over samples with their standard errors."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from firstlight.records.checkup import Estimate


def mean_over_samples(per_sample: ArrayLike) -> Estimate:
    """The mean of one number per sample: x̄ ± s/√n.

    Args:
        per_sample: one finite or non-finite number for each of n samples.

    Returns:
        The mean; its standard error for n > 1, else None.

    >>> mean_over_samples([1.0, 3.0])
    Estimate(value=2.0, standard_error=1.0)
    """
    values = np.asarray(per_sample, np.float64).reshape(-1)
    with np.errstate(all="ignore"):
        mean = float(values.mean())
        if len(values) < 2:
            return Estimate(value=mean)
        error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(value=mean, standard_error=error)
