"""Coordinate checks: right and wrong scalings told apart, with cause, by networks of each kind."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import linregress
from torch import nn

import firstlight as fl
from firstlight.errors import BadInputError, ModelRaisedError, UnhealthyError
from firstlight.measuring.coordinates import slope
from firstlight.records.transfer import TRANSFER_KINDS, Slope
from firstlight.reporting.page import to_page
from firstlight.verdicts.coordinates import trend

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from transfer_networks import MLP, ConvNet, PreNorm, Transformer, digits, sentences

WIDTHS = (32, 64, 128, 256)
IMAGES, WORDS = digits(32), sentences(4)
PICTURES = (IMAGES[0].view(-1, 1, 8, 8), IMAGES[1])


def tied(width):
    return Transformer(width, layers=1, tied=True)


def checked(build, data, **options):
    options = {"widths": WIDTHS, "seeds": 2} | options
    return fl.coordinate_check(build, data[0], target=data[1], **options)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", torch.optim.AdamW])
@pytest.mark.parametrize(
    ("build", "data"),
    [(MLP, IMAGES), (ConvNet, PICTURES), (tied, WORDS)],
    ids=["mlp", "convolutions", "tied"],
)
def test_what_follows_a_base_is_right(build, data, optimizer):
    found = checked(build, data, base=32, optimizer=optimizer, seeds=6 if build is ConvNet else 2)
    assert found.healthy, str(found)
    output = next(op for op in found.operations if op.is_output)
    assert abs(output.change_slope.value) < 0.25
    found.assert_healthy()


@pytest.mark.parametrize(
    ("build", "data", "kinds", "first"),
    [
        (MLP, IMAGES, {"rate-scaling", "start-scaling"}, "fc_2.weight"),
        (ConvNet, PICTURES, {"rate-scaling", "start-scaling"}, "conv.weight"),
        (tied, WORDS, {"rate-scaling", "tied-logits"}, "blocks.0.attention.qkv.weight"),
    ],
    ids=["mlp", "convolutions", "tied"],
)
def test_one_rate_under_adam_is_wrong_and_the_cause_is_named(build, data, kinds, first):
    found = checked(build, data)
    assert not found.healthy
    assert {f.kind for f in found.findings} == kinds <= set(TRANSFER_KINDS)
    assert found.findings[0].where[0] == first
    assert "not divided by the width" in found.findings[0].cause
    assert found.findings[0].consequences[0].kind == "coordinates-grow"
    with pytest.raises(UnhealthyError, match="rate-scaling at"):
        found.assert_healthy()


def test_biases_that_go_back_and_forth_are_not_blamed():
    """At one rate under Adam those of biases are right, whatever the hidden weights do to them."""
    found = checked(Transformer, sentences(8), widths=(64, 128, 256, 512))
    blamed = {name for f in found.findings for name in f.where}
    layers = ("attention.qkv", "attention.out", "linear1", "linear2")
    inside = {f"blocks.{block}.{layer}.weight" for block in (0, 1) for layer in layers}
    assert blamed == inside | {"decoder.weight"}
    assert not any("too slowly" in f.cause for f in found.findings)


def test_what_a_readout_of_zeros_holds_still_at_first_is_judged_by_later_steps():
    class Zeros(MLP):
        def __init__(self, width):
            super().__init__(width)
            nn.init.zeros_(self.fc_3.weight)

    found = checked(Zeros, IMAGES, steps=6)
    hidden = next(p for p in found.parameters if p.name == "fc_2.weight")
    assert hidden.update_slope is not None
    assert "fc_2.weight" in found.findings[0].where


def test_one_rate_under_sgd_blames_the_start_for_what_the_start_does():
    """Hidden weights of equal sides keep SGD's rate; δ is too large because the output is."""
    found = checked(MLP, IMAGES, optimizer="sgd", lr=0.3)
    blamed = {name for f in found.findings if f.kind == "rate-scaling" for name in f.where}
    assert not found.healthy
    assert "fc_2.weight" not in blamed
    assert {"fc_1.weight", "fc_3.weight"} <= blamed
    assert [f.where for f in found.findings if f.kind == "start-scaling"] == [("fc_3.weight",)]


def half_right(rates):
    """The MLP's own groups: each layer's rate by a power of the width."""

    def optimizer(model):
        width = model.fc_2.weight.shape[0]
        layers = (model.fc_1, model.fc_2, model.fc_3)
        return torch.optim.Adam(
            [
                {"params": layer.parameters(), "lr": 1e-3 * (32 / width) ** power}
                for layer, power in zip(layers, rates, strict=True)
            ]
        )

    return optimizer


