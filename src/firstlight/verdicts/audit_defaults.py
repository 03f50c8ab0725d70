"""What the layers of each framework draw unasked: what a parameter was meant to be."""

from __future__ import annotations

from dataclasses import dataclass

from firstlight.initializers.framework_defaults import FLAX_LAYERS, KERAS_LAYERS, TORCH_LAYERS
from firstlight.initializers.registry import technique
from firstlight.records.law import Law
from firstlight.records.network import Network, Parameter
from firstlight.verdicts.audit_laws import NAMED, UNKNOWN_MODULE, bias_law, law_of

# The attention module zeroes its own biases and that of its output projection.
_ZERO_BIASES = ("MultiheadAttention", "NonDynamicallyQuantizableLinear")


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


def _is_of_flax(parameter: Parameter, network: Network) -> bool:
    """Whether a JAX layer is Flax's: its kernel is called so, Equinox's a weight."""
    stem, _, leaf = parameter.name.rpartition(".")
    beside = f"{stem}.kernel" if stem else "kernel"
    known = any(beside == other.name for other in network.parameters)
    return network.framework == "jax" and (leaf in ("kernel", "embedding") or known)


def _undisputed(name: str, parameter: Parameter) -> Intent:
    """What nobody would mean otherwise."""
    return Intent(whose="", law_words=name, law=technique(name).law_for(parameter.layout))


def default_of(parameter: Parameter, network: Network) -> Intent | None:
    """The default of the module that owns a parameter; None if its class is not known."""
    if parameter.module == UNKNOWN_MODULE:
        return None
    if parameter.kind == "norm-scale":
        return _undisputed("ones", parameter)
    if parameter.kind == "norm-shift":
        return _undisputed("zeros", parameter)
    for applies, defaults in (
        (network.framework == "keras", KERAS_LAYERS),
        (_is_of_flax(parameter, network), FLAX_LAYERS),
    ):
        if applies:
            return _of_kernels(defaults.get(parameter.module), parameter)
    return _of_torch(TORCH_LAYERS.get(parameter.module), parameter, network)


def _of_kernels(name: str | None, parameter: Parameter) -> Intent | None:
    """The default of a layer whose biases start at zero, as Keras's and Flax's do."""
    if name is None or parameter.kind not in ("weight", "embedding", "bias"):
        return None
    if parameter.kind == "bias":
        return _undisputed("zeros", parameter)
    return _intent(name, parameter)


def _of_torch(name: str | None, parameter: Parameter, network: Network) -> Intent | None:
    if name is None:
        return None
    if parameter.kind == "bias" and parameter.module in _ZERO_BIASES:
        return _undisputed("zeros", parameter)
    if parameter.module == "MultiheadAttention" and parameter.kind != "weight":
        return None  # the added key and value (bias_k, bias_v) have a law of their own
    if parameter.kind == "bias" and name in ("torch_linear", "torch_conv"):
        bias = bias_law(parameter, network)
        if bias is None:
            return None
        return Intent(whose=f"{parameter.module}'s default", law_words=bias[1], law=bias[2])
    return _intent(name, parameter)


def _intent(name: str, parameter: Parameter) -> Intent | None:
    """A technique as a layer's default, in its own words where it is torch's.

    Others have words of their own only where the stored fans are not the effective ones: the first
    equal law has the simplest words.
    """
    found = law_of(name, parameter)
    if found is None:
        return None
    words = (
        w
        for n, w, options in NAMED
        if n == name or (not name.startswith("torch_") and law_of(n, parameter, **options) == found)
    )
    return Intent(
        whose=f"{parameter.module}'s default",
        law_words=next(words, technique(name).title),
        law=found,
    )
