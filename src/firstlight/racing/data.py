"""The data of a race: four arrays, read once, checked before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError, said

_FORMS = (
    "expected (inputs, targets, held-out inputs, held-out targets) or (training set, held-out set)"
)
_PARTS = ("training inputs", "training targets", "held-out inputs", "held-out targets")


def read(data: Any) -> tuple[Any, ...]:
    """Inputs, targets, held-out inputs and held-out targets.

    Args:
        data: four arrays, tensors or lists; or two sets or loaders of (input, target). A set is
            read sample by sample, a loader batch by batch, once: what it draws at random is then
            the same for all runs.

    Returns:
        Four arrays. Tensors and arrays stay as they are, but classes become int64; lists and sets
        become NumPy arrays, with float64 made float32.

    Raises:
        BadInputError: anything that cannot be trained on, by name of the part.
    """
    if not isinstance(data, tuple | list):
        raise BadInputError(f"data: {_FORMS}, got {type(data).__name__}")
    if len(data) == 2 and all(_is_set(part) for part in data):
        train, held_out = (
            _from_set(part, what) for part, what in zip(data, ("training", "held-out"), strict=True)
        )
        parts: tuple[Any, ...] = (*train, *held_out)
    elif len(data) == 4:
        parts = tuple(_array(part) for part in data)
    else:
        raise BadInputError(f"data: {_FORMS}, got {len(data)} parts")
    _check(parts)
    return parts[0], _classes(parts[1]), parts[2], _classes(parts[3])


def classifies(data: Sequence[Any]) -> bool:
    """Whether the targets are classes."""
    return "float" not in str(data[1].dtype)


def guessing(data: Sequence[Any], loss: Any) -> float | None:
    """The score of always giving one answer: the commonest held-out class, or the mean target.

    Args:
        data: four arrays.
        loss: as given to the race; for targets that are no classes, only that of mean squares has
            a known answer, and others give None.

    >>> x, y = np.zeros((4, 1)), np.array([0, 1, 1, 1])
    >>> guessing((x, y, x, y), None)
    0.75
    """
    if classifies(data):
        targets = [int(value) for value in np.asarray(data[3]).ravel()]
        return max(targets.count(value) for value in set(targets)) / len(targets)
    if loss not in (None, "mse"):
        return None
    train, held_out = (np.asarray(part, np.float64) for part in (data[1], data[3]))
    return float(((held_out - train.mean(axis=0)) ** 2).mean())


def _is_set(part: Any) -> bool:
    """A data set or loader: gives samples or batches one by one, and is no array or list."""
    gives = hasattr(part, "__iter__") or (hasattr(part, "__getitem__") and hasattr(part, "__len__"))
    return gives and not hasattr(part, "dtype") and not isinstance(part, list | tuple | str | dict)


def _samples(part: Any) -> Iterator[Any]:
    if hasattr(part, "__iter__"):
        yield from part
    else:
        for index in range(len(part)):
            yield part[index]


def _from_set(part: Any, what: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs and targets of a data set (samples) or loader (batches)."""
    batched = getattr(part, "batch_size", None) is not None or (
        getattr(part, "batch_sampler", None) is not None
    )
    inputs, targets = [], []
    for pair in _told(_samples(part), what):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise BadInputError(
                f"data: the {what} set gave {type(pair).__name__}; expected pairs (input, target)"
            )
        inputs.append(_plain(pair[0]))
        targets.append(_plain(pair[1]))
    if not inputs:
        raise BadInputError(f"data: the {what} set is empty; expected at least one sample")
    return _joined(inputs, batched, f"{what} inputs"), _joined(targets, batched, f"{what} targets")


def _told(samples: Iterator[Any], what: str) -> Iterator[Any]:
    """The same samples; what the user's code raises on the way becomes one line."""
    while True:
        try:
            sample = next(samples)
        except StopIteration:
            return
        except Exception as error:
            words = said(error)
            raise BadInputError(
                f"data: reading the {what} set raised {type(error).__name__}: {words}; try"
                " next(iter(...)) on it by itself"
            ) from error
        yield sample


