"""The laws that an audit knows by name, in the words of a tensor's fans."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from firstlight.errors import BadInputError
from firstlight.initializers.framework_defaults import TORCH_LAYERS, torch_fans
from firstlight.initializers.registry import technique
from firstlight.records.law import Law, Normal, TruncatedNormal, Uniform
from firstlight.records.network import Fans, Network, Parameter
from firstlight.verdicts.audit_estimates import Candidate

UNKNOWN_MODULE = ""
"""The class of a module of which a file tells nothing."""

# In the order in which equal laws are named.
NAMED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("torch_linear", "U(±1/√fan_in)", {}),
    ("torch_conv", "U(±1/√fan_in)", {}),
    ("torch_rnn", "U(±1/√hidden)", {}),
    ("torch_multihead_packed", "U(±√(6/(fan_in + fan_out))), packed", {}),
    ("torch_embedding", "N(0, 1)", {}),
    ("he_normal", "N(0, 2/fan_in)", {}),
    ("he_uniform", "U(±√(6/fan_in))", {}),
    ("he_truncated_normal", "N(0, 2/fan_in) cut at ±2σ", {}),
    ("he_normal", "N(0, 2/fan_out)", {"mode": "fan_out"}),
    ("he_uniform", "U(±√(6/fan_out))", {"mode": "fan_out"}),
    ("glorot_normal", "N(0, 2/(fan_in + fan_out))", {}),
    ("glorot_uniform", "U(±√(6/(fan_in + fan_out)))", {}),
    ("glorot_truncated_normal", "N(0, 2/(fan_in + fan_out)) cut at ±2σ", {}),
    ("lecun_normal", "N(0, 1/fan_in)", {}),
    ("lecun_uniform", "U(±√(3/fan_in))", {}),
    ("lecun_truncated_normal", "N(0, 1/fan_in) cut at ±2σ", {}),
    ("random_normal", "N(0, 0.02²)", {"std": 0.02}),
    ("random_normal", "N(0, 0.05²)", {}),
    ("random_normal", "N(0, 0.01²)", {"std": 0.01}),
    ("random_normal", "N(0, 1)", {"std": 1.0}),
    ("random_uniform", "U(±0.05)", {}),
    ("glorot_normal", "gain 5/3 × N(0, 2/(fan_in + fan_out))", {"gain": 5 / 3}),
    ("glorot_uniform", "gain 5/3 × U(±√(6/(fan_in + fan_out)))", {"gain": 5 / 3}),
    ("glorot_normal", "gain √2 × N(0, 2/(fan_in + fan_out))", {"gain": math.sqrt(2)}),
    ("glorot_uniform", "gain √2 × U(±√(6/(fan_in + fan_out)))", {"gain": math.sqrt(2)}),
    ("truncated_normal", "N(0, 0.02²) cut at ±2σ, widened", {"std": 0.02}),
    ("truncated_normal", "N(0, 0.05²) cut at ±2σ, widened", {}),
    ("activation_gain", "gain of GELU × N(0, 1/fan_in)", {}),
    ("flax_embed", "N(0, 1/width)", {}),
    ("keras_dense", "U(±√(6/(fan_in + fan_out))), stored fans", {}),
    ("flax_dense", "N(0, 1/fan_in) cut at ±2σ, stored fans", {}),
)

# The std that torch's trunc_normal_ and Keras leave of the parent's when they cut at ±2σ.
_CUT_AT_TWO = 0.8796256610342398

SHARDS = (2, 4, 8)
"""Numbers of shards whose fan_in is tried where no other law fits."""


def law_of(name: str, parameter: Parameter, **options: Any) -> Law | None:
    """The law that a technique gives a parameter; None where it does not apply."""
    try:
        return technique(name).law_for(parameter.layout, parameter.fans, **options)
    except BadInputError:
        return None  # a technique that does not apply to such a tensor


def stored_fans(parameter: Parameter) -> Fans | None:
    """The fans as torch reads them off the stored shape, where they are not the effective ones."""
    shape = parameter.layout.shape
    if parameter.fans is None or len(shape) < 2 or "index" in parameter.layout.roles:
        return None
    fan_in, fan_out = torch_fans(shape)
    read = Fans(forward=float(fan_in), backward=float(fan_out))
    return None if read == parameter.fans or not fan_in * fan_out else read


_STORED: tuple[tuple[str, Callable[[float, float], Law]], ...] = (
    ("N(0, 2/fan_out)", lambda _, out: Normal(std=math.sqrt(2 / out))),
    ("U(±√(6/fan_out))", lambda _, out: Uniform(low=-math.sqrt(6 / out), high=math.sqrt(6 / out))),
    ("N(0, 2/fan_in)", lambda in_, _: Normal(std=math.sqrt(2 / in_))),
    ("U(±√(6/fan_in))", lambda in_, _: Uniform(low=-math.sqrt(6 / in_), high=math.sqrt(6 / in_))),
    ("N(0, 2/(fan_in + fan_out))", lambda in_, out: Normal(std=math.sqrt(2 / (in_ + out)))),
    (
        "U(±√(6/(fan_in + fan_out)))",
        lambda in_, out: Uniform(low=-math.sqrt(6 / (in_ + out)), high=math.sqrt(6 / (in_ + out))),
    ),
)
"""Words, and the law as a function of the stored fan_in and fan_out."""

STORED_WORDS = "stored fans"


def _may_be_default(name: str, parameter: Parameter) -> bool:
    """Whether a layer of this kind starts so; of a file's layers only the axes are known."""
    if parameter.module != UNKNOWN_MODULE:
        return name == TORCH_LAYERS.get(parameter.module)
    role = {"torch_rnn": "gate", "torch_multihead_packed": "qkv", "torch_embedding": "index"}
    return role.get(name, "in") in parameter.layout.roles


