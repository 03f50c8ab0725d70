"""Starts and rates over width and depth: the papers' multipliers, trained beside the plan's."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.laws.moments import moments

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from transfer_networks import MLP, PreNorm, Transformer, digits, sentences

BASE, WIDE = 16, 48
M = WIDE / BASE
IMAGES, WORDS = digits(32), sentences(4)
LR = {"adam": 3e-3, "sgd": 0.1}
OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def trained(kind, model, groups, data, forward=None, steps=6):
    """The losses of a training in float64, Adam without a scale of its own."""
    options = {"eps": 1e-30} if kind == "adam" else {"momentum": 0.9}
    optimizer = OPTIMIZERS[kind](groups, lr=LR[kind], **options)
    x, y = data
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy((forward or model)(x), y)
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    return torch.tensor(losses)


def both(kind, model, base, data, paper, forward, starts):
    """Losses by the plan's rates and starts, by the paper's multipliers, and at one rate.

    ``paper`` gives each parameter's rate in the paper's form, whose forward pass is ``forward``;
    ``starts`` what a parameter of that form has to be multiplied with to be the plan's.
    """
    plan = fl.plan(model, data[0], base=base)
    state = {name: p.detach().clone() for name, p in model.named_parameters()}

    def reset(scaled):
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(state[name] * (starts(name) if scaled else 1.0))

    groups = [{"params": [p], "lr": LR[kind] * paper(n)} for n, p in model.named_parameters()]
    theirs = trained(kind, model, groups, data, forward)
    reset(scaled=True)
    ours = trained(kind, model, plan.param_groups(kind, model, lr=LR[kind]), data)
    reset(scaled=True)
    return ours, theirs, trained(kind, model, model.parameters(), data)


def assert_equal_trainings(ours, theirs, at_one_rate):
    # Rates are rounded to nine digits, and a few steps enlarge that by little.
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)
    assert (at_one_rate - theirs).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_plain_readout_trains_as_one_with_the_multiplier_of_the_paper(kind):
    """Yang et al. 2022, table 8: the readout's input by m, its rate as that of a vector."""
    torch.manual_seed(0)
    model = MLP(WIDE).double()
    data = IMAGES[0].double(), IMAGES[1]

    def forward(x):
        h = torch.tanh(model.fc_2(torch.tanh(model.fc_1(x))))
        return model.fc_3(h / M)

    def paper(name):
        vector = 1.0 if kind == "adam" else M
        return {"fc_1": vector, "fc_2": 1 / M if kind == "adam" else 1.0, "fc_3": vector}[name[:4]]

    found = both(
        kind,
        model,
        MLP(BASE).double(),
        data,
        paper,
        forward,
        lambda name: 1 / M if name.startswith("fc_3") else 1.0,
    )
    assert_equal_trainings(*found)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_longer_stream_trains_as_one_with_the_branches_of_the_paper(kind):
    """Yang et al. 2023, table 1: branches × 1/√r, and Adam's rate within them × 1/√r."""
    torch.manual_seed(0)
    model, r = PreNorm(WIDE, 6).double(), 3.0
    data = IMAGES[0].double(), IMAGES[1]

    def forward(x):
        x = model.stem(x)
        for norm, up, down in zip(model.norms, model.ups, model.downs, strict=True):
            x = x + down(functional.relu(up(norm(x)))) / math.sqrt(r)
        return model.head(model.last(x))

    def paper(name):
        inside = name.startswith(("norms", "ups", "downs"))
        return 1 / math.sqrt(r) if inside and kind == "adam" else 1.0

    found = both(
        kind,
        model,
        PreNorm(WIDE, 2).double(),
        data,
        paper,
        forward,
        lambda name: 1 / math.sqrt(r) if name.startswith("downs") else 1.0,
    )
    assert_equal_trainings(*found)


