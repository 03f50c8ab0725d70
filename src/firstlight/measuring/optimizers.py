"""What an optimizer's step depends on, by its name."""

from __future__ import annotations

from firstlight.errors import BadInputError

_NORMALISING = ("adam", "rmsprop", "adagrad", "lion", "adamax", "sign")
"""Optimizers whose first step has the size of the learning rate in every element."""

_DESCENDING = ("sgd",)


def normalises(name: str) -> bool:
    """Whether an optimizer of this name divides by the gradient's size.

    >>> normalises("AdamW"), normalises("SGD")
    (True, False)
    """
    return any(word in name.lower() for word in _NORMALISING)


def is_adaptive(name: str) -> bool:
    """The same, of an optimizer whose rates are known to follow either Adam's law or SGD's.

    Args:
        name: ``adam``, ``AdamW``, ``sgd``, ``RMSprop`` …

    Raises:
        BadInputError: of another one (LBFGS, Adafactor, Muon) the law is not known.

    >>> is_adaptive("adamw"), is_adaptive("SGD")
    (True, False)
    """
    if normalises(name):
        return True
    if any(word in name.lower() for word in _DESCENDING):
        return False
    raise BadInputError(
        f"optimizer: how the rates of '{name}' follow the width is not known; expected one of"
        " Adam's kind (adam, adamw, rmsprop, adagrad, lion) or sgd"
    )
