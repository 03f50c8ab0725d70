"""What a call was told besides its tensors: strides, axes, constants, as numbers in a record.

Only what decides the moments of the result is kept: which axes a reduction, softmax or permutation
works on, how a convolution is laid over its input, how large the constants are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firstlight.records.network import Options

_MASKED_BELOW = -1e4
"""What is added to a logit to hide it; no model means a number like that as a number."""

_MOST_OPERANDS = 256


@dataclass(frozen=True, kw_only=True)
class Told:
    """One call, as the options are read from it.

    Args:
        name: plain name of the function.
        args: positional arguments.
        keywords: keyword arguments.
        operands: the tensors among them.
        sources: for each operand its place in the operation's inputs, −1 for what no operation
            made.
        computed: for each operand whether it is computed from parameters.
        result: what came out.
    """

    name: str
    args: tuple[Any, ...]
    keywords: Mapping[str, Any]
    operands: Sequence[Tensor]
    sources: Sequence[int]
    computed: Sequence[bool]
    result: Tensor

    def get(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by place or by name."""
        if name in self.keywords:
            return self.keywords[name]
        return self.args[place] if len(self.args) > place else default

    @property
    def rank(self) -> int:
        """Axes of the first tensor."""
        return self.operands[0].dim() if self.operands else 0


def _numbers(value: Any, count: int = 1) -> tuple[float, ...]:
    if isinstance(value, bool | int | float):
        return (float(value),) * count
    if isinstance(value, tuple | list | torch.Size):
        found = tuple(float(v) for v in value if isinstance(v, int | float))
        return found * count if len(found) == 1 else found
    return ()


def _axes(value: Any, rank: int) -> tuple[float, ...]:
    """Axes counted from the front; all of them for None."""
    if value is None:
        return tuple(float(i) for i in range(rank))
    return tuple(v % rank for v in _numbers(value)) if rank else ()


def _convolution(call: Told) -> Options:
    spatial = int(call.name[-2])
    transposed = "transpose" in call.name
    padding, kernel = call.get(4, "padding", 0), call.operands[1].shape[2:]
    dilation = _numbers(call.get(7 if transposed else 5, "dilation", 1), spatial)
    padded = _numbers(padding, spatial)
    if padding == "same":
        padded = tuple(d * (k - 1) / 2 for d, k in zip(dilation, kernel, strict=True))
    elif padding == "valid":
        padded = (0.0,) * spatial
    return (
        ("stride", _numbers(call.get(3, "stride", 1), spatial)),
        ("padding", padded),
        ("dilation", dilation),
    )


def _pool(call: Told) -> Options:
    if call.name == "mean":
        return _reduction(call)
    if not call.name[-2:-1].isdigit():
        return ()
    spatial = int(call.name[-2])
    if "adaptive" in call.name:
        return (("spatial", (float(spatial),)),)
    kernel = _numbers(call.get(1, "kernel_size"), spatial)
    stride = _numbers(call.get(2, "stride", None), spatial) or kernel
    padding = _numbers(call.get(3, "padding", 0), spatial)
    return (
        ("spatial", (float(spatial),)),
        ("kernel", kernel),
        ("stride", stride),
        ("padding", padding),
    )


def _reduction(call: Told) -> Options:
    value = call.get(1, "dim", call.keywords.get("axis"))
    return (("axes", _axes(value, call.rank)),)


def _axis(call: Told) -> Options:
    place = 0 if call.name in ("cat", "concat", "concatenate", "stack") else 1
    value = call.get(1, "dim", call.keywords.get("axis", 0 if place == 0 else -1))
    rank = call.rank + (call.name == "stack")
    return (("axes", _axes(value, rank)),)


def _norm(call: Told) -> Options:
    if call.name == "batch_norm":
        training = call.get(5, "training", False)
        return (
            ("eps", _numbers(call.get(7, "eps", 1e-5))),
            ("batch_statistics", (float(bool(training)),)),
        )
    if call.name == "instance_norm":
        return (("eps", _numbers(call.get(7, "eps", 1e-5))),)
    if call.name == "group_norm":
        return (
            ("groups", _numbers(call.get(1, "num_groups", 1))),
            ("eps", _numbers(call.get(4, "eps", 1e-5))),
        )
    count = len(_numbers(call.get(1, "normalized_shape", (1,))))
    place = 3 if call.name == "rms_norm" else 4
    default = torch.finfo(call.result.dtype).eps if call.name == "rms_norm" else 1e-5
    eps = call.get(place, "eps", default)
    return (
        ("axes", tuple(float(call.rank - 1 - i) for i in range(count))),
        ("eps", _numbers(default if eps is None else eps)),
    )


