"""A loss in Keras's words as one that the backend's room knows.

Keras's losses take (target, output), and often probabilities: log p is the logits of which p is
the softmax, so that cross entropy of log p is the same loss, and is known as what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import activations, losses

from firstlight.errors import BadInputError

_CLASSES = ("sparse_categorical_crossentropy", "categorical_crossentropy")
_BINARY = ("binary_crossentropy",)
_SQUARES = ("mse", "mean_squared_error")


@dataclass(frozen=True, kw_only=True)
class Known:
    """A loss that the backend's room has by name.

    Args:
        name: ``cross_entropy``, ``binary_cross_entropy`` (of logits) or ``mse``.
        of_probabilities: whether the model's output is probabilities, not logits.
    """

    name: str
    of_probabilities: bool = False


@dataclass(frozen=True, kw_only=True)
class Other:
    """A loss that only Keras knows, as a function of (output, target)."""

    function: Callable[[Any, Any], Any]


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """The mean of a loss of Keras's, with its arguments in our order.

    Equal for losses that are told alike, so that what was compiled for one serves the other.

    Args:
        loss: of (target, output).
        told: what it is by its settings.
    """

    loss: Any = field(compare=False)
    told: Hashable

    def __call__(self, output: Any, target: Any) -> Any:
        """The loss of a batch, a number."""
        return keras.ops.mean(self.loss(target, output))


def _name_of(loss: Any) -> str | None:
    if isinstance(loss, str):
        return loss
    if isinstance(loss, losses.Loss):
        function = getattr(loss, "fn", None)
        plain = not getattr(loss, "_fn_kwargs", {}).get("label_smoothing")
        return getattr(function, "__name__", None) if plain else None
    return getattr(loss, "__name__", None) if loss in _functions() else None


def _functions() -> tuple[Any, ...]:
    names = (*_CLASSES, *_BINARY, "mean_squared_error")
    return tuple(getattr(losses, name) for name in names)


def _of_logits(loss: Any) -> bool:
    return bool(getattr(loss, "_fn_kwargs", {}).get("from_logits"))


def _read(loss: Any) -> Known | Other:
    """One loss of Keras's."""
    name = _name_of(loss)
    if name in _CLASSES:
        return Known(name="cross_entropy", of_probabilities=not _of_logits(loss))
    if name in _BINARY:
        return Known(name="binary_cross_entropy", of_probabilities=not _of_logits(loss))
    if name in _SQUARES or name == "MeanSquaredError":
        return Known(name="mse")
    return Other(function=Averaged(loss=losses.get(loss), told=_told(loss)))


def _told(loss: Any) -> Hashable:
    if isinstance(loss, losses.Loss):
        try:
            return repr(losses.serialize(loss))
        except Exception:  # of a class that cannot be told
            return id(loss)
    return loss if isinstance(loss, str) else id(loss)


def _ends_in(model: Any) -> str | None:
    """``softmax`` or ``sigmoid`` where that is the last that a model does, as far as it tells."""
    outputs = getattr(model, "_operations", None) or getattr(model, "layers", None) or [model]
    last = outputs[-1]
    if isinstance(last, keras.Model) and last is not model:
        return _ends_in(last)
    function = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Softmax) or function is activations.softmax:
        return "softmax"
    return "sigmoid" if function is activations.sigmoid else None


def loss_of(model: Any, loss: Any, target: Any) -> Known | Other | str | Callable[..., Any] | None:
    """What a loss means for a Keras model.

    Args:
        model: whose compiled loss counts where none is given, and a target is.
        loss: a name of Firstlight's or Keras's, a `keras.losses.Loss` or function of Keras's, or a
            callable (output, target).
        target: None for none.

    Returns:
        A loss of Keras's, read; a callable as it is; None for none.

    Raises:
        BadInputError: several losses, or an unknown name.
    """
    if loss is None and target is not None:
        loss = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
        if isinstance(loss, Mapping | list | tuple):
            raise BadInputError(
                "loss: the model is compiled with several losses; pass step=lambda model, batch:"
                " loss"
            )
        if loss is not None:
            return _read(loss)
    ending = _ends_in(model)
    if loss is None and target is not None and ending == "softmax":
        return Known(name="cross_entropy", of_probabilities=True)
    if loss is None and target is not None and ending == "sigmoid":
        return Known(name="binary_cross_entropy", of_probabilities=True)
    if loss == "cross_entropy":
        return Known(name="cross_entropy", of_probabilities=ending == "softmax")
    if loss == "binary_cross_entropy":
        return Known(name="binary_cross_entropy", of_probabilities=ending == "sigmoid")
    if isinstance(loss, losses.Loss) or (isinstance(loss, str) and loss != "mse"):
        if isinstance(loss, str):
            try:
                losses.get(loss)
            except ValueError:
                return loss  # the room says which names it knows
        return _read(loss)
    if callable(loss) and any(loss is each for each in _functions()):
        return _read(loss)
    return loss  # type: ignore[no-any-return]