class SelfAttention(nn.Module):
    """One attention with a weight for each of q, k, v; ``factor`` multiplies its scores."""

    def __init__(self, width):
        super().__init__()
        self.embedding = nn.Embedding(64, width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 64)
        self.factor = 1.0

    def forward(self, tokens):
        x = self.embedding(tokens)
        q, k, v = (
            part(x).unflatten(-1, (2, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        y = functional.scaled_dot_product_attention(q * self.factor, k, v)
        return self.head(self.norm(x + y.transpose(1, 2).flatten(2))).flatten(0, 1)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_the_query_carries_what_larger_heads_need(kind):
    """q·k/d for q·k/√d (Yang et al. 2022, definition 4.1), put into the query's weights."""
    torch.manual_seed(0)
    model = SelfAttention(WIDE).double()
    plan = fl.plan(model, WORDS[0], base=SelfAttention(BASE).double())
    rates = {rate.name: rate for rate in plan.rates}

    def forward(tokens):
        model.factor = 1 / math.sqrt(M)
        logits = model(tokens)
        model.factor = 1.0
        return logits

    def paper(name):
        other = rates[name.replace("q.", "k.")]  # as the key's, which stands as it is
        return other.adam if kind == "adam" else other.sgd

    found = both(
        kind,
        model,
        SelfAttention(BASE).double(),
        WORDS,
        paper,
        forward,
        lambda name: 1 / math.sqrt(M) if name.startswith("q.") else 1.0,
    )
    assert torch.allclose(found[0], found[1], rtol=0, atol=1e-6)
    assert not torch.equal(found[0], found[2])


def test_scores_that_follow_already_are_left_and_packed_ones_are_told():
    """mup's form has q·k/d in the model; q·k/√d with one packed weight can only be told."""
    follows = fl.plan(Transformer(WIDE), WORDS[0], base=Transformer(BASE))
    assert not any("scores" in remark for remark in follows.remarks)
    rates = {rate.name: rate.adam for rate in follows.rates}
    assert rates["blocks.0.attention.qkv.weight"] == pytest.approx(1 / M)
    wide, narrow = (Transformer(n, power=0.5) for n in (WIDE, BASE))
    told = fl.plan(wide, WORDS[0], base=narrow)
    assert sum(f"multiply the scores with {1 / math.sqrt(M):.3g}" in r for r in told.remarks) == 2
    assert {rate.name: rate.adam for rate in told.rates} == rates


class Mixed(nn.Module):
    """What has inputs and outputs of every kind, by width n."""

    def __init__(self, n):
        super().__init__()
        self.stem = nn.Conv1d(2, n, 3, padding=1)
        self.norm = nn.BatchNorm1d(n)
        self.dense = nn.Conv1d(n, 2 * n, 3, padding=1, bias=False)
        self.depthwise = nn.Conv1d(2 * n, 2 * n, 3, padding=1, groups=2 * n)
        self.grouped = nn.Conv1d(2 * n, 2 * n, 1, groups=2)
        self.spread = nn.ConvTranspose1d(2 * n, n, 2, stride=2)
        self.rnn = nn.LSTM(n, n, batch_first=True)
        self.token = nn.Parameter(torch.randn(1, 1, n))
        self.scale = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(n, 3)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)))
        x = functional.relu(self.grouped(self.depthwise(self.dense(x))))
        x = self.spread(x).transpose(1, 2) + self.token
        return self.head(self.rnn(x)[0].mean(1)) * self.scale


MIXED = {  # Adam's factor and SGD's at four times the width
    "stem.weight": (1, 4),
    "stem.bias": (1, 4),
    "norm.weight": (1, 4),
    "dense.weight": (1 / 4, 1),
    "depthwise.weight": (1, 4),
    "depthwise.bias": (1, 4),
    "grouped.weight": (1 / 4, 1),
    "spread.weight": (1 / 4, 1),
    "rnn.weight_ih_l0": (1 / 4, 1),
    "rnn.weight_hh_l0": (1 / 4, 1),
    "rnn.bias_ih_l0": (1, 4),
    "token": (1, 4),
    "scale": (1, 1),
    "head.weight": (1 / 4, 1 / 4),
    "head.bias": (1, 1),
}


def test_every_kind_of_parameter_has_its_rate():
    x = torch.randn(8, 2, 6)
    plan = fl.plan(Mixed(32), x, base=Mixed(8))
    found = {rate.name: (rate.adam, rate.sgd) for rate in plan.rates}
    for name, wanted in MIXED.items():
        assert found[name] == pytest.approx(wanted), name


@pytest.mark.parametrize("technique", [None, "glorot_uniform", "random_normal", "orthogonal"])
def test_starts_follow_the_base_whatever_the_technique(technique):
    """Glorot's start of the first layer falls with its outputs, a fixed scale does not at all."""
    x = IMAGES[0]
    wide, base = (fl.plan(MLP(n), x, technique=technique) for n in (WIDE, BASE))
    made = fl.plan(MLP(WIDE), x, technique=technique, base=base)
    for name, power in (("fc_1.weight", 0), ("fc_2.weight", 0.5), ("fc_3.weight", 1)):
        std, was = (moments(p[name].law, p[name].layout).std for p in (made, base))
        assert std == pytest.approx(was / M**power, rel=2e-3), name
    assert moments(wide["fc_3.weight"].law, wide["fc_3.weight"].layout).std > (
        1.5 * moments(made["fc_3.weight"].law, made["fc_3.weight"].layout).std
    )
    assert "follow the base model" in made["fc_3.weight"].reason


