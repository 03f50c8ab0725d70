"""What users saw, in plain torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.records.checkup import Checkup


@dataclass(frozen=True)
class Given:
    """A model, what it is called with, and the keywords of the check."""

    model: nn.Module
    batch: Any
    options: dict[str, Any]

    def check(self) -> Checkup:
        return fl.check(self.model, self.batch, **self.options)

    def output(self) -> Tensor:
        return self.model(self.batch)

    def loss(self) -> Tensor:
        """By the keywords of the check, and cross-entropy without one."""
        if "step" in self.options:
            return self.options["step"](self.model, self.batch)
        if isinstance(self.batch, dict):
            return self.model(**self.batch).loss
        function = self.options.get("loss", functional.cross_entropy)
        return function(self.output(), self.options["target"])

    def gradients(self) -> dict[str, Tensor]:
        names, tensors = zip(*_trainable(self.model).items(), strict=True)
        found = torch.autograd.grad(self.loss(), tensors, allow_unused=True)
        return {
            n: torch.zeros_like(p) if g is None else g
            for n, p, g in zip(names, tensors, found, strict=True)
        }

    def train(self, steps: int, rate: float, momentum: float = 0.0) -> float:
        """The loss after a few steps; the model is another one then."""
        optimizer = torch.optim.SGD(self.model.parameters(), lr=rate, momentum=momentum)
        for _ in range(steps):
            optimizer.zero_grad()
            self.loss().backward()
            optimizer.step()
        return self.loss().item()


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def stays_at_chance(given: Given, classes: int = 10) -> None:
    """The loss is ln C, and the answer does not depend on the input."""
    assert given.loss().item() == pytest.approx(math.log(classes), rel=0.01)
    output = given.output()
    assert output.std(dim=0).max() < 1e-2 * max(1.0, output.std().item())


def is_nan(given: Given) -> None:
    assert not math.isfinite(given.loss().item())


def layers_are_equal(given: Given) -> None:
    first, *others = given.model.encoder.layers
    for other in others:
        for a, b in zip(first.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


def depthwise_fades(given: Given) -> None:
    layer = next(m for m in given.model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * layer.groups)), rel=0.1)
    stays_at_chance(given)


def loss_is_large(given: Given, classes: int) -> None:
    assert given.loss().item() > 5 * math.log(classes)


def nan_after_a_step(given: Given) -> None:
    assert given.loss().item() > 1e6
    assert not math.isfinite(given.train(1, rate=0.02))


def adapters_stay(given: Given) -> None:
    """Their gradient is exactly zero, whatever the other weights become."""
    before = {n: p.clone() for n, p in given.model.named_parameters() if "lora_" in n}
    given.train(5, rate=0.5)
    after = dict(given.model.named_parameters())
    assert before and all(torch.equal(before[n], after[n]) for n in before)


def copy_stays(given: Given) -> None:
    """The trained copy of the block and the zero convolutions behind it."""
    gradients = given.gradients()
    for name, gradient in gradients.items():
        if name.startswith(("copy", "zero.0")) or name == "zero.1.weight":
            assert not gradient.any(), name


def outputs_are_zero(given: Given) -> None:
    assert not given.output().any()
    assert given.loss().item() == pytest.approx(3.04452, abs=1e-4)
    assert given.train(5, rate=1.0) == pytest.approx(3.04452, abs=1e-4)


def diverges_at_a_hundredth(given: Given) -> None:
    assert given.loss().item() > 5 * math.log(10)
    assert not math.isfinite(given.train(5, rate=0.01, momentum=0.9))


def capsules_are_short(given: Given) -> None:
    """No class is present: 0.9² = 0.81 is what the loss asks for each sample, and stays at."""
    assert given.output().max() < 0.01
    assert given.loss().item() == pytest.approx(0.81, rel=0.01)


def only_the_last_layer_learns(given: Given) -> None:
    gradients = {n: g.norm().item() for n, g in given.gradients().items() if n.endswith("lora_b")}
    first, *_, last = gradients.values()
    assert first < 0.05 * last
    assert all(not g.any() for n, g in given.gradients().items() if n.endswith("lora_a"))


def answers_one_half(given: Given) -> None:
    assert torch.equal(given.output(), torch.full((len(given.batch),), 0.5))
    given.train(100, rate=1.0)
    hidden = torch.cat((given.model[0].weight, given.model[0].bias[:, None]), dim=1)
    assert torch.equal(hidden[0], hidden[1])  # the two units are one, for ever
    assert given.loss().item() == pytest.approx(math.log(2), rel=1e-3)


def predicts_few_classes(given: Given) -> None:
    assert given.loss().item() > 1000
    counts = given.output().argmax(dim=1).bincount(minlength=10)
    assert counts.topk(2).values.sum() > 0.8 * counts.sum()


def first_layers_get_nothing(given: Given) -> None:
    stays_at_chance(given)
    gradients = given.gradients()
    assert not gradients["0.weight"].any() and not gradients["2.weight"].any()


def answers_the_same(given: Given) -> None:
    assert given.output().std() < 1e-6


def gradient_fades(given: Given) -> None:
    stays_at_chance(given)
    assert given.gradients()["0.weight"].norm() < 1e-4


def nan_with_more_layers(given: Given) -> None:
    is_nan(given)
    with torch.no_grad():
        fewer = nn.Sequential(*given.model[:20])(given.batch)
    assert torch.isfinite(fewer).all() and fewer.abs().max() > 1e9
