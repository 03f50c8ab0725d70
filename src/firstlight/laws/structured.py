"""Laws of whole rows or matrices: orthogonal, delta-orthogonal, mirrored, identity, sparse.

They use the same addresses as the elementwise laws, but an element depends on more than its own
word. Orthogonal ones go through LAPACK: equal to 1e-6 of the gain between machines, bit for bit on
one. Sparse and identity are exact everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import NotDrawableError
from firstlight.laws.addresses import stream_key
from firstlight.laws.elementwise import elements
from firstlight.laws.philox import words
from firstlight.laws.quantile import Reals, normal_quantile, signed_fraction
from firstlight.records.law import (
    ELEMENTWISE,
    DeltaOrthogonal,
    Identity,
    Law,
    Listed,
    Mirrored,
    Normal,
    Orthogonal,
    Sparse,
)
from firstlight.records.network import Layout

Values = NDArray[np.float32]
Structured = Orthogonal | DeltaOrthogonal | Mirrored | Identity | Sparse


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


def isometry(rows: int, columns: int, key: tuple[int, int]) -> Reals:
    """A uniformly (Haar) distributed matrix with orthonormal columns, or rows if it is wide.

    Q = H₁ ⋯ Hₙ D: Householder reflectors of independent normal vectors (Stewart 1980), which is the
    Q of a QR decomposition of a normal matrix at half its cost. Vector j is column j of the normal
    matrix at this address, from the diagonal down; D makes the diagonal of R positive.

    Args:
        rows: at least one.
        columns: at least one.
        key: of the matrix's stream.

    Returns:
        float64 of shape (rows, columns).
    """
    from scipy.linalg import lapack

    tall, narrow = max(rows, columns), min(rows, columns)
    normal = normal_quantile(signed_fraction(words(key, range(tall), range(narrow))))
    vectors = np.tril(normal)
    head = np.diagonal(vectors).copy()
    length = np.sqrt(np.einsum("ij,ij->j", vectors, vectors))
    beta = -np.copysign(length, head)
    reflectors = np.asfortranarray(vectors / (head - beta))
    tau = (beta - head) / beta
    product, _, info = lapack.dorgqr(reflectors, tau, lwork=64 * narrow, overwrite_a=True)
    if info:  # cannot happen with finite input
        raise NotDrawableError(f"LAPACK dorgqr failed with info={info} on {tall}×{narrow}")
    q: Reals = product * np.sign(beta)
    return q if rows >= columns else q.T


def _mirrored(law: Mirrored, rows: int, columns: int, key: tuple[int, int]) -> Reals:
    """[[O, −O], [−O, O]] or one side of it, cropped where a size is odd."""
    half_rows = -(-rows // 2) if law.outputs else rows
    half_columns = -(-columns // 2) if law.inputs else columns
    block = isometry(half_rows, half_columns, key)
    if law.inputs:
        block = np.hstack([block, -block])
    if law.outputs:
        block = np.vstack([block, -block])
    return block[:rows, :columns]


def _sparse(law: Sparse, rows: int, columns: int, address: Address) -> Values:
    """Each row keeps exactly round((1 − zero_fraction)·columns) of its elements."""
    values = elements(Normal(std=law.std), address.key(), range(rows), range(columns))
    kept = round((1 - law.zero_fraction) * columns)
    order = np.argsort(words(address.key("pattern"), range(rows), range(columns)), kind="stable")
    np.put_along_axis(values, order[:, kept:], np.float32(0), axis=1)
    return values


def check_drawable(law: Law, layout: Layout) -> None:
    """Refuse a law of whole matrices for a tensor that is none.

    Raises:
        NotDrawableError: the tensor has fewer than two axes besides stacked ones, or another
            number of elements than a list of values.
    """
    if isinstance(law, Listed):
        if len(law.values) != prod(layout.shape):
            raise NotDrawableError(f"{law}: the tensor has shape {layout.shape}")
        return
    plain = layout.logical[len(layout.stacks) :]
    if not isinstance(law, ELEMENTWISE) and len(plain) < 2:
        raise NotDrawableError(
            f"{law}: needs a matrix (out, in, …), got shape {layout.shape}; use an elementwise law"
        )


def matrix(law: Structured, logical: tuple[int, ...], address: Address) -> Values:
    """One matrix or kernel of a structured law.

    Args:
        law: which.
        logical: (out, in, kernel …); at least two axes.
        address: of its streams.

    Returns:
        float32 of that shape.
    """
    rows, columns, kernel = logical[0], logical[1], logical[2:]
    if isinstance(law, Sparse):
        return _sparse(law, rows, prod(logical[1:]), address).reshape(logical)
    if isinstance(law, Orthogonal):
        whole = law.gain * isometry(rows, prod(logical[1:]), address.key())
        return whole.reshape(logical).astype(np.float32)
    if isinstance(law, Identity):
        centre = law.gain * np.eye(rows, columns)
    elif isinstance(law, DeltaOrthogonal):
        centre = law.gain * isometry(rows, columns, address.key())
    else:
        centre = law.gain * _mirrored(law, rows, columns, address.key())
    values = np.zeros(logical, np.float32)
    flat_centre = int(np.ravel_multi_index([size // 2 for size in kernel], kernel)) if kernel else 0
    values.reshape(rows, columns, -1)[:, :, flat_centre] = centre
    return values
