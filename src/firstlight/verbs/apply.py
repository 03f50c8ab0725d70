"""Draw a plan into a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError, NotDrawableError
from firstlight.laws.addresses import checked_seed
from firstlight.laws.draw import draw
from firstlight.laws.structured import check_drawable
from firstlight.records.adapter import Adapter
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


def arrays(
    adapter: Adapter,
    model: Any,
    plan: Plan,
    seed: int,
    namespace: str,
    memory: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and values of each parameter that a plan draws; rows that stay are the model's own.

    With ``memory``, from `Adapter.memory`, whole parameters are drawn straight into it.
    """
    before = dict(adapter.values(model)) if any(entry.rows for entry in plan) else {}
    for entry in plan:
        if entry.action == "draw":
            if entry.rows is None:
                out = memory.get(entry.name) if memory else None
                yield entry.name, drawn(entry, seed, namespace, out)
                continue
            (first, last), values = entry.rows, before[entry.name]
            values[first:last] = drawn(entry, seed, namespace)[first:last]
            yield entry.name, values


def check_fits(adapter: Adapter, model: Any, plan: Any, namespace: Any) -> None:
    """Refuse what is no plan, a plan for other parameters, and one that cannot be drawn."""
    if not isinstance(plan, Plan):
        raise BadInputError(
            f"plan: expected a Plan, got {type(plan).__name__}; make one with"
            " firstlight.plan(model)"
        )
    if not isinstance(namespace, str):
        raise BadInputError(f"namespace: expected a string, got {namespace!r}")
    present = {p.name: p.layout.shape for p in adapter.inspect(model).parameters}
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


def _achieved(values: NDArray[Any]) -> Achieved:
    wide = values.astype(np.float64)
    if not wide.size:
        return Achieved(mean=0.0, std=0.0, low=0.0, high=0.0, zero_fraction=0.0)
    return Achieved(
        mean=float(wide.mean()),
        std=float(wide.std()),
        low=float(wide.min()),
        high=float(wide.max()),
        zero_fraction=float((wide == 0).mean()),
    )


def apply(model: Any, plan: Plan, *, seed: int | None = None, namespace: str = "") -> Receipt:
    """Draw every parameter of a plan: each value a pure function of (seed, name, coordinates).

    Args:
        model: the model that the plan was made for, or one with the same parameters.
        plan: from `plan`; entries to keep are not written to.
        seed: integer in [0, 2⁶⁴); None takes the framework's own seed. Either way it stands in the
            receipt.
        namespace: give two models with equal names different ones, or they start as clones.

    Returns:
        A `Receipt`: asked against achieved for each parameter; ``.model`` carries the weights,
        a new model where models are immutable, as in JAX.

    Raises:
        BadInputError: the plan is for other parameters; nothing has been written then.
    """
    adapter = adapter_for(model)
    check_fits(adapter, model, plan, namespace)
    chosen = adapter.initial_seed() if seed is None else checked_seed(seed)
    memory = adapter.memory(model)
    written = adapter.write(model, arrays(adapter, model, plan, chosen, namespace, memory))
    achieved = {name: _achieved(values) for name, values in adapter.values(written)}
    entries = tuple(
        ReceiptEntry(name=e.name, action=e.action, asked=e.law, achieved=achieved[e.name])
        for e in plan
    )
    return Receipt(entries=entries, seed=chosen, namespace=namespace, plan=plan, model=written)
