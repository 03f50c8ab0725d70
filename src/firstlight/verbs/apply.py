"""Draw a plan into a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError, NotDrawableError
from firstlight.laws.addresses import checked_seed
from firstlight.laws.draw import draw
from firstlight.laws.holding import draw_held, is_elementwise
from firstlight.laws.structured import check_drawable
from firstlight.laws.together import Asked, draw_together, is_small
from firstlight.planning.rules.entries import LOADED
from firstlight.records.adapter import Adapter
from firstlight.records.held import Boxes, Held
from firstlight.records.network import Parameter
from firstlight.records.plan import Achieved, Plan, PlanEntry, Receipt, ReceiptEntry
from firstlight.verbs.adapters import adapter_for


def drawn(
    entry: PlanEntry, seed: int, namespace: str, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """The values that a plan's entry asks for, in storage order: ``out`` or new float32."""
    if entry.law is None:
        raise BadInputError(f"{entry.name}: kept by the plan, there is nothing to draw")
    name = entry.address or entry.name
    values = draw(entry.law, entry.layout, name=name, seed=seed, namespace=namespace, out=out)
    if entry.zero_row is not None:
        values[entry.zero_row] = 0
    return values


def _drawn_here(entry: PlanEntry, held: Held, seed: int, namespace: str) -> Held:
    """What this process holds, drawn in place; rows that stay are not even read."""
    assert entry.law is not None
    draw_held(
        entry.law,
        entry.layout,
        held,
        name=entry.address or entry.name,
        seed=seed,
        namespace=namespace,
        rows=entry.rows,
        zero_row=entry.zero_row,
    )
    return held


def _by_box(entry: PlanEntry, asked: Boxes, seed: int, namespace: str) -> Boxes:
    """The tensor, to be drawn part by part."""
    assert entry.law is not None
    law = entry.law

    def fill(part: Sequence[range], memory: NDArray[Any]) -> None:
        held = Held(shape=asked.shape, runs=tuple((run,) for run in part), memory=memory)
        draw_held(
            law,
            entry.layout,
            held,
            name=entry.address or entry.name,
            seed=seed,
            namespace=namespace,
            zero_row=entry.zero_row,
        )

    return replace(asked, draw=fill)


def _small_ones(
    plan: Plan, seed: int, namespace: str, memory: Mapping[str, NDArray[Any] | Held | Boxes]
) -> dict[str, NDArray[Any]]:
    """The values of the plan's small tensors, which are drawn faster together."""
    asked: dict[str, Asked] = {}
    for entry in plan:
        out = memory.get(entry.name)
        if isinstance(out, Held | Boxes) or not is_small(entry.law, entry.layout):
            continue
        if entry.action != "draw" or entry.rows is not None:
            continue
        assert entry.law is not None
        values = np.empty(entry.layout.shape, np.float32) if out is None else out
        name = entry.address or entry.name
        asked[entry.name] = Asked(law=entry.law, layout=entry.layout, name=name, out=values)
    draw_together(asked.values(), seed=seed, namespace=namespace)
    for entry in plan:
        if entry.zero_row is not None and entry.name in asked:
            asked[entry.name].out[entry.zero_row] = 0
    return {name: one.out for name, one in asked.items()}


def arrays(
    adapter: Adapter,
    model: Any,
    plan: Plan,
    seed: int,
    namespace: str,
    memory: Mapping[str, NDArray[Any] | Held | Boxes] | None = None,
) -> Iterator[tuple[str, NDArray[Any] | Held | Boxes]]:
    """Name and values of each parameter that a plan draws; rows that stay are the model's own.

    With ``memory``, from `Adapter.memory`, whole parameters are drawn straight into it, and of
    shared ones what this process holds, or part by part as the framework asks for them.
    """
    before: dict[str, NDArray[Any]] | None = None
    small = _small_ones(plan, seed, namespace, memory or {})
    for entry in plan:
        if entry.name in small:
            yield entry.name, small[entry.name]
        elif entry.action == "draw":
            out = memory.get(entry.name) if memory else None
            if isinstance(out, Held):
                yield entry.name, _drawn_here(entry, out, seed, namespace)
                continue
            if isinstance(out, Boxes):
                if entry.rows is None and entry.law is not None and is_elementwise(entry.law):
                    yield entry.name, _by_box(entry, out, seed, namespace)
                    continue
                out = None
            if entry.rows is None:
                yield entry.name, drawn(entry, seed, namespace, out)
                continue
            if before is None:
                before = dict(adapter.values(model, local=True))
            (first, last), values = entry.rows, before[entry.name]
            values[first:last] = drawn(entry, seed, namespace)[first:last]
            yield entry.name, values


