"""Laws of whole rows or matrices: orthogonal, mirrored, linked, sparse, patterned, mimetic.

They use the same addresses as the elementwise laws, but an element depends on more than its own
word. Orthogonal and mimetic ones go through LAPACK, waves through the machine's sine: equal to 1e-6
of the gain between machines, bit for bit on one. The others are exact everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from firstlight.errors import NotDrawableError
from firstlight.laws.addresses import canonical_name, stream_key
from firstlight.laws.elementwise import Values, elements, standard_normals
from firstlight.laws.isometry import isometry
from firstlight.laws.mimetic import check_mimetic, mimetic_matrix
from firstlight.laws.patterns import hadamard_order, hadamard_signs, padded_identity, sine_rows
from firstlight.laws.philox import words
from firstlight.laws.quantile import Reals
from firstlight.records.law import (
    ELEMENTWISE,
    DeltaOrthogonal,
    Identity,
    Law,
    Linked,
    Listed,
    Mirrored,
    Normal,
    Orthogonal,
    Sparse,
    Stacked,
)
from firstlight.records.network import Layout, plain_layout
from firstlight.records.patterned import Hadamard, Mimetic, PaddedIdentity, Sinusoidal

Central = Identity | DeltaOrthogonal | Mirrored | Linked | Hadamard
"""Laws that fill a kernel's centre only."""

Structured = Central | Orthogonal | Sparse | PaddedIdentity | Sinusoidal | Mimetic


@dataclass(frozen=True, kw_only=True)
class Address:
    """The streams of one matrix: everything of an address but what the bits are for."""

    seed: int
    name: str
    namespace: str
    stack: str

    def key(self, stream: str = "value") -> tuple[int, int]:
        """The Philox key of one of the streams."""
        return stream_key(
            self.seed, self.name, namespace=self.namespace, stack=self.stack, stream=stream
        )

    def basis_key(self, name: str) -> tuple[int, int]:
        """The key of a basis that several matrices share."""
        name = canonical_name(name)
        return stream_key(self.seed, name, namespace=self.namespace, stream="basis")


