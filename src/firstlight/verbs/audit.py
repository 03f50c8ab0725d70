"""Which initialization is in these weights now?"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.records.network import Network
from firstlight.records.plan import Audit, AuditEntry, AuditRemark
from firstlight.verbs.adapters import adapter_for
from firstlight.verdicts.audit_entry import entry_of
from firstlight.verdicts.audit_numbers import SAMPLE
from firstlight.verdicts.audit_remarks import gain_remark
from firstlight.verdicts.audit_siblings import (
    blocks_of,
    clone_remarks,
    depth_remarks,
    tie_remarks,
)
from firstlight.verdicts.law_fit import REJECT

# Where a framework keeps what its models' own code means.
_OWN_RULES = {
    "torch": (
        "firstlight.frameworks.torch.own_rules:OwnRules",
        "firstlight.frameworks.torch.rules:untied",
        "firstlight.frameworks.torch.fed:fed_by_relu",
    ),
    "keras": (
        "firstlight.frameworks.keras.own_rules:OwnRules",
        "firstlight.frameworks.keras.own_rules:untied",
        "firstlight.frameworks.keras.fed:fed_by_relu",
    ),
}


def audit(model: Any) -> Audit:
    """Name the law in each parameter from its numbers, without running the model.

    A law is rejected if its mean, standard deviation, bounds or distribution does not fit; the
    level is 1 % for all parameters of the model together, so that a healthy model has no
    disagreement 99 times of 100. What remains is a set: on a square matrix Glorot's law *is*
    LeCun's, and a bias of ten numbers fits many. What was meant is asked of the model's own code
    first (``_init_weights`` of transformers, ``reset_parameters``, the initializers of Keras's
    layers), by running it at the side on
    copies, then of the framework's defaults.

    Args:
        model: with values, as for `check`, which is left as it was; or the path of a
            ``.safetensors`` file, of a folder of shards with their index, or of a file that
            torch.save wrote (read with ``weights_only=True``). A file knows no layers: axes are
            guessed from names and shapes by a rule that ``.remarks`` states, and nothing is known
            to be intended.

    Returns:
        An `Audit`: ``audit["fc1.weight"].laws`` best first, ``.intended``, ``.agrees``, and in
        ``.remarks`` the silent failures: rules that never ran, missing depth scaling, wrong fans,
        clones, overwritten padding, idle truncation, Glorot's law behind ReLU (in a `Sequential`),
        NaN and unfilled memory.

    Raises:
        BadInputError: not such a model or file.

    Example:
        >>> import torch, firstlight as fl
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(256, 128))
        >>> entry = fl.audit(model)["0.weight"]
        >>> entry.laws[0].words, entry.agrees
        ('U(±1/√fan_in)', True)
    """
    if isinstance(model, str | os.PathLike):
        from firstlight.frameworks.files import open_weights

        file = open_weights(os.fspath(model))
        return _audited(file.network, file.values(), remarks=file.remarks)
    adapter = adapter_for(model)
    network = adapter.inspect(model)
    values = adapter.values(model)  # refuses a model without any before its rules run
    if network.framework not in _OWN_RULES:
        return _audited(network, values)
    rules, untied, fed = (_lookup(path)(model) for path in _OWN_RULES[network.framework])
    return _audited(network, values, rules=rules, untied=untied, fed=fed)


def _lookup(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(module), name)


def _audited(
    network: Network,
    values: Iterable[tuple[str, NDArray[Any]]],
    *,
    rules: Any = None,
    untied: Iterable[tuple[str, str]] = (),
    fed: Mapping[str, tuple[str, float]] = MappingProxyType({}),
    remarks: Iterable[str] = (),
) -> Audit:
    """The audit of tensors that come one at a time, in the network's order."""
    blocks = blocks_of(network)
    level = REJECT / max(1, len(network.parameters))
    entries: list[AuditEntry] = []
    digests: dict[str, str] = {}
    largest = 0
    with np.errstate(all="ignore"):
        for parameter, (name, tensor) in zip(network.parameters, values, strict=True):
            block = blocks.get(name)
            drawn = None if rules is None else rules.drawn(parameter)
            entry, numbers = entry_of(
                parameter,
                tensor,
                network,
                drawn=drawn,
                blocks=None if block is None else block.blocks,
                level=level,
            )
            entries.append(entry)
            largest = max(largest, numbers.size)
            random = not numbers.constant and not (drawn is not None and drawn.fixed)
            if numbers.size > 1 and random and not numbers.non_finite:
                digests[name] = numbers.digest
    beside = [
        *clone_remarks(entries, digests),
        *depth_remarks(entries, blocks),
        *tie_remarks(untied),
        *(
            (entry.name, remark)
            for entry in entries
            if entry.name in fed
            for remark in gain_remark(network.parameter(entry.name), entry.laws, fed[entry.name])
        ),
    ]
    notes = [*remarks, *_notes(largest, rules)]
    return Audit(network=network, entries=tuple(_joined(entries, beside)), remarks=tuple(notes))


def _joined(
    entries: Iterable[AuditEntry], beside: Iterable[tuple[str, AuditRemark]]
) -> Iterator[AuditEntry]:
    more: dict[str, list[AuditRemark]] = defaultdict(list)
    for name, remark in beside:
        more[name].append(remark)
    for entry in entries:
        yield replace(entry, remarks=(*entry.remarks, *more[entry.name]))


def _notes(largest: int, rules: Any) -> Iterator[str]:
    if largest > SAMPLE:
        yield (
            f"Means, standard deviations and bounds are of all values; distributions were tested"
            f" on {SAMPLE:,} values of each larger tensor."
        )
    for rule, why in (rules.failed if rules is not None else {}).items():
        yield f"What {rule} means could not be found out: it {why}."
