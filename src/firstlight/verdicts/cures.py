"""What to do about a finding, in the habit of the model's framework.

Weights are put right by the verbs, which read alike everywhere. ``initialize(…).model`` is the same
object where models can change, and a new one where they cannot. What is left (freezing,
taking an activation out, slowing an optimizer down) is one entry of `HABITS` for each framework.
"""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from firstlight.records.network import Network, Operation

NAMED = 8
"""So many names fit into a line of code."""

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)")


# The verbs, which are right in every framework ----------------------------------------------------


def initialize(
    network: Network | None = None,
    only: Sequence[str] = (),
    *,
    law: str | None = None,
    told: str = "",
    why: str = "",
) -> str:
    """Code that draws weights anew.

    Args:
        network: the model, if ``only`` is given.
        only: names of parameters; the whole model if there are none.
        law: the technique that they take; None for the plan's.
        told: further arguments, ``target=target``.
        why: a comment.

    >>> initialize(why="centred weights")
    'model = firstlight.initialize(model, batch, seed=0).model  # centred weights'
    """
    given = [told] if told else []
    if network is not None and only:
        patterns = _patterns(network, only)
        given.append(f"only={patterns!r}")
        if law is not None:
            given.append(f"overrides={dict.fromkeys(patterns, law)!r}")
    arguments = ", ".join(["model", "batch", *given, "seed=0"])
    return f"model = firstlight.initialize({arguments}).model" + (f"  # {why}" if why else "")


def _patterns(network: Network, names: Sequence[str]) -> list[str]:
    """Names as the verbs take them; of many, their numbers give way where that adds no other."""
    if len(names) <= NAMED:
        return [glob.escape(name) for name in names]
    wanted = {network.parameter(name).name for name in names}
    fits: dict[str, bool] = {}
    found = []
    for name in map(glob.escape, names):
        pattern = _NUMBER.sub("*", name)
        if pattern not in fits:
            fits[pattern] = wanted.issuperset(_matched(network, pattern))
        found.append(pattern if fits[pattern] else name)
    return list(dict.fromkeys(found))


def _matched(network: Network, pattern: str) -> set[str]:
    return {
        p.name
        for p in network.parameters
        if any(fnmatch.fnmatchcase(name, pattern) for name in (p.name, *p.ties))
    }


# What differs -------------------------------------------------------------------------------------


def _only_words(*_: object) -> None:
    """No code does it."""


@dataclass(frozen=True, kw_only=True)
class Habit:
    """How one framework says what verbs cannot do, in code or in words.

    Args:
        frozen: the attribute of a frozen parameter, in brackets; empty if there is none.
        cuts: what stops a gradient on its way.
        no_gradient: how a part is run without gradients on purpose.
        to_freeze: words for freezing.
        unfreeze: code or words for the whole model.
        copies: what makes equal layers.
        unfilled: what makes memory that was never filled.
        embeds: the scale that the framework's embeddings have unasked.
        binary: the loss of two classes over one logit.
        slower: multiplies the learning rate by a factor.
        freeze: code that freezes parameters of these names; None where only words do.
        head: code that puts another function (``linear``, ``sigmoid``, ``log_softmax``) in the
            place of a head's activation, likewise.
    """

    frozen: str = ""
    cuts: str = "a stopped gradient"
    no_gradient: str = "without gradients"
    to_freeze: str = "freeze them"
    unfreeze: str = "let all parameters be trained, if it is not meant"
    copies: str = "copying one"
    unfilled: str = "an empty array"
    embeds: str = "0.02 is usual"
    binary: str = "a binary cross-entropy of logits"
    slower: Callable[[float], str] = lambda factor: f"multiply the learning rate by {factor:.1g}"
    freeze: Callable[[Network, Sequence[str]], str | None] = _only_words
    head: Callable[[Network, Operation, str], str | None] = _only_words

    def freezing(self, network: Network, names: Sequence[str]) -> str:
        """What to do about parameters that are not trained, or should not be."""
        code = self.freeze(network, names) if len(names) <= NAMED else None
        return code or f"remove them, {self.to_freeze}, or join them to the loss"

    def ending(self, network: Network, source: Operation | None, instead: str = "linear") -> str:
        """What to do about a head's activation, made by ``source``."""
        code = None if source is None else self.head(network, source, instead)
        function = "activation" if source is None else source.function
        if instead == "linear":
            return code or f"remove the {function} from the head"
        return code or f"replace the {function} of the head by a {instead}"


# PyTorch