def _mirrored(law: Mirrored, rows: int, columns: int, key: tuple[int, int]) -> Values:
    """[[O, −O], [−O, O]] or one side of it, cropped where a size is odd; O is rounded once."""
    half_rows = -(-rows // 2) if law.outputs else rows
    half_columns = -(-columns // 2) if law.inputs else columns
    block: Values = (law.gain * isometry(half_rows, half_columns, key)).astype(np.float32)
    if law.inputs:
        block = np.hstack([block, -block])
    if law.outputs:
        block = np.vstack([block, -block])
    return block[:rows, :columns]


_SMALL_BASIS = 1 << 18
"""Elements up to which a basis is kept for the next weight, which shares it: 2 MB."""


@lru_cache(maxsize=8)
def _kept_basis(size: int, rank: int, key: tuple[int, int]) -> Reals:
    return isometry(size, rank, key)


def _basis(size: int, rank: int, key: tuple[int, int]) -> Reals:
    """The first ``rank`` columns of a basis: they do not depend on how many are asked for."""
    if size * size > _SMALL_BASIS:
        return isometry(size, rank, key)
    return _kept_basis(size, size, key)[:, :rank]


def _linked(law: Linked, rows: int, columns: int, address: Address) -> Reals:
    """Q_after · I · Q_beforeᵀ, mirrored where asked, with what has no twin set apart."""
    pairs = rows // 2 if law.outputs else rows
    if columns % law.positions:
        raise NotDrawableError(f"{law}: {columns} columns are not whole units of {law.positions}")
    units = columns // law.positions
    width = (units // 2 if law.inputs else units) * law.positions
    if not pairs or not width:
        raise NotDrawableError(f"{law}: a mirrored side needs two units, got {rows}×{columns}")
    rank = min(pairs, width)
    if law.before is None and law.after is None:
        block = isometry(pairs, width, address.key())
    else:
        after, before = (
            isometry(size, rank, address.key())
            if basis is None
            else _basis(size, rank, address.basis_key(basis))
            for size, basis in ((pairs, law.after), (width, law.before))
        )
        block = after @ before.T
    if law.inputs:
        block = np.hstack([block, -block, np.zeros((pairs, columns - 2 * width))])
    if law.outputs:
        # Each row has the same length, and so has their sum over √pairs on average.
        odd_one = block.sum(axis=0, keepdims=True) / np.sqrt(pairs)
        block = np.vstack([block, -block, odd_one[: rows - 2 * pairs]])
    return block


def _sparse(law: Sparse, rows: int, columns: int, address: Address) -> Values:
    """Each row keeps exactly round((1 − zero_fraction)·columns) of its elements."""
    values = elements(Normal(std=law.std), address.key(), range(rows), range(columns))
    kept = round((1 - law.zero_fraction) * columns)
    if not kept:
        return np.zeros_like(values)
    drawn = words(address.key("pattern"), range(rows), range(columns))
    # Partitioning is much faster than sorting; a row where words tie at the border is sorted.
    border = np.partition(drawn, kept - 1, axis=1)[:, kept - 1 : kept]
    dropped = drawn > border
    for row in np.flatnonzero(dropped.sum(axis=1) != columns - kept):
        dropped[row] = True
        dropped[row, np.argsort(drawn[row], kind="stable")[:kept]] = False
    values[dropped] = 0
    return values


def _padded(law: PaddedIdentity, rows: int, columns: int, address: Address) -> Values:
    """The pattern and its noise, rounded once like an elementwise law with a mean of its own."""
    pattern = np.float32(law.gain) * padded_identity(range(rows), columns, rows)
    if not law.noise:
        return pattern.astype(np.float32)
    z = standard_normals(address.key(), range(rows), range(columns))
    noisy: Values = (z * float(np.float32(law.noise)) + pattern).astype(np.float32)
    return noisy


def check_drawable(law: Law, layout: Layout) -> None:
    """Refuse a law that cannot fill a tensor of this layout.

    Raises:
        NotDrawableError: a law of whole matrices for a tensor with fewer than two axes besides
            stacked ones; numbers or laws that are too few or too many; a wave over fewer than three
            columns; a mimetic factor of an impossible shape.
    """
    if isinstance(law, ELEMENTWISE):
        return
    plain = layout.logical[len(layout.stacks) :]
    if isinstance(law, Listed):
        if len(law.values) != prod(layout.shape):
            raise NotDrawableError(
                f"{law}: a tensor of shape {layout.shape} needs {prod(layout.shape)} numbers, got"
                f" {len(law.values)}"
            )
        return
    stacked, _, columns = layout.matrix
    if isinstance(law, Stacked):
        if len(law.laws) != stacked:
            raise NotDrawableError(
                f"{law}: a tensor of shape {layout.shape} stacks {stacked} matrices, got"
                f" {len(law.laws)} laws; give one law for each"
            )
        for part in law.laws:
            check_drawable(part, plain_layout(plain))
        return
    if len(plain) < 2:
        raise NotDrawableError(
            f"{law}: needs a matrix (out, in, …), got shape {layout.shape}; use an elementwise law"
        )
    if isinstance(law, Sinusoidal) and columns < 3:
        raise NotDrawableError(f"{law}: a wave needs at least 3 inputs, got {columns}")
    if isinstance(law, Mimetic):
        if layout.stacks:
            raise NotDrawableError(
                f"{law}: is one part of an attention, got stacked matrices {layout.stacks}; use"
                " Stacked with a part for each"
            )
        check_mimetic(law, plain[0], plain[1], plain[2:])


def _centre(law: Central, rows: int, columns: int, address: Address) -> Reals | Values:
    if isinstance(law, Identity):
        return law.gain * np.eye(rows, columns)
    if isinstance(law, Hadamard):
        order = hadamard_order(rows, columns)
        signs = hadamard_signs(range(rows), columns).astype(np.float64)
        return law.gain / math.sqrt(order) * signs
    if isinstance(law, DeltaOrthogonal):
        return law.gain * isometry(rows, columns, address.key())
    if isinstance(law, Linked):
        return law.gain * _linked(law, rows, columns, address)
    return _mirrored(law, rows, columns, address.key())


def matrix(law: Structured, logical: tuple[int, ...], address: Address) -> Values:
    """One matrix or kernel of a structured law.

    Args:
        law: which.
        logical: (out, in, kernel …); at least two axes.
        address: of its streams.

    Returns:
        float32 of that shape.
    """
    rows, inputs, kernel = logical[0], logical[1], logical[2:]
    columns = prod(logical[1:])
    whole: Values | Reals
    if isinstance(law, Sparse):
        whole = _sparse(law, rows, columns, address)
    elif isinstance(law, PaddedIdentity):
        whole = _padded(law, rows, columns, address)
    elif isinstance(law, Sinusoidal):
        whole = law.std * sine_rows(range(rows), columns, rows)
    elif isinstance(law, Orthogonal):
        whole = law.gain * isometry(rows, columns, address.key())
    elif isinstance(law, Mimetic):
        whole = mimetic_matrix(
            law,
            rows,
            columns,
            seed=address.seed,
            name=address.name,
            namespace=address.namespace,
        )
    else:
        values = np.zeros(logical, np.float32)
        middle = [size // 2 for size in kernel]
        flat = int(np.ravel_multi_index(middle, kernel)) if kernel else 0
        values.reshape(rows, inputs, -1)[:, :, flat] = _centre(law, rows, inputs, address)
        return values
    return whole.reshape(logical).astype(np.float32)