def check_fits(adapter: Adapter, model: Any, plan: Any, namespace: Any) -> tuple[Parameter, ...]:
    """Refuse what is no plan, a plan for other parameters, and one that cannot be drawn.

    Returns:
        The model's parameters.
    """
    if not isinstance(plan, Plan):
        raise BadInputError(
            f"plan: expected a Plan, got {type(plan).__name__}; make one with"
            " firstlight.plan(model)"
        )
    if not isinstance(namespace, str):
        raise BadInputError(f"namespace: expected a string, got {namespace!r}")
    parameters = adapter.inspect(model).parameters
    present = {p.name: p.layout.shape for p in parameters}
    planned = {entry.name: entry.layout.shape for entry in plan}
    for name in (*planned, *present):
        if present.get(name) != planned.get(name):
            raise BadInputError(
                f"{name}: the plan has shape {planned.get(name, 'none')}, the model"
                f" {present.get(name, 'none')}; make the plan from this model"
            )
    for entry in plan:
        if entry.law is not None:
            try:
                check_drawable(entry.law, entry.layout)
            except NotDrawableError as error:
                raise BadInputError(f"{entry.name}: {error}; nothing was written") from error
    return parameters


def _without_loaded(plan: Plan, parameters: tuple[Parameter, ...]) -> Plan:
    """The plan for a model some of whose parameters have been loaded since it was made: those stay.

    A plan that knew of it and draws them all the same was asked to.
    """
    known = {p.name for p in plan.network.parameters if p.loaded}
    loaded = {p.name for p in parameters if p.loaded} - known
    if not loaded:
        return plan
    entries = (
        replace(entry, action="keep", law=None, rule="loaded", reason=LOADED, source="the model")
        if entry.name in loaded
        else entry
        for entry in plan
    )
    return replace(plan, entries=tuple(entries))


def _achieved(values: NDArray[Any], whole: int) -> Achieved:
    wide = values.astype(np.float64)
    share = wide.size / whole if whole else 1.0
    if not wide.size:
        return Achieved(mean=0.0, std=0.0, low=0.0, high=0.0, zero_fraction=0.0, share=share)
    return Achieved(
        mean=float(wide.mean()),
        std=float(wide.std()),
        low=float(wide.min()),
        high=float(wide.max()),
        zero_fraction=float((wide == 0).mean()),
        share=share,
    )


def apply(model: Any, plan: Plan, *, seed: int | None = None, namespace: str = "") -> Receipt:
    """Draw every parameter of a plan: each value a pure function of (seed, name, coordinates).

    Args:
        model: the model that the plan was made for, or one with the same parameters.
        plan: from `plan`; entries to keep are not written to.
        seed: integer in [0, 2⁶⁴); None takes the framework's own seed. Either way it stands in the
            receipt.
        namespace: give two models with equal names different ones, or they start as clones.

    Of a torch model that is sharded over processes (FSDP2, HSDP, tensor parallelism) each draws
    what it holds, bit for bit what one process would draw, and sends nothing; all must be given the
    same plan, seed and namespace. ``achieved`` then tells of what this process holds, ``share``
    how much that is. Parameters that transformers has loaded stay as they are, unless the plan was
    made knowing of it and draws them.

    Returns:
        A `Receipt`: asked against achieved for each parameter; ``.model`` carries the weights,
        a new model where models are immutable, as in JAX.

    Raises:
        BadInputError: the plan is for other parameters; nothing has been written then.
    """
    adapter = adapter_for(model)
    plan = _without_loaded(plan, check_fits(adapter, model, plan, namespace))
    chosen = adapter.initial_seed() if seed is None else checked_seed(seed)
    memory = adapter.memory(model)
    written = adapter.write(model, arrays(adapter, model, plan, chosen, namespace, memory))
    sizes = {entry.name: prod(entry.layout.shape) for entry in plan}
    achieved = {
        name: _achieved(values, sizes[name]) for name, values in adapter.values(written, local=True)
    }
    entries = tuple(
        ReceiptEntry(name=e.name, action=e.action, asked=e.law, achieved=achieved[e.name])
        for e in plan
    )
    return Receipt(entries=entries, seed=chosen, namespace=namespace, plan=plan, model=written)