def named_laws(parameter: Parameter, blocks: int | None = None) -> Iterator[Candidate]:
    """The laws with a name that such a tensor can have.

    Args:
        parameter: what is known of it.
        blocks: how many equal blocks the model has, if it stands in one: laws of std 0.02 that
            are scaled by depth are known too.
    """
    known: list[Law] = []
    for name, words, options in NAMED:
        if name.startswith("torch_") and not _may_be_default(name, parameter):
            continue
        law = law_of(name, parameter, **options)
        if law is not None:
            known.append(law)
            yield name, words, law
    if parameter.kind in ("bias", "norm-scale", "norm-shift"):
        return
    yield None, "N(0, 0.02²) cut at ±2σ", TruncatedNormal(std=0.02 * _CUT_AT_TWO)
    if blocks is not None:
        std = 0.02 / math.sqrt(2 * blocks)
        yield None, f"N(0, 0.02²/{2 * blocks}): 0.02/√(2 · {blocks} layers)", Normal(std=std)
    fan_in = parameter.fans.forward if parameter.fans and "in" in parameter.layout.roles else 0
    if fan_in and (plain := Uniform(low=-(fan_in**-0.5), high=fan_in**-0.5)) not in known:
        yield None, "U(±1/√fan_in)", plain  # torch's law in a layer that is not torch's
    stored = stored_fans(parameter)
    if stored is not None:
        for words, stored_law in _STORED:
            law = stored_law(stored.forward, stored.backward)
            if law not in known:
                yield None, f"{words}, {STORED_WORDS}", law


def shard_laws(parameter: Parameter) -> Iterator[tuple[int, Candidate]]:
    """Known laws whose fan_in was taken from one of k shards, with k."""
    if parameter.fans is None or "index" in parameter.layout.roles:
        return
    for name, words in (
        ("torch_linear", "U(±1/√fan_in)"),
        ("torch_conv", "U(±1/√fan_in)"),
        ("he_uniform", "U(±√(6/fan_in))"),
        ("he_normal", "N(0, 2/fan_in)"),
        ("lecun_uniform", "U(±√(3/fan_in))"),
        ("lecun_normal", "N(0, 1/fan_in)"),
    ):
        law = law_of(name, parameter)
        for k in SHARDS if law is not None else ():
            scale = math.sqrt(k)
            if isinstance(law, Uniform):
                wide: Law = Uniform(low=law.low * scale, high=law.high * scale)
            elif isinstance(law, Normal):
                wide = Normal(std=law.std * scale)
            else:
                continue
            yield k, (None, f"{words} of a shard of 1/{k}", wide)


def _bias_fan_in(parameter: Parameter, network: Network) -> int | None:
    """The fan_in of the weight beside a bias, as torch counts it; None if there is none."""
    stem = parameter.name.rpartition(".")[0]
    weight = f"{stem}.weight" if stem else "weight"
    for other in network.parameters:
        if weight in (other.name, *other.ties) and len(other.layout.shape) > 1:
            return torch_fans(other.layout.shape)[0]
    return None


def bias_law(parameter: Parameter, network: Network) -> Candidate | None:
    """What torch's layers draw their biases from, where a weight stands beside this one."""
    fan_in = _bias_fan_in(parameter, network) if parameter.kind == "bias" else None
    if not fan_in or "gate" in parameter.layout.roles:
        return None  # no weight beside it, or a layer without inputs
    law = technique("torch_bias").law_for(parameter.layout, None, fan_in=fan_in)
    return "torch_bias", "U(±1/√fan_in of its weight)", law
