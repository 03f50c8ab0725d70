"""Every technique of the registry as a Keras initializer, and Keras's own under their names.

The classes are made from the registry; `spelling` says what Keras calls things.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import Signature
from math import prod
from typing import Any, ClassVar

import keras
import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.frameworks.keras.asking import Asker, who_asks
from firstlight.frameworks.keras.kernels import Drawing, by_axes, by_rank, by_roles, drawing_of
from firstlight.frameworks.keras.placing import by_parts, drawn_as, filled, handed_over, placed
from firstlight.frameworks.keras.spelling import (
    SPELLINGS,
    WHERE,
    OfClass,
    Spelling,
    camel,
    signature_of,
)
from firstlight.initializers.gates import GATES
from firstlight.initializers.registry import technique as find_technique
from firstlight.initializers.registry import techniques
from firstlight.initializers.technique import Technique
from firstlight.laws.draw import draw
from firstlight.laws.holding import is_elementwise
from firstlight.laws.memory import aligned
from firstlight.laws.parts import draw_part
from firstlight.records.law import Constant as ConstantLaw
from firstlight.records.law import Law

PACKAGE = "firstlight"
"""Under what Keras keeps the classes: ``keras.initializers.get("firstlight>he_normal")``."""


_OF_GATES = frozenset(entry.name for entry in GATES)


class FirstlightInitializer(keras.initializers.Initializer):  # type: ignore[misc]
    """A technique of the registry as Keras asks for it: called with a shape and a dtype.

    The law follows from the technique and from the variable's axes. These are taken from ``axes``,
    else from ``input_axes`` and ``output_axes``, else from the layer that asks; where none is
    known, as Keras takes them: (kernel …, in, out).

    The numbers follow from the seed and from the variable's address: ``name``, else the path of the
    variable that is being made (``block/conv/kernel`` is drawn as ``block.conv.weight``, as in
    every framework); outside of a layer, from the seed alone.

    Args:
        seed: an integer, a `keras.random.SeedGenerator` (another key at each call), or None: drawn
            once for the instance from the generator that `keras.utils.set_random_seed` sets.
        input_axes: axes that are summed over, as in Keras's ``VarianceScaling``.
        output_axes: axes of the outputs; an axis in both is a kernel's.
        axes: the role of each axis: in, out, kernel, index, group, head, gate, stack …
        name: the address, instead of the variable's own.
        **options: of the technique.

    Raises:
        BadInputError: (a ValueError) an unknown option, a value out of range, or a shape that the
            technique cannot fill.
    """

    technique: ClassVar[str]
    _words: ClassVar[Mapping[str, str]] = {}
    _signature: ClassVar[Signature]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kind = type(self).__name__
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            # Keras calls initializers in the same way; a wrong word stays a TypeError there.
            raise TypeError(f"{kind}: {error}; it takes {self._signature}") from None
        bound.apply_defaults()
        where = {**WHERE, **{k: v for k, v in bound.arguments.items() if k in WHERE}}
        self._options = {k: v for k, v in bound.arguments.items() if k not in WHERE}
        self._checked()
        self._given_seed = where.pop("seed")
        self.seed = _seed(kind, self._given_seed)
        for key, value in where.items():
            setattr(self, key, list(value) if key != "name" and value is not None else value)
        # Automatic names that nothing surrounds tell a shared instance's variables apart by order.
        self._met: dict[str, list[str]] = {}

    def __getattr__(self, key: str) -> Any:
        if not key.startswith("_") and key in self.__dict__.get("_options", ()):
            return self._options[key]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{key}'")

    def _checked(self) -> Technique:
        entry = find_technique(self.technique)
        options = {self._words.get(key, key): value for key, value in self._options.items()}
        # Some defaults stand for "to be given", and are no values themselves.
        return entry.with_options(**{k: v for k, v in options.items() if v != entry.options.get(k)})

    def __call__(
        self, shape: Sequence[int], dtype: Any = None, layout: Any = None, **_: Any
    ) -> Any:
        """Values of a shape.

        Args:
            shape: of the variable.
            dtype: of the values; drawn in float32 and rounded once, float64 holds the same values.
            layout: a `keras.distribution.TensorLayout` or the backend's own; the values are placed
                as it says. On JAX elementwise laws draw each device's part alone.

        Returns:
            A tensor of the backend.
        """
        sizes = tuple(operator.index(n) for n in shape)
        dtype = keras.backend.standardize_dtype(dtype)
        asker = who_asks()
        if asker is not None and asker.placeholder:
            return keras.ops.zeros(sizes, dtype=dtype)
        if 0 in sizes:
            return placed(np.empty(sizes, np.float32), dtype, layout)
        use = self._use(sizes, asker)
        law = self._checked().law_for(use.layout, use.fans)
        if isinstance(law, ConstantLaw):
            return filled(sizes, law.value, dtype, layout)
        name, seed = self._address(sizes, asker), _key(self.seed)
        if use.stored is None and not use.twice and is_elementwise(law):
            drawing = partial(draw_part, law, use.layout, name=name, seed=seed)
            tensor = by_parts(sizes, dtype, layout, lambda part, out: drawing(part, out=out))
            if tensor is not None:
                return tensor
        values = self._drawn(law, use, name, seed, drawn_as(dtype))
        return handed_over(values, dtype, layout)

    def _drawn(
        self, law: Law, use: Drawing, name: str, seed: int, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        values = aligned(use.layout.shape, dtype)
        draw(law, use.layout, name=name, seed=seed, out=values)
        if use.stored is not None:
            values = use.stored(values)
        if not use.twice:
            return values
        if self.technique in _OF_GATES:
            return np.stack([values, np.zeros_like(values)])  # of two that are added, one is enough
        other = replace(use, twice=False)
        return np.stack(
            [values, self._drawn(law, other, name.replace("_ih_", "_hh_"), seed, dtype)]
        )

    def _use(self, shape: tuple[int, ...], asker: Asker | None) -> Drawing:
        if self.axes is not None:
            return by_roles(shape, self.axes)
        if self.input_axes is not None and self.output_axes is not None:
            return by_axes(shape, self.input_axes, self.output_axes)
        known = None
        if asker is not None and asker.layer is not None and asker.shape == shape:
            known = drawing_of(asker.layer, asker.name, shape)
        if known is None or known.fans is None:
            plain = by_rank(shape)
            return plain if known is None else replace(known, fans=plain.fans)
        return known

    def _address(self, shape: tuple[int, ...], asker: Asker | None) -> str:
        if self.name is not None:
            return str(self.name)
        if asker is None:
            return "value"
        address = asker.address
        if not asker.settled:
            met = self._met.setdefault(address, [])
            if asker.path not in met:
                met.append(asker.path)
            nth = met.index(asker.path)
            address = f"{address}#{nth + 1}" if nth else address
        # LSTM asks for its bias in pieces.
        return address if asker.shape == shape else f"{address}[{prod(shape)}]"

    def get_config(self) -> dict[str, Any]:
        """The arguments, as plain data; a seed of None stays None, as in Keras."""
        where = {key: getattr(self, key) for key in WHERE if key != "seed"}
        seed = keras.saving.serialize_keras_object(self._given_seed)
        known = self._signature.parameters
        config = {**self._options, "seed": seed, **where}
        return {key: value for key, value in config.items() if key in known}

    def __repr__(self) -> str:
        default = {key: each.default for key, each in self._signature.parameters.items()}
        told = {k: v for k, v in self.get_config().items() if v != default[k]}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in told.items())})"


def _seed(kind: str, seed: Any) -> Any:
    if seed is None:
        return random.randint(1, int(1e9))  # as Keras does, so that set_random_seed reproduces
    if isinstance(seed, dict):
        seed = keras.saving.deserialize_keras_object(seed)
    if isinstance(seed, keras.random.SeedGenerator):
        return seed
    try:
        if not isinstance(seed, bool):
            return operator.index(seed)
    except TypeError:
        pass
    raise BadInputError(
        f"{kind}: seed must be an integer, a keras.random.SeedGenerator or None, got {seed!r}"
    )


def _key(seed: Any) -> int:
    """The seed of one call: 64 bits, of a generator its next pair of words."""
    if not isinstance(seed, keras.random.SeedGenerator):
        return int(seed) % (1 << 64)
    high, low = (int(word) % (1 << 32) for word in keras.ops.convert_to_numpy(seed.next()))
    return high << 32 | low


class _ArrayConstant(FirstlightInitializer):
    """Keras's `Constant` also takes arrays."""

    def _checked(self) -> Technique:
        value = self._options["value"]
        if np.ndim(value):
            return find_technique(self.technique)
        return super()._checked()

    def __call__(
        self, shape: Sequence[int], dtype: Any = None, layout: Any = None, **_: Any
    ) -> Any:
        if not np.ndim(self._options["value"]):
            return super().__call__(shape, dtype, layout)
        dtype = keras.backend.standardize_dtype(dtype)
        return placed(np.broadcast_to(self._options["value"], tuple(shape)), dtype, layout)

    def get_config(self) -> dict[str, Any]:
        value = keras.saving.serialize_keras_object(self._options["value"])
        return {**super().get_config(), "value": value}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        # By name alone, ``firstlight>constant``, it comes without a value.
        value = keras.saving.deserialize_keras_object(config.get("value", 0.0))
        return cls(**{**config, "value": value})


