"""Factors of αZ + βI: two weights that are drawn apart and multiply to what is meant.

Both factors compute the whole product from the address of the *pair*, so that neither needs the
other, in any order. A singular value decomposition is cubic in the width; the two factors of a head
share it where they are drawn one after the other.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from firstlight.errors import NotDrawableError
from firstlight.laws.addresses import canonical_name, stream_key
from firstlight.laws.elementwise import standard_normals
from firstlight.laws.quantile import Reals
from firstlight.records.patterned import Mimetic

_REFERENCE_WIDTH = 192
"""Singular values settle quickly with the width: within 1 % of the mean square from here."""


def _largest(matrix: Reals, rank: int) -> tuple[Reals, Reals, Reals]:
    """The ``rank`` largest singular values, falling, between their vectors as columns.

    The heads of wide attentions need a small share of them, which come out of AᵀA at a third of the
    cost. Squaring costs digits of small singular values only; those are left to the whole
    decomposition.
    """
    width = len(matrix)
    if 2 * rank > width:
        u, s, vt = np.linalg.svd(matrix)
        return u[:, :rank], s[:rank], vt[:rank].T
    from scipy.linalg import eigh

    squares, vectors = eigh(matrix.T @ matrix, subset_by_index=[width - rank, width - 1])
    s, v = np.sqrt(squares[::-1]), vectors[:, ::-1]
    return matrix @ v / s, s, v


@lru_cache(maxsize=32)
def _factors(
    key: tuple[int, int], width: int, rank: int, alpha: float, beta: float
) -> tuple[Reals, Reals]:
    """√S·Uᵀ and √S·Vᵀ of αZ + βI, each (rank, width).

    The sign of a pair of singular vectors is free; here u has a positive product with its column
    of Z, which neither a machine nor a library chooses.
    """
    z = standard_normals(key, range(width), range(width))
    u, s, v = _largest(alpha / np.sqrt(width) * z + beta * np.eye(width), rank)
    scale = np.sqrt(s) * np.where(np.einsum("ij,ij->j", u, z[:, :rank]) < 0, -1.0, 1.0)
    left, right = (u * scale).T, (v * scale).T
    left.flags.writeable = right.flags.writeable = False  # the cache hands out the same arrays
    return left, right


def check_mimetic(law: Mimetic, rows: int, columns: int, kernel: tuple[int, ...]) -> None:
    """Refuse a shape that no factor can have.

    Raises:
        NotDrawableError: a kernel, heads that do not divide the rows, or an inner size larger than
            the width.
    """
    if kernel:
        raise NotDrawableError(f"{law}: is for dense attention weights, got a kernel of {kernel}")
    inner, width = (columns, rows) if law.part == "output" else (rows, columns)
    if inner % law.heads:
        raise NotDrawableError(f"{law}: {law.heads} heads do not divide {inner} rows")
    rank = inner // law.heads if law.part in ("query", "key") else inner
    if rank > width:
        raise NotDrawableError(
            f"{law}: a factor of a {width}×{width} product has at most {width} inner units, got"
            f" {rank}; use an elementwise law"
        )


def mimetic_matrix(
    law: Mimetic, rows: int, columns: int, *, seed: int, name: str, namespace: str
) -> Reals:
    """One weight of a mimetic pair as (out, in).

    Args:
        law: which factor.
        rows: outputs of the weight.
        columns: its inputs.
        seed: of the draw.
        name: the weight's own canonical name, for laws without ``pair``.
        namespace: of the draw.

    Returns:
        float64 of shape (rows, columns).
    """
    check_mimetic(law, rows, columns, ())
    per_head = law.part in ("query", "key")
    stream = "query-key" if per_head else "value-output"
    inner, width = (columns, rows) if law.part == "output" else (rows, columns)
    heads = law.heads if per_head else 1
    second = law.part in ("key", "value")
    parts = []
    for head in range(heads):
        key = stream_key(
            seed,
            canonical_name(law.pair or name),
            namespace=namespace,
            stack=f"head={head}" if per_head else "",
            stream=stream,
        )
        pair = _factors(key, width, inner // heads, law.alpha, law.beta)
        parts.append(pair[second])
    whole = law.gain * np.concatenate(parts)
    return whole.T if law.part == "output" else whole


def mimetic_mean_square(law: Mimetic, rows: int, columns: int) -> float:
    """Mean of the squares of a factor's elements: (s₁ + … + s_rank)/(rank · width).

    The singular values are those of one matrix of at most 192 rows, drawn at a fixed address; from
    draw to draw their mean varies by about 1/width.
    """
    inner, width = (columns, rows) if law.part == "output" else (rows, columns)
    rank = inner // law.heads if law.part in ("query", "key") else inner
    size = min(width, _REFERENCE_WIDTH)
    kept = max(1, round(rank * size / width))
    key = stream_key(0, "mimetic-reference", stream="query-key")
    left, _ = _factors(key, size, kept, law.alpha, law.beta)
    return law.gain**2 * float(np.square(left).sum()) / (kept * width)
