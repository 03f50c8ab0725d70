"""Plans: every parameter once, the right rule for each, and a healthy start afterwards."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import models as zoo
import pytest
import torch
from scipy import integrate
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.errors import NoRuleError
from firstlight.frameworks.torch.observing import observe
from firstlight.network.graph import Graph
from firstlight.records.law import (
    Constant,
    DeltaOrthogonal,
    Law,
    Mirrored,
    Normal,
    Orthogonal,
)
from firstlight.records.network import ActivationRef
from firstlight.records.plan import Plan

SAMPLES = 512


def many(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SAMPLES, zoo.FEATURES, generator=generator), torch.randint(
        10, (SAMPLES,), generator=generator
    )


def many_images(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SAMPLES, 3, 8, 8, generator=generator), torch.randint(
        10, (SAMPLES,), generator=generator
    )


def rules(plan: Plan) -> dict[str, str]:
    return {entry.name: entry.rule for entry in plan}


def std_of(law: Law | None) -> float:
    assert isinstance(law, Normal)
    return law.std


PLANNED: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, Tensor]]]] = {
    "shallow ReLU": lambda: (zoo.mlp(3, width=256), many()),
    "shallow tanh": lambda: (zoo.mlp(4, nn.Tanh, width=256), many()),
    "shallow GELU": lambda: (zoo.mlp(4, nn.GELU, width=256), many()),
    "deep ReLU": lambda: (zoo.mlp(40), many()),
    "deep SiLU": lambda: (zoo.mlp(40, nn.SiLU), many()),
    "deep tanh": lambda: (zoo.mlp(40, nn.Tanh), many()),
    "deep sigmoid": lambda: (zoo.mlp(40, nn.Sigmoid), many()),
    "CNN": lambda: (zoo.ConvNet(), many_images()),
    "residual, BatchNorm": lambda: (zoo.ResNet(4), many_images()),
    "residual, no norm": lambda: (zoo.ResNet(4, norm=False), many_images()),
    "residual, zero gamma": lambda: (zoo.ResNet(4, zero_gamma=True), many_images()),
    "residual, 10 blocks": lambda: (zoo.ResNet(10), many_images()),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PLANNED)
def test_the_start_is_healthy_and_undecided(name: str, seed: int) -> None:
    """Logits of std 0.2 cost 0.2²/2 = 1 % of ln 10; 512 labels add ±0.2/√512 = 0.4 %."""
    model, (x, y) = PLANNED[name]()
    receipt = fl.initialize(model, x, target=y, seed=seed)
    assert receipt.after is not None and receipt.after.findings == ()
    loss = receipt.after.observation.loss
    assert loss == pytest.approx(math.log(10), rel=0.05)
    assert receipt.after.observation.logits_std == pytest.approx(0.2, rel=0.5)


@pytest.mark.parametrize("name", zoo.HEALTHY)
def test_every_parameter_stands_once_and_is_drawable(name: str) -> None:
    specimen = zoo.HEALTHY[name](0)
    keep = ["*.a", "*.b"] if "LoRA" in name else []
    plan = fl.plan(specimen.model, specimen.batch, keep=keep, **specimen.options)
    tensors = {id(p) for p in specimen.model.parameters()}
    assert len({entry.name for entry in plan}) == len(plan) == len(tensors)
    for entry in plan:
        assert (entry.law is None) is (entry.action == "keep")
        assert entry.reason and entry.source and entry.rule
        assert "\n" not in entry.reason
    plan.apply(specimen.model, seed=0)


def test_the_first_weight_reads_the_scale_of_the_data() -> None:
    model, (x, y) = zoo.mlp(2, width=256), many()
    for scale in (1.0, 100.0):
        plan = fl.plan(model, x * scale, target=y)
        wanted = 1 / math.sqrt(zoo.FEATURES * float((x * scale).square().mean()))
        assert std_of(plan["0.weight"].law) == pytest.approx(wanted, rel=1e-6)
        plan.apply(model, seed=0)
        first = observe(model, x * scale).readings[0].second_moment
        # 256 · 32 normal weights and 512 · 32 inputs, each square with a variance of two.
        assert first and first.value == pytest.approx(1, abs=5 * math.sqrt(2 / 8192 + 2 / 16384))


FUNCTIONS: list[Callable[[Tensor], Tensor]] = [
    functional.relu,
    lambda z: functional.leaky_relu(z, 0.2),
    torch.tanh,
    functional.silu,
    functional.gelu,
    lambda z: z,
]


def second_moment(function: Callable[[Tensor], Tensor]) -> float:
    """E φ(z)², by SciPy's adaptive quadrature."""

    def integrand(z: float) -> float:
        value = float(function(torch.tensor(z, dtype=torch.float64)))
        return value**2 * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

    return float(integrate.quad(integrand, -12, 12, points=[0.0])[0])


