"""Plain chains whose widths change: gradients arrive, dense and convolutional; limits are said."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import firstlight as fl
from firstlight.laws.draw import draw
from firstlight.planning.chain_widths import widths_of
from firstlight.planning.chains import GROWTH, depth_limit, longest, plan_chain
from firstlight.records.law import Linked, Mirrored
from firstlight.records.network import ActivationRef, plain_layout
from firstlight.theory.activations import Activation
from firstlight.theory.gains import moments

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import chain_shapes as shapes


@pytest.fixture(scope="module")
def digits():
    return shapes.digits()


@pytest.mark.parametrize("shape", [name for name in shapes.DENSE if "constant" not in name])
@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_gradients_cross_dense_chains_of_any_width(name, shape, digits):
    model = shapes.build("dense", shape, name, 20)
    plan = fl.plan(model, digits[0][:32])
    plan.apply(model, seed=0)
    low, high = shapes.bounds(shape, 20)
    assert low <= shapes.delta_ratio(model, digits[0][:32]) <= high
    assert isinstance(plan["4.weight"].law, Linked)


@pytest.mark.parametrize("shape", shapes.CONVOLUTIONAL)
@pytest.mark.parametrize("name", ["gelu", "tanh"])
def test_gradients_cross_convolutional_chains_of_any_width(name, shape):
    model = shapes.build("convolutional", shape, name, 20)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fl.plan(model, x).apply(model, seed=0)
    low, high = shapes.bounds(shape, 20)
    assert low <= shapes.delta_ratio(model, x) <= high


def test_independent_isometries_lose_the_gradient_where_widths_alternate(digits):
    """Counter-test: without shared bases every second layer projects half of δ away."""
    model = shapes.build("dense", "alternating 128/256", "relu", 20)
    for index, module in enumerate(model):
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.zeros_(module.bias)
            law = Mirrored(inputs=index > 0)
            values = draw(law, tuple(module.weight.shape), name=f"{index}.weight", seed=0)
            module.weight.data.copy_(torch.from_numpy(values))
    assert shapes.delta_ratio(model, digits[0][:32]) < 0.1


WIDTHS = {
    "funnel": ([64, 32, 32, 16, 8], False),
    "growing": ([8, 8, 32, 64, 64], False),
    "bottleneck": ([64, 64, 8, 64, 64], False),
    "mirrored alternating": ([64, 128, 64, 128, 64], True),
}


@pytest.mark.parametrize("case", WIDTHS)
def test_gains_keep_delta_exactly_and_lengths_are_those_of_a_linear_chain(case):
    """Drawn without an activation: the squared norm of a random δ and the mean square per unit."""
    sizes, mirrored = WIDTHS[case]
    layouts = [plain_layout(s) for s in zip([*sizes, 10], [24, *sizes], strict=True)]
    widths = widths_of(layouts, mirrored=mirrored)
    names = [f"w{i}" for i in range(len(layouts))]
    plan = plan_chain(ActivationRef(name="relu" if mirrored else "linear"), names, layouts)
    weights = [
        torch.from_numpy(draw(law, layout.shape, name=name, seed=0)).double()
        for law, layout, name in zip(
            [plan.first_law(1.0), *map(plan.inner_law, range(1, len(sizes)))],
            layouts[:-1],
            names[:-1],
            strict=True,
        )
    ]
    act = torch.relu if mirrored else (lambda x: x)
    h = torch.randn(4000, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hidden = []
    for weight in weights:
        h = (act(hidden[-1]) if hidden else h) @ weight.T
        hidden.append(h.requires_grad_() if not hidden else h)
    squares = [float(z.detach().square().mean()) for z in hidden]
    # 4,000 samples of 8 directions: a relative error of √(2/32000) = 0.8 %; 5 % is six of them.
    assert squares == pytest.approx([x / max(widths.lengths) for x in widths.lengths], rel=0.05)
    cotangent = torch.randn(hidden[-1].shape, dtype=torch.float64)
    (delta,) = torch.autograd.grad((hidden[-1] * cotangent).sum(), hidden[0])
    assert float(delta.square().sum() / cotangent.square().sum()) == pytest.approx(1, rel=0.05)


def test_a_chain_that_starts_anew_behind_pooling_counts_what_arrives():
    """The second chain reads rectified, pooled values and begins at their scale."""
    layers = []
    for _ in range(9):
        layers += [torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU()]
    model = torch.nn.Sequential(
        *layers, torch.nn.MaxPool2d(2), *[m for _ in range(9) for m in (
            torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU())],
        torch.nn.Flatten(), torch.nn.Linear(8 * 16, 10),
    )  # fmt: skip
    x = torch.randn(8, 8, 8, 8)
    plan = fl.plan(model, x)
    plan.apply(model, seed=0)
    first, last = plan["0.weight"].law, plan["16.weight"].law
    again = plan["19.weight"].law
    assert isinstance(first, Mirrored) and not first.inputs
    assert isinstance(last, Mirrored) and not last.outputs
    assert isinstance(again, Mirrored) and not again.inputs and again.outputs
    h = model[:18](x)
    assert 0.25 < float(model[18:20](h).detach().square().mean()) < 4


@pytest.mark.parametrize("name", ["tanh", "elu"])
def test_blank_places_of_an_image_do_not_explode(name):
    """Where the signal is zero δ grows by (g·ψ′(0))² a layer: at most by 9 over the chain."""
    model = shapes.build("convolutional", "constant 16", name, 50)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:, :, :4] = 0
    fl.plan(model, x).apply(model, seed=0)
    h = first = model[0](x)
    for module in list(model)[1:99]:
        h = module(h)
    cotangent = torch.zeros_like(h)
    cotangent[:, :, :4] = torch.randn(cotangent[:, :, :4].shape)
    (delta,) = torch.autograd.grad((h * cotangent).sum(), first)
    ratio = float(delta.square().sum() / cotangent.square().sum())
    # 2,048 normal numbers: ± 3 %. At the length of dense chains it is 1e6 (tanh) and 1e11 (ELU).
    assert 0.5 <= ratio <= 9 * 1.2


def test_what_no_start_can_do_is_said_in_a_sentence():
    model = shapes.build("dense", "bottleneck 256-32-256", "relu", 20)
    (remark,) = fl.plan(model, torch.randn(32, 64)).remarks
    assert "20.weight" in remark and "at most 16 of 64 directions" in remark
    assert not fl.plan(shapes.build("dense", "odd 127", "relu", 20), torch.randn(32, 64)).remarks
    for name in ("elu", "selu", "softsign"):
        assert "kink at 0" in depth_limit(ActivationRef(name=name), 1001, 0.1)
        assert depth_limit(ActivationRef(name=name), 1000, 0.1) is None
    assert depth_limit(ActivationRef(name="tanh"), 10_000, 0.1) is None


def test_an_odd_part_that_bends_up_is_run_where_deviations_do_not_grow():
    """sinh: the forward gain alone would let a deviation grow by e^(depth·2q) and more."""
    sinh = Activation("sinh", np.sinh, np.cosh, (), None)
    limit = math.log(GROWTH)
    length = longest(sinh, 100)
    near = moments(sinh, 1.01 * length).second_moment / moments(sinh, length).second_moment
    assert 100 * (math.log(near) / math.log(1.01) - 1) == pytest.approx(limit, rel=0.02)


@pytest.mark.parametrize("shape", ["odd 127", "alternating 128/256"])
def test_our_own_linked_starts_raise_no_finding(shape, digits):
    model = shapes.build("dense", shape, "relu", 10)
    receipt = fl.initialize(model, digits[0][:128], target=digits[1][:128], seed=0)
    assert not receipt.after.findings


def test_a_linked_tanh_of_twins_is_still_an_error(digits):
    """The exemption is for pairs that differ behind the activation; under tanh they never do."""
    relu = shapes.build("dense", "alternating 128/256", "relu", 10)
    plan = fl.plan(relu, digits[0][:128])
    tanh = shapes.build("dense", "alternating 128/256", "tanh", 10)
    plan.apply(tanh, seed=0)
    found = fl.check(tanh, digits[0][:128], target=digits[1][:128]).findings
    assert any(f.kind == "symmetric-units" and f.severity == "error" for f in found)


@pytest.mark.parametrize("width", [1, 3])
def test_a_chain_too_narrow_for_pairs_is_left_to_variance_scaling(width):
    """One pair has one rotation, ±1: every layer would be the same."""
    model = shapes.dense("relu", [8, 8, 8, 8, width, 8, 8, 8, 8])
    plan = fl.plan(model, torch.randn(16, 64))
    assert plan["4.weight"].rule == "variance scaling"
