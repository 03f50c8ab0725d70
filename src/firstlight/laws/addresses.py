"""Addresses: from (seed, namespace, name, stack index, stream) to the key of a random stream.

Nothing about the run enters: not the order of drawing, the device, the sharding or the process.
The scheme is specified, with test vectors, in ``docs/addresses.md``; it can never change.
"""

from __future__ import annotations

import hashlib
import operator
import re
import unicodedata
from functools import lru_cache
from typing import SupportsIndex

from firstlight.errors import BadInputError
from firstlight.records.network import STACKS

SPEC_VERSION = "firstlight/1"

_WRAPPERS = frozenset(
    {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"},
)


@lru_cache(maxsize=1 << 16)  # a model's names are asked for again and again
def canonical_name(name: str) -> str:
    """A parameter's name without the prefixes of wrappers, in Unicode's NFC form.

    >>> canonical_name("module._orig_mod.blocks.0.weight")
    'blocks.0.weight'
    """
    kept = [part for part in name.split(".") if part not in _WRAPPERS]
    return unicodedata.normalize("NFC", ".".join(kept) or name)


_STACKED = re.compile(rf"^(.+)\[((?:{'|'.join(STACKS)})=\d+(?:,(?:{'|'.join(STACKS)})=\d+)*)\]$")


def split_address(name: str) -> tuple[str, str]:
    """A name and the stack field that it carries: a matrix of its own that others store stacked.

    >>> split_address("attn.qkv.weight[qkv=1]"), split_address("attn.q.weight")
    (('attn.qkv.weight', 'qkv=1'), ('attn.q.weight', ''))
    """
    found = _STACKED.match(name) if name.endswith("]") else None
    return (found[1], found[2]) if found else (name, "")


def checked_seed(seed: SupportsIndex) -> int:
    """The seed as an integer in [0, 2⁶⁴), or a `BadInputError`."""
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if isinstance(seed, bool) or not 0 <= value < 1 << 64:
        raise BadInputError(f"seed: expected an integer from 0 to 2**64 - 1, got {seed!r}")
    return value


def stream_key(
    seed: int, name: str, *, namespace: str = "", stack: str = "", stream: str = "value"
) -> tuple[int, int]:
    """The Philox key of one parameter's stream.

    key = BLAKE2b-64(version, seed, namespace, name, stack, stream), each field as UTF-8 with its
    length in front; the first four bytes, little-endian, are the first word.

    Args:
        seed: integer in [0, 2⁶⁴).
        name: the canonical name; ``attn.qkv.weight[qkv=1]`` is the second of the matrices that
            are stacked under that name.
        namespace: keeps two models with equal names apart.
        stack: index along stacked axes, ``group=3``; empty for a plain parameter.
        stream: what the bits are for: ``value``, ``pattern``, ``basis``.

    Returns:
        Two 32-bit words.

    >>> stream_key(0, "fc1.weight") == stream_key(0, "fc2.weight")
    False
    >>> stream_key(0, "qkv.weight[qkv=1]") == stream_key(0, "qkv.weight", stack="qkv=1")
    True
    """
    name, above = split_address(name)
    stack = ",".join(filter(None, (above, stack)))
    fields = (SPEC_VERSION, str(checked_seed(seed)), namespace, name, stack, stream)
    encoded = [unicodedata.normalize("NFC", field).encode() for field in fields]
    message = b"".join(len(field).to_bytes(4, "little") + field for field in encoded)
    digest = hashlib.blake2b(message, digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def stack_labels(stacks: tuple[tuple[str, int], ...]) -> list[str]:
    """The stack field of each stacked matrix, in storage order.

    >>> stack_labels((("qkv", 3),))
    ['qkv=0', 'qkv=1', 'qkv=2']
    >>> stack_labels(())
    ['']
    """
    labels = [""]
    for role, size in stacks:
        labels = [
            f"{label},{role}={i}" if label else f"{role}={i}"
            for label in labels
            for i in range(size)
        ]
    return labels
