"""One function fills a tensor of any layout from any law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.laws.addresses import canonical_name, checked_seed, stack_labels
from firstlight.laws.elementwise import Values, elements
from firstlight.laws.structured import Address, check_drawable, matrix
from firstlight.records.law import Constant, Law, Listed, Normal, TruncatedNormal, Uniform
from firstlight.records.network import Layout, plain_layout


def _region(whole: int, wanted: range | None, what: str) -> range:
    if wanted is None:
        return range(whole)
    if wanted.step != 1 or not 0 <= wanted.start <= wanted.stop <= whole:
        raise BadInputError(f"draw: {what} must be consecutive and within 0…{whole}, got {wanted}")
    return wanted


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
    if isinstance(law, Constant | Normal | Uniform | TruncatedNormal):
        return elements(law, address.key(), rows, columns)
    check_drawable(law, layout)
    if isinstance(law, Listed):
        stored = draw(law, layout, name=name, seed=seed).reshape(layout.view)
        listed: Values = stored.transpose(layout.order).reshape(layout.matrix)[stack]
        return listed[rows.start : rows.stop, columns.start : columns.stop]
    logical = layout.logical[len(layout.stacks) :]
    whole = matrix(law, logical, address).reshape(whole_rows, whole_columns)
    return whole[rows.start : rows.stop, columns.start : columns.stop]


def draw(
    law: Law, layout: Layout | Sequence[int], *, name: str, seed: int, namespace: str = ""
) -> NDArray[np.float32]:
    """A whole tensor in storage order.

    Args:
        law: what to draw from.
        layout: its axes, or a shape that is (out, in, kernel …).
        name: the parameter's name; another name gives other numbers.
        seed: integer in [0, 2⁶⁴).
        namespace: keeps models with equal names apart.

    Returns:
        float32 of ``layout.shape``.

    >>> from firstlight.records.law import Normal
    >>> draw(Normal(std=1), (2, 3), name="fc.weight", seed=0).shape
    (2, 3)
    """
    if not isinstance(layout, Layout):
        layout = plain_layout(tuple(layout))
    if isinstance(law, Listed):
        check_drawable(law, layout)
        return np.array(law.values, np.float32).reshape(layout.shape)
    stacked, rows, columns = layout.matrix
    logical = np.empty((stacked, rows, columns), np.float32)
    for index in range(stacked):
        logical[index] = draw_matrix(
            law, layout, name=name, seed=seed, namespace=namespace, stack=index
        )
    back = np.argsort(layout.order)
    return np.ascontiguousarray(
        logical.reshape(layout.logical).transpose(back).reshape(layout.shape)
    )