def _order(call: Told) -> Options:
    """For each axis of the result the axis of the operand that it is, −1 for a new one."""
    rank, name = call.rank, call.name
    axes = list(range(rank))
    if name in ("transpose", "swapaxes", "swapdims"):
        a, b = (int(call.get(i, f"dim{i - 1}", -i)) % rank for i in (1, 2))
        axes[a], axes[b] = axes[b], axes[a]
    elif name in ("T", "mT", "t") and rank > 1:
        axes[-1], axes[-2] = axes[-2], axes[-1]
    elif name == "permute":
        given = call.keywords.get("dims", call.args[1:])
        flat = given[0] if given and isinstance(given[0], tuple | list) else given
        axes = [int(a) % rank for a in flat]
    elif name in ("movedim", "moveaxis"):
        source, target = (int(v) % rank for v in (call.args[1], call.args[2]))
        axes.insert(target, axes.pop(source))
    elif name == "unsqueeze":
        axes.insert(int(call.get(1, "dim", 0)) % (rank + 1), -1)
    elif name in ("select", "unbind"):
        axes.pop(int(call.get(1, "dim", 0)) % rank)
    elif name == "squeeze":
        shape = call.operands[0].shape
        given = call.get(1, "dim")
        gone = set(_axes(given, rank))
        axes = [a for a in axes if not (shape[a] == 1 and a in gone)]
    elif name == "getitem":
        axes = _indexed(call.args[1], rank)
    if len(axes) != call.result.dim():
        return ()
    return (("order", tuple(float(a) for a in axes)),)


def _indexed(index: Any, rank: int) -> list[int]:
    items = list(index) if isinstance(index, tuple) else [index]
    used = sum(item is not None and item is not Ellipsis for item in items)
    axes: list[int] = []
    place = 0
    for item in items:
        if item is None:
            axes.append(-1)
        elif item is Ellipsis:
            axes += range(place, place + rank - used)
            place += rank - used
        else:
            if not isinstance(item, int) or isinstance(item, bool):
                axes.append(place)
            place += 1
    return axes + list(range(place, rank))


def _constants(call: Told) -> Options:
    """Moments of the operand that is no result, and how much of it is a mask.

    Mean, mean square, and mean square of the average over all axes but the last.
    """
    values = [*call.args[:2], call.keywords.get("other"), call.keywords.get("exponent")]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if numbers:
        value = float(numbers[0])
        first = isinstance(call.args[0], int | float) if call.args else False
        return (("constant", (value, value**2, value**2)), ("constant_first", (float(first),)))
    for place, (tensor, source) in enumerate(zip(call.operands, call.sources, strict=True)):
        if source < 0 and not isinstance(tensor, torch.nn.Parameter):
            name = "expression" if call.computed[place] else "constant"
            return (*_constant_tensor(tensor, name), ("constant_first", (float(place == 0),)))
    return ()


def _constant_tensor(tensor: Tensor, name: str) -> Options:
    values = tensor.detach().double() if not tensor.is_complex() else tensor.detach().abs().double()
    hidden = values < _MASKED_BELOW
    if bool(hidden.any()):
        return (("inverse_visible", (_inverse_visible(~hidden),)),)
    mean, square = float(values.mean()), float((values**2).mean())
    centre = values.mean(dim=list(range(values.dim() - 1))) if values.dim() > 1 else values
    alike = float((centre**2).mean())
    return ((name, (mean, square, alike)),) if math.isfinite(square + alike) else ()


def _scaled_product(call: Told) -> Options:
    return (("scale", _numbers(call.keywords.get("alpha", 1.0))),)


def _inverse_visible(visible: Tensor) -> float:
    """Mean over the rows of one over the number of keys that a row sees."""
    counts = visible.sum(dim=-1).double()
    return float((1 / counts.clamp(min=1)).mean()) if counts.numel() else 1.0


def _filled(call: Told) -> Options:
    mask, value = call.get(1, "mask"), call.get(2, "value", 0.0)
    if not isinstance(mask, Tensor):
        return ()
    number = float(value) if not isinstance(value, Tensor) else float(value.detach())
    if number < _MASKED_BELOW:
        full = mask.broadcast_to(torch.broadcast_shapes(mask.shape, call.result.shape))
        return (("inverse_visible", (_inverse_visible(~full),)),)
    return (("filled", (float(mask.double().mean()), number)),)


def _attention(call: Told) -> Options:
    mask, causal = call.get(3, "attn_mask"), bool(call.get(5, "is_causal", False))
    scale = call.get(6, "scale")
    found: list[tuple[str, tuple[float, ...]]] = [
        ("dropout", _numbers(call.get(4, "dropout_p", 0.0))),
        ("scale", (float(scale if scale is not None else call.operands[0].shape[-1] ** -0.5),)),
        ("causal", (float(causal),)),
    ]
    if isinstance(mask, Tensor) and not causal:
        seen = mask if mask.dtype == torch.bool else mask.detach() > _MASKED_BELOW
        full = seen.broadcast_to(
            torch.broadcast_shapes(
                seen.shape, (call.operands[0].shape[-2], call.operands[1].shape[-2])
            )
        )
        found.append(("inverse_visible", (_inverse_visible(full),)))
    return tuple(found)


