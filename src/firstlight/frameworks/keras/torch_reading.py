"""A Keras model on the torch backend, as torch's room reads it.

Keras's layers are torch modules there, but nothing about them is in torch's habit: biases are added
after products, normalization is written out, kernels and images are permuted before and after each
convolution, parameters live in variables. What follows says so to torch's room, and changes nothing
of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import keras
import torch
from keras import layers
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from torch import Tensor, nn
from torch.nn import functional

from firstlight.frameworks.keras.calling import arguments
from firstlight.frameworks.keras.layouts import NORMS
from firstlight.frameworks.keras.models import Weight, checked
from firstlight.frameworks.keras.naming import layer_paths
from firstlight.frameworks.keras.seeds import put_back
from firstlight.frameworks.torch.foreign import Closed, Following, Foreign, Instead
from firstlight.records.network import OperationKind, Parameter

_CONVOLUTIONS = tuple(
    getattr(layers, name)
    for name in (*(f"Conv{d}D" for d in (1, 2, 3)), "DepthwiseConv1D", "DepthwiseConv2D")
)
_DROPOUTS = (
    layers.Dropout,
    *(getattr(layers, f"SpatialDropout{d}D") for d in (1, 2, 3)),
)
_CONVOLVING = (functional.conv1d, functional.conv2d, functional.conv3d)


def _tensor(value: Any) -> Any:
    return value.value if isinstance(value, keras.Variable) else value


def _is_own(layer: Any, kinds: tuple[Any, ...]) -> bool:
    """Whether a layer runs Keras's own code of one of these classes."""
    own = any(type(layer).call is kind.call for kind in kinds if isinstance(layer, kind))
    return own and getattr(layer, "quantization_mode", None) is None


class KerasReading(Foreign):
    """A Keras model by the outside of a torch module; see `reading_of`."""

    framework = "keras"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._weights = checked(model)
        # Whatever a variable holds is put back after a look; not all of it is in a module's reach.
        self._all_tensors = [v._value for v in _variables(model)]
        self._paths = layer_paths(model)
        self._fused: set[str] = set()

    def train(self, mode: bool = True) -> KerasReading:
        """Keras passes the mode with each call; nothing of the model is set."""
        self.training = mode
        return self

    def tensors(self) -> dict[str, nn.Parameter]:
        """The tensor behind each canonical name."""
        return {w.parameter.name: w.variable._value for w in self._weights}

    def described(self) -> tuple[Parameter, ...]:
        """Every parameter once."""
        return tuple(w.parameter for w in self._weights)

    def weight(self, name: str) -> Weight:
        """A parameter with its variable, by name."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Weight]:
        return {w.parameter.name: w for w in self._weights}

    @contextmanager
    def swapped(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, the model computes with these tensors in place of its own."""
        pairs = [(self.weight(name).variable, value) for name, value in values.items()]
        with keras.StatelessScope(state_mapping=pairs):
            yield

    def paths(self) -> dict[int, str]:
        """The path of each layer, by its identity."""
        return self._paths

    def named(
        self, path: str, function: str, kind: OperationKind, parameters: Sequence[str]
    ) -> str:
        """A weighted operation is called by its layer, and so is what a layer without weights does.

        Steps of a larger computation, and the activation behind a product, add their function.
        """
        if parameters and kind in ("weighted", "embedding", "norm"):
            return parameters[0].rpartition(".")[0] or path or function
        if path and kind not in ("shape", "other") and path in self._plain:
            return path
        return f"{path}.{function}".lstrip(".")

    @cached_property
    def _plain(self) -> frozenset[str]:
        """Paths of the layers that hold neither weights nor layers."""
        found = (layer for layer in self.model._flatten_layers() if layer is not self.model)
        bare = (e for e in found if not e._trainable_variables and not e._layers)
        return frozenset(self._paths[id(layer)] for layer in bare)

    def is_closed(self, module: nn.Module) -> bool:
        """Norms, which Keras writes out, and dropout, which it does where a seed is given."""
        return isinstance(module, (*NORMS, *_DROPOUTS)) and _is_own(module, (*NORMS, *_DROPOUTS))

    def closed(self, module: Any, inputs: Sequence[Any], result: Tensor) -> Closed:
        """A norm or a dropout, in torch's words."""
        data = inputs[0]
        if isinstance(module, _DROPOUTS):
            told = {"p": module.rate, "training": self.training}
            return Closed(function="dropout", kind="dropout", operands=[data], keywords=told)
        variables = (getattr(module, name, None) for name in ("gamma", "scale", "beta"))
        tensors = (getattr(v, "_value", None) for v in variables)
        operands = [data, *(t for t in tensors if isinstance(t, Tensor))]
        function, told, axis = _norm(module, result, self.training)
        return Closed(
            function=function, kind="norm", operands=operands, keywords=told, unit_axis=axis
        )

    def instead(
        self, func: Any, args: Sequence[Any], keywords: Mapping[str, Any], following: Following
    ) -> Instead | Tensor | None:
        """A product and the bias that Keras adds to it later, as torch's one function of both."""
        if any(isinstance(each, keras.Variable) for each in args):
            # ``x + self.positions``: torch meets the variable before Keras has taken its tensor.
            return Instead(func, tuple(_tensor(each) for each in args), keywords)
        if func is torch.add and self._fused:
            return self._added(args, following)
        if func is torch.matmul and len(args) == 2:
            layer = self._fusable(args[1], following)
            if layer is None or not isinstance(layer, layers.Dense):
                return None
            transposed = following.derive(torch.t, args[1])
            return Instead(functional.linear, (args[0], transposed, self._bias(layer)))
        if func in _CONVOLVING and len(args) == 2:
            layer = self._fusable(args[1], following)
            bias = None if layer is None or "bias" in keywords else self._bias(layer)
            return None if bias is None else Instead(func, tuple(args), {**keywords, "bias": bias})
        return None

    def _fusable(self, kernel: Any, following: Following) -> Any:
        """The layer whose kernel this is, if it runs Keras's own product and addition."""
        used = following.used(kernel) if isinstance(kernel, Tensor) else ()
        if len(used) != 1 or kernel.dim() < 2:
            return None
        weight = self.weight(used[0])
        return weight.owner if _is_own(weight.owner, (layers.Dense, *_CONVOLUTIONS)) else None

    def _bias(self, layer: Any) -> Tensor | None:
        """A layer's bias as its product takes it; from now on its addition is done."""
        if layer.bias is None:
            return None
        name = self._bias_names.get(id(layer.bias))
        if name is None:
            return None
        self._fused.add(name)
        found: Tensor = layer.bias.value
        return found

    @cached_property
    def _bias_names(self) -> dict[int, str]:
        return {id(w.variable): w.parameter.name for w in self._weights}

    def _added(self, args: Sequence[Any], following: Following) -> Tensor | None:
        """The product itself, where it has the bias in it that is added here."""
        if len(args) != 2 or not all(isinstance(each, Tensor) for each in args):
            return None
        used = following.used(args[1])
        if len(used) != 1 or used[0] not in self._fused:
            return None
        self._fused.discard(used[0])
        product: Tensor = args[0]
        return product

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """Call the model as Keras's habit has it, in training mode if this is."""
        args, keywords = arguments(self.model, args, keywords)
        self._fused.clear()
        with _global_seed():
            return self.model(*args, **keywords, training=self.training)


