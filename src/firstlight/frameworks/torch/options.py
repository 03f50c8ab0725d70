"""What a call was told besides its tensors: strides, axes, constants, as numbers in a record.

Only what decides the moments of the result is kept: which axes a reduction, softmax or permutation
works on, how a convolution is laid over its input, how large the constants are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from firstlight.frameworks.torch.constants import attention, chosen, constants, filled, lookup
from firstlight.frameworks.torch.told import Told, axes, numbers
from firstlight.records.network import Options

_MOST_OPERANDS = 256


def _convolution(call: Told) -> Options:
    spatial = int(call.name[-2])
    transposed = "transpose" in call.name
    padding, kernel = call.get(4, "padding", 0), call.operands[1].shape[2:]
    dilation = numbers(call.get(7 if transposed else 5, "dilation", 1), spatial)
    padded = numbers(padding, spatial)
    if padding == "same":
        padded = tuple(d * (k - 1) / 2 for d, k in zip(dilation, kernel, strict=True))
    elif padding == "valid":
        padded = (0.0,) * spatial
    return (
        ("stride", numbers(call.get(3, "stride", 1), spatial)),
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
    kernel = numbers(call.get(1, "kernel_size"), spatial)
    stride = numbers(call.get(2, "stride", None), spatial) or kernel
    padding = numbers(call.get(3, "padding", 0), spatial)
    return (
        ("spatial", (float(spatial),)),
        ("kernel", kernel),
        ("stride", stride),
        ("padding", padding),
    )


def _reduction(call: Told) -> Options:
    value = call.get(1, "dim", call.keywords.get("axis"))
    return (("axes", axes(value, call.rank)),)


def _axis(call: Told) -> Options:
    place = 0 if call.name in ("cat", "concat", "concatenate", "stack") else 1
    value = call.get(1, "dim", call.keywords.get("axis", 0 if place == 0 else -1))
    rank = call.rank + (call.name == "stack")
    return (("axes", axes(value, rank)),)


def _norm(call: Told) -> Options:
    if call.name == "batch_norm":
        training = call.get(5, "training", False)
        return (
            ("eps", numbers(call.get(7, "eps", 1e-5))),
            ("batch_statistics", (float(bool(training)),)),
        )
    if call.name == "instance_norm":
        return (("eps", numbers(call.get(7, "eps", 1e-5))),)
    if call.name == "group_norm":
        return (
            ("groups", numbers(call.get(1, "num_groups", 1))),
            ("eps", numbers(call.get(4, "eps", 1e-5))),
        )
    count = len(numbers(call.get(1, "normalized_shape", (1,))))
    place = 3 if call.name == "rms_norm" else 4
    default = torch.finfo(call.result.dtype).eps if call.name == "rms_norm" else 1e-5
    eps = call.get(place, "eps", default)
    return (
        ("axes", tuple(float(call.rank - 1 - i) for i in range(count))),
        ("eps", numbers(default if eps is None else eps)),
    )


def _order(call: Told) -> Options:
    """For each axis of the result the axis of the operand that it is, −1 for a new one."""
    rank, name = call.rank, call.name
    kept = list(range(rank))
    if name in ("transpose", "swapaxes", "swapdims"):
        a, b = (int(call.get(i, f"dim{i - 1}", -i)) % rank for i in (1, 2))
        kept[a], kept[b] = kept[b], kept[a]
    elif name in ("T", "mT", "t") and rank > 1:
        kept[-1], kept[-2] = kept[-2], kept[-1]
    elif name == "permute":
        given = call.keywords.get("dims", call.args[1:])
        flat = given[0] if given and isinstance(given[0], tuple | list) else given
        kept = [int(a) % rank for a in flat]
    elif name in ("movedim", "moveaxis"):
        source, target = (int(v) % rank for v in (call.args[1], call.args[2]))
        kept.insert(target, kept.pop(source))
    elif name == "unsqueeze":
        kept.insert(int(call.get(1, "dim", 0)) % (rank + 1), -1)
    elif name in ("select", "unbind"):
        kept.pop(int(call.get(1, "dim", 0)) % rank)
    elif name == "squeeze":
        shape = call.operands[0].shape
        given = call.get(1, "dim")
        gone = set(axes(given, rank))
        kept = [a for a in kept if not (shape[a] == 1 and a in gone)]
    elif name == "getitem":
        kept = _indexed(call.args[1], rank)
    if len(kept) != call.result.dim():
        return ()
    return (("order", tuple(float(a) for a in kept)),)


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


def _scaled_product(call: Told) -> Options:
    return (("scale", numbers(call.keywords.get("alpha", 1.0))),)


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
    return tuple((n, numbers(v)) for n, v in (("low", low), ("high", high)) if numbers(v))


_ORDERED = (
    *("transpose", "swapaxes", "swapdims", "T", "mT", "t", "permute", "movedim", "moveaxis"),
    *("unsqueeze", "select", "unbind", "squeeze", "getitem"),
)
_REDUCING = (
    *("sum", "mean", "amax", "amin", "max", "min", "var", "std", "logsumexp", "norm"),
    *("linalg_vector_norm", "cumsum"),
)
_COMBINING = (
    *("add", "radd", "iadd", "sub", "rsub", "isub", "subtract", "mul", "rmul", "imul", "multiply"),
    *("div", "rdiv", "truediv", "rtruediv", "idiv", "itruediv", "divide", "pow", "rpow"),
    *("maximum", "minimum"),
)

_READERS: dict[str, Callable[[Told], Options]] = {
    **{f"{n}{d}d": _convolution for n in ("conv", "conv_transpose") for d in (1, 2, 3)},
    **dict.fromkeys(("batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"), _norm),
    **dict.fromkeys(_ORDERED, _order),
    **dict.fromkeys(_REDUCING, _reduction),
    **dict.fromkeys(_COMBINING, constants),
    **dict.fromkeys(
        ("softmax", "log_softmax", "cat", "concat", "concatenate", "stack", "glu", "normalize"),
        _axis,
    ),
    "masked_fill": filled,
    "where": chosen,
    "scaled_dot_product_attention": attention,
    "einsum": _einsum,
    "embedding": lookup,
    "baddbmm": _scaled_product,
    "clamp": _limits,
    "clamp_min": _limits,
}


class Call(Protocol):
    """A call as the tracer holds it."""

    @property
    def name(self) -> str:
        """Plain name of the function."""

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments."""

    @property
    def keywords(self) -> dict[str, Any]:
        """Keyword arguments."""

    @property
    def operands(self) -> list[Tensor]:
        """The tensors among them."""

    @property
    def makers(self) -> list[int | None]:
        """The operation that made each operand; None for the others."""

    @property
    def sources(self) -> tuple[int, ...]:
        """The operations that made operands, each once."""


