"""torch.nn.init's functions that shape a whole matrix: eye_, dirac_, orthogonal_, sparse_."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Generator, Tensor

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.filling import (
    Placed,
    Where,
    fans_of,
    fill,
    layout_of,
    overridable,
)
from firstlight.frameworks.torch.sharding import is_sharded, put_whole
from firstlight.initializers.registry import technique
from firstlight.records.law import Constant, Law, Sparse
from firstlight.records.network import Layout


@overridable
def eye_(tensor: Tensor, **where: Unpack[Where]) -> Tensor:
    """Fill a matrix with the (partial) identity.

    >>> eye_(torch.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    del where
    if tensor.ndim != 2:
        raise BadInputError(
            f"eye_: needs 2 dimensions, got shape {tuple(tensor.shape)}; use dirac_ for kernels"
        )
    if is_sharded(tensor):
        return put_whole(tensor, eye_(torch.empty(tuple(tensor.shape))))
    with torch.no_grad():
        tensor.zero_().diagonal().fill_(1)
    return tensor


@overridable
def dirac_(tensor: Tensor, groups: int = 1, **where: Unpack[Placed]) -> Tensor:
    """Fill a kernel so that a convolution passes its input on, in each group.

    Args:
        tensor: (out, in/groups, kernel …) with one to three kernel axes; transposed ones too.
        groups: of the convolution.
        **where: as in `Placed`; nothing of it matters here.
    """
    del where
    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4, 5):
        raise BadInputError(
            f"dirac_: needs 3, 4 or 5 dimensions, got shape {shape}; use eye_ for matrices"
        )
    if groups < 1 or shape[0] % groups:
        raise BadInputError(f"dirac_: groups={groups} does not divide dim 0 of shape {shape}")
    if tensor.numel() == 0:
        return tensor
    if is_sharded(tensor):
        return put_whole(tensor, dirac_(torch.empty(shape), groups))
    with torch.no_grad():
        middle = tensor.zero_()
        for size in shape[2:]:
            middle = middle.select(2, size // 2)
        for group in middle.split(shape[0] // groups):
            group.diagonal().fill_(1)
    return tensor


@overridable
def orthogonal_(
    tensor: Tensor,
    gain: float = 1,
    generator: Generator | None = None,
    *,
    preserve: bool = False,
    **where: Unpack[Where],
) -> Tensor:
    """Fill with gain · Q, Q a uniformly random isometry of (out, in · kernel).

    Args:
        tensor: of two dimensions or more; of any floating type, where torch needs 32 bits.
        gain: scale.
        generator: where the seed comes from if none is given.
        preserve: scale up where the layer widens, so that the second moment is kept.
        **where: as in `Placed`; each group or packed matrix is an isometry of its own.

    >>> q = orthogonal_(torch.empty(4, 4))
    >>> bool(torch.allclose(q @ q.T, torch.eye(4), atol=1e-6))
    True
    """
    if tensor.ndim < 2:
        raise BadInputError(
            f"orthogonal_: needs 2 or more dimensions, got shape {tuple(tensor.shape)}"
        )
    if tensor.numel() == 0:
        return tensor
    layout = layout_of(tuple(tensor.shape), where, "orthogonal_")
    options = {"gain": gain, "preserve": preserve}
    law = technique("orthogonal", **options).law_for(layout, fans_of(layout, where))
    return fill(tensor, law, layout, what="orthogonal_", generator=generator, where=where)


@overridable
def sparse_(
    tensor: Tensor,
    sparsity: float,
    std: float = 0.01,
    generator: Generator | None = None,
    *,
    per_unit: bool = False,
    **where: Unpack[Where],
) -> Tensor:
    """Fill a matrix with N(0, std²) and set a share of each column to zero.

    Args:
        tensor: (out, in).
        sparsity: share of zeros; their number is rounded up, as in torch.
        std: of what is not zero.
        generator: decides values *and* places; torch's places ignore it.
        per_unit: zeros in each row instead: every unit keeps the same number of inputs (Martens
            2010). That is the technique ``sparse``, bit for bit.
        **where: as in `Placed`.

    >>> w = sparse_(torch.empty(10, 4), 0.25)
    >>> (w == 0).sum(dim=0)
    tensor([3, 3, 3, 3])
    """
    shape = tuple(tensor.shape)
    if len(shape) != 2:
        raise BadInputError(f"sparse_: needs 2 dimensions, got shape {shape}")
    if not 0 <= sparsity <= 1:
        raise BadInputError(f"sparse_: sparsity must be from 0 to 1, got {sparsity:g}")
    if per_unit:
        layout = layout_of(shape, where, "sparse_")
        law: Law = Sparse(zero_fraction=sparsity, std=std) if sparsity < 1 else Constant(value=0)
    else:
        # A column is what one input sends out: the law's row, if the axes change places.
        layout = Layout(shape=shape, view=shape, roles=("in", "out"))
        zeros = math.ceil(sparsity * shape[0])
        share = zeros / max(1, shape[0])
        law = Sparse(zero_fraction=share, std=std) if share < 1 else Constant(value=0)
    return fill(tensor, law, layout, what="sparse_", generator=generator, where=where)
