"""Glances at a training: what they see, that they touch nothing, and when they give alarm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.reporting.page import to_page
from firstlight.verbs.watch import KINDS

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(64) % 2


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2)
    )


def train(model, lr, steps=12, watch=None):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        if watch is not None:
            watch.step()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(X), Y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_watched_training_takes_the_same_course():
    alone, seen = net(), net()
    torch.manual_seed(5)
    losses = train(alone, 0.1)
    torch.manual_seed(5)
    watch = fl.Watch(seen, X, target=Y, every=3, alarm="none")
    assert train(seen, 0.1, watch=watch) == losses
    for one, other in zip(alone.state_dict().values(), seen.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert [glance.step for glance in watch.history] == [0, 3, 6, 9]
    assert watch.history.glances[0].loss != watch.history.glances[-1].loss


def diverged():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)
    )
    watch = fl.Watch(model, X, target=Y, every=2, alarm="none")
    train(model, 60.0, watch=watch)
    return watch.history


def test_a_training_that_diverges_gives_alarm_once_for_each_fault():
    history = diverged()
    assert not history.healthy
    kinds = [finding.kind for _, finding in history.alarms]
    assert kinds[0] == "diverging"
    assert "dead-units" in kinds
    assert len(kinds) == len(set(kinds))
    assert history.alarms[0][0] == 2


def test_it_is_shown_saved_and_read_back(tmp_path):
    history = diverged()
    history.save(tmp_path / "w.json")
    assert fl.load(tmp_path / "w.json") == history
    text, page = str(history), to_page(history)
    for said in ("diverging at step 2", "learning rate"):
        assert said in text
        assert said in page
    assert "<script" not in history._repr_html_()


@pytest.mark.parametrize(("alarm", "error"), [("raise", fl.UnhealthyError)])
def test_alarms_can_stop_a_training(alarm, error):
    model = net()
    watch = fl.Watch(model, X, target=Y, every=1, alarm=alarm)
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.raises(error, match="step 0: non-finite"):
        watch.step()
    assert len(watch.history.glances) == 1


def test_alarms_warn_at_the_loop_and_call_functions():
    model = net()
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.warns(fl.UnhealthyWarning, match="non-finite") as caught:
        fl.Watch(model, X, target=Y).step()
    assert caught[0].filename == __file__
    seen = []
    fl.Watch(model, X, target=Y, alarm=seen.append).step()
    assert seen[0].alarms[0].kind == "non-finite"


def test_no_glance_after_the_last_one():
    watch = fl.Watch(net(), X, target=Y, every=2, until=4, alarm="none")
    assert [watch.step() is not None for _ in range(8)] == [1, 0, 1, 0, 1, 0, 0, 0]


def test_kinds_are_known():
    from firstlight.records.checkup import FINDING_KINDS

    assert set(FINDING_KINDS) > KINDS


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"every": 0}, "every: expected an integer of at least 1, got 0"),
        ({"every": None}, "every: expected"),
        ({"until": 0}, "until: expected"),
        ({"alarm": "bell"}, "alarm: expected 'warn'"),
    ],
)
def test_bad_input_is_one_line(asked, words):
    with pytest.raises(fl.BadInputError, match=words):
        fl.Watch(net(), X, target=Y, **asked)
