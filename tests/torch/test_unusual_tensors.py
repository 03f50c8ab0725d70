"""Unusual tensors and losses: right, or one clear line."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import firstlight as fl


class Language(nn.Module):
    def __init__(self, vocabulary: int = 50, sparse: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(vocabulary, 16, sparse=sparse)
        self.head = nn.Linear(16, vocabulary)

    def forward(self, x):
        return self.head(self.embedding(x))


@pytest.mark.parametrize("length", [4, 50])
def test_classes_may_come_last_as_in_language_models(length):
    """Also where the sequence is as long as the vocabulary, and axis 1 would fit by accident."""
    tokens = torch.randint(50, (8, length), generator=torch.Generator().manual_seed(0))
    model = Language()
    checkup = fl.check(model, tokens, target=tokens)
    expected = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
    assert checkup.observation.loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert checkup.observation.classes == 50


def test_sparse_gradients_are_measured():
    tokens = torch.randint(50, (64, 4), generator=torch.Generator().manual_seed(0))
    sparse = fl.check(Language(sparse=True), tokens, target=tokens)
    dense = fl.check(Language(), tokens, target=tokens)
    assert sparse.healthy
    a, b = (c.observation.parameters[0].gradient_rms for c in (sparse, dense))
    assert a == pytest.approx(b, rel=1e-5)


def test_a_sparse_buffer_is_left_alone():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    matrix = torch.eye(3).to_sparse()
    model.register_buffer("graph", matrix)
    fl.check(model, torch.randn(64, 4))
    assert model.graph is matrix


CASES = {
    "sparse batch": (lambda: fl.check(nn.Linear(3, 2), torch.eye(3).to_sparse()), "is sparse"),
    "label out of range": (
        lambda: fl.check(nn.Linear(3, 2), torch.randn(4, 3), target=torch.tensor([0, 1, 2, 5])),
        "loss: raised IndexError on output (4, 2) and target (4,)",
    ),
    "shape that is no shape": (
        lambda: fl.draw("he_normal", 5, name="w", seed=0),
        "shape must be positive integers (out, in, …), got 5",
    ),
    "name that is no text": (
        lambda: fl.draw("he_normal", (2, 2), name=3, seed=0),
        "name must be text, got 3",
    ),
    "half a character": (
        lambda: fl.draw("he_normal", (2, 2), name="\ud800", seed=0),
        "name must be text",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_clear_line(case):
    act, words = CASES[case]
    with pytest.raises(fl.BadInputError) as caught:
        act()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # torch's own
def test_a_layer_without_inputs_can_be_audited():
    model = nn.Sequential(nn.Linear(0, 3), nn.Linear(3, 2))
    assert fl.audit(model)["1.weight"].agrees


def test_a_race_with_dropout_repeats():
    x, y = torch.randn(64, 8), torch.arange(64) % 2

    def build():
        return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))

    first, second = (
        fl.race(build, (x, y, x, y), techniques=("plan",), seeds=2, steps=5, learning_rates=(0.1,))
        for _ in range(2)
    )
    assert [run.losses for run in first["plan"].runs] == [run.losses for run in second["plan"].runs]


def test_a_start_that_diverged_ranks_last():
    from firstlight.racing.comparing import compare
    from firstlight.racing.statistics import summarize
    from firstlight.racing.verdict import verdict
    from firstlight.records.race import Run

    def runs(score, diverged):
        return [
            Run(seed=s, learning_rate=0.1, losses=(1.0,), score=score + 0.01 * s, diverged=diverged)
            for s in range(3)
        ]

    gone = summarize("default", 0.1, [], runs(float("nan"), True))
    good = summarize("plan", 0.1, [], runs(0.1, False))
    pairs = compare([gone, good], math.inf)
    sentence = verdict([gone, good], pairs, higher_is_better=False, score_name="held-out loss")
    assert sentence == (
        "plan reaches 0.11 held-out loss over 3 seeds, default diverged in all of its 3 runs."
    )
