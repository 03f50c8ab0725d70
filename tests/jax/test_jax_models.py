"""Models of every form as one view: names, values, writing back, training mode, refusals."""

import jax
import jax.numpy as jnp
import jax_models as nets
import numpy as np
import pytest
from flax import linen, nnx
from jax_models import BATCH, FORMS

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.frameworks.jax.adapter import JaxAdapter
from firstlight.frameworks.jax.models import hold, is_model, view_of

KEY = jax.random.key(5)


@pytest.fixture(params=FORMS)
def model(request):
    return FORMS[request.param](0)


def output(view, arrays, x=BATCH, key=KEY):
    with view.bound(arrays, key) as bound:
        return view.run(bound, (x,), {})


def test_arrays_and_records_are_the_same_in_the_same_order(model):
    view = view_of(model)
    assert is_model(model)
    assert [p.name for p in view.parameters] == list(view.arrays)
    for parameter in view.parameters:
        assert parameter.layout.shape == view.arrays[parameter.name].shape
    first = next(p for p in view.parameters if p.kind == "weight")
    assert first.fans is not None
    assert first.fans.forward == nets.INPUTS
    assert (first.address or first.name) == "fc1.weight"


def test_looking_touches_nothing_also_where_the_model_raises(model, untouched):
    with untouched(model):
        view = view_of(model)
        jax.jit(lambda arrays: output(view, arrays))(dict(view.arrays))
        list(JaxAdapter().values(model))
        with pytest.raises(Exception):  # noqa: B017 - whichever the library raises
            output(view, view.arrays, BATCH[:, :2])


def test_it_runs_in_training_mode_with_a_key_of_its_own(model):
    view = view_of(model)
    one, same, other = (output(view, view.arrays, key=jax.random.key(k)) for k in (0, 0, 1))
    assert one.shape == (len(BATCH), nets.CLASSES)
    assert np.array_equal(one, same)
    drops = not isinstance(model, tuple) or len(model) == 3 or model[0] is not nets.plain
    if drops and not isinstance(model[0] if isinstance(model, tuple) else 0, nets.StatefulNet):
        assert not np.array_equal(one, other)


def test_what_is_written_is_read_and_nothing_else_changes(model):
    adapter = JaxAdapter()
    before = dict(adapter.values(model))
    drawn = {n: np.full(v.shape, 0.25, np.float32) for n, v in before.items() if "fc1" in n}
    written = adapter.write(model, drawn.items())
    assert (written is model) == isinstance(model, nnx.Module)
    assert type(written) is type(model)
    for name, value in adapter.values(written):
        assert np.array_equal(value, drawn.get(name, before[name])), name


def test_state_follows_training_and_not_evaluation(model):
    held = hold(model)
    arrays = dict(held.view.arrays)

    def called(training):
        return held.call(arrays, held.state, KEY, (BATCH,), {}, training=training)

    _, trained = called(True)
    quiet, rested = called(False)
    again, _ = called(False)
    assert jax.tree.structure(trained) == jax.tree.structure(held.state)
    assert np.array_equal(quiet, again)
    changed = [
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(trained), jax.tree.leaves(held.state), strict=True)
    ]
    assert any(changed) == bool(held.buffers)
    same = zip(jax.tree.leaves(rested), jax.tree.leaves(held.state), strict=True)
    assert all(np.array_equal(a, b) for a, b in same)


def test_one_seed_gives_one_network_in_every_form():
    drawn = {}
    for form, build in FORMS.items():
        made = build(3)
        receipt = fl.apply(made, fl.plan(made, technique="he_normal"), seed=7)
        values = dict(JaxAdapter().values(receipt.model))
        for parameter in view_of(receipt.model).parameters:
            address = parameter.address or parameter.name
            layout = parameter.layout
            turned = values[parameter.name].reshape(layout.view).transpose(layout.order)
            if parameter.kind == "weight":
                drawn.setdefault(address, {})[form] = turned
    assert set(drawn) == {"fc1.weight", "head.weight"}
    for found in drawn.values():
        assert len(found) == len(FORMS)
        assert len({value.tobytes() for value in found.values()}) == 1
    expected = fl.draw("he_normal", (nets.HIDDEN, nets.INPUTS), name="fc1.weight", seed=7)
    assert np.array_equal(drawn["fc1.weight"]["linen"], expected)


