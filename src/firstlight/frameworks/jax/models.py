"""Which JAX models can be read, and by what.

Flax NNX modules; Linen modules with their variables, as a pair or bound; Equinox modules; functions
with their parameters. A library is imported only where the user has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from jax import tree_util

from firstlight.errors import BadInputError
from firstlight.frameworks.jax.held import Held
from firstlight.frameworks.jax.sharding import check_values
from firstlight.frameworks.jax.view import View


def _is(model: Any, library: str, name: str) -> bool:
    """Whether ``model`` is an instance of a class of a library, which is not imported for it."""
    kind = getattr(sys.modules.get(library), name, None)
    return kind is not None and isinstance(model, kind)


def _is_nnx(model: Any) -> bool:
    return _is(model, "flax.nnx", "Module")


def _is_linen(model: Any) -> bool:
    return _is(model, "flax.linen", "Module")


def _is_equinox(model: Any) -> bool:
    return _is(model, "equinox", "Module") and callable(model)


def _is_transformed(model: Any) -> bool:
    return _is(model, "haiku", "Transformed") or _is(model, "haiku", "TransformedWithState")


def _is_train_state(model: Any) -> bool:
    return _is(model, "flax.training.train_state", "TrainState")


def is_model(model: Any) -> bool:
    """Whether an object is a model of this framework, or tries to be one."""
    if _is_nnx(model) or _is_linen(model) or _is_equinox(model) or _is_train_state(model):
        return True
    if _is_transformed(model):
        return True
    pair = isinstance(model, tuple) and len(model) in (2, 3) and not hasattr(model, "_fields")
    return pair and (_is_linen(model[0]) or _is_transformed(model[0]) or callable(model[0]))


def view_of(model: Any) -> View:
    """What the rest of this room needs of a model; see `hold`."""
    return hold(model).view


def described(model: Any) -> View:
    """The view of a model whose arrays may be shapes without values: what can be told without."""
    return _hold(model).view


def hold(model: Any) -> Held:
    """A model with its values as this room holds it; see `_hold`.

    Raises:
        BadInputError: as there.
        ValuelessError: its arrays are abstract.
    """
    held = _hold(model)
    check_values(held.view.arrays)
    return held


def _hold(model: Any) -> Held:
    """A model as this room holds it.

    Args:
        model: an ``nnx.Module``; (linen module, variables) or ``module.bind(variables)``; an
            ``equinox.Module``, with its state as a pair if it has one; (function, parameters) or
            (function, parameters, state), of Haiku ``(transformed.apply, parameters)``.

    Raises:
        BadInputError: a model without its variables, or without floating parameters; one line
            each.
    """
    if _is_nnx(model):
        from firstlight.frameworks.jax import nnx_models

        return nnx_models.hold(model)
    if _is_train_state(model):
        return _train_state(model)
    if _is_linen(model):
        return _linen(model)
    if _is_equinox(model):
        from firstlight.frameworks.jax import equinox_models

        return equinox_models.hold(model)
    if _is_transformed(model):
        raise BadInputError(
            "model: a Haiku transformed pair without its parameters; pass (transformed.apply,"
            " transformed.init(jax.random.key(0), batch))"
        )
    if not is_model(model):
        raise BadInputError(
            f"model: expected a Flax or Equinox module, (linen module, variables) or (function,"
            f" parameters), got {type(model).__name__}"
        )
    return _pair(model)


def _pair(model: tuple[Any, ...]) -> Held:
    first, given = model[0], model[1]
    if isinstance(first, type):
        raise BadInputError(
            f"model: {first.__module__}.{first.__name__} is a class; make a module of it first:"
            f" ({first.__name__}(...), variables)"
        )
    # Linen's ``module.apply`` and Haiku's pair of functions mean the module and its ``apply``.
    owner = getattr(first, "__self__", None)
    if _is_linen(owner) and getattr(first, "__name__", "") == "apply":
        first = owner
    if _is_linen(first):
        if len(model) != 2 or not isinstance(given, Mapping):
            raise BadInputError(
                f"model: of a Linen module pass (module, variables) with a mapping of variables,"
                f" got {len(model)} items, the second a {type(given).__name__}"
            )
        return _linen(model, first, given)
    if _is(first, "equinox", "Module") and _is(given, "equinox.nn", "State"):
        from firstlight.frameworks.jax import equinox_models

        return equinox_models.hold(first, given)
    leaves = tree_util.tree_leaves(given)
    if not any(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
        raise BadInputError(
            f"model: the second item of (function, parameters) holds no array, got"
            f" {type(given).__name__}"
        )
    from firstlight.frameworks.jax import functions

    if _is_transformed(first):
        return functions.hold(model, first.apply)
    return functions.hold(model, first)


def _linen(model: Any, module: Any = None, variables: Any = None) -> Held:
    from firstlight.frameworks.jax import linen_models

    if module is not None:
        return linen_models.hold(model, module, variables)
    if model.scope is None:
        name = type(model).__name__
        raise BadInputError(
            f"model: {name} is a Linen module without its variables; pass (module,"
            " module.init(jax.random.key(0), batch)) or module.bind(variables)"
        )
    return linen_models.hold(model, *model.unbind())


def _train_state(model: Any) -> Held:
    """A training state of Flax is its function and its parameters; what it becomes is one too."""
    from dataclasses import replace

    owner = getattr(model.apply_fn, "__self__", None)
    held = _pair((owner if _is_linen(owner) else model.apply_fn, {"params": model.params}))

    def rebuild(arrays: Mapping[str, Any]) -> Any:
        return model.replace(params=held.view.rebuild(arrays)[1]["params"])

    return replace(held, view=replace(held.view, rebuild=rebuild))
