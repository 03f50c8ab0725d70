"""The laws that an audit knows by name, in the words of a tensor's fans, and torch's defaults."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from firstlight.errors import BadInputError
from firstlight.initializers.framework_defaults import torch_fans
from firstlight.initializers.registry import technique
from firstlight.records.law import Law, Normal, TruncatedNormal, Uniform
from firstlight.records.network import Fans, Network, Parameter
from firstlight.verdicts.audit_estimates import Candidate

UNKNOWN_MODULE = ""
"""The class of a module of which a file tells nothing."""

# In the order in which equal laws are named.
_NAMED: tuple[tuple[str, str, dict[str, Any]], ...] = (
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

_DEFAULTS = {
    "Linear": "torch_linear",
    "NonDynamicallyQuantizableLinear": "torch_linear",
    "Bilinear": "torch_bilinear",
    "Embedding": "torch_embedding",
    "EmbeddingBag": "torch_embedding",
    "MultiheadAttention": "torch_multihead_packed",
    "RNN": "torch_rnn",
    "LSTM": "torch_rnn",
    "GRU": "torch_rnn",
    "RNNCell": "torch_rnn",
    "LSTMCell": "torch_rnn",
    "GRUCell": "torch_rnn",
    **{f"Conv{d}d": "torch_conv" for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": "torch_conv" for d in (1, 2, 3)},
}

_KERAS_DEFAULTS = {
    **dict.fromkeys(("Dense", "EinsumDense"), "keras_dense"),
    **{f"{n}{d}D": "keras_dense" for n in ("Conv", "SeparableConv") for d in (1, 2, 3)},
    **{f"DepthwiseConv{d}D": "keras_dense" for d in (1, 2)},
    **{f"Conv{d}DTranspose": "keras_dense" for d in (1, 2, 3)},
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell"), "keras_dense"),
    "Embedding": "keras_embedding",
}
"""Of kernels; Keras's biases start at zero."""

_FLAX_DEFAULTS = {
    **dict.fromkeys(("Linear", "Dense", "LinearGeneral", "DenseGeneral", "Einsum"), "flax_dense"),
    **dict.fromkeys(("Conv", "ConvTranspose"), "flax_dense"),
    "Embed": "flax_embed",
}
_FLAX_WORDS = {"flax_dense": "N(0, 1/fan_in) cut at ±2σ", "flax_embed": "N(0, 1/width)"}

# The attention module zeroes its own biases and that of its output projection.
_ZERO_BIASES = ("MultiheadAttention", "NonDynamicallyQuantizableLinear")

SHARDS = (2, 4, 8)
"""Numbers of shards whose fan_in is tried where no other law fits."""


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What a parameter was meant to be.

    Args:
        whose: ``Linear's default``; empty where nobody would mean anything else.
        law_words: the law in the words of the fans.
        law: the law itself; None if it has no name.
    """

    whose: str
    law_words: str
    law: Law | None

    @property
    def words(self) -> str:
        """Whose intention, and which law."""
        return f"{self.whose}, {self.law_words}" if self.whose else self.law_words


def _law(name: str, parameter: Parameter, **options: Any) -> Law | None:
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
        return name == _DEFAULTS.get(parameter.module)
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
    for name, words, options in _NAMED:
        if name.startswith("torch_") and not _may_be_default(name, parameter):
            continue
        law = _law(name, parameter, **options)
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
        for words, law_of in _STORED:
            law = law_of(stored.forward, stored.backward)
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
        law = _law(name, parameter)
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


def _is_of_flax(parameter: Parameter, network: Network) -> bool:
    """Whether a JAX layer is Flax's: its kernel is called so, Equinox's a weight."""
    stem, _, leaf = parameter.name.rpartition(".")
    beside = f"{stem}.kernel" if stem else "kernel"
    known = any(beside == other.name for other in network.parameters)
    return network.framework == "jax" and (leaf in ("kernel", "embedding") or known)


def _flax_default(parameter: Parameter) -> Intent | None:
    """The default of a layer of Flax; recurrent kernels are fused in some cells and not in others.

    Biases start at zero, which nobody would mean otherwise.
    """
    name = _FLAX_DEFAULTS.get(parameter.module)
    if name is None or parameter.kind not in ("weight", "embedding", "bias"):
        return None
    if parameter.kind == "bias":
        return Intent(whose="", law_words="zeros", law=technique("zeros").law_for(parameter.layout))
    law = _law(name, parameter)
    if law is None:
        return None
    return Intent(whose=f"{parameter.module}'s default", law_words=_FLAX_WORDS[name], law=law)


def default_of(parameter: Parameter, network: Network) -> Intent | None:
    """The default of the module that owns a parameter; None if its class is not known."""
    if parameter.module == UNKNOWN_MODULE:
        return None
    if parameter.kind == "norm-scale":
        return Intent(whose="", law_words="ones", law=technique("ones").law_for(parameter.layout))
    if parameter.kind == "norm-shift":
        return Intent(whose="", law_words="zeros", law=technique("zeros").law_for(parameter.layout))
    if _is_of_flax(parameter, network):
        return _flax_default(parameter)
    keras = network.framework == "keras"
    name = (_KERAS_DEFAULTS if keras else _DEFAULTS).get(parameter.module)
    if name is None or (keras and parameter.kind == "recurrent"):
        return None  # Keras's recurrent kernels are one isometry over all gates
    if parameter.kind == "bias" and (keras or parameter.module in _ZERO_BIASES):
        return Intent(whose="", law_words="zeros", law=technique("zeros").law_for(parameter.layout))
    if parameter.module == "MultiheadAttention" and parameter.kind != "weight":
        return None  # the added key and value (bias_k, bias_v) have a law of their own
    if parameter.kind == "bias" and name in ("torch_linear", "torch_conv"):
        bias = bias_law(parameter, network)
        if bias is None:
            return None
        return Intent(whose=f"{parameter.module}'s default", law_words=bias[1], law=bias[2])
    found = _law(name, parameter)
    if found is None:
        return None
    words = next((w for n, w, _ in _NAMED if n == name), technique(name).title)
    if keras:
        words = next((w for n, w, o in _NAMED if _law(n, parameter, **o) == found), words)
    return Intent(whose=f"{parameter.module}'s default", law_words=words, law=found)
