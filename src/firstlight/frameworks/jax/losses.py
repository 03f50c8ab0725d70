"""Losses by name, and which loss a function of somebody else's computes.

A loss written by hand, or taken from optax, is known by what it gives: on random outputs it agrees,
up to one factor, with a loss of the table. Then the model's own loss can be compared with that of a
model that knows nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from firstlight.errors import BadInputError, near_names
from firstlight.frameworks.jax.compiling import compiled
from firstlight.measuring import undecided
from firstlight.measuring.undecided import Undecided
from firstlight.records.network import Task

_TRIED_SAMPLES = 8
"""So many samples tell one loss from another."""
_TRIALS = 3
_SEED = 5
_CLOSE = 1e-4
"""Relative agreement of two float32 means."""


def _wide(output: Array) -> Array:
    return output.astype(jnp.promote_types(output.dtype, jnp.float32))


def _picked(shares: Array, target: Array) -> Array:
    """Minus the mean of what stands at the target's class; negative targets do not count."""
    known = target >= 0
    at = jnp.take_along_axis(shares, jnp.where(known, target, 0)[..., None], axis=-1)[..., 0]
    return -jnp.sum(jnp.where(known, at, 0)) / jnp.maximum(known.sum(), 1)


def cross_entropy(output: Array, target: Array) -> Array:
    """−mean ln p of the target: classes along the output's last axis, whole numbers or shares."""
    logs = jax.nn.log_softmax(_wide(output), axis=-1)
    if target.ndim == output.ndim and target.shape == output.shape:
        return -jnp.mean(jnp.sum(logs * target, axis=-1))
    return _picked(logs, target)


def mse(output: Array, target: Array) -> Array:
    """Mean of (output − target)²."""
    return jnp.mean(jnp.square(_wide(output) - target))


def binary_cross_entropy(output: Array, target: Array) -> Array:
    """−mean t ln σ(z) + (1 − t) ln σ(−z), of logits z."""
    z = _wide(output)
    return -jnp.mean(target * jax.nn.log_sigmoid(z) + (1 - target) * jax.nn.log_sigmoid(-z))


def _nll(output: Array, target: Array) -> Array:
    return _picked(_wide(output), target)


def _of_shares(output: Array, target: Array) -> Array:
    p = _wide(output)
    return -jnp.mean(target * jnp.log(p) + (1 - target) * jnp.log1p(-p))


def _l1(output: Array, target: Array) -> Array:
    return jnp.mean(jnp.abs(_wide(output) - target))


def _huber_of(error: Any) -> Any:
    size = abs(error)
    near = size.clip(max=1)
    return near * (size - near / 2)


def _huber(output: Array, target: Array) -> Array:
    return jnp.mean(_huber_of(_wide(output) - target))


LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "binary_cross_entropy": binary_cross_entropy,
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A loss that is known.

    Args:
        function: its name among operations.
        task: what it is for.
        mean: the loss itself, as a mean.
        counts: whether the target counts classes: whole numbers, one axis fewer than the output.
        shares: whether the output must lie between 0 and 1.
    """

    function: str
    task: Task
    mean: Callable[[Array, Array], Array]
    counts: bool = False
    shares: bool = False

    def head(self, output: Any, target: Any) -> Any:
        """The output in the target's shape, where a last axis of one was dropped on the way."""
        if not self.counts and output.shape == (*target.shape, 1):
            return output.reshape(target.shape)
        return output

    def fits(self, output: Any, target: Any) -> bool:
        """Whether shapes and types allow it."""
        whole = not jnp.issubdtype(target.dtype, jnp.inexact)
        if self.counts:
            return whole and len(output.shape) > 0 and output.shape[:-1] == target.shape
        if self.function == "cross_entropy":
            return len(output.shape) > 1 and output.shape == target.shape
        return bool(self.head(output, target).shape == target.shape)

    def undecided(self, paid: float, shape: tuple[int, ...], target: NDArray[Any]) -> Undecided:
        """What models without skill pay, in the unit of `mean`.

        Args:
            paid: what the output cost, by `mean`.
            shape: of the output.
            target: as given.
        """
        if self.task == "classification":
            if not self.counts:
                sums = target.astype(np.float64).reshape(-1, shape[-1]).sum(axis=0)
                return undecided.of_classes(paid, sums, counted=False)
            known = target[(target >= 0) & (target < shape[-1])].reshape(-1)
            return undecided.of_classes(paid, np.bincount(known, minlength=shape[-1]))
        if self.task == "binary":
            return undecided.of_odds(paid, target)
        prices: dict[str, Callable[[Any], Any]] = {"mse_loss": np.square, "l1_loss": np.abs}
        return undecided.of_errors(
            paid,
            target,
            prices.get(self.function, _huber_of),
            absolute=self.function == "l1_loss",
        )


KINDS: tuple[Kind, ...] = (
    Kind(function="cross_entropy", task="classification", mean=cross_entropy, counts=True),
    Kind(function="nll_loss", task="classification", mean=_nll, counts=True),
    Kind(function="cross_entropy", task="classification", mean=cross_entropy),
    Kind(function="binary_cross_entropy_with_logits", task="binary", mean=binary_cross_entropy),
    Kind(function="binary_cross_entropy", task="binary", mean=_of_shares, shares=True),
    Kind(function="mse_loss", task="regression", mean=mse),
    Kind(function="l1_loss", task="regression", mean=_l1),
    Kind(function="huber_loss", task="regression", mean=_huber),
)

