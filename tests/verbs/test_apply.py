"""Apply: every value a pure function of seed, namespace, name and place; nothing else matters."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import models as zoo
import numpy as np
import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.records.codec import from_json, to_json
from firstlight.records.law import Normal, Orthogonal
from firstlight.records.plan import Plan


def bits(model: nn.Module) -> dict[str, bytes]:
    return {
        name: parameter.detach().contiguous().view(torch.uint8).numpy().tobytes()
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


def planned(model: nn.Module, batch: Any = None) -> Plan:
    return fl.plan(model, zoo.vectors(0) if batch is None else batch)


def test_the_same_seed_gives_the_same_bits() -> None:
    plan = planned(zoo.mlp(3))
    models = [zoo.mlp(3) for _ in range(3)]
    for model, seed in zip(models, (7, 7, 8), strict=True):
        plan.apply(model, seed=seed)
    assert bits(models[0]) == bits(models[1]) != bits(models[2])


def test_the_order_of_parameters_does_not_matter() -> None:
    plan = planned(zoo.FunctionalMLP())
    entries = list(plan.entries)
    random.Random(0).shuffle(entries)
    one, other = zoo.FunctionalMLP(), zoo.FunctionalMLP()
    plan.apply(one, seed=3)
    replace(plan, entries=tuple(entries)).apply(other, seed=3)
    assert bits(one) == bits(other)


def test_the_frameworks_random_state_is_not_used() -> None:
    model = zoo.mlp(1)
    plan = planned(model)
    before = torch.get_rng_state()
    plan.apply(model, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_names_and_namespaces_tell_weights_apart() -> None:
    model = zoo.mlp(3)
    plan = planned(model)
    plan.apply(model, seed=0)
    assert not torch.equal(model[2].weight, model[4].weight)
    twin = zoo.mlp(3)
    plan.apply(twin, seed=0, namespace="right")
    assert not torch.equal(model[2].weight, twin[2].weight)
    same = zoo.mlp(3)
    plan.apply(same, seed=0, namespace="right")
    assert bits(same) == bits(twin)


@pytest.mark.parametrize("wrap", [partial(torch.compile, backend="eager"), nn.DataParallel])
def test_wrappers_do_not_change_the_values(wrap: Callable[[nn.Module], nn.Module]) -> None:
    plain, inside = zoo.mlp(2), zoo.mlp(2)
    plan = planned(plain)
    plan.apply(plain, seed=0)
    plan.apply(wrap(inside), seed=0)
    assert bits(plain) == bits(inside)


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 to bfloat16 and back, once, to nearest and ties to even, by hand."""
    words = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    words = words + 0x7FFF + ((words >> 16) & 1)
    return (words & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_other_dtypes_round_the_same_values_once() -> None:
    single = zoo.mlp(2)
    plan = planned(single)
    plan.apply(single, seed=0)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        model = zoo.mlp(2).to(dtype)
        plan.apply(model, seed=0)
        for (name, parameter), wanted in zip(
            model.named_parameters(), single.parameters(), strict=True
        ):
            exact = wanted.detach().numpy()
            if dtype is torch.bfloat16:
                exact = _rounded(exact)
            elif dtype is torch.float16:
                exact = exact.astype(np.float16).astype(np.float32)
            assert parameter.dtype == dtype, name
            assert np.array_equal(parameter.detach().to(torch.float64).numpy(), exact), name


def test_ties_stay_ties_and_the_padding_row_zero() -> None:
    model = zoo.TiedEmbedding()
    planned(model, zoo.tokens(0)).apply(model, seed=0)
    assert model.head.weight is model.embedding.weight
    assert not model.embedding.weight[0].any() and model.embedding.weight[1:].all()


def test_parameters_stay_the_same_objects() -> None:
    """An optimizer that holds them must see the new values."""
    model = zoo.mlp(2)
    before = [(id(p), p.data_ptr(), p.requires_grad) for p in model.parameters()]
    planned(model).apply(model, seed=0)
    assert [(id(p), p.data_ptr(), p.requires_grad) for p in model.parameters()] == before


@pytest.mark.parametrize("name", ["He, 20 ReLU layers", "residual, BatchNorm", "LSTM classifier"])
def test_a_plan_through_json_gives_the_same_bits(name: str) -> None:
    specimens = [zoo.HEALTHY[name](0) for _ in range(2)]
    plan = fl.plan(specimens[0].model, specimens[0].batch)
    again = from_json(to_json(plan))
    assert again == plan
    plan.apply(specimens[0].model, seed=5)
    again.apply(specimens[1].model, seed=5)
    assert bits(specimens[0].model) == bits(specimens[1].model)


def test_no_seed_takes_torchs_own_and_says_so() -> None:
    models = [zoo.mlp(1), zoo.mlp(1)]
    plan = planned(models[0])
    torch.manual_seed(12345)
    receipt = plan.apply(models[0])
    assert receipt.seed == 12345
    plan.apply(models[1], seed=receipt.seed)
    assert bits(models[0]) == bits(models[1])


def test_the_receipt_measures_what_was_written() -> None:
    model = zoo.mlp(1)
    receipt = planned(model).apply(model, seed=0)
    entry = receipt["0.weight"]
    weight = model[0].weight.detach().double()
    achieved = entry.achieved
    found = [achieved.mean, achieved.std, achieved.low, achieved.high]
    wanted = (weight.mean(), weight.std(correction=0), weight.min(), weight.max())
    assert found == pytest.approx([float(value) for value in wanted], rel=1e-12)
    assert isinstance(entry.asked, Normal)
    # 2,048 normal numbers: the standard deviation of their std is 1/√(2n) = 1.6 %.
    assert achieved.std == pytest.approx(entry.asked.std, rel=5 / np.sqrt(2 * weight.numel()))
    assert receipt["0.bias"].achieved.zero_fraction == 1.0
    assert receipt.plan["0.weight"].law == entry.asked


def test_an_edited_plan_is_carried_out() -> None:
    model = zoo.mlp(1)
    plan = planned(model)
    edited = replace(
        plan,
        entries=tuple(
            replace(e, law=Normal(mean=3.0, std=0.01)) if e.name == "2.bias" else e for e in plan
        ),
    )
    edited.apply(model, seed=0)
    # Ten numbers, each within five of its standard deviations.
    assert float((model[2].bias - 3).detach().abs().max()) < 0.05
    assert not model[0].bias.any()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: zoo.mlp(2), r"2\.weight: the plan has shape \(10, 64\), the model \(64, 64\)"),
        (
            lambda: zoo.mlp(1, width=16),
            r"0\.weight: the plan has shape \(64, 32\), the model \(16, 32\)",
        ),
        (zoo.FunctionalMLP, r"0\.weight: the plan has shape \(64, 32\), the model none"),
    ],
)
def test_a_plan_for_another_model_writes_nothing(other: Any, words: str) -> None:
    plan, model = planned(zoo.mlp(1)), other()
    before = bits(model)
    with pytest.raises(BadInputError, match=words) as caught:
        plan.apply(model, seed=0)
    assert bits(model) == before and "\n" not in str(caught.value)


