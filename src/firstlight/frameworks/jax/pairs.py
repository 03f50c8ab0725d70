"""Models that are given as tuples: (module, variables), (function, parameters, state)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jax import Array

Bound = Callable[[Mapping[str, Array], Array], Any]
Run = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]


class Pair(tuple[Any, ...]):
    """The tuple as its user knows it, which a step may also call as the model: ``model(x)``."""

    call: Callable[..., Any]

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run the model in training mode."""
        return self.call(*args, **keywords)


def binding(
    made: Callable[[Mapping[str, Array], Array], Any],
    called: Callable[[Any, tuple[Any, ...], Mapping[str, Any], Array], Any],
) -> tuple[Bound, Run]:
    """``bound`` and ``run`` of a `View` from two functions.

    Args:
        made: (arrays, key) → the model that carries them, as its user knows it.
        called: (that model, positional arguments, keywords, key) → its output in training mode.
    """
    running: list[Array] = []

    @contextmanager
    def bound(arrays: Mapping[str, Array], key: Array) -> Iterator[Any]:
        model = made(arrays, key)
        if type(model) is tuple:
            model = Pair(model)
            model.call = lambda *args, **keywords: called(model, args, keywords, key)
        running.append(key)
        try:
            yield model
        finally:
            running.pop()

    def run(model: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
        return called(model, args, keywords, running[-1])

    return bound, run
