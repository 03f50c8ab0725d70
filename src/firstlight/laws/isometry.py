"""Uniformly random orthogonal matrices, in blocks of reflectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.laws.elementwise import standard_normals
from firstlight.laws.quantile import Reals

_BLOCK = 256
"""Reflectors that are multiplied out together."""

_SINGLE_FROM = 1024
"""Smaller side from which the products are taken in binary32: see `isometry`."""

_ROWS_AT_ONCE = 1024


_INVERTED_WHOLE = 32
"""Largest triangle that NumPy inverts without cutting it."""


def _inverse(triangle: Reals) -> Reals:
    """Of an upper triangle, by halves.

    Not by SciPy's LAPACK: it brings a BLAS with threads of its own, which wait busily on the cores
    that NumPy's need.
    """
    size = len(triangle)
    if size <= _INVERTED_WHOLE:
        return np.linalg.inv(triangle).astype(np.float64, copy=False)
    head, tail = slice(size // 2), slice(size // 2, None)
    inverse = np.zeros_like(triangle)
    inverse[head, head] = _inverse(triangle[head, head])
    inverse[tail, tail] = _inverse(triangle[tail, tail])
    inverse[head, tail] = -(inverse[head, head] @ triangle[head, tail] @ inverse[tail, tail])
    return inverse


def _reflectors(key: tuple[int, int], tall: int, first: int, count: int) -> tuple[Reals, ...]:
    """Vectors v with v₁ = 1 as columns, the triangle T of their product 1 − V·T·Vᵀ, and signs of R.

    T⁻¹ is the upper triangle of VᵀV with 1/τ on the diagonal (Puglisi 1992).
    """
    vectors = standard_normals(key, range(first, tall), range(first, first + count))
    vectors[:count] = np.tril(vectors[:count])
    diagonal = np.arange(count)
    head = vectors[diagonal, diagonal]
    beta = -np.copysign(np.sqrt(np.einsum("ij,ij->j", vectors, vectors)), head)
    vectors /= head - beta
    vectors[diagonal, diagonal] = 1.0
    inverse = np.triu(vectors.T @ vectors)
    inverse[diagonal, diagonal] = beta / (beta - head)
    return vectors, _inverse(inverse), np.sign(beta)  # the diagonal is at least 1/2


def isometry(rows: int, columns: int, key: tuple[int, int]) -> NDArray[Any]:
    """A uniformly (Haar) distributed matrix with orthonormal columns, or rows if it is wide.

    Q = H₁ ⋯ Hₙ D: Householder reflectors of independent normal vectors (Stewart 1980), which is the
    Q of a QR decomposition of a normal matrix at half its cost. Vector j is column j of the normal
    matrix at this address, from the diagonal down; D makes the diagonal of R positive.

    The reflectors are binary64. Large matrices (both sides 1,024 or more) hold Q and take the
    products with it in binary32: an element is then within 1e-7 or so of the exact one.

    Args:
        rows: at least one.
        columns: at least one.
        key: of the matrix's stream.

    Returns:
        float64 of shape (rows, columns), or float32 if it is large.
    """
    tall, narrow = max(rows, columns), min(rows, columns)
    dtype: Any = np.float32 if narrow >= _SINGLE_FROM else np.float64
    q: NDArray[Any] = np.zeros((tall, narrow), dtype)
    for first in reversed(range(0, narrow, _BLOCK)):
        count = min(_BLOCK, narrow - first)
        here, after = slice(first, first + count), slice(first + count, None)
        exact, triangle, signs = _reflectors(key, tall, first, count)
        vectors = exact.astype(dtype)
        top, below = vectors[:count], vectors[count:]
        # Columns before ``first`` are nothing yet, those from ``after`` on begin below this block.
        own = (triangle @ exact[:count].T).astype(dtype)
        later = triangle.astype(dtype) @ (below.T @ q[after, after])
        q[here, here] = np.eye(count) - top @ own
        q[after, here] = -(below @ own)
        q[here, after] = -(top @ later)
        for row in range(0, len(below), _ROWS_AT_ONCE):
            strip = q[first + count + row :][:_ROWS_AT_ONCE, after]
            strip -= below[row : row + _ROWS_AT_ONCE] @ later
        q[:, here] *= signs.astype(dtype)
    return q if rows >= columns else q.T
