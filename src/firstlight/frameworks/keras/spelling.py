"""How Keras spells what the registry has: names, arguments and their order.

Where Keras has an initializer of a technique's name, its arguments come first, in its order and
words, and its law is kept: Keras's ``he_normal`` is cut at ±2σ, so here it is the technique
``he_truncated_normal``, and the uncut one is ``he_untruncated_normal``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import Parameter, Signature
from typing import Any

from firstlight.initializers.technique import Technique


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """How Keras spells a technique.

    Args:
        order: its positional arguments.
        words: Keras's words for the technique's options.
        technique: the one whose law Keras means by the name, where that is another.
        others: further names that Keras knows.
    """

    order: tuple[str, ...] = ("seed",)
    words: Mapping[str, str] = field(default_factory=dict)
    technique: str = ""
    others: tuple[str, ...] = ()


_CUT = {name: f"{name}_truncated_normal" for name in ("glorot", "he", "lecun")}
_STD = {"stddev": "std"}
SPELLINGS: Mapping[str, Spelling] = {
    **{f"{name}_normal": Spelling(technique=cut) for name, cut in _CUT.items()},
    "random_normal": Spelling(order=("mean", "stddev", "seed"), words=_STD),
    "truncated_normal": Spelling(order=("mean", "stddev", "seed"), words=_STD),
    "random_uniform": Spelling(
        order=("minval", "maxval", "seed"), words={"minval": "low", "maxval": "high"}
    ),
    "variance_scaling": Spelling(
        order=("scale", "mode", "distribution", "seed", "input_axes", "output_axes")
    ),
    "orthogonal": Spelling(order=("gain", "seed"), others=("OrthogonalInitializer",)),
    "identity": Spelling(order=("gain",), others=("IdentityInitializer",)),
    "constant": Spelling(order=("value",)),
    "zeros": Spelling(order=(), others=("zero",)),
    "ones": Spelling(order=(), others=("one",)),
}
WHERE: Mapping[str, Any] = {
    "seed": None,
    "input_axes": None,
    "output_axes": None,
    "axes": None,
    "name": None,
}
"""Arguments of every class, with their defaults."""


def camel(name: str) -> str:
    """The class's name.

    >>> camel("he_normal")
    'HeNormal'
    """
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def signature_of(entry: Technique, spelling: Spelling) -> Signature:
    """The arguments of a technique's class: Keras's first, then the technique's by keyword."""
    words = {ours: theirs for theirs, ours in spelling.words.items()}
    defaults = {words.get(key, key): value for key, value in entry.options.items()} | dict(WHERE)
    rest = [key for key in defaults if key not in spelling.order]
    first = [
        Parameter(key, Parameter.POSITIONAL_OR_KEYWORD, default=defaults[key])
        for key in spelling.order
    ]
    last = [Parameter(key, Parameter.KEYWORD_ONLY, default=defaults[key]) for key in rest]
    return Signature([*first, *last])


class OfClass:
    """A class's signature; its instances have that of their call, in which Keras finds ``layout``.

    Args:
        signature: of the class.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature

    def __get__(self, instance: Any, owner: Any) -> Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        return self._signature
