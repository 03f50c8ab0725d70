"""What the axes of a file's tensors mean: guessed from names and shapes, by one rule.

A file knows no layers. `RULE` says in words what is done here; every audit of a file repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from typing import Literal, Protocol

from firstlight.laws.addresses import canonical_name
from firstlight.records.network import Layout, Parameter
from firstlight.theory.fans import fans

RULE = (
    "A file knows no layers, so axes were guessed: a tensor called weight (or weight_ih, weight_hh,"
    " in_proj_weight, lora_A …) is (out, in, kernel …), or (in, out, …) where the bias beside it is"
    " as long as its second axis and not its first; it is an embedding where its owner is called"
    " emb…, wte, wpe, tok… or shared; a vector called bias is one, another called weight a norm's"
    " scale; all else has no fans. Nothing is known to be intended."
)

_EMBEDDING = re.compile(r"emb|^w[tp]e$|^tok|^shared$")
_MATRIX = re.compile(r"weight(_v|_orig|_[ih]h_l\d+(_reverse)?)?$|(in|q|k|v)_proj_weight$|kernel$")
_RECURRENT = re.compile(r"(weight|bias)_([ih])h(_l\d+(?:_reverse)?)?$")

Kind = Literal["weight", "recurrent", "bias", "norm-scale", "norm-shift", "embedding", "other"]


class Stored(Protocol):
    """What is known of a tensor before it is read."""

    @property
    def name(self) -> str:
        """As stored."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""

    @property
    def dtype(self) -> str:
        """``float32``."""

    @property
    def ties(self) -> tuple[str, ...]:
        """Further names of the same memory."""


def described(tensors: Iterable[Stored]) -> tuple[Parameter, ...]:
    """Each tensor with its guessed axes; see `RULE`.

    Args:
        tensors: of one file; names lose the prefixes of wrappers where that leaves them different.
    """
    tensors = list(tensors)
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    short = [canonical_name(tensor.name) for tensor in tensors]
    names = short if len(set(short)) == len(short) else [t.name for t in tensors]
    return tuple(
        replace(_guessed(tensor, shapes), name=name)
        for tensor, name in zip(tensors, names, strict=True)
    )


def _guessed(tensor: Stored, shapes: Mapping[str, tuple[int, ...]]) -> Parameter:
    kind, layout = _guess(tensor.name, tensor.shape, shapes)
    matrix = kind in ("weight", "recurrent", "embedding") and prod(tensor.shape) > 0
    return Parameter(
        name=tensor.name,
        kind=kind,
        module="",  # no file knows the class
        layout=layout,
        fans=fans(layout) if matrix else None,
        dtype=tensor.dtype,
        ties=tuple(map(canonical_name, tensor.ties)),
    )


def _layout(shape: tuple[int, ...], roles: tuple[str, ...], view: tuple[int, ...] = ()) -> Layout:
    return Layout(shape=shape, view=view or shape, roles=roles)


def _guess(
    name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Kind, Layout]:
    """The rule that `RULE` states."""
    stem, _, local = name.rpartition(".")
    owner = stem.rpartition(".")[2]
    gates = _gates(name, shape, shapes)
    if gates is not None:
        return gates
    if len(shape) < 2:
        kinds: dict[str, Kind] = {"bias": "bias", "weight": "norm-scale"}
        kind = kinds.get(local, "bias" if local.startswith("bias_") else "other")
        return kind, _layout(shape, ("out",) * len(shape))
    adapter = owner.startswith("lora_") or local.startswith("lora_")
    if not (_MATRIX.search(local) or adapter):
        return "other", _layout(shape, ("index", *("out",) * (len(shape) - 1)))
    if len(shape) == 2 and _EMBEDDING.search(owner.lower()) and local == "weight":
        return "embedding", _layout(shape, ("index", "out"))
    if local == "in_proj_weight" and len(shape) == 2 and shape[0] == 3 * shape[1]:
        return "weight", _layout(shape, ("qkv", "out", "in"), (3, shape[1], shape[1]))
    kernel = ("kernel",) * (len(shape) - 2)
    beside = shapes.get(f"{stem}.bias" if stem else "bias", ())
    swapped = len(beside) == 1 and beside[0] == shape[1] != shape[0]
    roles = ("in", "out", *kernel) if swapped else ("out", "in", *kernel)
    return "weight", _layout(shape, roles)


def _gates(
    name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Kind, Layout] | None:
    """Several matrices or biases of a recurrent layer, stored as one; hidden from weight_hh."""
    found = _RECURRENT.search(name)
    if found is None or len(shape) != (2 if found.group(1) == "weight" else 1):
        return None
    hidden = shapes.get(f"{name[: found.start()]}weight_hh{found.group(3) or ''}", (0,))[-1]
    if not hidden or shape[0] % hidden:
        return None
    view = (shape[0] // hidden, hidden, *shape[1:])
    if len(shape) == 1:
        return "bias", _layout(shape, ("gate", "out"), view)
    kind: Kind = "recurrent" if found.group(2) == "h" else "weight"
    return kind, _layout(shape, ("gate", "out", "in"), view)