class _KerasScaling(FirstlightInitializer):
    """Keras's words for the distributions of `VarianceScaling`."""

    def _checked(self) -> Technique:
        scale, mode = self._options["scale"], self._options["mode"]
        word = str(self._options["distribution"]).lower()
        # Keras reads 'normal' as the truncated form.
        self._options["distribution"] = word = {"normal": "truncated_normal"}.get(word, word)
        if not scale > 0:
            raise BadInputError(
                f"VarianceScaling: `scale` must be positive, got {scale}; for zeros use Zeros"
            )
        known = {"untruncated_normal": "normal", "normal": ""}
        return find_technique(self.technique).with_options(
            scale=scale, mode=mode, distribution=known.get(word, word)
        )


def _make(name: str, entry: Technique, spelling: Spelling) -> type[FirstlightInitializer]:
    bases = {"constant": _ArrayConstant, "variance_scaling": _KerasScaling}
    words = f"Keras's spelling of {entry.name}. " if entry.name != name else ""
    signature = signature_of(entry, spelling)
    return type(
        camel(name),
        (bases.get(name, FirstlightInitializer),),
        {
            "__module__": "firstlight.keras",
            "__doc__": f"{entry.title}: {entry.formula}\n\n{words}Assumes: {entry.assumptions}\n\n"
            f"Suits {entry.suits}.\nNot for {entry.not_suits}.\n\nSource: {entry.source}.\n"
            f"{entry.differs}",
            "__signature__": OfClass(signature),
            "technique": entry.name,
            "_words": spelling.words,
            "_signature": signature,
        },
    )


def _all() -> dict[str, type[FirstlightInitializer]]:
    """Every class under its name and its aliases, registered with Keras under each."""
    found: dict[str, type[FirstlightInitializer]] = {}
    for entry in techniques():
        spelling = SPELLINGS.get(entry.name, Spelling())
        law = find_technique(spelling.technique or entry.name)
        made = _make(entry.name, law, spelling)
        names = [entry.name, *entry.aliases, *map(camel, entry.aliases), *spelling.others]
        found |= dict.fromkeys([*names, made.__name__], made)
        if spelling.technique:
            uncut = _make(entry.name.replace("_normal", "_untruncated_normal"), entry, Spelling())
            found[uncut.__name__] = uncut
            found[entry.name.replace("_normal", "_untruncated_normal")] = uncut
    for name, made in found.items():
        keras.saving.get_custom_objects()[f"{PACKAGE}>{name}"] = made
    for made in set(found.values()):
        keras.saving.register_keras_serializable(package=PACKAGE)(made)
    return found


CLASSES = _all()
