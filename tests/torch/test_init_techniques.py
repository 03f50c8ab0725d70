"""Every technique of the registry as an in-place function: the numbers of `fl.draw`, exactly."""

from __future__ import annotations

import inspect
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import firstlight as fl
import firstlight.torch as init
from firstlight.errors import BadInputError
from firstlight.initializers import techniques
from firstlight.laws.draw import draw
from firstlight.records.law import Normal
from firstlight.records.network import Layout, plain_layout

NAMES = [entry.name for entry in techniques()]
OURS = {"sparse": {"sparsity": 0.9, "per_unit": True}, "constant": {"val": 0.0}}
SHAPES = {
    "sparse": (6, 20),
    "torch_conv": (6, 4, 3, 3),
    "dirac": (6, 4, 3, 3),
    "delta_orthogonal": (6, 4, 3, 3),
    "torch_bilinear": (6, 4, 3),
    "torch_bias": (6,),
    "forget_bias": (8,),
    "chrono": (8,),
    "flax_embed": (10, 4),
    "mimetic": (8, 8),
}
OPTIONS = {
    "torch_bias": {"fan_in": 30.0},
    "mimetic": {"part": "query", "heads": 2, "pair": "attn"},
}
LAYOUTS = {
    "flax_embed": Layout(shape=(10, 4), view=(10, 4), roles=("index", "out")),
    "forget_bias": Layout(shape=(8,), view=(4, 2), roles=("gate", "out")),
    "chrono": Layout(shape=(8,), view=(4, 2), roles=("gate", "out")),
}


def _function(name):
    return getattr(init, f"{name}_")


def _drawn(name, shape, *, seed=3, at="fc.weight"):
    layout = LAYOUTS.get(name, plain_layout(shape))
    law = fl.technique(name, **OPTIONS.get(name, {})).law_for(layout, init_fans(layout))
    return draw(law, layout, name=at, seed=seed)


def init_fans(layout):
    from firstlight.theory.fans import fans

    return fans(layout)


def _filled(name, tensor, /, **where):
    given = {"layout": LAYOUTS[name]} if name in LAYOUTS else {}
    return _function(name)(tensor, **OURS.get(name, {}), **OPTIONS.get(name, {}), **given, **where)


def test_every_technique_is_there():
    assert {f"{name}_" for name in NAMES} <= set(init.__all__)
    assert set(init.__all__) <= set(dir(init))


@pytest.mark.parametrize("name", NAMES)
def test_name_and_seed_give_the_addressed_numbers(name):
    shape = SHAPES.get(name, (6, 4))
    w = _filled(name, torch.full(shape, torch.nan), name="fc.weight", seed=3)
    assert np.array_equal(w.numpy(), _drawn(name, shape))


@pytest.mark.parametrize("name", NAMES)
def test_without_a_seed_the_default_generator_decides(name):
    shape = SHAPES.get(name, (6, 4))
    torch.manual_seed(5)
    start = torch.get_rng_state()
    first, moved = _filled(name, torch.empty(shape)), not torch.equal(torch.get_rng_state(), start)
    second = _filled(name, torch.empty(shape))
    torch.manual_seed(5)
    assert torch.equal(first, _filled(name, torch.empty(shape)))
    # Fixed patterns leave the generator where it was.
    assert moved != torch.equal(first, second)


def test_a_name_alone_tells_tensors_apart_under_one_generator():
    def fill(name):
        return init.he_normal_(torch.empty(4, 4), torch.Generator().manual_seed(0), name=name)

    assert torch.equal(fill("a"), fill("a"))
    assert not torch.equal(fill("a"), fill("b"))