class SmallReadout(MLP):
    """With a readout that starts as 1/width."""

    def __init__(self, width):
        super().__init__(width)
        with torch.no_grad():
            self.fc_3.weight *= (32 / width) ** 0.5


@pytest.mark.parametrize(
    ("build", "rates", "blamed"),
    [
        (SmallReadout, (0, 1, 1), set()),
        (SmallReadout, (0, 0, 1), {"fc_2.weight"}),
        (SmallReadout, (0, 1, 0), {"fc_3.weight"}),
        (SmallReadout, (1, 1, 1), {"fc_1.weight"}),
        (MLP, (0, 1, 1), {"fc_3.weight"}),
    ],
)
def test_groups_of_ones_own_are_judged_and_the_one_fault_is_found(build, rates, blamed):
    found = checked(build, IMAGES, optimizer=half_right(rates), seeds=3)
    assert {name for f in found.findings for name in f.where} == blamed
    assert found.optimizer == "optimizer"


def test_a_fault_that_no_result_shows_yet_is_a_warning():
    found = checked(SmallReadout, IMAGES, optimizer=half_right((0, 1, 0)), seeds=3)
    assert [f.severity for f in found.findings] == ["warning"]
    assert "no result shows it yet" in found.findings[0].evidence
    wider = checked(
        SmallReadout, IMAGES, optimizer=half_right((0, 1, 0)), widths=(256, 512, 1024, 2048)
    )
    assert not wider.healthy
    assert wider["fc_3"].trend == "grows"


class Divided(nn.Linear):
    """A readout that divides its input by the width over 32, as mup's does."""

    def forward(self, x):
        return super().forward(x / (self.in_features / 32))


class OwnReadout(MLP):
    """The MLP with that readout; its weight starts and moves alike at every width."""

    def __init__(self, width):
        super().__init__(width, readout=Divided)
        with torch.no_grad():
            self.fc_3.weight *= (width / 32) ** 0.5


class NormedReadout(OwnReadout):
    """With a norm before the readout: the factor is no part of an activation then."""

    def forward(self, x):
        x = self.nonlin(self.fc_2(self.nonlin(self.fc_1(x))))
        return self.fc_3(nn.functional.layer_norm(x, x.shape[-1:]))


@pytest.mark.parametrize("build", [OwnReadout, NormedReadout])
@pytest.mark.parametrize(
    ("rates", "blamed"),
    [((0, 1, 0), set()), ((0, 0, 0), {"fc_2.weight"}), ((0, 1, -1), {"fc_3.weight"})],
)
def test_a_factor_of_the_models_own_counts(build, rates, blamed):
    """No warning and no blame for a weight whose input the model divides by the width."""
    found = checked(build, IMAGES, optimizer=half_right(rates), seeds=3)
    last = next(p for p in found.parameters if p.name == "fc_3.weight")
    assert (last.start_needed, last.update_needed) == pytest.approx((0, 0), abs=0.1)
    assert last.start_slope.value == pytest.approx(0, abs=0.1)
    assert {name for f in found.findings for name in f.where} == blamed
    if blamed == {"fc_3.weight"}:
        assert "is not the same at every width (the model multiplies" in found.findings[0].cause


def test_rates_that_fall_too_fast_are_lazy():
    found = checked(SmallReadout, IMAGES, optimizer=half_right((1, 2, 2)))
    kinds = {c.kind for f in found.findings for c in f.consequences}
    assert kinds == {"coordinates-vanish"}
    assert "too slowly" in found.findings[0].cause
    assert found["fc_3"].trend == "vanishes"


def test_over_depths_what_comes_behind_the_stream_is_judged():
    options = {"widths": (4, 8, 16, 32), "seeds": 2}

    def build(depth):
        return PreNorm(32, depth)

    own, followed = (checked(build, IMAGES, base=b, **options) for b in (None, 4))
    assert not own.healthy
    assert own["last"].trend == "grows"
    assert followed.healthy, str(followed)
    assert {op.name for op in followed.operations} == {"stem", "last", "head"}
    assert any("depth" in remark for remark in followed.remarks)


def test_a_change_is_one_of_the_weights_not_of_the_dropped_values():
    def build(n):
        return nn.Sequential(nn.Linear(64, n), nn.Dropout(0.5), nn.Linear(n, 10))

    found = checked(build, IMAGES, lr=0.0, widths=(8, 16))
    assert {op.trend for op in found.operations} == {"unmoved"}


def test_what_is_not_finite_grows():
    found = checked(MLP, IMAGES, optimizer="sgd", lr=1e38, widths=(8, 16), seeds=1)
    assert not found.healthy
    assert "not finite" in str(found)


