"""The methods by which a model's author fills its tensors, in the order in which they run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from firstlight.frameworks.torch.layouts import named_tensors

_OF_A_MODULE = ("reset_parameters", "_reset_parameters")
_OF_A_MODEL = ("_init_weights", "init_weights", "_initialize_weights", "initialize_weights")
"""The first takes the module to fill, or like the others nothing."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A method that fills tensors.

    Args:
        words: ``GPT2Model._init_weights``.
        binding: whether nothing is meant to follow it.
        run: does it.
    """

    words: str
    binding: bool
    run: Callable[[], Any]


def _arguments(method: Any) -> int | None:
    """How many positional arguments a bound method must have; None if that cannot be told."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return None
    needed = [p for p in parameters if p.default is p.empty]
    if any(p.kind is p.KEYWORD_ONLY for p in needed):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in needed)


def _is_pretrained(module: nn.Module) -> bool:
    return any(cls.__name__ == "PreTrainedModel" for cls in type(module).__mro__)


def _post_order(module: nn.Module, above: tuple[nn.Module, ...]) -> Iterator[tuple[Any, Any]]:
    """Modules with those above them, children first, as ``apply`` visits them."""
    for child in module.children():
        yield from _post_order(child, (*above, module))
    yield module, above


def _own_reset(module: nn.Module) -> Rule | None:
    """The rule of one module's class; torch's own simple layers are known by name."""
    ours = type(module).__module__.startswith("torch.")
    if ours and not isinstance(module, nn.Transformer):
        return None
    for name in _OF_A_MODULE:
        method = getattr(module, name, None)
        if callable(method) and _arguments(method) == 0:
            return Rule(words=f"{type(module).__name__}.{name}", binding=True, run=method)
    return None


def _models_rule(module: nn.Module, above: tuple[nn.Module, ...]) -> Rule | None:
    """The ``_init_weights`` that is applied to a module: of itself or of the nearest above it."""
    for owner in (module, *reversed(above)):
        pretrained = _is_pretrained(owner)
        for name in _OF_A_MODEL[: 1 if pretrained else None]:
            method: Any = getattr(owner, name, None)
            needed = _arguments(method) if callable(method) else None
            words = f"{type(owner).__name__}.{name}"
            if needed == 1 and name == _OF_A_MODEL[0]:
                return Rule(words=words, binding=pretrained, run=partial(method, module))
            if needed == 0 and owner is module and not pretrained:
                return Rule(words=words, binding=False, run=method)
    return None


def rules_of(model: nn.Module) -> Iterator[Rule]:
    """All rules in the order of building: what modules do by themselves, then what models do."""
    for module, _ in _post_order(model, ()):
        rule = _own_reset(module)
        if rule is not None:
            yield rule
    for module, above in _post_order(model, ()):
        rule = _models_rule(module, above)
        if rule is not None:
            yield rule


def untied(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Where a transformers config says that two embeddings are one tensor, and they are two.

    Yields:
        Canonical names of the embedding and of the head.
    """
    names = {id(tensor): name for name, tensor in named_tensors(model).items()}
    for module in model.modules():
        config = getattr(module, "config", None)
        if not _is_pretrained(module) or not getattr(config, "tie_word_embeddings", False):
            continue
        try:
            ends = [module.get_input_embeddings(), module.get_output_embeddings()]  # type: ignore[operator]
        except (AttributeError, NotImplementedError):
            continue  # transformers' way to say that a model has no embedding, or no head
        weights = [getattr(end, "weight", None) for end in ends]
        first, second = weights
        if first is None or second is None or first is second or first.shape != second.shape:
            continue
        if id(first) in names and id(second) in names:
            yield names[id(first)], names[id(second)]