_NAMED = {
    "cross_entropy": "cross_entropy",
    "mse": "mse_loss",
    "binary_cross_entropy": "binary_cross_entropy_with_logits",
}


def resolve(loss: Any) -> Callable[[Any, Any], Any] | None:
    """A loss as a callable of (output, target): by name, a function, or None.

    Raises:
        BadInputError: a name that is unknown, or no function.
    """
    if loss is None:
        return None
    if callable(loss):
        return _averaged(loss) if _of_optax(loss) else loss
    if isinstance(loss, str):
        if loss in LOSSES:
            return LOSSES[loss]
        raise BadInputError(f"loss: unknown name '{loss}'; {near_names(loss, LOSSES)}")
    raise BadInputError(
        f"loss: expected a name, a callable (output, target) or None, got {type(loss).__name__}"
    )


def _of_optax(loss: Any) -> bool:
    return str(getattr(loss, "__module__", "")).split(".")[0] == "optax"


def _averaged(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Optax's losses give one number for each sample."""
    return lambda output, target: jnp.mean(loss(output, target))


def inferred(output: Any, target: Any) -> str:
    """The name of the loss that fits output and target when only a target was given.

    Raises:
        BadInputError: none fits.
    """
    if not hasattr(target, "dtype"):
        raise BadInputError(
            f"target: a {type(target).__name__} fits no loss by itself; pass an array, or loss= or"
            " step="
        )
    whole = not jnp.issubdtype(target.dtype, jnp.inexact)
    rank = len(output.shape)
    if whole and rank and output.shape[:-1] == target.shape and output.shape[-1] > 1:
        return "cross_entropy"
    if not whole and output.shape == target.shape:
        return "mse"
    raise BadInputError(
        f"target: shape {tuple(target.shape)} {target.dtype} with output {tuple(output.shape)}"
        " fits no loss by itself; pass loss= or step="
    )


def check_named(name: str, output: Any, target: Any) -> None:
    """Refuse a target whose shape a named loss would broadcast, or that counts no classes.

    Raises:
        BadInputError: one line.
    """
    if not hasattr(target, "dtype"):
        raise BadInputError(f"target: expected an array, got {type(target).__name__}")
    shapes = f"target: shape {tuple(target.shape)} {target.dtype} with output {output.shape}"
    kinds = [kind for kind in KINDS if kind.function == _NAMED[name]]
    if not any(kind.fits(output, target) for kind in kinds):
        wanted = (
            f"{tuple(output.shape[:-1])} whole numbers, or {tuple(output.shape)} shares"
            if name == "cross_entropy"
            else str(tuple(output.shape))
        )
        raise BadInputError(f"{shapes} does not fit loss='{name}'; expected {wanted}")
    classes = output.shape[-1] if output.shape else 1
    if name == "cross_entropy" and kinds[0].fits(output, target):
        largest = int(np.max(np.asarray(target)))
        if largest >= classes:
            raise BadInputError(
                f"target: class {largest} with {classes} outputs; expected 0 to {classes - 1}"
            )


def kind_of(loss: Callable[[Any, Any], Any] | str, output: Any, target: Any) -> Kind | None:
    """The kind of a loss, by name or by what it gives on random outputs; None if it is unknown.

    Args:
        loss: a name of `LOSSES`, or a function.
        output: with a shape and a type.
        target: an array.
    """
    if not hasattr(target, "dtype") or not output.shape:
        return None
    fitting = [kind for kind in KINDS if kind.fits(output, target)]
    if isinstance(loss, str):
        return next((kind for kind in fitting if kind.function == _NAMED[loss]), None)
    for samples in {min(_TRIED_SAMPLES, output.shape[0]), output.shape[0]}:
        try:
            return _agreeing(loss, fitting, output, target, samples)
        except Exception:  # it may want the whole batch
            continue
    return None


def _agreeing(
    loss: Callable[[Any, Any], Any], kinds: list[Kind], output: Any, target: Any, samples: int
) -> Kind | None:
    def everything(drawn: Array, target: Array) -> list[tuple[Array, Array]]:
        found = []
        for kind in kinds:
            given = (jax.nn.sigmoid(drawn) if kind.shares else drawn).astype(output.dtype)
            found.append((loss(given, target), kind.mean(kind.head(given, target), target)))
        return found

    generator = np.random.default_rng(_SEED)
    some = target[:samples]
    shape = (samples, *output.shape[1:])
    drawn = [generator.standard_normal(shape, np.float32) for _ in range(_TRIALS)]
    run = compiled(jax.make_jaxpr(everything)(drawn[0], some))
    pairs = np.array([[float(number) for number in run(each, some)] for each in drawn])
    with np.errstate(all="ignore"):
        ratios = pairs[:, ::2] / pairs[:, 1::2]
    for kind, found in zip(kinds, ratios.T, strict=True):
        if np.isfinite(found).all() and found[0] > 0 and np.allclose(found, found[0], _CLOSE, 0):
            return kind
    return None