def options(call: Call, result: Tensor, used: Callable[[Tensor], Sequence[str]]) -> Options:
    """The numbers that a call was told, by name; empty for what is not read.

    Args:
        call: the call.
        result: what came out.
        used: the parameters that a tensor is, or was computed from.
    """
    with torch._C.DisableTorchFunction():  # what is asked here is no operation of the model
        return _read(call, result, used)


def _read(call: Call, result: Tensor, used: Callable[[Tensor], Sequence[str]]) -> Options:
    places = {source: place for place, source in enumerate(call.sources)}
    told = Told(
        name=call.name,
        args=call.args,
        keywords=call.keywords,
        operands=call.operands,
        sources=[-1 if maker is None else places[maker] for maker in call.makers],
        computed=[bool(used(tensor)) for tensor in call.operands],
        result=result,
    )
    reader = _READERS.get(call.name) or (_pool if "pool" in call.name else None)
    try:
        found = reader(told) if reader is not None else ()
    except (TypeError, ValueError, IndexError, RuntimeError, ZeroDivisionError):
        found = ()  # an unusual call: its result is measured, not predicted
    if 1 < len(told.sources) <= _MOST_OPERANDS:
        sizes = tuple(float(t.numel()) for t in told.operands)
        found = (*found, ("operands", tuple(float(s) for s in told.sources)), ("sizes", sizes))
    return found