@contextmanager
def _global_seed() -> Iterator[None]:
    """Unseeded random functions share one generator of Keras's, which a look must not advance."""
    with put_back():
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, None)
        yield


def _variables(model: Any) -> list[Any]:
    """All that a model carries: weights, statistics, seeds, metrics, the optimizer's."""
    found = [*model.variables]
    for name in ("metrics_variables",):
        found += getattr(model, name, [])
    optimizer = getattr(model, "optimizer", None)
    found += getattr(optimizer, "variables", [])
    return [v for v in found if isinstance(v._value, Tensor)]


_NORM_WORDS: Mapping[str, str] = {
    "BatchNormalization": "batch_norm",
    "LayerNormalization": "layer_norm",
    "GroupNormalization": "group_norm",
    "RMSNormalization": "rms_norm",
    "UnitNormalization": "normalize",
}


def _norm(layer: Any, result: Tensor, training: bool) -> tuple[str, dict[str, Any], int | None]:
    """Torch's name of a norm, what it is told, and which axis counts units."""
    name = next(w for cls, w in _NORM_WORDS.items() if isinstance(layer, getattr(layers, cls)))
    if getattr(layer, "rms_scaling", False):
        name = "rms_norm"
    given = getattr(layer, "axis", -1)
    axes = sorted(a % result.dim() for a in ([given] if isinstance(given, int) else given))
    told: dict[str, Any] = {"eps": getattr(layer, "epsilon", 1e-12)}
    if name == "batch_norm":
        told["training"] = training and layer.trainable
        return name, told, axes[0]
    if name == "group_norm":
        told["num_groups"] = layer.groups if layer.groups > 0 else result.shape[axes[0]]
        return name, told, axes[0]
    told["normalized_shape"] = tuple(result.shape[a] for a in axes)
    return name, told, axes[-1]


def reading_of(model: Any) -> KerasReading:
    """A Keras model as a torch module whose class bears the name of the model's."""
    kind: Callable[[Any], KerasReading] = type(type(model).__name__, (KerasReading,), {})
    return kind(model)
