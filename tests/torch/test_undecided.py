"""What models without skill pay: closed forms, and the loss itself at the best constant output."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import models as zoo
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from firstlight.frameworks.torch.observing import observe
from firstlight.frameworks.torch.undecided import undecided
from firstlight.measuring.undecided import Undecided

# Float32 sums of up to a few hundred terms.
CLOSE = 1e-5


def seen(function: Callable[..., Tensor], head: Tensor, target: Tensor, **options: Any) -> Any:
    found = undecided(function, (head, target), options, function(head, target, **options))
    assert found is not None
    return found


def entropy(*shares: float) -> float:
    return -sum(p * math.log(p) for p in shares if p)


# Closed forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_classes_of_unequal_shares(scale: float) -> None:
    target = torch.tensor([0] * 90 + [1] * 9 + [2])
    found = seen(functional.cross_entropy, scale * torch.randn(100, 4), target)
    assert found.uninformed == pytest.approx(math.log(4))
    assert found.prior == pytest.approx(entropy(0.9, 0.09, 0.01))


def test_class_weights_that_balance_leave_nothing_to_know() -> None:
    target = torch.tensor([0] * 90 + [1] * 10)
    weight = torch.tensor([1 / 90, 1 / 10])
    found = seen(functional.cross_entropy, torch.randn(100, 2), target, weight=weight)
    assert found.prior == pytest.approx(found.uninformed) == pytest.approx(math.log(2))


def test_masked_targets_do_not_count() -> None:
    target = torch.tensor([0, 0, 0, 1, -100, -100, -100, -100])
    found = seen(functional.cross_entropy, torch.randn(8, 2), target)
    assert found.prior == pytest.approx(entropy(0.75, 0.25))
    found = seen(functional.cross_entropy, torch.randn(8, 2), target, reduction="none")
    assert found.uninformed == pytest.approx(math.log(2) / 2)


def test_one_class_alone_costs_nothing_to_know() -> None:
    found = seen(functional.cross_entropy, torch.randn(8, 5), torch.full((8,), 3))
    assert (found.uninformed, found.prior) == (pytest.approx(math.log(5)), 0.0)


def test_every_target_masked() -> None:
    target = torch.full((8,), -100)
    found = seen(functional.cross_entropy, torch.randn(8, 5), target, reduction="sum")
    assert (found.uninformed, found.prior) == (0.0, 0.0)


def test_a_binary_share_of_five_per_cent() -> None:
    target = torch.zeros(100)
    target[:5] = 1
    found = seen(functional.binary_cross_entropy_with_logits, torch.randn(100), target)
    assert found.uninformed == pytest.approx(math.log(2))
    assert found.prior == pytest.approx(entropy(0.05, 0.95))
    # A weight of 19 on the positives makes both classes cost the same.
    found = seen(
        functional.binary_cross_entropy_with_logits,
        torch.randn(100),
        target,
        pos_weight=torch.tensor([19.0]),
    )
    assert found.prior == pytest.approx(found.uninformed) == pytest.approx(1.9 * math.log(2))


def test_each_of_several_labels_has_its_own_share() -> None:
    target = torch.zeros(100, 2)
    target[:, 0], target[:50, 1] = 1, 1
    found = seen(functional.binary_cross_entropy, torch.rand(100, 2), target)
    assert found.prior == pytest.approx(math.log(2) / 2)


@pytest.mark.parametrize(
    ("function", "uninformed", "prior"),
    [
        # 98 and 102 in equal parts: mean 100, variance 4.
        (functional.mse_loss, 10_004.0, 4.0),
        (functional.l1_loss, 100.0, 2.0),
        (functional.smooth_l1_loss, 99.5, 1.5),
        (functional.huber_loss, 99.5, 1.5),
    ],
)
def test_targets_far_from_zero(function: Any, uninformed: float, prior: float) -> None:
    target = torch.tensor([98.0, 102.0] * 50).unsqueeze(1)
    found = seen(function, torch.randn(100, 1), target)
    assert (found.uninformed, found.prior) == (pytest.approx(uninformed), pytest.approx(prior))


def test_the_absolute_error_knows_the_median() -> None:
    target = torch.tensor([0.0, 0.0, 0.0, 100.0]).unsqueeze(1)
    found = seen(functional.l1_loss, torch.randn(4, 1), target)
    assert found.prior == pytest.approx(25.0)  # the mean would pay 37.5


@pytest.mark.parametrize(
    ("shape", "view"), [((64, 3), (1, 3)), ((64, 5, 3), (1, 1, 3)), ((64, 3, 4, 4), (1, 3, 1, 1))]
)
def test_each_output_has_its_own_mean(shape: tuple[int, ...], view: tuple[int, ...]) -> None:
    means = torch.tensor([-10.0, 0.0, 10.0]).reshape(view)
    found = seen(functional.mse_loss, torch.randn(shape), means.expand(shape))
    assert found.uninformed == pytest.approx(200 / 3)
    assert found.prior == pytest.approx(0.0)


# Against the loss itself -------------------------------------------------------------------------


@st.composite
def _classified(draw: st.DrawFn) -> tuple[Any, Tensor, Tensor, dict[str, Any]]:
    """A head, a target and options of the cross-entropy, of every layout that it takes."""
    classes, samples = draw(st.integers(2, 6)), draw(st.integers(1, 12))
    space = draw(st.sampled_from([(), (3,), (2, 2)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    head = torch.randn(samples, classes, *space, generator=generator)
    options: dict[str, Any] = {"reduction": draw(st.sampled_from(["mean", "sum", "none"]))}
    if draw(st.booleans()):
        options["weight"] = 0.1 + torch.rand(classes, generator=generator)
    if draw(st.booleans()):
        options["label_smoothing"] = draw(st.floats(0.0, 0.9))
    if draw(st.booleans()):
        target = torch.randn(head.shape, generator=generator).softmax(dim=1)
    else:
        target = torch.randint(classes, (samples, *space), generator=generator)
        options["ignore_index"] = -100
        if samples > 1 and draw(st.booleans()):
            target[0] = -100
    return functional.cross_entropy, head, target, options


@st.composite
def _binary(draw: st.DrawFn) -> tuple[Any, Tensor, Tensor, dict[str, Any]]:
    shape = draw(st.sampled_from([(9,), (9, 1), (9, 3), (9, 2, 4), (9, 2, 3, 3)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    head, target = torch.randn(2, *shape, generator=generator)
    options: dict[str, Any] = {"reduction": draw(st.sampled_from(["mean", "sum", "none"]))}
    if draw(st.booleans()):
        options["weight"] = 0.1 + torch.rand(shape, generator=generator)
    if draw(st.booleans()):
        options["pos_weight"] = torch.tensor(draw(st.floats(0.1, 9.0)))
    return functional.binary_cross_entropy_with_logits, head, target.sigmoid(), options


@st.composite
def _regressed(draw: st.DrawFn) -> tuple[Any, Tensor, Tensor, dict[str, Any]]:
    shape = draw(st.sampled_from([(9,), (9, 1), (9, 3), (9, 2, 4), (9, 2, 3, 3)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    head, target = torch.randn(2, *shape, generator=generator)
    function = draw(st.sampled_from([functional.mse_loss, functional.l1_loss]))
    return function, head, target + 3, {"reduction": draw(st.sampled_from(["mean", "sum", "none"]))}


def _bias_axis(shape: tuple[int, ...]) -> int | None:
    return {1: None, 3: 2}.get(len(shape), 1)


@settings(deadline=None, max_examples=60)
@given(case=st.one_of(_classified(), _binary(), _regressed()))
def test_a_bias_alone_cannot_do_better(case: Any) -> None:
    """The prior is where descent on a constant output ends, and zeros are where it began."""
    function, head, target, options = case
    found = seen(function, head, target, **options)
    exact = float(function(torch.zeros_like(head), target, **options).mean())
    assert found.uninformed == pytest.approx(exact, rel=CLOSE, abs=1e-7)
    assert found.paid == pytest.approx(float(function(head, target, **options).mean()), rel=CLOSE)

    axis = 1 if function is functional.cross_entropy else _bias_axis(head.shape)
    shape = [1] * head.dim()
    if axis is not None:
        shape[axis] = head.shape[axis]
    bias = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    wide = {k: v.double() if isinstance(v, Tensor) else v for k, v in options.items()}
    sought = target.double() if target.is_floating_point() else target
    best = math.inf
    fitter = torch.optim.LBFGS([bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        nonlocal best
        fitter.zero_grad()
        loss = function(bias.expand(head.shape), sought, **wide).mean()
        loss.backward()
        best = min(best, float(loss.detach()))
        return loss

    fitter.step(closure)
    # The descent approaches from above; the absolute error's corners stop it early.
    assert found.prior <= best * (1 + CLOSE) + 1e-7
    if function is not functional.l1_loss:
        assert found.prior == pytest.approx(best, rel=1e-3, abs=1e-4)


OTHERS = (functional.poisson_nll_loss, functional.soft_margin_loss, torch.add)


@pytest.mark.parametrize("function", OTHERS)
def test_other_losses_have_none(function: Any) -> None:
    a, b = torch.rand(2, 8, 3)
    assert undecided(function, (a, b), {}, function(a, b)) is None


def test_old_flags_of_reduction() -> None:
    head, target = torch.randn(8, 3), torch.zeros(8, dtype=torch.long)
    with pytest.warns(UserWarning, match="size_average"):
        total = functional.cross_entropy(head, target, size_average=False)
        found = undecided(functional.cross_entropy, (head, target, None, False), {}, total)
    assert found is not None and found.uninformed == pytest.approx(8 * math.log(3))


# In an observation -------------------------------------------------------------------------------


def test_an_observation_has_both() -> None:
    x, y = zoo.vectors(0), zoo.labels(0)
    both = observe(zoo.mlp(1), x, target=y)
    shares = torch.bincount(y, minlength=10) / len(y)
    assert both.undecided_loss == pytest.approx(math.log(10))
    assert both.prior_loss == pytest.approx(entropy(*shares.tolist()), rel=CLOSE)


@pytest.mark.parametrize("weight", [0.01, 1.0, 50.0])
def test_a_weighted_loss_is_judged_in_its_own_unit(weight: float) -> None:
    x, y = zoo.vectors(0), zoo.labels(0)
    model = zoo.mlp(1)
    plain = observe(model, x, target=y)
    scaled = observe(model, x, loss=lambda o, t: weight * functional.cross_entropy(o, t), target=y)
    assert plain.loss and scaled.loss and plain.undecided_loss and scaled.undecided_loss
    ratio = plain.loss / plain.undecided_loss
    assert scaled.loss / scaled.undecided_loss == pytest.approx(ratio, rel=CLOSE)
    assert scaled.undecided_loss == pytest.approx(weight * math.log(10), rel=CLOSE)


def test_without_a_known_loss_there_is_none() -> None:
    x = zoo.vectors(0)
    for options in ({}, {"loss": lambda o, t: o.square().mean(), "target": x}):
        nothing = observe(zoo.mlp(1), x, **options)
        assert nothing.undecided_loss is None and nothing.prior_loss is None


def test_scaling_survives_losses_of_zero_and_nan() -> None:
    for paid in (0.0, math.nan, math.inf):
        assert Undecided(paid=paid, uninformed=2.0, prior=1.0).of(5.0) == (2.0, 1.0)


def test_half_precision_and_language_models() -> None:
    tokens = torch.randint(50, (8, 12), generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Embedding(50, 16), nn.Linear(16, 50)).bfloat16()
    both = observe(model, tokens, target=tokens)
    # bfloat16 keeps 8 bits of the loss that the others are put in proportion to.
    assert both.undecided_loss == pytest.approx(math.log(50), rel=2**-7)
    assert both.prior_loss is not None and both.undecided_loss is not None
    assert 0 < both.prior_loss < both.undecided_loss