def _plain(value: Any) -> NDArray[Any]:
    """A tensor of any device, array or number as a NumPy array."""
    found = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    plain = not hasattr(value, "dtype") and found.dtype == np.float64
    return found.astype(np.float32) if plain else found


def _joined(parts: Sequence[NDArray[Any]], batched: bool, what: str) -> NDArray[Any]:
    try:
        return np.concatenate(parts) if batched else np.stack(parts)
    except ValueError as error:
        shapes = sorted({part.shape[batched:] for part in parts})
        raise BadInputError(
            f"data: {what} differ in shape ({', '.join(map(str, shapes[:3]))}); a race needs"
            " samples of one shape"
        ) from error


def _array(part: Any) -> Any:
    """A tensor or array as it is; numbers in lists in the precision of models, float32."""
    try:
        found = part if hasattr(part, "dtype") else np.asarray(part)
    except ValueError as error:
        raise BadInputError(
            "data: a list whose rows differ in length or kind; expected lists of equal length"
        ) from error
    return found.astype(np.float32) if found is not part and found.dtype == np.float64 else found


def _classes(targets: Any) -> Any:
    """Whole numbers as int64, which losses want; anything else as it is."""
    kind = str(targets.dtype)
    if ("int" not in kind and "bool" not in kind) or kind.endswith(("int64", "uint8")):
        return targets
    return targets.astype(np.int64) if hasattr(targets, "astype") else targets.long()


def hint(data: Sequence[Any], words: str) -> str:
    """What to do about an error on such data, where the data's types say it; else nothing.

    Args:
        data: four arrays.
        words: of the error.
    """
    if "dtype" in words and "target dtype" not in words:
        kind = str(data[0].dtype).removeprefix("torch.")
        return (
            f"; the inputs are {kind}: give them in the type of the model, such as"
            " x.astype('float32') or x.float()"
        )
    if "fits no loss" not in words:
        return ""
    each = tuple(data[1].shape[1:])
    if classifies(data):
        return "; give classes as one integer each, y.reshape(-1)" if each == (1,) else ""
    if each:
        return ""
    return (
        "; give classes as integers (y.astype('int64') or y.long()), numbers as one row each"
        " (y.reshape(-1, 1))"
    )


def _check(parts: Sequence[Any]) -> None:
    for part in parts:
        numbers = any(kind in str(part.dtype) for kind in ("float", "int", "bool"))
        if not part.shape or not numbers:
            raise BadInputError(
                f"data: expected four arrays of numbers, one row for each sample; got {part.dtype}"
                f" of shape {tuple(part.shape)}"
            )
    for x, y, what in ((*parts[:2], "training"), (*parts[2:], "held-out")):
        if len(x) != len(y) or not len(x):
            raise BadInputError(
                f"data: {what} part has {len(x)} inputs and {len(y)} targets; both must be equal"
                " and above 0"
            )
    _check_finite(parts)
    for train, held_out, what in ((parts[0], parts[2], "inputs"), (parts[1], parts[3], "targets")):
        if tuple(train.shape[1:]) != tuple(held_out.shape[1:]):
            raise BadInputError(
                f"data: training {what} have shape {tuple(train.shape[1:])} each, held-out ones"
                f" {tuple(held_out.shape[1:])}; both must be equal"
            )
    if classifies(parts):
        for part, what in zip((parts[1], parts[3]), _PARTS[1::2], strict=True):
            if _one_value(part):
                raise BadInputError(
                    f"data: {what} hold one class only ({int(np.asarray(part).ravel()[0])});"
                    " there is nothing to tell apart"
                )


def _check_finite(parts: Iterable[Any]) -> None:
    # Zero times NaN or infinity is NaN, in every framework and on every device.
    for values, what in zip(parts, _PARTS, strict=True):
        with np.errstate(invalid="ignore"):
            clean = math.isfinite(float((values * 0).sum()))
        if not clean:
            raise BadInputError(f"data: {what} hold NaN or infinite values; clean them first")


def _one_value(values: Any) -> bool:
    return bool((values == values.reshape(-1)[0]).all())