class _Functional(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(zoo.FEATURES, 64), nn.Linear(64, 64)
        self.head = nn.Linear(64, zoo.CLASSES)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.fc2(self.function(self.fc1(x)))))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_gain_is_that_of_what_feeds_the_weight(function: Any) -> None:
    plan = fl.plan(_Functional(function), zoo.vectors(0))
    sigma_w2 = std_of(plan["fc2.weight"].law) ** 2 * 64
    assert sigma_w2 * second_moment(function) == pytest.approx(1, rel=1e-6)


def test_activations_are_found_through_in_place_calls() -> None:
    network = observe(zoo.FunctionalMLP(), zoo.vectors(0)).network
    graph, named = Graph(network), {op.name: op for op in network.operations}
    relu = ActivationRef(name="relu")
    assert graph.feed(named["head"]).activation == relu
    assert graph.feed(named["fc1"]).activation is None
    followed = graph.activation_after(named["fc2"])
    assert followed is not None and followed.name == "relu#2" and followed.in_place
    assert graph.is_head(named["head"]) and not graph.is_head(named["fc2"])


def test_deep_chains_start_mirrored_or_critical() -> None:
    relu = fl.plan(zoo.mlp(20), zoo.vectors(0))
    assert rules(relu)["10.weight"] == "mirrored chain"
    assert relu["10.weight"].law == Mirrored(gain=1.0)
    assert isinstance(relu["0.weight"].law, Mirrored) and not relu["0.weight"].law.inputs
    assert isinstance(relu["40.weight"].law, Mirrored) and not relu["40.weight"].law.outputs
    tanh = fl.plan(zoo.mlp(20, nn.Tanh), zoo.vectors(0))
    assert rules(tanh)["10.weight"] == "critical chain"
    assert isinstance(tanh["10.weight"].law, Orthogonal)


def test_in_place_activations_are_part_of_a_chain() -> None:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True)]
    for _ in range(11):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(inplace=True)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    plan = fl.plan(model, zoo.images(0))
    assert plan["6.weight"].law == Mirrored(gain=1.0)
    assert not any(isinstance(entry.law, DeltaOrthogonal) for entry in plan)


def test_heads_norms_and_biases() -> None:
    plan = fl.plan(zoo.ConvNet(), zoo.images(0))
    assert rules(plan) == {
        "conv1.weight": "variance scaling",
        "bn1.weight": "norm",
        "bn1.bias": "norm",
        "conv2.weight": "variance scaling",
        "bn2.weight": "norm",
        "bn2.bias": "norm",
        "head.weight": "head",
        "head.bias": "bias",
    }
    assert plan["bn1.weight"].law == Constant(value=1)
    assert plan["head.bias"].law == Constant(value=0)
    # 32 units behind a ReLU, a mean over places and a dropout of 0.1: at most ½ / 0.9 arrives, and
    # at least the square of the ReLU's mean, 1/2π.
    low, high = (0.2 / math.sqrt(32 * square / 0.9) for square in (1 / 2, 1 / (2 * math.pi)))
    assert low < std_of(plan["head.weight"].law) < high * 1.02
    assert plan["head.weight"].target == pytest.approx(0.04)


def test_residual_branches_without_a_norm_are_divided() -> None:
    plan = fl.plan(zoo.ResNet(4, norm=False), zoo.images(0))
    first, last = (std_of(plan[f"blocks.2.conv{i}.weight"].law) for i in (1, 2))
    # √4 branches, and a little less for the mean that the ReLU behind each sum leaves.
    assert 2.0 <= first / last < 2.0 * 1.2
    assert rules(plan)["blocks.2.conv2.weight"] == "residual branch"
    normed = fl.plan(zoo.ResNet(4), zoo.images(0))
    assert rules(normed)["blocks.2.conv2.weight"] == "variance scaling"


def test_a_head_behind_a_residual_stream_knows_its_size() -> None:
    stds = [std_of(fl.plan(zoo.ResNet(n), zoo.images(0))["head.weight"].law) for n in (1, 4, 10)]
    assert stds[0] > stds[1] > stds[2]
    zeroed = fl.plan(zoo.ResNet(10, zero_gamma=True), zoo.images(0))
    # Branches that start at zero add nothing: the stream is the stem's, behind a ReLU, and its mean
    # over places keeps between the mean's square, 1/2π, and all of ½.
    low, high = (0.2 / math.sqrt(16 * square) for square in (1 / 2, 1 / (2 * math.pi)))
    assert low < std_of(zeroed["head.weight"].law) < high * 1.02


