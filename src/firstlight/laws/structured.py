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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import NotDrawableError
from firstlight.laws.addresses import canonical_name, stream_key
from firstlight.laws.elementwise import Values, rounded_into, standard_normals
from firstlight.laws.isometry import isometry
from firstlight.laws.mimetic import check_mimetic, mimetic_matrix
from firstlight.laws.patterns import hadamard_order, hadamard_signs, padded_identity, sine_rows
from firstlight.laws.quantile import Reals
from firstlight.laws.sparse import fill_sparse
from firstlight.records.law import (
    ELEMENTWISE,
    DeltaOrthogonal,
    Identity,
    Law,
    Linked,
    Listed,
    Mirrored,
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


def _centre(
    law: DeltaOrthogonal | Mirrored | Linked | Hadamard, rows: int, columns: int, address: Address
) -> Reals | Values:
    if isinstance(law, Hadamard):
        order = hadamard_order(rows, columns)
        signs = hadamard_signs(range(rows), columns).astype(np.float64)
        return law.gain / math.sqrt(order) * signs
    if isinstance(law, DeltaOrthogonal):
        return law.gain * isometry(rows, columns, address.key())
    if isinstance(law, Linked):
        return law.gain * _linked(law, rows, columns, address)
    return _mirrored(law, rows, columns, address.key())


def _fill_identity(gain: float, out: NDArray[Any]) -> None:
    """Gain · 1: its zeros have the gain's sign."""
    rounded_into(out, np.full((1, 1), gain * 0.0))
    one = np.empty(1, out.dtype)
    rounded_into(one, np.full(1, gain))
    diagonal = np.arange(min(out.shape))
    out[diagonal, diagonal] = one


def _fill_central(law: Central, out: NDArray[Any], address: Address) -> None:
    middle = tuple(size // 2 for size in out.shape[2:])
    if middle:
        out[...] = 0
    centre = out[(slice(None), slice(None), *middle)]
    if isinstance(law, Identity):
        _fill_identity(law.gain, centre)
    else:
        rows, columns = centre.shape
        rounded_into(centre, _centre(law, rows, columns, address))


_LINE = 16
"""Numbers of binary32 in a line of the cache."""


def _whole(
    law: PaddedIdentity | Sinusoidal | Orthogonal | Mimetic,
    rows: int,
    columns: int,
    address: Address,
) -> Reals | Values:
    if isinstance(law, PaddedIdentity):
        return _padded(law, rows, columns, address)
    if isinstance(law, Sinusoidal):
        return law.std * sine_rows(range(rows), columns, rows)
    if isinstance(law, Orthogonal):
        q: Reals | Values = isometry(rows, columns, address.key())
        return q if law.gain == 1 else law.gain * q
    return mimetic_matrix(
        law,
        rows,
        columns,
        seed=address.seed,
        name=address.name,
        namespace=address.namespace,
    )


def fill_matrix(law: Structured, out: NDArray[Any], address: Address) -> None:
    """Write one matrix or kernel of a structured law into memory.

    Args:
        law: which.
        out: float32, float64, float16 or, for bfloat16, uint16 with its bits; of shape
            (out, in, kernel …), at least two axes, in any order in memory.
        address: of its streams.
    """
    if isinstance(law, Sparse):
        fill_sparse(law, address.key(), address.key("pattern"), out)
    elif isinstance(law, PaddedIdentity | Sinusoidal | Orthogonal | Mimetic):
        whole = _whole(law, len(out), prod(out.shape[1:]), address)
        if out.ndim > 2 or whole.flags.c_contiguous:
            rounded_into(out, whole.reshape(out.shape))
        else:  # a transposed one: read row by row of its own memory, a line of the cache wide
            for first in range(0, whole.shape[1], _LINE):
                strip = np.s_[:, first : first + _LINE]
                rounded_into(out[strip], whole[strip])
    else:
        _fill_central(law, out, address)