def test_the_forecast_knows_the_new_start():
    made = fl.plan(MLP(WIDE), IMAGES[0], base=MLP(BASE))
    plain = fl.plan(MLP(WIDE), IMAGES[0])
    squares = [next(f for f in p.forecast if f.name == "fc_3").second_moment for p in (made, plain)]
    assert squares[0] == pytest.approx(squares[1] / M, rel=0.01)


def test_one_embedding_for_both_ends_needs_a_multiplier():
    tied = Transformer(WIDE, tied=True)
    plan = fl.plan(tied, WORDS[0], base=Transformer(BASE, tied=True))
    (multiplier,) = plan.multipliers
    assert multiplier.operation == "decoder"
    assert multiplier.factor == pytest.approx(1 / M)
    before = tied(WORDS[0])
    plan.scale_inputs(tied)
    plan.scale_inputs(tied)  # a second call changes nothing more
    assert torch.allclose(tied(WORDS[0]), before / M, atol=1e-6)


def test_a_tie_that_no_hook_reaches_is_told():
    class Tied(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.embedding = nn.Embedding(9, n)

        def forward(self, tokens):
            return functional.linear(self.embedding(tokens), self.embedding.weight)

    tokens = torch.randint(9, (4, 3))
    plan = fl.plan(Tied(8), tokens, base=Tied(4))
    with pytest.raises(BadInputError, match=r"multiply it with 0.5 in forward"):
        plan.scale_inputs(Tied(8))


def test_without_a_base_all_rates_are_one():
    model = MLP(WIDE)
    plan = fl.plan(model, IMAGES[0])
    (group,) = plan.param_groups("adamw", model, lr=0.01, weight_decay=0.1)
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.01, 0.1, 3)


def test_decay_in_a_step_is_the_same_at_every_width_and_frozen_ones_stay_out():
    model = MLP(WIDE)
    model.fc_1.weight.requires_grad_(False)
    plan = fl.plan(model, IMAGES[0], base=MLP(BASE))
    groups = plan.param_groups(torch.optim.AdamW, model, lr=0.01, weight_decay=0.1)
    torch.optim.AdamW(groups)
    assert all(g["lr"] * g["weight_decay"] == pytest.approx(0.001) for g in groups)
    assert sum(len(g["params"]) for g in groups) == 2


def test_blocks_of_another_depth_are_found_and_layers_that_are_something_else_are_not():
    plan = fl.plan(PreNorm(32, 6), IMAGES[0], base=PreNorm(16, 3))
    rates = {rate.name: rate for rate in plan.rates}
    assert rates["ups.5.weight"].depth == 2
    assert rates["downs.5.weight"].adam == pytest.approx(1 / 2 / 2)
    assert rates["ups.5.weight"].adam == pytest.approx(1 / 2 / math.sqrt(2))
    assert rates["head.weight"].adam == pytest.approx(1 / 2)

    def chain(depth):
        hidden = [nn.Linear(64, 64) for _ in range(depth)]
        return nn.Sequential(*hidden, nn.Linear(64, 10))

    with pytest.raises(BadInputError, match="one of them ends the network"):
        fl.plan(chain(3), IMAGES[0], base=chain(2))


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 10)), "has no parameter 'fc_1.weight'"),
        (3, "int is not a model"),
    ],
)
def test_another_model_is_no_base(base, words):
    with pytest.raises(BadInputError, match=words):
        fl.plan(MLP(WIDE), IMAGES[0], base=base)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"optimizer": "lbfgs"}, "'lbfgs'"),
        ({"lr": 0.0}, "lr: expected a number above 0"),
        ({"lr": math.nan}, "lr: expected"),
        ({"weight_decay": -1.0}, "weight_decay: expected"),
        ({"model": nn.Linear(2, 2)}, "make the plan from this model"),
    ],
)
def test_wrong_use_is_one_line(asked, words):
    model = MLP(BASE)
    plan = fl.plan(model, IMAGES[0])
    given = {"optimizer": "adam", "model": model, "lr": 0.1} | asked
    with pytest.raises(BadInputError, match=words):
        plan.param_groups(given.pop("optimizer"), given.pop("model"), **given)


def test_a_plan_with_rates_round_trips(tmp_path):
    plan = fl.plan(Transformer(32, tied=True), WORDS[0], base=Transformer(16, tied=True))
    plan.save(tmp_path / "plan.json")
    assert fl.load(tmp_path / "plan.json") == plan
