"""A JAX model on one batch: its operations as records, and its steps to run it by again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from firstlight.errors import BadInputError
from firstlight.frameworks.jax.activating import MORE
from firstlight.frameworks.jax.flat import Constant, Flat, flattened
from firstlight.frameworks.jax.flow import Flow
from firstlight.frameworks.jax.recognizing import Reading, read
from firstlight.frameworks.jax.view import View
from firstlight.records.network import Operation, Parameter

Tap = Callable[[int, Any], Any]
"""(index of an operation, a value) → the value to go on with."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """A model as it ran on one batch.

    Args:
        operations: in the order of execution, those of ``more`` last.
        outputs: the operations whose results the model returned.
        parameters: those of the view, refined by their use.
        model_operations: how many operations are the model's own; those of ``more`` follow.
        flat: the steps.
        reading: which value each operation makes.
        names: of the parameters, in the order in which the flat list takes them.
        batch: structure and fixed parts of the arguments.
        output: structure and fixed parts of what ``run`` returns.
    """

    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    model_operations: int
    flat: Flat
    reading: Reading
    names: tuple[str, ...]
    batch: _Shape
    output: _Shape
    skipped: int

    def run(
        self,
        arrays: Mapping[str, Any],
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        key: Any,
        tap: Tap | None = None,
        product_tap: Tap | None = None,
    ) -> Any:
        """Evaluate the steps; can be traced by jit, grad and vmap.

        Args:
            arrays: the parameters by name.
            args: positional arguments of the model, of the structure that was traced.
            keywords: keyword arguments.
            key: of the model's random numbers.
            tap: called with the index and result of each operation; what it returns is used from
                there on.
            product_tap: the same for the products of weighted operations that add a bias, before
                they do.

        Returns:
            The model's output; the result of ``more`` where there is one.

        Raises:
            BadInputError: arguments of another structure than the traced ones.
        """
        leaves = self.batch.leaves((tuple(args), dict(keywords)))
        given = [*(arrays[name] for name in self.names), *leaves, *jax.tree.leaves(key)]
        known: dict[int, Any] = {}
        results, products = self.reading.results, self.reading.products

        def note(value: int, found: Any) -> None:
            if product_tap is not None and value in products:
                found = product_tap(products[value], found)
            if tap is not None and value in results:
                found = tap(results[value], found)
            known[value] = found

        for value, found in enumerate(given):
            note(value, found)
        for step in self.flat.steps:
            read_ = [a.value if isinstance(a, Constant) else known[a] for a in step.inputs]
            for value, found in zip(step.outputs, step.evaluate(read_), strict=True):
                note(value, found)
        out = [a.value if isinstance(a, Constant) else known[a] for a in self.flat.outputs]
        return self.output.filled(out[self.skipped :])


@dataclass(frozen=True, eq=False)
class _Shape:
    """The structure of nested arguments: which leaves are arrays, and what the others are."""

    tree: Any
    fixed: tuple[Any, ...]
    """Each leaf that is no array; ``_ARRAY`` for one that is."""

    @staticmethod
    def of(value: Any) -> _Shape:
        leaves, tree = jax.tree.flatten(value)
        return _Shape(tree, tuple(_ARRAY if _is_array(leaf) else leaf for leaf in leaves))

    def leaves(self, value: Any) -> list[Any]:
        """The arrays of nested arguments of this structure."""
        leaves, tree = jax.tree.flatten(value)
        if tree != self.tree:
            raise BadInputError(
                f"batch: structure {tree} came where {self.tree} was traced; give batches of one"
                " structure"
            )
        return [leaf for leaf, fixed in zip(leaves, self.fixed, strict=True) if fixed is _ARRAY]

    def filled(self, arrays: list[Any]) -> Any:
        """Nested values of this structure with these arrays."""
        rest = iter(arrays)
        leaves = [next(rest) if fixed is _ARRAY else fixed for fixed in self.fixed]
        return jax.tree.unflatten(self.tree, leaves)


_ARRAY = object()


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)


def trace(
    view: View,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    key: Any,
    *,
    more: Callable[[Any, Any], Any] | None = None,
) -> Program:
    """Read a model by tracing it on a batch; nothing is computed but a few small numbers.

    Args:
        view: the model.
        args: positional arguments.
        keywords: keyword arguments.
        key: a key of `jax.random` for dropout and its like.
        more: (model, output) → a loss or anything else that is computed after the model.
    """
    names = tuple(view.arrays)
    batch = _Shape.of((tuple(args), dict(keywords)))
    shapes: dict[str, _Shape] = {}

    def traced(arrays: tuple[Any, ...], leaves: list[Any], key: Any) -> Any:
        given, kept = batch.filled(leaves)
        with view.bound(dict(zip(names, arrays, strict=True)), key) as model:
            output = view.run(model, given, kept)
            extra: Any = ()
            if more is not None:
                with jax.named_scope(MORE):
                    extra = more(model, output)
        found = []
        for name, value in (("output", output), ("more", extra)):
            shapes[name] = _Shape.of(value)
            found.append(shapes[name].leaves(value))
        return found

    arrays = tuple(view.arrays[name] for name in names)
    leaves = batch.leaves((tuple(args), dict(keywords)))
    closed = jax.make_jaxpr(traced)(arrays, leaves, key)
    flat = flattened(closed)
    first = len(names)
    taken = range(first, first + len(leaves))
    flow = Flow(flat, dict(enumerate(names)), taken, view.arrays)
    returned = sum(fixed is _ARRAY for fixed in shapes["output"].fixed)
    values = [*arrays, *leaves, *jax.tree.leaves(key)]
    reading = read(flow, view.parameters, returned, MORE, values)
    return Program(
        operations=reading.operations,
        outputs=reading.outputs,
        parameters=reading.parameters,
        model_operations=reading.model_operations,
        flat=flat,
        reading=reading,
        names=names,
        batch=batch,
        output=shapes["output" if more is None else "more"],
        skipped=0 if more is None else returned,
    )
