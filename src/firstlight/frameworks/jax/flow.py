"""What each value of a flat list stems from: the batch, parameters, random numbers, constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np

from firstlight.frameworks.jax.elementwise import evaluated, is_elementwise
from firstlight.frameworks.jax.flat import Atom, Constant, Flat, Step
from firstlight.measuring.meant import as_meant

_RANDOM = frozenset({"random_bits", "threefry2x32", "random_gamma", "rng_bit_generator"})
_KEEPING = frozenset({"convert_element_type", "copy", "copy_p", "reduce_precision"})
_NEUTRAL = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0}
_HANDED_ON = _KEEPING | {"optimization_barrier", "broadcast_in_dim", "reshape", "expand_dims"}
_PARTS = frozenset({"transpose", "squeeze", "slice", "dynamic_slice", "rev", "split"})
LOOKUPS = frozenset({"gather", "dynamic_slice"})
PRODUCTS = frozenset({"dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general"})


def is_floating(aval: Any) -> bool:
    """Whether values can have gradients; keys of random streams have a type of their own."""
    return bool(jnp.issubdtype(aval.dtype, jnp.inexact))


class Flow:
    """Where the values of a flat list come from and go to.

    Args:
        flat: the steps.
        parameters: names of the parameters by the number of their values.
        batch: numbers of the values that the batch gives.
        arrays: the parameters' arrays by name, for the few numbers that decide what a step is.
    """

    def __init__(
        self,
        flat: Flat,
        parameters: Mapping[int, str],
        batch: Sequence[int],
        arrays: Mapping[str, Any],
    ) -> None:
        self.flat = flat
        self.steps = flat.steps
        self.parameters = dict(parameters)
        self._arrays = arrays
        count = len(flat.avals)
        self.maker: list[int | None] = [None] * count
        self.users: list[list[int]] = [[] for _ in range(count)]
        self.used: list[tuple[str, ...]] = [()] * count
        """The parameters that a value is, or was computed from together with nothing of the
        batch."""
        self.data = [False] * count
        self.signal = [False] * count
        """Whether it is a floating result that depends on the batch: what operations hand on."""
        self.random = [False] * count
        self.origins: set[int] = set()
        """Floating values made of integers of the batch that enter a product or stand alone."""
        for value, name in parameters.items():
            self.used[value] = (name,)
        for value in batch:
            self.data[value] = True
            self.signal[value] = is_floating(flat.avals[value])
        self.outputs = frozenset(a for a in flat.outputs if isinstance(a, int))
        for place, step in enumerate(self.steps):
            self._follow(place, step)

    def _follow(self, place: int, step: Step) -> None:
        read = [a for a in step.inputs if isinstance(a, int)]
        for value in dict.fromkeys(read):
            self.users[value].append(place)
        data = any(self.data[v] for v in read)
        signal = any(self.signal[v] for v in read)
        used = tuple(dict.fromkeys(n for v in read for n in self.used[v]))
        random = step.name in _RANDOM or any(self.random[v] for v in read)
        if step.name in LOOKUPS and self.is_expression(step.inputs[0]):
            signal = signal or any(self.data[v] for v in read[1:])
        if step.name in PRODUCTS and data and used and not signal:
            signal = True
            self.origins.update(v for v in read if self.data[v])
        for value in step.outputs:
            self.maker[value] = place
            self.data[value] = data
            self.signal[value] = signal and is_floating(self.flat.avals[value])
            self.used[value] = () if data else used
            self.random[value] = random and not signal

    def is_signal(self, atom: Atom) -> bool:
        """Whether operations hand this on."""
        return isinstance(atom, int) and (self.signal[atom] or atom in self.origins)

    def is_expression(self, atom: Atom) -> bool:
        """Whether it is made of parameters and constants."""
        return isinstance(atom, int) and bool(self.used[atom])

    def names(self, atom: Atom) -> tuple[str, ...]:
        """The parameters behind an expression."""
        return self.used[atom] if isinstance(atom, int) else ()

    def shape(self, atom: Atom) -> tuple[int, ...]:
        """Shape of a value."""
        return tuple(self.flat.aval(atom).shape)

    def size(self, atom: Atom) -> int:
        """How many numbers it has."""
        return prod(self.shape(atom))

    def step(self, atom: Atom) -> Step | None:
        """The step that makes a value; None for arguments and constants."""
        place = self.maker[atom] if isinstance(atom, int) else None
        return None if place is None else self.steps[place]

    def made_by(self, atom: Atom, *names: str) -> Step | None:
        """The step that makes a value, if it has one of these names."""
        step = self.step(atom)
        return step if step is not None and step.name in names else None

    def only_user(self, value: int) -> Step | None:
        """The one step that reads a value which is not given out."""
        users = self.users[value]
        return self.steps[users[0]] if len(users) == 1 and value not in self.outputs else None

    def kept(self, atom: Atom) -> Atom:
        """The value before changes of precision, copies, and sums and products that do nothing."""
        while (step := self.made_by(atom, *_KEEPING, *_NEUTRAL)) is not None:
            source = self.kept_by(step)
            if source is None:
                break
            atom = source
        return atom

    def kept_by(self, step: Step) -> Atom | None:
        """What a step leaves as it is; None where it does something."""
        if step.name in _KEEPING:
            source = step.inputs[0]
            return source if is_floating(self.flat.aval(source)) else None
        neutral = _NEUTRAL.get(step.name)
        if neutral is None or not isinstance(step.inputs[0], int):
            return None
        same = self.shape(step.inputs[0]) == self.shape(step.outputs[0])
        return step.inputs[0] if same and self.number(step.inputs[1]) == neutral else None

    def spread(self, atom: Atom) -> Atom:
        """The value before it was handed on, broadcast or given axes of length one."""
        while (step := self.made_by(atom, *_HANDED_ON)) is not None:
            source = step.inputs[0]
            if step.name in ("reshape", "expand_dims"):
                long = [[n for n in self.shape(a) if n > 1] for a in (atom, source)]
                if long[0] != long[1]:
                    break
            atom = source
        return atom

    def whole(self, atom: Atom) -> str | None:
        """The parameter whose own numbers an expression is, moved or in part; None for others."""
        while (step := self.made_by(atom, *_HANDED_ON, *_PARTS)) is not None:
            atom = step.inputs[0]
        return self.parameters.get(atom) if isinstance(atom, int) else None

    def varying(self, atom: Atom, rank: int) -> frozenset[int]:
        """The axes of an array of this rank along which an expression differs."""
        shape = self.shape(atom)
        step = self.made_by(atom, *_HANDED_ON)
        if step is not None and step.name == "broadcast_in_dim" and isinstance(step.inputs[0], int):
            dims = [int(d) for d in step.params["broadcast_dimensions"]]
            inner = self.varying(step.inputs[0], len(dims))
            return frozenset(dims[a] + rank - len(shape) for a in inner)
        return frozenset(a + rank - len(shape) for a, n in enumerate(shape) if n > 1)

    def number(self, atom: Atom) -> float | None:
        """The number that a constant is, in all its places; None for what is no such constant."""
        value = self.constant(atom)
        if value is None or np.size(value) == 0:
            return None
        found = np.asarray(value)
        if found.dtype.kind not in "bfiu":
            return None
        first = found.flat[0]
        return as_meant(first) if found.size == 1 or bool(np.all(found == first)) else None

    def constant(self, atom: Atom) -> Any:
        """A constant, computed where it takes only known steps; None for all else."""
        if isinstance(atom, Constant):
            return _numpy(atom.value)
        return self._constants(atom)

    def _constants(self, value: int) -> Any:
        if value in self._known:
            return self._known[value]
        self._known[value] = None
        step = self.step(value)
        if step is None or self.data[value] or self.used[value] or self.random[value]:
            return None
        if self.size(value) > 1 << 22 or len(step.outputs) != 1:
            return None
        given = [self.constant(a) for a in step.inputs]
        if all(g is not None for g in given):
            self._known[value] = evaluated(step, given)
        return self._known[value]

    @cached_property
    def _known(self) -> dict[int, Any]:
        return {}

    def learned(self, atom: Atom) -> Any:
        """A parameter's numbers, past broadcasting; None for an expression or abstract arrays."""
        source = self.spread(atom)
        name = self.parameters.get(source) if isinstance(source, int) else None
        array = self._arrays.get(name) if name is not None else None
        return None if array is None or not hasattr(array, "__array__") else _numpy(array)

    def is_elementwise(self, step: Step) -> bool:
        """Whether a step works place by place, on arrays of the same shape or on numbers."""
        if not is_elementwise(step):
            return False
        shape = self.shape(step.outputs[0])
        return all(self.shape(a) == shape or self.size(a) == 1 for a in step.inputs)


def _numpy(value: Any) -> Any:
    try:
        found = np.asarray(value)
    except Exception:  # keys of random streams are no numbers
        return None
    return found.astype(np.float32) if found.dtype.name == "bfloat16" else found
