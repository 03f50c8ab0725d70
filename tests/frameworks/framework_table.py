"""The frameworks that must pass the contract: to be tested, an adapter is registered here.

Nothing of a framework is imported before a test wants it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from architectures import ARCHITECTURES, Array


@dataclass(frozen=True, kw_only=True)
class Framework:
    """One way to write models.

    Args:
        name: unique.
        needs: modules that must be installed.
        room: the module of its adapter.
        builders: ``module:table`` of the networks, by the names of `ARCHITECTURES`.
        fed: a NumPy array, pictures channels first, as this framework takes it.
        output: (model, fed batch) → its output in training mode, channels first.
        picture: (model, fed batch) → all that looking must leave as it was.
        networks: those that are written in it.
        stored_alike: whether parameters are called as in torch but for the leaf.
        freeze: (model, layer) → no gradient is wanted of that layer; None where there is no such
            thing.
    """

    name: str
    needs: tuple[str, ...]
    room: str
    builders: str
    fed: Callable[[Array], Any]
    output: Callable[[Any, Any], Array]
    picture: Callable[[Any, Any], list[Any]]
    networks: tuple[str, ...] = tuple(ARCHITECTURES)
    stored_alike: bool = True
    freeze: Callable[[Any, str], Any] | None = None

    @property
    def missing(self) -> str | None:
        """What is not installed, if anything."""
        absent = [name for name in self.needs if find_spec(name) is None]
        return f"{', '.join(absent)} not installed" if absent else None

    def build(self, network: str) -> Any:
        """A fresh model under the framework's own seed 0."""
        module, table = self.builders.split(":")
        builders: Mapping[str, Callable[[], Any]] = getattr(import_module(module), table)
        if "torch" in self.needs:
            import_module("torch").manual_seed(0)
        if "keras" in self.needs:
            import_module("keras").utils.set_random_seed(0)
        return builders[network]()

    def data(self, network: str) -> tuple[Any, dict[str, Any]]:
        """Batch and keywords of `check`."""
        architecture = ARCHITECTURES[network]
        target = self.fed(architecture.target())
        return self.fed(architecture.batch()), {"loss": architecture.loss, "target": target}


def _channels_last(array: Array) -> Array:
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def _channels_first(array: Any) -> Array:
    values = np.asarray(array)
    return np.moveaxis(values, -1, 1) if values.ndim == 4 else values


def _host() -> list[Any]:
    return [random.getstate(), repr(np.random.get_state(legacy=False))]


# PyTorch ------------------------------------------------------------------------------------------


def _torch_fed(array: Array) -> Any:
    return import_module("torch").from_numpy(array)


def _torch_output(model: Any, batch: Any) -> Array:
    with import_module("torch").no_grad():
        return np.asarray(model.train()(batch))


def _torch_picture(model: Any, batch: Any) -> list[Any]:
    return list(import_module("pictures").picture(model, batch))


# Keras --------------------------------------------------------------------------------------------


def _keras_array(value: Any) -> Array:
    return np.array(import_module("keras").ops.convert_to_numpy(value))


def _keras_fed(array: Array) -> Any:
    return import_module("keras").ops.convert_to_tensor(_channels_last(array))


def _keras_output(model: Any, batch: Any) -> Array:
    """The moving averages that training updates are put back."""
    before = [_keras_array(v) for v in model.variables]
    found = _keras_array(model(batch, training=True))
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    return _channels_first(found)


def _keras_picture(model: Any, batch: Any) -> list[Any]:
    keras = import_module("keras")
    taken: list[Any] = [*_host(), keras.config.backend()]
    # Made when it is first asked for, with Python's generator; looking must not be the first.
    shared = keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")
    taken.append(None if shared is None else _keras_array(shared.state).tobytes())
    if keras.config.backend() == "torch":
        torch = import_module("torch")
        taken += [torch.get_rng_state().numpy().tobytes(), torch.is_grad_enabled()]
        taken += [None if v.value.grad is None else v.path for v in model.variables]
    for variable in model.variables:
        taken.append((variable.path, id(variable), variable.trainable, str(variable.dtype)))
        taken.append(_keras_array(variable).tobytes())
    for layer in model._flatten_layers():
        taken.append((layer.path, layer.trainable, layer.built, sorted(vars(layer))))
        taken.append(len(layer.losses))
    return [*taken, _keras_array(batch).tobytes()]