def test_ties_names_and_frozen_parts_of_nnx():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.table = nnx.Embed(9, 4, rngs=rngs)
            self.also = self.table
            self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs)])
            self.fixed = nnx.Variable(jnp.ones(3))
            self.adapter = nnx.LoRA(4, 2, 4, rngs=rngs)

    found = {p.name: p for p in view_of(Tied(nnx.Rngs(0))).parameters}
    assert list(found) == [
        "also.embedding",
        "layers.0.kernel",
        "layers.0.bias",
        "adapter.lora_a",
        "adapter.lora_b",
    ]
    assert found["also.embedding"].ties == ("table.embedding",)
    assert found["also.embedding"].kind == "embedding"
    assert found["adapter.lora_a"].layout.roles == ("in", "out")


def test_sixteen_bits_and_places_are_kept_and_rounded_once():
    drawn = np.array([1 + 2**-9 + 2**-12, -3.0], np.float32)
    model = (nets.plain, {"w": jnp.zeros(2, jnp.bfloat16)})
    ((_, written),) = [JaxAdapter().write(model, [("w", drawn)])]
    assert written["w"].dtype == jnp.bfloat16
    assert np.array_equal(written["w"], drawn.astype(jnp.bfloat16))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    placed = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    model = (nets.plain, {"w": jax.device_put(jnp.zeros(2), placed)})
    assert JaxAdapter().write(model, [("w", drawn)])[1]["w"].sharding == placed


def test_boxes_of_partitioned_parameters_stay():
    module = linen.Dense(
        4, kernel_init=linen.with_partitioning(linen.initializers.ones, (None, "model"))
    )
    model = (module, module.init(KEY, BATCH))
    written = JaxAdapter().write(model, [("kernel", np.zeros((nets.INPUTS, 4), np.float32))])
    box = written[1]["params"]["kernel"]
    assert isinstance(box, linen.Partitioned)
    assert box.names == (None, "model")
    assert not box.unbox().any()


def test_a_step_gets_the_model_as_its_user_knows_it():
    view = view_of(nets.linen_net(0))
    with view.bound(view.arrays, KEY) as model:
        module, variables = model
        by_hand = module.apply(
            variables, BATCH, train=True, mutable=["batch_stats"], rngs={"params": KEY}
        )[0]
        assert model(BATCH).shape == by_hand.shape
        assert np.array_equal(model(BATCH), view.run(model, (BATCH,), {}))


BAD = {
    "without variables": (nets.LinenNet, "without its variables"),
    "a class": (lambda: (nets.LinenNet, nets.linen_net(0)[1]), "is a class"),
    "abstract": (
        lambda: (nets.plain, {"w": jax.ShapeDtypeStruct((2, 3), jnp.float32)}),
        "abstract",
    ),
    "whole numbers": (lambda: (nets.plain, {"w": jnp.zeros(3, int)}), "no floating parameters"),
    "nothing": (lambda: (nets.plain, {}), "holds no array"),
    "empty module": (lambda: nnx.Dropout(0.5), "no floating parameters"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_model_is_refused_in_one_line(case):
    made, words = BAD[case]
    with pytest.raises(BadInputError, match=words) as caught:
        fl.check(made(), BATCH)
    assert "\n" not in str(caught.value)


def test_missing_parameters_and_no_seed_are_told():
    module, variables = nets.linen_net(0)
    short = {**variables, "params": {"fc1": variables["params"]["fc1"]}}
    with pytest.raises(BadInputError, match="lack parameters of LinenNet"):
        fl.check((module, short), BATCH)
    with pytest.raises(BadInputError, match="seed: JAX keeps no seed"):
        fl.apply((module, variables), fl.plan((module, variables)))


def test_weights_are_saved_with_the_state(tmp_path):
    from safetensors.numpy import load_file

    model = nets.nnx_net(0)
    JaxAdapter().save_weights(model, str(tmp_path / "net.safetensors"))
    found = load_file(tmp_path / "net.safetensors")
    assert np.array_equal(found["fc1.kernel"], model.fc1.kernel[...])
    assert np.array_equal(found["norm.var"], model.norm.var[...])


def test_the_audit_names_flaxs_defaults():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.table = nnx.Embed(200, 32, rngs=rngs)
            self.conv = nnx.Conv(16, 32, (3, 3), rngs=rngs)
            self.attention = nnx.MultiHeadAttention(4, 32, rngs=rngs)

    audit = fl.audit(Net(nnx.Rngs(0)))
    assert all(entry.agrees for entry in audit.entries)
    assert audit["table.embedding"].intended == "Embed's default, N(0, 1/width)"
    assert audit["conv.kernel"].intended == "Conv's default, N(0, 1/fan_in) cut at ±2σ"
    assert audit["attention.query.bias"].intended == "zeros"