def test_plan_and_drop_in_give_one_network():
    model = nn.MultiheadAttention(8, 2)
    batch = (torch.randn(3, 4, 8),) * 3
    plan = fl.plan(model, batch, overrides={"in_proj_weight": "glorot_uniform"})
    plan.apply(model, seed=4)
    own = init.xavier_uniform_(torch.empty(24, 8), name="in_proj_weight", seed=4, packed="qkv")
    assert torch.equal(model.in_proj_weight, own)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(8, 12, 3, groups=4),
        nn.Conv2d(8, 8, 3, groups=8, stride=2),
        nn.ConvTranspose2d(8, 12, 4, stride=2),
        nn.ConvTranspose1d(8, 12, 4, stride=2, groups=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("technique", ["he_normal", "glorot_uniform", "orthogonal"])
def test_keywords_describe_what_an_adapter_reads(convolution, technique):
    """groups, transposed and stride lead to the axes and fans that a plan takes from the module."""
    plan = fl.plan(nn.Sequential(convolution), overrides={"0.weight": technique})
    plan.apply(model := nn.Sequential(convolution), seed=1)
    own = _function(technique)(
        torch.empty(convolution.weight.shape),
        name="0.weight",
        seed=1,
        groups=convolution.groups,
        transposed=convolution.transposed,
        stride=convolution.stride,
    )
    assert torch.equal(model[0].weight, own)


def test_a_layout_says_the_same():
    layout = Layout(shape=(4, 6), view=(4, 6), roles=("in", "out"))
    w = init.he_normal_(torch.empty(4, 6), layout=layout, name="w", seed=0)
    t = init.he_normal_(torch.empty(6, 4), name="w", seed=0)
    assert torch.equal(w.T, t)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_types_round_the_canonical_value_once(dtype):
    w = init.he_normal_(torch.empty(64, 48, dtype=dtype), name="w", seed=0)
    exact = torch.from_numpy(fl.draw("he_normal", (64, 48), name="w", seed=0))
    assert torch.equal(w, exact.to(dtype))


@pytest.mark.parametrize("name", ["he_normal_", "orthogonal_", "dirac_", "eye_", "sparse_"])
def test_views_are_filled_where_they_lie(name):
    shape = (4, 3, 3) if name == "dirac_" else (4, 3)
    options = {"sparsity": 0.4} if name == "sparse_" else {}
    where = {} if name in ("dirac_", "eye_") else {"name": "w", "seed": 0}
    whole = torch.full((8, 5, 5)[: len(shape)], 7.0)
    view = whole[1:8:2].transpose(0, 1)[:3].transpose(0, 1)[..., : shape[-1]]
    assert view.shape == shape
    assert not view.is_contiguous()
    plain = getattr(init, name)(torch.empty(shape), **options, **where)
    assert torch.equal(getattr(init, name)(view, **options, **where), plain)
    assert (whole == 7).sum() == whole.numel() - view.numel()


def test_complex_normals_share_their_variance():
    w = init.he_normal_(torch.empty(300, 400, dtype=torch.complex64), name="w", seed=0)
    variance = 2 / 400
    tolerance = 5 * math.sqrt(2 / w.numel())
    assert abs(float(w.real.var()) / (variance / 2) - 1) < tolerance
    assert abs(float(w.imag.var()) / (variance / 2) - 1) < tolerance
    assert abs(float((w.real * w.imag).mean())) < 5 * variance / 2 / math.sqrt(w.numel())


def test_a_complex_uniform_fills_both_parts():
    w = init.uniform_(torch.nn.Parameter(torch.zeros(300, 400, dtype=torch.cfloat)), 1, 2)
    for part in (w.detach().real, w.detach().imag):
        assert part.min() >= 1
        assert part.max() <= 2
        assert abs(float(part.mean()) - 1.5) < 5 / math.sqrt(12 * w.numel())
    assert not torch.equal(w.detach().real, w.detach().imag)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: init.he_normal_(torch.empty(3)), "divides by a fan"),
        (lambda: init.he_normal_(torch.empty(3, 3), seed=0), "without name="),
        (
            lambda: init.he_normal_(torch.empty(3, 3), torch.Generator(), seed=0, name="w"),
            "seed or generator, not both",
        ),
        (lambda: init.he_normal_(torch.empty(3, 3), seed=-1, name="w"), r"0 to 2\*\*64"),
        (lambda: init.he_normal_(torch.empty(3, 3), slop=0.1), "did you mean 'slope'"),
        (lambda: init.he_normal_(torch.empty(3, 3), mode="in"), "mode must be one of"),
        (lambda: init.he_normal_(torch.empty(3, 3), groups=2), "groups=2 does not divide"),
        (lambda: init.he_normal_(torch.empty(4, 3), packed="qkv"), "packed=3 does not divide"),
        (lambda: init.he_normal_(torch.empty(4, 3), packed="kv"), "one of qkv, lstm, gru"),
        (lambda: init.he_normal_(torch.empty(3, 3), transposed=True), "transposed is for kernels"),
        (lambda: init.he_normal_(torch.empty(3, 3), stride=2), None),
        (lambda: init.he_normal_(torch.empty(6, 3, 3), groups=2, packed=2), "not both"),
        (
            lambda: init.he_normal_(torch.empty(3, 3), layout=plain_layout((3, 4))),
            "layout is of shape",
        ),
        (lambda: init.he_normal_(torch.eye(3).to_sparse()), "needs a dense tensor"),
        (lambda: init.he_normal_(torch.empty(3, 3, dtype=torch.int8)), "floating-point or complex"),
        (lambda: init.orthogonal_(torch.empty(3, 3, dtype=torch.cfloat)), "complex tensors take"),
        (lambda: init.trunc_normal_(torch.empty(3, dtype=torch.cfloat), 1), "complex tensors take"),
        (lambda: init.delta_orthogonal_(torch.empty(3, 3)), "needs a convolution kernel"),
        (lambda: init.sparse_(torch.empty(3, 3), 1.5), "from 0 to 1"),
    ],
)
def test_bad_input_is_one_clear_line(call, words):
    if words is None:
        assert call().isfinite().all()
        return
    with pytest.raises(BadInputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_nothing_to_fill_warns_and_passes():
    with pytest.warns(UserWarning, match="no-op") as caught:
        assert init.he_normal_(torch.empty(0, 3)).shape == (0, 3)
    assert caught[0].filename == __file__


def test_integers_take_what_is_not_random():
    assert init.identity_(torch.empty(2, 2, dtype=torch.int64)).tolist() == [[1, 0], [0, 1]]
    assert init.zeros_(torch.ones(2, dtype=torch.bool)).tolist() == [False, False]


def test_fake_tensors_are_let_be():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        w = torch.empty(4, 4)
        assert init.he_normal_(w) is w
        assert init.orthogonal_(nn.Parameter(w)).shape == (4, 4)


def test_function_modes_see_the_call_and_default_devices_do_not_hurt():
    seen = []

    class Listening(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    w = torch.empty(2, 2)
    with Listening():
        init.he_normal_(w)
    assert seen[0] is init.he_normal_
    with torch.device("cpu"):
        assert init.kaiming_normal_(tensor=w) is w


def test_lazy_parameters_are_refused_as_torch_refuses_them():
    with pytest.raises(ValueError, match="uninitialized parameter"):
        init.he_normal_(nn.LazyLinear(3).weight)


@pytest.mark.parametrize("name", ["he_normal_", "activation_gain_", "kaiming_normal_"])
def test_functions_pickle_and_explain_themselves(name):
    function = getattr(init, name)
    assert pickle.loads(pickle.dumps(function)) is function
    assert function.__doc__
    assert {"tensor", "generator"} <= set(inspect.signature(function).parameters)


def test_signatures_hold_the_techniques_options():
    parameters = inspect.signature(init.he_normal_).parameters
    assert parameters["slope"].default == 0.0
    assert parameters["groups"].default == 1


def test_a_longer_tensor_keeps_its_old_rows():
    short = init.random_normal_(torch.empty(4, 6), name="emb", seed=0)
    long = init.random_normal_(torch.empty(9, 6), name="emb", seed=0)
    assert torch.equal(long[:4], short)
    law = Normal(std=0.05)
    assert np.array_equal(short.numpy(), draw(law, (4, 6), name="emb", seed=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_writes_are_counted_so_that_autograd_notices(dtype):
    w = torch.ones(3, 3, dtype=dtype)
    x = torch.ones(3, 3, dtype=dtype, requires_grad=True)
    loss = (x * w).sum()
    init.he_normal_(w)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_expanded_tensors_are_refused_as_torch_refuses_them():
    with pytest.raises(RuntimeError, match="single memory location"):
        init.he_normal_(torch.empty(3, 1).expand(3, 4))


def test_negative_views_are_written_like_any_other():
    z = torch.zeros(3, 3, dtype=torch.cfloat)
    w = init.he_normal_(z.conj().imag, name="w", seed=0)
    assert torch.equal(w, torch.from_numpy(fl.draw("he_normal", (3, 3), name="w", seed=0)))
    assert torch.equal(z.imag, -w)