# JAX ----------------------------------------------------------------------------------------------


def _jax_fed(array: Array) -> Any:
    return import_module("jax.numpy").asarray(_channels_last(array))


def _jax_picture(tree: Any, batch: Any) -> list[Any]:
    jax = import_module("jax")
    taken: list[Any] = _host()
    for path, leaf in jax.tree_util.tree_leaves_with_path((tree, batch)):
        values = leaf
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            values = jax.random.key_data(leaf)
        stored = np.asarray(values).tobytes() if isinstance(values, jax.Array) else repr(values)
        taken.append((jax.tree_util.keystr(path), id(leaf), stored))
    return taken


def _nnx_output(model: Any, batch: Any) -> Array:
    nnx = import_module("flax.nnx")
    return _channels_first(nnx.clone(model)(batch))


def _nnx_picture(model: Any, batch: Any) -> list[Any]:
    nnx = import_module("flax.nnx")
    graph, state = nnx.split(model)
    modules = [(path, id(node)) for path, node in nnx.iter_graph(model)]
    return [repr(graph), modules, *_jax_picture(state, batch)]


def _linen_output(model: Any, batch: Any) -> Array:
    module, variables = model
    if "batch_stats" not in variables:
        return _channels_first(module.apply(variables, batch))
    found, _ = module.apply(variables, batch, train=True, mutable=["batch_stats"])
    return _channels_first(found)


def _function_output(model: Any, batch: Any) -> Array:
    function, parameters = model
    return np.asarray(function(parameters, batch))


_JAX = "firstlight.frameworks.jax.adapter"

_ALL = (
    Framework(
        name="torch",
        needs=("torch",),
        room="firstlight.frameworks.torch.adapter",
        builders="networks_torch:BUILDERS",
        fed=_torch_fed,
        output=_torch_output,
        picture=_torch_picture,
        freeze=lambda model, layer: model.get_submodule(layer).requires_grad_(False),
    ),
    Framework(
        name="keras",
        needs=("keras",),
        room="firstlight.frameworks.keras.adapter",
        builders="networks_keras:BUILDERS",
        fed=_keras_fed,
        output=_keras_output,
        picture=_keras_picture,
        freeze=lambda model, layer: setattr(model.get_layer(layer), "trainable", False),
    ),
    Framework(
        name="nnx",
        needs=("jax", "flax"),
        room=_JAX,
        builders="networks_nnx:BUILDERS",
        fed=_jax_fed,
        output=_nnx_output,
        picture=_nnx_picture,
    ),
    Framework(
        name="linen",
        needs=("jax", "flax"),
        room=_JAX,
        builders="networks_linen:BUILDERS",
        fed=_jax_fed,
        output=_linen_output,
        picture=lambda model, batch: _jax_picture(model[1], batch),
        # What Linen writes otherwise than NNX; the rest is the same program.
        networks=("mlp", "convnet", "mobilenet", "unet", "gpt", "encoder", "lstm", "bag"),
    ),
    Framework(
        name="functions",
        needs=("jax", "equinox"),
        room=_JAX,
        builders="networks_functions:BUILDERS",
        fed=_jax_fed,
        output=_function_output,
        picture=lambda model, batch: _jax_picture(model[1], batch),
        networks=("mlp", "deep_tanh", "bag", "autoencoder"),
    ),
    Framework(
        name="equinox",
        needs=("jax", "equinox"),
        room=_JAX,
        builders="networks_functions:EQUINOX",
        fed=_jax_fed,
        output=lambda model, batch: np.asarray(model(batch)),
        picture=_jax_picture,
        networks=("mlp", "deep_tanh"),
        stored_alike=False,
    ),
)

FRAMEWORKS = {each.name: each for each in _ALL if find_spec(each.room) is not None}
