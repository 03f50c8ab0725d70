"""Bad input, in every framework: one clear line that says where, what came, and what to do next."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from architectures import CLASSES, FEATURES, SAMPLES
from framework_table import FRAMEWORKS, Framework

import firstlight as fl
from firstlight.errors import FirstlightError

# Flax and Keras warn of each other's and of their own future.
pytestmark = pytest.mark.filterwarnings("ignore")

EVERY = tuple(FRAMEWORKS.values())


def _refused(call: Callable[[], Any], *words: str) -> None:
    with pytest.raises(FirstlightError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 600  # Keras's own are long
    assert not [word for word in words if word not in message], message


def _net(framework: Framework) -> tuple[Any, Any, Any]:
    batch, options = framework.data("mlp")
    return framework.build("mlp"), batch, options["target"]


def _array(framework: Framework, shape: tuple[int, ...], value: float = 0.0) -> Any:
    return framework.fed(np.full(shape, value, np.float32))


def _with_nan(framework: Framework) -> Any:
    values = np.zeros((SAMPLES, FEATURES), np.float32)
    values[3, 4] = np.nan
    return framework.fed(values)


# In every framework -------------------------------------------------------------------------------

ALIKE: dict[str, tuple[Callable[[Framework], Any], tuple[str, ...]]] = {
    "wrong features": (
        lambda f: fl.check(_net(f)[0], _array(f, (8, 5))),
        ("raised", "(8, 5) float32"),
    ),
    "empty batch": (
        lambda f: fl.check(_net(f)[0], _array(f, (0, FEATURES))),
        ("batch", "empty", "at least one sample"),
    ),
    "NaN in the batch": (
        lambda f: fl.check(_net(f)[0], _with_nan(f)),
        ("batch: 1 of 2048 values are NaN or infinite",),
    ),
    "no array": (lambda f: fl.check(_net(f)[0], ()), ("batch", "tuple")),
    "a string": (lambda f: fl.check(_net(f)[0], "x"), ("batch", "str")),
    "unknown keyword": (
        lambda f: fl.check(_net(f)[0], {"pixels": _net(f)[1]}),
        ("pixels",),
    ),
    "target only": (
        lambda f: fl.check(_net(f)[0], target=_net(f)[2]),
        ("batch: missing, but a target was given",),
    ),
    "loss without target": (
        lambda f: fl.check(_net(f)[0], _net(f)[1], loss="mse"),
        ("target: missing; a loss needs one",),
    ),
    "unknown loss": (
        lambda f: fl.check(*_net(f)[:2], loss="cross_entropie", target=_net(f)[2]),
        ("loss: unknown name 'cross_entropie'; did you mean 'cross_entropy'",),
    ),
    "a number for a loss": (
        lambda f: fl.check(*_net(f)[:2], loss=3, target=_net(f)[2]),
        ("loss: expected a name, a callable (output, target) or None, got int",),
    ),
    "no loss fits": (
        lambda f: fl.check(*_net(f)[:2], target=_array(f, (SAMPLES, 4, 3))),
        ("target: shape (64, 4, 3)", "with output (64, 10)"),
    ),
    "short target": (
        lambda f: fl.check(*_net(f)[:2], loss="cross_entropy", target=_net(f)[2][:5]),
        ("5",),
    ),
    "a number for a step": (
        lambda f: fl.check(*_net(f)[:2], step=3),
        ("step: expected a callable (model, batch) → loss, got int",),
    ),
    "a step without a loss": (
        lambda f: fl.check(*_net(f)[:2], step=lambda model, batch: None),
        ("step: must return a scalar", "got NoneType"),
    ),
    "unknown technique": (
        lambda f: fl.plan(*_net(f)[:2], technique="he_norml"),
        ("technique: none is called 'he_norml'; did you mean 'he_normal'",),
    ),
    "a pattern without a match": (
        lambda f: fl.initialize(*_net(f)[:2], keep=["encoder.*"]),
        ("keep: pattern 'encoder.*' matches none of the 6 parameters",),
    ),
    "a negative seed": (
        lambda f: fl.initialize(*_net(f)[:2], seed=-1),
        ("seed: expected an integer from 0 to 2**64 - 1, got -1",),
    ),
    "a plan for another model": (
        lambda f: fl.apply(f.build("autoencoder"), fl.plan(*_net(f)[:2])),
        ("fc1.", "make the plan from this model"),
    ),
}


@pytest.mark.parametrize("case", ALIKE)
@pytest.mark.parametrize("framework", EVERY, ids=lambda f: f.name)
def test_one_clear_line(framework: Framework, case: str) -> None:
    if framework.missing:
        pytest.skip(framework.missing)
    if case == "a plan for another model" and "autoencoder" not in framework.networks:
        pytest.skip("it has no other")
    if case == "unknown keyword" and framework.name == "functions":
        pytest.skip("its keywords are its own")
    call, words = ALIKE[case]
    _refused(lambda: call(framework), *words)


@pytest.mark.parametrize("framework", EVERY, ids=lambda f: f.name)
def test_a_target_that_no_head_can_reach(framework: Framework) -> None:
    """A class beyond the last: an error in words, never an index out of range."""
    if framework.missing:
        pytest.skip(framework.missing)
    model, batch, _ = _net(framework)
    target = framework.fed(np.full(SAMPLES, CLASSES, np.int64))
    _refused(lambda: fl.check(model, batch, loss="cross_entropy", target=target), "10")


# What is no model ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (None, ("NoneType",)),
        (np.ones(3), ("numpy.ndarray",)),
        (("a", "b"), ("tuple",)),
        ((), ("tuple",)),
        ({"fc1": np.ones(3)}, ("dict",)),
        (lambda x: x, ("function",)),
    ],
    ids=["nothing", "array", "strings", "empty tuple", "parameters alone", "function alone"],
)
def test_what_is_no_model(thing: Any, words: tuple[str, ...]) -> None:
    for framework in EVERY:  # their rooms are asked only when they are loaded
        for name in () if framework.missing else framework.needs:
            import_module(name)
    _refused(lambda: fl.check(thing, np.ones((4, 3), np.float32)), "model", *words)


# One framework's own ------------------------------------------------------------------------------


def _needs(*names: str) -> None:
    for name in names:
        pytest.importorskip(name)
    room = "keras" if "keras" in names else "jax"
    if find_spec(f"firstlight.frameworks.{room}.adapter") is None:
        pytest.skip("no adapter yet")


def test_keras_unbuilt() -> None:
    _needs("keras")
    keras = import_module("keras")
    batch = np.ones((4, 3), np.float32)
    for model in (
        keras.Sequential([keras.layers.Dense(2)]),
        import_module("networks_keras").ViT(),
    ):
        before = len(model.weights)
        _refused(lambda model=model: fl.check(model, batch), "is not built", "model(batch)")
        _refused(lambda model=model: fl.audit(model), "is not built")
        assert len(model.weights) == before and not model.built


def test_keras_class() -> None:
    _needs("keras")
    keras = import_module("keras")
    _refused(lambda: fl.check(keras.Sequential, np.ones((4, 3))), "Sequential is a class")


def test_keras_mixed_policy() -> None:
    """Computed in 16 bits, kept in 32: the numbers drawn are those of the plain policy."""
    _needs("keras")
    keras = import_module("keras")
    batch = np.random.default_rng(0).standard_normal((64, 12)).astype(np.float32)

    def build(policy: str) -> Any:
        hidden = keras.layers.Dense(16, "relu", name="fc1", dtype=policy)
        head = keras.layers.Dense(3, name="fc2", dtype=policy)
        return keras.Sequential([keras.Input((12,)), hidden, head])

    mixed = fl.initialize(build("mixed_bfloat16"), batch, seed=0, calibrate=False)
    plain = fl.initialize(build("float32"), batch, seed=0, calibrate=False)
    assert mixed.after.healthy
    for ours, theirs in zip(mixed.model.weights, plain.model.weights, strict=True):
        assert ours.dtype == "float32"
        one, other = (np.array(keras.ops.convert_to_numpy(w)) for w in (ours, theirs))
        assert np.allclose(one, other, atol=0.02)  # a measured moment may differ by 16-bit rounding


def test_keras_quantised() -> None:
    """What is stored as integers is kept, by name; the rest is drawn."""
    _needs("keras")
    keras = import_module("keras")
    layers = [keras.layers.Dense(16, "relu", name="fc1"), keras.layers.Dense(3, name="fc2")]
    model = keras.Sequential([keras.Input((12,)), *layers])
    model.get_layer("fc1").quantize("int8")
    batch = np.random.default_rng(0).standard_normal((64, 12)).astype(np.float32)
    before = np.array(keras.ops.convert_to_numpy(model.get_layer("fc1")._kernel))
    try:
        receipt = fl.initialize(model, batch, seed=0)
    except FirstlightError as error:
        assert "\n" not in str(error) and "fc1" in str(error)
        return
    after = np.array(keras.ops.convert_to_numpy(receipt.model.get_layer("fc1")._kernel))
    assert np.array_equal(before, after)
    assert [e.action for e in receipt if e.name.startswith("fc1") and "kernel" in e.name] in (
        [],
        ["keep"],
        ["keep", "keep"],
    )
    assert next(e for e in receipt if e.name == "fc2.kernel").action == "draw"


def test_linen_without_variables() -> None:
    _needs("flax")
    module = import_module("networks_linen").MLP()
    batch = np.ones((4, FEATURES), np.float32)
    _refused(lambda: fl.check(module, batch), "without its variables", "init")
    _refused(lambda: fl.check((module, {}), batch), "parameters")
    _refused(lambda: fl.check((module, {"params": {}}), batch), "parameters")
    _refused(lambda: fl.check((module, None), batch), "variables")
    _refused(lambda: fl.check(type(module), batch), "MLP is a class")


def test_linen_of_another_module() -> None:
    _needs("flax")
    linen = import_module("networks_linen")
    _, variables = linen.BUILDERS["autoencoder"]()
    _refused(lambda: fl.check((linen.MLP(), variables), np.ones((4, FEATURES), np.float32)), "fc1")


def test_random_streams_are_supplied() -> None:
    """Linen asks for a dropout key with every call, NNX for one when the model is made."""
    _needs("flax")
    jax, linen = import_module("jax"), import_module("flax.linen")
    batch = np.random.default_rng(0).standard_normal((64, 12)).astype(np.float32)

    class Dropped(linen.Module):
        @linen.compact
        def __call__(self, x: Any, train: bool = False) -> Any:
            x = linen.relu(linen.Dense(32)(x))
            x = linen.Dropout(0.5, deterministic=not train)(x)
            return linen.Dense(3)(x + self.make_rng("noise").dtype.itemsize * 0)

    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    module = Dropped()
    checkup = fl.check((module, module.init(keys, batch)), batch)
    assert checkup.observation.mode == "train"
    assert [o.rate for o in checkup.network.operations if o.kind == "dropout"] == [0.5]


def test_nnx_class_and_abstract() -> None:
    _needs("flax")
    nnx, networks = import_module("flax.nnx"), import_module("networks_nnx")
    batch = np.ones((4, FEATURES), np.float32)
    _refused(lambda: fl.check(networks.MLP, batch), "MLP is a class")
    abstract = nnx.eval_shape(networks.BUILDERS["mlp"])
    _refused(lambda: fl.check(abstract, batch), "has a shape and no values")


def test_traced_and_integer_parameters() -> None:
    _needs("jax")
    jax = import_module("jax")
    batch = np.ones((4, 3), np.float32)

    def model(parameters: Any, x: Any) -> Any:
        return x @ parameters["w"]

    def looked_at(w: Any) -> Any:
        fl.check((model, {"w": w}), batch)
        return w

    w = np.ones((3, 2), np.float32)
    _refused(lambda: jax.jit(looked_at)(w), "traced", "outside of jit")
    _refused(lambda: fl.check((model, {"w": w.astype(np.int32)}), batch), "no floating parameters")
    _refused(lambda: fl.check((model, {}), batch), "parameters")
