"""What a technique is: a named rule from a tensor's layout and fans to the law of its elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from firstlight.errors import BadInputError, near_names
from firstlight.records.law import Law
from firstlight.records.network import Fans, Layout
from firstlight.records.patterned import PARTS

NO_FANS_NEEDED = (
    "zeros, ones, constant, random_normal, random_uniform or truncated_normal"
    " (or torch_bias for a bias)"
)
"""What a tensor without fans may take instead, in the words of the errors."""

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mode": ("fan_in", "fan_out", "fan_avg"),
        "distribution": ("normal", "uniform", "truncated_normal"),
        "direction": ("forward", "backward", "balanced"),
        "part": PARTS,
    }
)
"""Options that are words from a list mean the same in every technique."""


@dataclass(frozen=True, kw_only=True)
class Technique:
    """One named technique with all that a reader should know of it.

    Args:
        name: as it is asked for.
        aliases: further names of the same rule.
        title: for headings.
        formula: the law in the field's notation; fan_in and fan_out are the *effective* fans
            unless the technique reproduces a framework.
        law: the rule itself, called as ``law(layout, fans, **options)``.
        options: every option with its value; `with_options` gives a changed copy.
        assumptions: under what the formula follows.
        source: paper or program.
        suits: where it serves well.
        not_suits: where it does not.
        differs: how others use the same name, or differ from this.
        needs_fans: whether the rule divides by a fan, which vectors do not have.
        defaults_of: the layers that a framework starts this way unasked, if any.

    >>> from firstlight.initializers import technique
    >>> from firstlight.records.network import Fans, plain_layout
    >>> he = technique("he_normal")
    >>> str(he.law_for(plain_layout((64, 200)), Fans(forward=200, backward=64)))
    'N(0, 0.1²)'
    >>> str(he.law_for(plain_layout((64, 200)), Fans(forward=200, backward=64), mode="fan_out"))
    'N(0, 0.1768²)'
    """

    name: str
    title: str
    formula: str
    law: Callable[..., Law] = field(repr=False)
    assumptions: str = field(repr=False)
    source: str = field(repr=False)
    suits: str = field(repr=False)
    not_suits: str = field(repr=False)
    differs: str = field(default="", repr=False)
    aliases: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    needs_fans: bool = False
    defaults_of: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def law_for(self, layout: Layout, fans: Fans | None = None, **options: Any) -> Law:
        """The law that this technique prescribes for one tensor.

        Args:
            layout: the tensor's axes.
            fans: its effective fans (`firstlight.theory.fans.fans`), None for vectors.
            **options: override the technique's own options for this tensor.

        Returns:
            The law of the elements, its numbers rounded to nine digits.

        Raises:
            BadInputError: an unknown option, a value that it does not take, or a tensor to which
                the technique does not apply; the message says what does.
        """
        chosen = self.with_options(**options).options
        if self.needs_fans and fans is None:
            raise BadInputError(
                f"{self.name}: divides by a fan, and {describe(layout)} has none;"
                f" use {NO_FANS_NEEDED}"
            )
        try:
            return self.law(layout, fans, **chosen)
        except BadInputError as error:
            raise BadInputError(f"{self.name}: {error}") from error

    def with_options(self, **options: Any) -> Technique:
        """The same technique with some options changed.

        Raises:
            BadInputError: an option that it does not have, or a value of the wrong kind.

        >>> from firstlight.initializers import technique
        >>> technique("he_normal").with_options(slope=0.1).options["slope"]
        0.1
        """
        for key, value in options.items():
            self._check_option(key, value)
        return replace(self, options={**self.options, **options}) if options else self

    def _check_option(self, key: str, value: Any) -> None:
        if key not in self.options:
            known = near_names(key, self.options) if self.options else "it takes none"
            raise BadInputError(f"{self.name}: no option '{key}'; {known}")
        if key in CHOICES:
            if value not in CHOICES[key]:
                allowed = ", ".join(CHOICES[key])
                raise BadInputError(f"{self.name}: {key} must be one of {allowed}, got {value!r}")
            return
        default = self.options[key]
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise BadInputError(f"{self.name}: {key} must be True or False, got {value!r}")
        elif isinstance(default, int | float) or (default is None and value is not None):
            _check_number(f"{self.name}: {key}", value)


def _check_number(where: str, value: Any) -> None:
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise BadInputError(f"{where} must be a number, got {value!r}")


def describe(layout: Layout) -> str:
    """A tensor in the words of an error: ``a tensor of shape (64,) with axes (out)``.

    >>> from firstlight.records.network import plain_layout
    >>> describe(plain_layout((64, 32)))
    'a tensor of shape (64, 32) with axes (out, in)'
    """
    return f"a tensor of shape {layout.shape} with axes ({', '.join(layout.roles)})"