def _freeze_in_torch(_network: Network, names: Sequence[str]) -> str:
    return f"for name in {list(names)!r}: model.get_parameter(name).requires_grad_(False)"


_TORCH_MODULES = {"linear": "Identity", "sigmoid": "Sigmoid", "log_softmax": "LogSoftmax"}


def _head_in_torch(_network: Network, source: Operation, instead: str) -> str | None:
    """An activation that is a module is replaced by code; a function can only be told of."""
    if source.name.split("#")[0].endswith(source.function):
        return None
    arguments = "dim=-1" if instead == "log_softmax" else ""
    module = f"torch.nn.{_TORCH_MODULES[instead]}({arguments})"
    return f"model.set_submodule({source.name!r}, {module})"


_TORCH = Habit(
    frozen=" (requires_grad=False)",
    cuts="detach(), no_grad(), .data",
    no_gradient="under no_grad()",
    to_freeze="freeze them (requires_grad_(False))",
    unfreeze="model.requires_grad_(True)  # if it is not meant",
    copies="copying one (deepcopy, nn.TransformerEncoder)",
    unfilled="torch.empty, to_empty",
    embeds="torch draws 1, transformers 0.02",
    binary="binary_cross_entropy_with_logits",
    slower=lambda f: f"for group in optimizer.param_groups: group['lr'] *= {f:.1g}",
    freeze=_freeze_in_torch,
    head=_head_in_torch,
)


# Keras


def _is_named_in_keras(network: Network, path: str) -> bool:
    """Whether ``model.get_layer(path)`` is a layer of the model: it has a name of its own.

    Numbers of automatic names count anew in each model here, and through the whole process in
    Keras: ``dense`` may be its ``dense_5``. Layers inside others have no way by name.
    """
    owned = [p for p in network.parameters if p.name.rpartition(".")[0] == path]
    if not path or "." in path or not owned:
        return False
    return re.sub(r"_\d+$", "", path).replace("_", "") != owned[0].module.lower()


def _freeze_in_keras(network: Network, names: Sequence[str]) -> str | None:
    paths = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    held = {p.name for p in network.parameters if p.name.rpartition(".")[0] in paths}
    if held - set(names) or not all(_is_named_in_keras(network, path) for path in paths):
        return None
    return f"for name in {paths!r}: model.get_layer(name).trainable = False"


def _head_in_keras(network: Network, source: Operation, instead: str) -> str | None:
    """``Dense(activation=…)`` takes another one; a layer of its own must go."""
    path, _, function = source.name.rpartition(".")
    if function != source.function or not _is_named_in_keras(network, path):
        return None
    return f"model.get_layer({path!r}).activation = keras.activations.{instead}"


_KERAS = Habit(
    frozen=" (trainable=False)",
    cuts="keras.ops.stop_gradient, NumPy",
    no_gradient="behind stop_gradient",
    to_freeze="freeze them (trainable = False on their layers)",
    unfreeze="model.trainable = True  # if it is not meant",
    copies="copying one (get_weights and set_weights, clone_model)",
    unfilled="keras.ops.empty, numpy.empty",
    embeds="Keras draws within ±0.05",
    binary="binary_crossentropy",
    slower=lambda f: f"optimizer.learning_rate = float(optimizer.learning_rate) * {f:.1g}",
    freeze=_freeze_in_keras,
    head=_head_in_keras,
)


# JAX: nothing in a model says what is trained, and functions cannot be changed from outside.

_JAX = Habit(
    cuts="jax.lax.stop_gradient, NumPy",
    no_gradient="behind stop_gradient",
    to_freeze="keep them out of the optimizer (optax.multi_transform with optax.set_to_zero())",
    copies="copying one (nnx.clone, jax.tree.map), one key for several",
    unfilled="jnp.empty, numpy.empty",
    embeds="Flax draws 1/√width",
    binary="optax.sigmoid_binary_cross_entropy",
    slower=lambda f: f"optimizer = optax.chain(optimizer, optax.scale({f:.1g}))",
)

HABITS: Mapping[str, Habit] = {"torch": _TORCH, "keras": _KERAS, "jax": _JAX}
"""By `Network.framework`: a new framework is one entry."""


def habit_of(network: Network) -> Habit:
    """The habit of a model's framework; plain words for one that has no entry."""
    return HABITS.get(network.framework, Habit())


def bias_of(network: Network, operation: str) -> str | None:
    """The bias that an operation adds, by name."""
    named: Iterable[Operation] = (op for op in network.operations if op.name == operation)
    names = (name for op in named for name in op.parameters)
    return next((name for name in names if network.parameter(name).kind == "bias"), None)
