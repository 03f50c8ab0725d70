"""What a model without skill pays at a loss, from the targets alone.

One that knows nothing prefers nothing: equal logits, predictions of zero. One that knows the shares
gives the best constant: its loss is the entropy of the classes, or the target's variance. A head's
bias alone can learn the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

Reals = NDArray[np.float64]

_MOST_UNITS = 4096
"""Larger heads have more classes than a batch can tell the shares of."""
_BEYOND_CHANCE = 5.0
"""Standard errors from which a share or mean is taken as one of the task, not of the batch."""


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """One call of a loss, in the unit that its own reduction gives (the mean for ``none``).

    Args:
        paid: what the model's output cost.
        uninformed: what equal logits or predictions of zero cost.
        prior: what the best constant output costs: the entropy of the class shares, the loss of
            the target's mean (of its median for the absolute error).
        constant: that output, one number for each of the head's units, where the batch shows beyond
            chance that it is not zero: centred log shares, log odds, means.
    """

    paid: float
    uninformed: float
    prior: float
    constant: tuple[float, ...] | None = None

    def of(self, loss: float) -> tuple[float, float]:
        """Both in proportion to the loss that is trained on: it may weigh this call, or add to it.

        >>> Undecided(paid=2.0, uninformed=1.0, prior=0.5).of(20.0)
        (10.0, 5.0)
        """
        known = 0 < self.paid < math.inf and math.isfinite(loss)
        scale = loss / self.paid if known else 1.0
        return scale * self.uninformed, scale * self.prior


def of_classes(paid: float, counts: ArrayLike, *, counted: bool = True) -> Undecided:
    """Of Σ_c n_c (−ln p_c)/n: ln K at equal shares, the entropy at the shares n_c/n.

    Args:
        paid: what the model's output cost, as a mean.
        counts: of each class in the target; sums of soft targets likewise.
        counted: whether they are whole numbers of independent targets.

    >>> seen = of_classes(1.0, [4, 2, 1, 1])
    >>> round(seen.uninformed / math.log(2), 3), round(seen.prior / math.log(2), 3)
    (2.0, 1.75)
    """
    masses = np.asarray(counts, np.float64)
    total, classes = float(masses.sum()), len(masses)
    if not total:
        return Undecided(paid=paid, uninformed=0.0, prior=0.0)  # every target is masked
    return Undecided(
        paid=paid,
        uninformed=math.log(classes),
        prior=float(entr(masses / total).sum()),
        constant=_log_shares(masses) if counted else None,
    )


def _log_shares(counts: Reals) -> tuple[float, ...] | None:
    """Centred ln p of the classes, each counted once more than it was; None if about equal."""
    classes, number = len(counts), float(counts.sum())
    if classes > _MOST_UNITS:
        return None
    expected = max(number, 1) / classes
    # Pearson's statistic of equal shares has mean K − 1 and variance 2 (K − 1).
    statistic = float(((counts - expected) ** 2 / expected).sum())
    if statistic < classes - 1 + _BEYOND_CHANCE * math.sqrt(2 * max(classes - 1, 1)):
        return None
    logs = np.log((counts + 1) / (number + classes))
    return tuple((logs - logs.mean()).tolist())


def _per_output(target: NDArray[Any]) -> Reals:
    """(outputs, observations): outputs along the last axis, or one in all."""
    values = target.astype(np.float64)
    return values.reshape(1, -1) if values.ndim < 2 else values.reshape(-1, values.shape[-1]).T


def of_odds(paid: float, target: NDArray[Any]) -> Undecided:
    """Of −t ln p − (1 − t) ln(1 − p) for each output: ln 2 at p = ½, the entropy at p = t̄.

    Args:
        paid: what the model's output cost, as a mean.
        target: shares of one, outputs along the last of several axes.

    >>> seen = of_odds(1.0, np.array([0, 0, 0, 1]))
    >>> round(seen.uninformed, 3), round(seen.prior, 3)
    (0.693, 0.562)
    """
    rows = _per_output(target)
    number = rows.shape[1]
    means = rows.mean(axis=1)
    prior = float((entr(means) + entr(1 - means)).mean())
    shares = (rows.sum(axis=1) + 1) / (number + 2)
    certain = abs(shares - 0.5) > _BEYOND_CHANCE * 0.5 / math.sqrt(number)
    odds = np.where(certain, np.log(shares / (1 - shares)), 0.0)
    found = len(rows) <= _MOST_UNITS and certain.any()
    return Undecided(
        paid=paid,
        uninformed=math.log(2),
        prior=prior,
        constant=tuple(odds.tolist()) if found else None,
    )


def of_errors(
    paid: float, target: NDArray[Any], price: Callable[[Reals], Reals], *, absolute: bool = False
) -> Undecided:
    """Of the mean price of target − prediction: at zero, and at each output's mean or median.

    Args:
        paid: what the model's output cost, as a mean.
        target: outputs along the last of several axes.
        price: of errors, element by element: their square, their modulus.
        absolute: whether the median is best, not the mean.

    >>> seen = of_errors(1.0, np.array([1.0, 3.0]), np.square)
    >>> seen.uninformed, seen.prior
    (5.0, 1.0)
    """
    rows = _per_output(target)
    number = rows.shape[1]
    means = rows.mean(axis=1)
    middle = np.median(rows, axis=1) if absolute else means
    constant = None
    if not absolute and len(rows) <= _MOST_UNITS and number > 1:
        errors = rows.std(axis=1, ddof=1) / math.sqrt(number)
        certain = abs(means) > _BEYOND_CHANCE * errors
        constant = tuple(np.where(certain, means, 0.0).tolist()) if certain.any() else None
    return Undecided(
        paid=paid,
        uninformed=float(price(rows).mean()),
        prior=float(price(rows - middle[:, None]).mean()),
        constant=constant,
    )
