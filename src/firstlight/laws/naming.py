"""Frameworks call the same tensor ``kernel``, ``w`` and ``weight``; its numbers have one name.

Numbers are drawn under torch's words, so that one seed gives one network in every framework: the
``fc1.kernel`` of Keras and Flax is drawn as ``fc1.weight``. The rest of the path is the user's and
stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

LEAVES: Mapping[str, str] = {
    "kernel": "weight",  # Keras, Flax
    "embedding": "weight",  # Flax
    "embeddings": "weight",  # Keras, Haiku
    "depthwise_kernel": "weight",  # Keras, once
    "scale": "weight",  # the norms of Flax and Haiku
    "gamma": "weight",  # the norms of Keras
    "beta": "bias",
    "offset": "bias",  # the norms of Haiku
    "w": "weight",  # Haiku, and plain functions
    "b": "bias",
}
"""The last part of a name in other frameworks' words, and in torch's."""

RECURRENT: Mapping[str, str] = {
    "kernel": "weight_ih_l0",
    "recurrent_kernel": "weight_hh_l0",
    "bias": "bias_ih_l0",
}
"""The same of a recurrent layer that stores its gates as one, in torch's order."""


def address_of(name: str, leaves: Mapping[str, str] = LEAVES) -> str:
    """The name that a parameter's numbers are drawn under.

    Args:
        name: canonical name, its parts joined by dots.
        leaves: what its last part is called in torch; `RECURRENT` for recurrent layers.

    >>> address_of("blocks.0.fc1.kernel"), address_of("fc1.bias"), address_of("w")
    ('blocks.0.fc1.weight', 'fc1.bias', 'weight')
    >>> address_of("lstm.recurrent_kernel", RECURRENT)
    'lstm.weight_hh_l0'
    """
    stem, dot, leaf = name.rpartition(".")
    return f"{stem}{dot}{leaves.get(leaf, leaf)}"


def addresses(
    names: Iterable[str], leaves: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, str]:
    """The address of each of a model's parameters, no two the same: equal ones would be clones.

    Where several parameters would share an address, all of them are drawn under their own names.

    Args:
        names: of all parameters, each once.
        leaves: for single parameters, a map of leaf names other than `LEAVES`.

    >>> addresses(["fc.kernel", "norm.scale", "odd.scale", "odd.kernel"])
    {'fc.kernel': 'fc.weight', 'norm.scale': 'norm.weight', 'odd.scale': 'odd.scale', \
'odd.kernel': 'odd.kernel'}
    """
    special = leaves or {}
    return apart({name: address_of(name, special.get(name, LEAVES)) for name in names})


def apart(found: Mapping[str, str]) -> dict[str, str]:
    """Addresses by name, those that several share given up for the names.

    >>> apart({"a.kernel": "a.weight", "a.scale": "a.weight"})
    {'a.kernel': 'a.kernel', 'a.scale': 'a.scale'}
    """
    found = dict(found)
    while True:
        shared = {address for address, uses in Counter(found.values()).items() if uses > 1}
        if not shared:
            return found
        # One's address may be the other's own name, which then takes another round.
        found = {name: name if at in shared else at for name, at in found.items()}
