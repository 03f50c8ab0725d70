"""What a race is, as plain values: two races with equal specs have equal results, bit for bit."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_PLAIN = (str, int, float, bool, type(None))


def data_print(data: Sequence[Any]) -> str:
    """A hash of arrays: their types, shapes and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in data:
        array = part.detach().cpu() if hasattr(part, "detach") else part
        shape = tuple(int(n) for n in array.shape)
        digest.update(f"{str(array.dtype).removeprefix('torch.')}{shape}".encode())
        digest.update(_bytes(array))
    return digest.hexdigest()


def _bytes(array: Any) -> bytes:
    try:
        return np.ascontiguousarray(np.asarray(array)).tobytes()
    except TypeError:  # a type that NumPy has not: bfloat16
        return np.ascontiguousarray(np.asarray(array.float())).tobytes()


def function_print(function: Any) -> str:
    """Name, source and plain settings of a function; a name given as text stays as it is.

    What it calls is not looked into, apart from values of its closure and of `functools.partial`.

    >>> function_print("cross_entropy"), function_print(None)
    ('cross_entropy', 'None')
    """
    if not callable(function):
        return str(function)
    settings: list[Any] = []
    while isinstance(function, partial):
        settings += [function.args, sorted(function.keywords.items())]
        function = function.func
    inner = inspect.unwrap(function)
    for layer in dict.fromkeys((function, inner)):
        settings += _closure(layer)
    try:
        source = inspect.getsource(inner)
    except (OSError, TypeError):  # typed at a prompt, or written in C
        source = ""
    named = getattr(inner, "__qualname__", type(inner).__qualname__)
    said = _ADDRESS.sub("", repr(settings))
    digest = hashlib.blake2b(f"{source}{said}".encode("utf-8", "replace"), digest_size=8)
    return f"{named} {digest.hexdigest()}"


def _closure(function: Callable[..., Any]) -> list[Any]:
    try:
        values = inspect.getclosurevars(function).nonlocals
    except TypeError:  # a class or an object with __call__
        return []
    return [(name, value) for name, value in sorted(values.items()) if _is_plain(value)]


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _PLAIN)


def model_print(model: Any, values: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """A hash of a model built under a fixed seed: how it prints, and every parameter.

    Args:
        model: printed for its modules and their settings.
        values: name and values of each parameter.
    """
    digest = hashlib.blake2b(_ADDRESS.sub("", repr(model)).encode("utf-8", "replace"))
    for name, array in values:
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Where two specs differ, in words.

    >>> differences({"steps": 3, "seeds": 1}, {"steps": 4, "seeds": 1})
    ['steps (4 there, 3 here)']
    """
    here, there = _flat(here), _flat(there)
    return [
        f"{name} ({_short(there.get(name))} there, {_short(here.get(name))} here)"
        for name in dict.fromkeys((*here, *there))
        if here.get(name) != there.get(name)
    ]


def _flat(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings in it by their own names: ``versions.numpy``."""
    found: dict[str, Any] = {}
    for name, value in spec.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": own for inner, own in value.items()}
        else:
            found[name] = value
    return found


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 48 else f"{text[:45]}…"
