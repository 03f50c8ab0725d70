"""The products inside torch's fused kernels, computed beside them: torch alone, for `zoo.measure`.

Each function yields (weight, what it is multiplied with, the product) for one call. Dropout between
recurrent layers is passed over. Packed sequences stay closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Product = tuple[Tensor, Tensor, Tensor]
Inside = Callable[[tuple[Any, ...], dict[str, Any]], Iterator[Product]]

_CONVOLUTIONS = {f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)}
PRODUCTS = {"linear", "bilinear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "einsum"}
PRODUCTS |= {"addmm", "baddbmm", "addbmm", "tensordot", "mv", "addmv", "grouped_mm", *_CONVOLUTIONS}
PRODUCTS |= {"_grouped_mm", "grouped_mm_fallback"}
"""Functions that multiply by a weight, by name."""

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@torch.no_grad()
def _attention(args: tuple[Any, ...], keywords: dict[str, Any]) -> Iterator[Product]:
    """`multi_head_attention_forward`: the packed input projection and the output projection."""
    query, key, value, _, _, packed, bias = args[:7]
    end = args[11]
    width = query.shape[-1]
    separate = keywords.get("use_separate_proj_weight", False)
    if not separate:
        weights = packed.split([width, width, width])
    else:
        weights = tuple(keywords[f"{part}_proj_weight"] for part in "qkv")
    shifts = (None,) * 3 if bias is None else bias.split(width)
    parts = [
        functional.linear(x, w, b)
        for x, w, b in zip((query, key, value), weights, shifts, strict=True)
    ]
    if not separate:
        yield packed, query, torch.cat([part.flatten() for part in parts])
    else:
        yield from zip(weights, (query, key, value), parts, strict=True)
    with torch.random.fork_rng(devices=[]):  # its result is the last product itself
        yield end, query, functional.multi_head_attention_forward(*args, **keywords)[0]


def _cell(args: tuple[Any, ...], _keywords: dict[str, Any]) -> Iterator[Product]:
    """``lstm_cell``, ``gru_cell``, ``rnn_tanh_cell``: input and recurrent products."""
    x, state, w_in, w_on, *biases = args
    state = state if isinstance(state, Tensor) else state[0]
    b_in, b_on = biases or (None, None)
    with torch.no_grad():
        yield w_in, x, functional.linear(x, w_in, b_in)
        yield w_on, state, functional.linear(state, w_on, b_on)


def _stack(kernel: str) -> Inside:
    """``lstm``, ``gru``, ``rnn_tanh``, ``rnn_relu``: layer by layer, direction by direction."""
    run = getattr(torch, kernel)

    def products(args: tuple[Any, ...], _keywords: dict[str, Any]) -> Iterator[Product]:
        if not isinstance(args[3], bool):
            return  # packed
        x, states, flat, biases, layers, _, _, both, batch_first = args
        states = states if isinstance(states, tuple | list) else (states,)
        directions = 2 if both else 1
        each = len(flat) // (layers * directions)
        time = 1 if batch_first else 0
        with torch.no_grad():
            for layer in range(layers):
                rows = slice(layer * directions, (layer + 1) * directions)
                own = [s[rows] for s in states]
                weights = flat[rows.start * each : rows.stop * each]
                hidden = own if kernel == "lstm" else own[0]
                out = run(x, hidden, weights, biases, 1, 0.0, False, both, batch_first)[0]
                for index, part in enumerate(out.chunk(directions, dim=-1)):
                    w_in, w_on, *rest = weights[index * each : (index + 1) * each]
                    b_in, b_on = rest[:2] if biases else (None, None)
                    yield w_in, x, functional.linear(x, w_in, b_in)
                    before = part.narrow(time, index, part.shape[time] - 1)
                    if before.numel():
                        yield w_on, before, functional.linear(before, w_on, b_on)
                x = out

    return products


INSIDE: dict[str, Inside] = {
    "multi_head_attention_forward": _attention,
    **{f"{kind}_cell": _cell for kind in _GATES},
    **{kind: _stack(kind) for kind in _GATES},
}
"""By the name of the function that torch calls."""