def test_zero_gammas_stay_zero_where_the_model_has_them() -> None:
    zeroed = fl.plan(zoo.ResNet(2, zero_gamma=True), zoo.images(0))
    assert rules(zeroed)["blocks.1.bn2.weight"] == "zero-γ"
    assert zeroed["blocks.1.bn2.weight"].law == Constant(value=0)
    assert zeroed["blocks.1.bn1.weight"].law == Constant(value=1)
    plain = fl.plan(zoo.ResNet(2), zoo.images(0))
    assert plain["blocks.1.bn2.weight"].law == Constant(value=1)


def test_frozen_and_kept_parameters_stay() -> None:
    model, batch = zoo.frozen_parts(), zoo.vectors(0)
    plan = fl.plan(model, batch, keep=["3.*"])
    assert [name for name, rule in rules(plan).items() if rule == "frozen"] == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
    ]
    assert [name for name, rule in rules(plan).items() if rule == "keep"] == ["3.weight", "3.bias"]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    receipt = plan.apply(model, seed=0)
    for name, parameter in model.named_parameters():
        kept = torch.equal(parameter, before[name])
        constant = isinstance(plan[name].law, Constant)
        assert kept is (plan[name].action == "keep") or constant, name
        assert receipt[name].action == plan[name].action


@pytest.mark.parametrize("pattern", ["head.weight", "embedding.*", ["head.weight"]])
def test_tied_parameters_are_kept_by_any_of_their_names(pattern: Any) -> None:
    specimen = zoo.HEALTHY["tied bag of words"](0)
    plan = fl.plan(specimen.model, specimen.batch, keep=pattern)
    assert rules(plan)["embedding.weight"] == "keep"


def test_embeddings_tied_and_free() -> None:
    tied = fl.plan(zoo.Transformer(tied=True), zoo.tokens(0))
    assert std_of(tied["embedding.weight"].law) == pytest.approx(0.4 / math.sqrt(32))
    assert "head.weight" not in rules(tied)
    free = fl.plan(zoo.Transformer(), zoo.tokens(0))
    assert std_of(free["embedding.weight"].law) == 1.0 and rules(free)["head.weight"] == "head"


def test_recurrent_weights_are_isometries() -> None:
    plan = fl.plan(zoo.LSTMClassifier(), torch.randn(64, 5, 16))
    assert plan["lstm.weight_hh_l0"].law == Orthogonal()
    assert plan.remarks == ()
    cell = nn.Sequential(nn.GRUCell(16, 8), nn.Linear(8, 3))
    remarks = fl.plan(cell, torch.randn(64, 16)).remarks
    assert len(remarks) == 1 and remarks[0].startswith("not looked into: 0;")


class Mixed(nn.Module):
    """Products whose axes nothing tells: a parameter that is multiplied with itself first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.randn(16, 16)) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(
            x @ self.a.reshape(16, 2, 8).sum(1) @ self.b.reshape(8, 2, 16).sum(1)[:, :8]
        )


def test_a_parameter_without_a_rule_is_named() -> None:
    words = r"^a: no rule knows .* and 1 more; .* keep=\['a', 'b'\]$"
    model, x = Mixed(), torch.randn(32, 16)
    with pytest.raises(NoRuleError, match=words):
        fl.plan(model, x)
    plan = fl.plan(model, x, keep=["a", "b"])
    assert {entry.name: entry.action for entry in plan}["a"] == "keep"


def test_a_named_technique_takes_all_weights() -> None:
    plan = fl.plan(zoo.ConvNet(), zoo.images(0), technique="kaiming_normal")
    assert plan.technique == "he_normal"
    assert std_of(plan["conv2.weight"].law) == pytest.approx(math.sqrt(2 / (16 * 9)))
    assert std_of(plan["head.weight"].law) == pytest.approx(math.sqrt(2 / 32))
    assert plan["bn1.weight"].law == Constant(value=1)
    assert plan["head.bias"].law == Constant(value=0)


@pytest.mark.parametrize(
    ("build", "batch", "name", "techniques"),
    [
        (lambda: zoo.mlp(20, nn.Sigmoid), zoo.vectors, "10.weight", ("he_normal", "glorot_normal")),
        (lambda: zoo.mlp(2, nn.GELU), zoo.vectors, "2.weight", ("backward gain",)),
        (zoo.ConvNet, zoo.images, "head.weight", ("zeros",)),
    ],
)
def test_rejected_alternatives_come_with_a_figure(build, batch, name, techniques) -> None:
    entry = fl.plan(build(), batch(0))[name]
    assert tuple(rejected.technique for rejected in entry.rejected) == techniques
    assert all(re.search(r"× [0-9]", rejected.why) for rejected in entry.rejected)