def test_a_zero_sized_parameter_is_no_obstacle() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model.register_parameter("nothing", nn.Parameter(torch.empty(0)))
    receipt = fl.plan(model, torch.randn(8, 4), keep=["nothing"]).apply(model, seed=0)
    assert receipt["nothing"].achieved.std == 0.0
    assert fl.audit(model)["nothing"].laws == ()


def test_initialize_is_plan_calibrate_apply_check() -> None:
    one, other = zoo.FunctionalMLP(), zoo.FunctionalMLP()
    other.load_state_dict(one.state_dict())
    x, y = zoo.vectors(0), zoo.labels(0)
    receipt = fl.initialize(one, x, target=y, seed=2, namespace="n", keep=["head.bias"])
    before = fl.check(other, x, target=y)
    plan = fl.plan(other, x, target=y, keep=["head.bias"])
    fl.calibrate(other, plan, x, seed=2, namespace="n").apply(other, seed=2, namespace="n")
    assert bits(one) == bits(other)
    assert receipt.before == before and receipt.after == fl.check(other, x, target=y)
    assert (receipt.seed, receipt.namespace) == (2, "n")


def test_a_law_that_cannot_be_drawn_writes_nothing() -> None:
    """A plan edited by hand: the fault stands last, and the first weights are untouched."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    plan = fl.plan(model, torch.randn(8, 4))
    broken = replace(plan.entries[-1], law=Orthogonal())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(fl.BadInputError, match=r"2\.bias: orthogonal × 1: needs a matrix"):
        replace(plan, entries=(*plan.entries[:-1], broken)).apply(model, seed=0)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