def _einsum(call: Told) -> Options:
    equation = call.args[0] if call.args else None
    if not isinstance(equation, str) or "." in equation or "->" not in equation:
        return ()
    terms, result = equation.replace(" ", "").split("->")
    rows = [*terms.split(","), result]
    names = [*(f"term{i}" for i in range(len(rows) - 1)), "result"]
    return tuple((n, tuple(float(ord(c)) for c in row)) for n, row in zip(names, rows, strict=True))


def _limits(call: Told) -> Options:
    low, high = call.get(1, "min"), call.get(2, "max")
    return tuple((n, _numbers(v)) for n, v in (("low", low), ("high", high)) if _numbers(v))


def _lookup(call: Told) -> Options:
    """How often two places look up the same row, and how often the padding row."""
    ids = next((t for t in call.operands if not t.is_floating_point()), None)
    if ids is None or ids.numel() == 0:
        return ()
    rows = ids.reshape(ids.shape[0], -1) if ids.dim() > 1 else ids.reshape(-1, 1)
    same_sample, anywhere = _collisions(rows), _collisions(rows.reshape(1, -1))
    pairs_inside = rows.shape[0] * rows.shape[1] * (rows.shape[1] - 1)
    pairs = rows.numel() * (rows.numel() - 1)
    across = pairs - pairs_inside
    samples = (anywhere * pairs - same_sample * pairs_inside) / across if across else 1.0
    near = float((rows[:, 1:] == rows[:, :-1]).double().mean()) if rows.shape[1] > 1 else 1.0
    padding = call.get(2, "padding_idx")
    padded = 0.0 if padding is None else float((ids == padding).double().mean())
    return (
        ("same", (near, same_sample if pairs_inside else 1.0, samples)),
        ("padded", (padded,)),
    )


def _collisions(rows: Tensor) -> float:
    """Share of the pairs of entries of a row that are equal, over all rows."""
    ordered = rows.sort(dim=1).values
    length = ordered.shape[1]
    if length < 2:
        return 0.0
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    counts = torch.bincount(starts.reshape(-1).cumsum(0) - 1).double()
    return float((counts * (counts - 1)).sum()) / (rows.shape[0] * length * (length - 1))


_ORDERED = [
    "transpose",
    "swapaxes",
    "swapdims",
    "T",
    "mT",
    "t",
    "permute",
    "movedim",
    "moveaxis",
    "unsqueeze",
    "select",
    "unbind",
    "squeeze",
    "getitem",
]
_REDUCING = [
    "sum",
    "mean",
    "amax",
    "amin",
    "max",
    "min",
    "var",
    "std",
    "logsumexp",
    "norm",
    "linalg_vector_norm",
    "cumsum",
]
_COMBINING = [
    "add",
    "radd",
    "iadd",
    "sub",
    "rsub",
    "isub",
    "subtract",
    "mul",
    "rmul",
    "imul",
    "multiply",
    "div",
    "rdiv",
    "truediv",
    "rtruediv",
    "idiv",
    "itruediv",
    "divide",
    "pow",
    "rpow",
    "maximum",
    "minimum",
]

_READERS: dict[str, Callable[[Told], Options]] = {
    **{f"{n}{d}d": _convolution for n in ("conv", "conv_transpose") for d in (1, 2, 3)},
    **dict.fromkeys(("batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"), _norm),
    **dict.fromkeys(_ORDERED, _order),
    **dict.fromkeys(_REDUCING, _reduction),
    **dict.fromkeys(_COMBINING, _constants),
    **dict.fromkeys(
        ("softmax", "log_softmax", "cat", "concat", "concatenate", "stack", "glu", "normalize"),
        _axis,
    ),
    "masked_fill": _filled,
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    "embedding": _lookup,
    "baddbmm": _scaled_product,
    "clamp": _limits,
    "clamp_min": _limits,
}


def options(call: Told) -> Options:
    """The numbers that a call was told, by name; empty for what is not read.

    Args:
        call: the call and its result.
    """
    reader = _READERS.get(call.name) or (_pool if "pool" in call.name else None)
    try:
        found = reader(call) if reader is not None else ()
    except (TypeError, ValueError, IndexError, RuntimeError, ZeroDivisionError):
        found = ()  # an unusual call: its result is measured, not predicted
    if 1 < len(call.sources) <= _MOST_OPERANDS:
        sizes = tuple(float(t.numel()) for t in call.operands)
        found = (*found, ("operands", tuple(float(s) for s in call.sources)), ("sizes", sizes))
    return found
