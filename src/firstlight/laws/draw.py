"""One function fills a tensor of any layout from any law."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.laws.addresses import canonical_name, checked_seed, stack_labels
from firstlight.laws.elementwise import Values, elements, fill, rounded_into
from firstlight.laws.structured import Address, Structured, check_drawable, fill_matrix
from firstlight.records.law import ELEMENTWISE, Law, Listed, Stacked
from firstlight.records.network import Layout, plain_layout


def _region(whole: int, wanted: range | None, what: str) -> range:
    if wanted is None:
        return range(whole)
    if wanted.step != 1 or not 0 <= wanted.start <= wanted.stop <= whole:
        raise BadInputError(f"draw: {what} must be consecutive and within 0…{whole}, got {wanted}")
    return wanted


_plain = lru_cache(maxsize=1 << 12)(plain_layout)  # models repeat a few shapes


@lru_cache(maxsize=1 << 12)
def _axes(layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """The permutation to the logical order, and sizes and labels of the stacked matrices."""
    sizes = tuple(size for _, size in layout.stacks)
    return layout.order, sizes, tuple(stack_labels(layout.stacks))


def fill_structured(
    law: Structured | Listed | Stacked,
    layout: Layout,
    stack: int,
    address: Address,
    out: NDArray[Any],
) -> None:
    """One whole stacked matrix of a law that is not elementwise, into memory of its shape."""
    if isinstance(law, Stacked):
        raise BadInputError("draw: a Stacked law takes no Stacked laws")
    if isinstance(law, Listed):
        given = np.array(law.values, np.float32)
        rounded_into(out, given.reshape(layout.matrix)[stack].reshape(out.shape))
    else:
        fill_matrix(law, out, address)


def draw_matrix(
    law: Law,
    layout: Layout,
    *,
    name: str,
    seed: int,
    namespace: str = "",
    stack: int = 0,
    rows: range | None = None,
    columns: range | None = None,
) -> Values:
    """A region of one stacked matrix, in logical order: rows × flattened columns.

    Elementwise laws compute the region only; structured ones the whole matrix first.

    Args:
        law: what to draw from.
        layout: the axes of the whole tensor; regions count in its logical order.
        name: the parameter's name.
        seed: integer in [0, 2⁶⁴).
        namespace: keeps models with equal names apart.
        stack: which of the stacked matrices.
        rows: consecutive rows, all by default.
        columns: consecutive columns, all by default.

    Returns:
        float32 of shape (len(rows), len(columns)).
    """
    labels = stack_labels(layout.stacks)
    if not 0 <= stack < len(labels):
        raise BadInputError(f"draw: stack must be from 0 to {len(labels) - 1}, got {stack}")
    address = Address(
        seed=checked_seed(seed),
        name=canonical_name(name),
        namespace=namespace,
        stack=labels[stack],
    )
    _, whole_rows, whole_columns = layout.matrix
    rows = _region(whole_rows, rows, "rows")
    columns = _region(whole_columns, columns, "columns")
    check_drawable(law, layout)
    if isinstance(law, Stacked):
        law = law.laws[stack]
    if isinstance(law, ELEMENTWISE):
        return elements(law, address.key(), rows, columns)
    whole = np.empty(layout.logical[len(layout.stacks) :], np.float32)
    fill_structured(law, layout, stack, address, whole)
    return whole.reshape(whole_rows, whole_columns)[
        rows.start : rows.stop, columns.start : columns.stop
    ]


_TYPES = (np.float32, np.float64, np.float16, np.uint16)


def checked_memory(out: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Memory that laws can write to, of ml_dtypes' bfloat16 the bits; refuses all other."""
    # NumPy makes up a type's name at each look: only types of others are asked.
    of_ml_dtypes = out.dtype.kind == "V" and out.dtype.name == "bfloat16"
    memory = out.view(np.uint16) if of_ml_dtypes else out
    if out.shape != shape or memory.dtype not in _TYPES or not out.flags.writeable:
        raise BadInputError(
            f"draw: out must be writable, of shape {shape} and of float32, float64, float16"
            f" or bfloat16 (or its bits as uint16), got {out.dtype} {out.shape}"
        )
    return memory


def matrices(
    law: Law, layout: Layout, viewed: NDArray[Any], *, name: str, seed: int, namespace: str
) -> Iterator[tuple[Law, Address, NDArray[Any]]]:
    """Law, address and memory of each stacked matrix of a tensor, whose memory has its view."""
    check_drawable(law, layout)
    seed, name = checked_seed(seed), canonical_name(name)
    order, sizes, labels = _axes(layout)
    logical = viewed.transpose(order)
    for stack, index in enumerate(product(*map(range, sizes))):
        of_stack: tuple[Any, ...] = (*index, ...)  # with the dots a view, were it of one number
        target = logical[of_stack]
        one = law.laws[stack] if isinstance(law, Stacked) else law
        if isinstance(one, ELEMENTWISE) and not target.ndim:
            target = target.reshape(1)
        address = Address(seed=seed, name=name, namespace=namespace, stack=labels[stack])
        yield one, address, target


def draw(
    law: Law,
    layout: Layout | Sequence[int],
    *,
    name: str,
    seed: int,
    namespace: str = "",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A whole tensor in storage order.

    Args:
        law: what to draw from.
        layout: its axes, or a shape that is (out, in, kernel …).
        name: the parameter's name; another name gives other numbers.
        seed: integer in [0, 2⁶⁴).
        namespace: keeps models with equal names apart.
        out: memory of that shape to write to: float32, float64, float16 or bfloat16 (of ml_dtypes,
            or its bits as uint16), with any strides. Elementwise laws then take no memory of their
            own.

    Returns:
        ``out``, or new float32 of ``layout.shape``. Types of 16 bits get the float32 values rounded
        to nearest even.

    >>> from firstlight.records.law import Normal
    >>> draw(Normal(std=1), (2, 3), name="fc.weight", seed=0).shape
    (2, 3)
    """
    if not isinstance(layout, Layout):
        layout = _plain(tuple(layout))
    if out is None:
        out = np.empty(layout.shape, np.float32)
    memory = checked_memory(out, layout.shape)
    viewed = memory if layout.view == layout.shape else memory.reshape(layout.view)
    if memory.size and not np.may_share_memory(viewed, memory):
        # Fused axes of a tensor with gaps are no view of it.
        dense = np.empty(layout.shape, memory.dtype)
        memory[...] = draw(law, layout, name=name, seed=seed, namespace=namespace, out=dense)
        return out
    for stack, (one, address, target) in enumerate(
        matrices(law, layout, viewed, name=name, seed=seed, namespace=namespace)
    ):
        if isinstance(one, ELEMENTWISE):
            columns = target.size // len(target) if target.size else 0
            fill(one, address.key(), range(len(target)), range(columns), target)
        else:
            fill_structured(one, layout, stack, address, target)
    return out
