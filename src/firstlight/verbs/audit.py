"""Which initialization is in these weights now?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.initializers.framework_defaults import torch_fans
from firstlight.initializers.registry import technique
from firstlight.records.law import Law
from firstlight.records.network import Network, Parameter
from firstlight.records.plan import Audit, AuditEntry, LawFit
from firstlight.verbs.adapters import adapter_for
from firstlight.verdicts.law_fit import REJECT, Candidate, fit_p, fitting_laws

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
    ("random_uniform", "U(±0.05)", {}),
    ("keras_dense", "U(±√(6/(fan_in + fan_out))), stored fans", {}),
    ("flax_dense", "N(0, 1/fan_in) cut at ±2σ, stored fans", {}),
)

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


_RESOLUTION = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Relative spacing of the types whose rounding shows."""

# The attention module zeroes its own biases and that of its output projection.
_ZERO_BIASES = ("MultiheadAttention", "NonDynamicallyQuantizableLinear")


def _candidates(parameter: Parameter) -> Iterator[Candidate]:
    default = _DEFAULTS.get(parameter.module)
    for name, words, options in _NAMED:
        if name.startswith("torch_") and name != default:
            continue
        try:
            law = technique(name).law_for(parameter.layout, parameter.fans, **options)
        except BadInputError:
            continue  # a technique that does not apply to such a tensor
        yield name, words, law


def _bias_fan_in(parameter: Parameter, network: Network) -> int | None:
    """The fan_in of the weight beside a bias, as torch counts it."""
    stem = parameter.name.rpartition(".")[0]
    weight = f"{stem}.weight" if stem else "weight"
    for other in network.parameters:
        if weight in (other.name, *other.ties) and len(other.layout.shape) > 1:
            return torch_fans(other.layout.shape)[0]
    return None


def _intended(parameter: Parameter, network: Network) -> tuple[str, Law] | None:
    """The default of the module that owns a parameter, in words and as a law."""
    if parameter.kind == "norm-scale":
        return "ones", technique("ones").law_for(parameter.layout)
    if parameter.kind == "norm-shift":
        return "zeros", technique("zeros").law_for(parameter.layout)
    name = _DEFAULTS.get(parameter.module)
    if name is None:
        return None
    if parameter.kind == "bias" and parameter.module in _ZERO_BIASES:
        return "zeros", technique("zeros").law_for(parameter.layout)
    if parameter.module == "MultiheadAttention" and parameter.kind != "weight":
        return None  # the added key and value (bias_k, bias_v) have a law of their own
    if parameter.kind == "bias" and name in ("torch_linear", "torch_conv"):
        fan_in = _bias_fan_in(parameter, network)
        if fan_in is None:
            return None
        if fan_in == 0:
            return None  # a layer without inputs
        law = technique("torch_bias").law_for(parameter.layout, None, fan_in=fan_in)
        return f"{parameter.module}'s default, U(±1/√fan_in of its weight)", law
    try:
        law = technique(name).law_for(parameter.layout, parameter.fans)
    except BadInputError:
        return None
    words = next((w for n, w, _ in _NAMED if n == name), technique(name).title)
    return f"{parameter.module}'s default, {words}", law


def _entry(parameter: Parameter, values: NDArray[Any], network: Network) -> AuditEntry:
    wide = values.astype(np.float64)
    finite = bool(np.isfinite(wide).all())
    drawn, layout = wide, parameter.layout
    if parameter.padding_index is not None and not np.any(wide[parameter.padding_index]):
        drawn = np.delete(wide, parameter.padding_index, axis=0)
        layout = replace(layout, shape=drawn.shape, view=drawn.shape)
    resolution = _RESOLUTION.get(parameter.dtype, 0.0)
    intended = _intended(parameter, network)
    fits: tuple[LawFit, ...] = ()
    agrees: bool | None = None
    if finite and drawn.size:
        candidates = list(_candidates(parameter))
        if intended is not None and all(law != intended[1] for _, _, law in candidates):
            candidates.append((None, intended[0].rpartition(", ")[2], intended[1]))
        found = fitting_laws(drawn, layout, candidates, resolution=resolution)
        # What was meant comes first among what is not rejected.
        found.sort(key=lambda fit: intended is None or fit[0][2] != intended[1])
        fits = tuple(
            LawFit(law=law, words=words, technique=name, p_value=p)
            for (name, words, law), p in found
        )
        if intended is not None:
            agrees = fit_p(drawn, intended[1], layout, resolution=resolution) >= REJECT
    elif intended is not None:
        agrees = False
    shown = wide if wide.size else np.zeros(1)
    return AuditEntry(
        name=parameter.name,
        layout=parameter.layout,
        mean=float(shown.mean()),
        std=float(shown.std()),
        low=float(shown.min()),
        high=float(shown.max()),
        laws=fits,
        intended=None if intended is None else intended[0],
        agrees=agrees,
    )


def audit(model: Any) -> Audit:
    """Name the law in each parameter from its numbers, without running the model.

    A law is rejected if its mean, standard deviation, bounds or distribution does not fit at 1 %.
    What remains is a set: on a square matrix Glorot's law *is* LeCun's, and a bias of ten numbers
    fits many.

    Args:
        model: a torch.nn.Module with values; it is left as it was.

    Returns:
        An `Audit`: ``audit["fc1.weight"].laws`` best first, ``.intended`` (the framework's
        default), ``.agrees``.

    Raises:
        BadInputError: not such a model.

    Example:
        >>> import torch, firstlight as fl
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(256, 128))
        >>> entry = fl.audit(model)["0.weight"]
        >>> entry.laws[0].words, entry.agrees
        ('U(±1/√fan_in)', True)
    """
    adapter = adapter_for(model)
    network = adapter.inspect(model)
    values = dict(adapter.values(model))
    with np.errstate(all="ignore"):
        entries = tuple(_entry(p, values[p.name], network) for p in network.parameters)
    return Audit(network=network, entries=entries)