def test_few_runs_leave_it_undecided():
    found = checked(MLP, IMAGES, widths=(32, 64), seeds=1)
    assert found.healthy
    assert {f.severity for f in found.findings} == {"note", "warning"}
    assert "undecided" in str(found)


def test_random_states_and_a_given_model_stay():
    models = {n: MLP(n) for n in (8, 16)}
    torch.manual_seed(3)
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    checked(MLP, IMAGES, widths=(8, 16), steps=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numbers)
    kept = {n: m.fc_2.weight.detach().clone() for n, m in models.items()}
    with pytest.raises(BadInputError, match="returned the same model twice"):
        checked(models.__getitem__, IMAGES, widths=(8, 16), steps=1)
    assert all(torch.equal(models[n].fc_2.weight, kept[n]) for n in models)


def test_it_is_the_same_twice():
    assert checked(MLP, IMAGES, widths=(8, 16)) == checked(MLP, IMAGES, widths=(8, 16))


def test_a_check_is_shown_and_saved(tmp_path):
    found = checked(MLP, IMAGES)
    found.save(tmp_path / "check.json")
    assert fl.load(tmp_path / "check.json") == found
    page, text = to_page(found), str(found)
    for said in ("does not train alike", "fc_2.weight", "plan.param_groups"):
        assert said in text
        assert said in page
    assert "grows" in text
    assert "Change after the last step" in page
    assert "The lesson" not in page
    assert found._repr_html_()


def test_names_of_a_model_cannot_inject_markup():
    class Named(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.add_module("<script>alert(1)</script>", nn.Linear(64, n))

        def forward(self, x):
            return next(self.children())(x).mean(1, keepdim=True) * torch.ones(10)

    page = to_page(checked(Named, IMAGES, widths=(8, 16), seeds=1, steps=1))
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"widths": (8,)}, "widths: expected two or more"),
        ({"widths": (16, 8)}, "ascending"),
        ({"widths": "wide"}, "widths: expected numbers"),
        ({"steps": 0}, "steps: expected"),
        ({"seeds": 0}, "seeds: expected at least 1"),
        ({"seeds": ()}, "seeds: expected at least one"),
        ({"optimizer": "lbfgs"}, "optimizer: expected adam"),
        ({"optimizer": lambda model: 3}, "which gave int"),
        ({"optimizer": half_right((0, 1, 1)), "base": 8}, "give a name or a class"),
        ({"technique": "he_normal"}, "give base="),
        ({"target": None}, "target: missing"),
    ],
)
def test_bad_input_is_one_line(asked, words):
    given = {"widths": (8, 16), "seeds": 1, "target": IMAGES[1]} | asked
    with pytest.raises(BadInputError, match=words) as raised:
        fl.coordinate_check(MLP, IMAGES[0], **given)
    assert "\n" not in str(raised.value)


def test_a_model_that_raises_is_told():
    with pytest.raises(ModelRaisedError, match="in step 0"):
        checked(lambda n: MLP(n).double(), IMAGES, widths=(8, 16))


def test_exponents_are_those_of_scipy():
    generator = np.random.default_rng(0)
    widths = np.array([32, 64, 128, 256])
    values = widths[:, None] ** 0.4 * np.exp(0.1 * generator.standard_normal((4, 3)))
    found = slope(widths, values)
    wanted = linregress(np.repeat(np.log(widths), 3), np.log(values).reshape(-1))
    assert found.value == pytest.approx(wanted.slope)
    reach = 2.2281388519649385 * wanted.stderr  # Student's t at 97.5 %, ten degrees of freedom
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach))


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(1)
    widths, held = np.array([32, 64, 128, 256]), 0
    for _ in range(400):
        values = np.exp(0.2 * generator.standard_normal((4, 2)))
        found = slope(widths, values)
        held += found.low <= 0 <= found.high
    # 95 % of 400 is 380 ± 4.4; five standard deviations.
    assert abs(held - 380) < 22


@pytest.mark.parametrize(
    ("value", "reach", "said"),
    [
        (0.0, 0.1, "steady"),
        (0.24, 0.1, "steady"),
        (0.5, 0.2, "grows"),
        (0.3, 0.4, "undecided"),
        (0.1, 0.6, "undecided"),
        (-0.5, 0.2, "vanishes"),
        (-0.3, math.inf, "undecided"),
    ],
)
def test_trends(value, reach, said):
    assert trend(Slope(value=value, low=value - reach, high=value + reach), [1.0, 1.0]) == said
