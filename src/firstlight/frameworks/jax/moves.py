"""Steps that move axes about: what each axis of the result was before."""

from __future__ import annotations

from firstlight.frameworks.jax.flat import Atom, Step
from firstlight.frameworks.jax.flow import Flow

Order = tuple[int, ...]
"""For each axis of a result the axis of the operand that it is, −1 for a new one."""

_FAR = 6
_MOVING = ("transpose", "reshape", "broadcast_in_dim", "expand_dims", "squeeze")


def order_of(flow: Flow, step: Step) -> Order | None:
    """The order of axes of a step that only moves them; None where values are mixed or repeated."""
    name, p = step.name, step.params
    if name == "transpose":
        return tuple(int(a) for a in p["permutation"])
    if name == "broadcast_in_dim":
        dims = [int(d) for d in p["broadcast_dimensions"]]
        return tuple(dims.index(a) if a in dims else -1 for a in range(len(p["shape"])))
    rank = len(flow.shape(step.inputs[0]))
    if name == "squeeze":
        return tuple(a for a in range(rank) if a not in p["dimensions"])
    if name == "expand_dims":
        count = iter(range(rank))
        total = rank + len(p["dimensions"])
        return tuple(-1 if a in p["dimensions"] else next(count) for a in range(total))
    return _reshaped(flow, step) if name == "reshape" else None


def _reshaped(flow: Flow, step: Step) -> Order | None:
    """The order of axes of a reshape that only adds or takes axes of length one."""
    before, after = flow.shape(step.inputs[0]), flow.shape(step.outputs[0])
    if [n for n in before if n > 1] != [n for n in after if n > 1]:
        return None
    order: list[int] = []
    place = 0
    for n in after:
        while place < len(before) and before[place] == 1 and n != 1:
            place += 1
        if place < len(before) and before[place] == n:
            order.append(place)
            place += 1
        else:
            order.append(-1)
    return tuple(order)


def after(outer: Order, inner: Order) -> Order:
    """The order of two moves, the inner one first.

    >>> after((1, 0), (2, 0))
    (0, 2)
    """
    return tuple(-1 if a < 0 else inner[a] for a in outer)


def back(flow: Flow, atom: Atom) -> list[tuple[Atom, Order]]:
    """The values before a value was moved, nearest first, each with the order from it."""
    order: Order = tuple(range(len(flow.shape(atom))))
    found: list[tuple[Atom, Order]] = [(atom, order)]
    for _ in range(_FAR):
        step = flow.made_by(atom, *_MOVING)
        each = None if step is None else order_of(flow, step)
        if step is None or each is None or flow.size(step.inputs[0]) != flow.size(atom):
            break
        atom, order = step.inputs[0], after(order, each)
        found.append((atom, order))
    return found


def unmoved(flow: Flow, atom: Atom) -> Atom | None:
    """The value that some moves leave as it is: out and back again, as `vmap` does it."""
    shape = flow.shape(atom)
    for source, order in back(flow, atom)[2:]:
        if flow.shape(source) == shape and _is_same(order, shape):
            return source
    return None


def _is_same(order: Order, shape: tuple[int, ...]) -> bool:
    """Whether all axes are in their places; new ones of length one may be any of length one."""
    return all(a == i or (a < 0 and shape[i] == 1) for i, a in enumerate(order))
