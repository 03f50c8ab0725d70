"""torch.nn.init's functions over laws and addresses: names, arguments and errors as there."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Generator, Tensor

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.filling import (
    Where,
    fans_or_refuse,
    fill,
    layout_of,
    overridable,
    warn_of_nothing,
)
from firstlight.initializers.cut_normal import cut_normal
from firstlight.initializers.registry import technique
from firstlight.initializers.torch_gains import calculate_gain
from firstlight.initializers.variance_scaling import centred, fan_for
from firstlight.records.law import Law, Normal, TruncatedNormal, Uniform


def _elementwise(
    tensor: Tensor, law: Law, what: str, generator: Generator | None, where: Where
) -> Tensor:
    layout = layout_of(tuple(tensor.shape), where, what)
    return fill(tensor, law, layout, what=what, generator=generator, where=where)


@overridable
def uniform_(
    tensor: Tensor,
    a: float = 0.0,
    b: float = 1.0,
    generator: Generator | None = None,
    **where: Unpack[Where],
) -> Tensor:
    """Fill with U(a, b); ``**where`` as in `Placed`.

    torch's interval is half open; here rounding may reach either end. Real and imaginary part of
    complex tensors are drawn one by one, as in torch.

    >>> float(uniform_(torch.empty(1000), -1, 1).abs().max()) <= 1
    True
    """
    law = Uniform(low=a, high=b)
    if not tensor.is_complex():
        return _elementwise(tensor, law, "uniform_", generator, where)
    name = where.get("name")
    with torch.no_grad():
        for part, suffix in ((tensor.real, ".real"), (tensor.imag, ".imag")):
            own: Where = {**where, "name": None if name is None else name + suffix}
            _elementwise(part, law, "uniform_", generator, own)
    return tensor


@overridable
def normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: Generator | None = None,
    **where: Unpack[Where],
) -> Tensor:
    """Fill with N(mean, std²); complex tensors get std²/2 in each part.

    >>> normal_(torch.empty(2, 3)).shape
    torch.Size([2, 3])
    """
    return _elementwise(tensor, Normal(mean=mean, std=std), "normal_", generator, where)


@overridable
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
    *,
    corrected: bool = False,
    **where: Unpack[Where],
) -> Tensor:
    """Fill with N(mean, std²) cut at the *absolute* bounds a and b, as torch does.

    Args:
        tensor: of any shape.
        mean: of the normal before the cut.
        std: of the normal before the cut.
        a: smallest value.
        b: largest value.
        generator: where the seed comes from if none is given.
        corrected: bounds count σ of the parent, and mean and std hold *after* the cut; that is
            `truncated_normal_`.
        **where: as in `Placed`.

    With std=0.02 the default bounds cut nothing, and with std=1 they leave 0.88.

    >>> float(trunc_normal_(torch.empty(1000)).abs().max()) <= 2
    True
    """
    if corrected:
        law: Law = TruncatedNormal(mean=mean, std=std, low_sigma=a, high_sigma=b)
    else:
        law = cut_normal(mean, std, a, b, where="trunc_normal_")
    return _elementwise(tensor, law, "trunc_normal_", generator, where)


@overridable
def constant_(tensor: Tensor, val: float, **where: Unpack[Where]) -> Tensor:
    """Fill with ``val``; an address changes nothing.

    >>> constant_(torch.empty(2), 0.3)
    tensor([0.3000, 0.3000])
    """
    del where
    with torch.no_grad():
        return tensor.fill_(val)


@overridable
def ones_(tensor: Tensor, **where: Unpack[Where]) -> Tensor:
    """Fill with ones."""
    del where
    with torch.no_grad():
        return tensor.fill_(1)


@overridable
def zeros_(tensor: Tensor, **where: Unpack[Where]) -> Tensor:
    """Fill with zeros."""
    del where
    with torch.no_grad():
        return tensor.zero_()


@overridable
def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None, **where: Unpack[Where]
) -> Tensor:
    """Fill with U(±gain·√(6/(fan_in + fan_out))); `glorot_uniform_` is the same law.

    >>> float(xavier_uniform_(torch.empty(3, 3)).abs().max()) <= 1
    True
    """
    return _glorot(tensor, "uniform", gain, generator, where)


@overridable
def xavier_normal_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None, **where: Unpack[Where]
) -> Tensor:
    """Fill with N(0, gain²·2/(fan_in + fan_out)); `glorot_normal_` is the same law."""
    return _glorot(tensor, "normal", gain, generator, where)


def _glorot(
    tensor: Tensor, form: str, gain: float, generator: Generator | None, where: Where
) -> Tensor:
    what = f"xavier_{form}_"
    if tensor.ndim >= 2 and tensor.numel() == 0:
        return tensor
    layout, fans = fans_or_refuse(tensor, where, what)
    law = technique(f"glorot_{form}", gain=gain).law_for(layout, fans)
    return fill(tensor, law, layout, what=what, generator=generator, where=where)


@overridable
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
    **where: Unpack[Where],
) -> Tensor:
    """Fill with U(±gain·√(3/fan)).

    Args:
        tensor: (out, in, kernel …) unless ``**where`` says otherwise.
        a: negative slope, used with ``leaky_relu`` only.
        mode: ``fan_in``, ``fan_out`` or, which torch has not, ``fan_avg``.
        nonlinearity: as in `calculate_gain`.
        generator: where the seed comes from if none is given.
        **where: as in `Placed`: ``groups``, ``transposed`` and ``stride`` give the effective fan.

    >>> w = torch.empty(8, 1, 3, 3)  # depthwise: one output channel for each input channel
    >>> bound = float(kaiming_uniform_(w, mode="fan_out", groups=8).abs().max())
    >>> 0.7 < bound <= (6 / 9) ** 0.5
    True
    """
    return _kaiming(tensor, "uniform", a, mode, nonlinearity, generator, where)


@overridable
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
    **where: Unpack[Where],
) -> Tensor:
    """Fill with N(0, gain²/fan); the arguments are those of `kaiming_uniform_`."""
    return _kaiming(tensor, "normal", a, mode, nonlinearity, generator, where)


def _kaiming(
    tensor: Tensor,
    form: str,
    a: float,
    mode: str,
    nonlinearity: str,
    generator: Generator | None,
    where: Where,
) -> Tensor:
    what = f"kaiming_{form}_"
    if warn_of_nothing(tensor, depth=1):
        return tensor
    if mode.lower() not in ("fan_in", "fan_out", "fan_avg"):
        raise BadInputError(f"{what}: mode must be fan_in, fan_out or fan_avg, got {mode!r}")
    layout, fans = fans_or_refuse(tensor, where, what)
    gain = calculate_gain(nonlinearity, a if nonlinearity == "leaky_relu" else None)
    law = centred(form, gain / math.sqrt(fan_for(fans, mode.lower())))
    return fill(tensor, law, layout, what=what, generator=generator, where=where)
