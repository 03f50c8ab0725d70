"""Training many models as one gives what training each alone gives."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from firstlight.frameworks.torch.training import together, train
from firstlight.frameworks.torch.training_alike import signature
from firstlight.frameworks.torch.training_chain import ELEMENTWISE, chain_of
from firstlight.frameworks.torch.training_data import Data
from firstlight.frameworks.torch.training_single import train_single
from firstlight.frameworks.torch.training_stacked import train_stacked
from firstlight.frameworks.torch.training_trial import attempt
from firstlight.frameworks.torch.training_updates import Updates
from firstlight.records.race import Recipe, Run

FEATURES, CLASSES, TOKENS = 8, 3, 11
RATES = (0.1, 0.03, 0.1, 0.01)
SEEDS = (0, 1, 1, 2)

Build = Callable[[], nn.Module]


def quiet(_: int) -> None:
    """Progress that nobody watches."""


def data(kind: str = "vectors", samples: int = 40) -> Data:
    """Three classes, in double precision: rounding is then far below any mistake."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * samples, FEATURES, generator=generator, dtype=torch.float64)
    if kind == "pictures":
        x = torch.randn(2 * samples, 2, 6, 6, generator=generator, dtype=torch.float64)
    if kind == "tokens":
        x = torch.randint(TOKENS, (2 * samples, 5), generator=generator)
    y = torch.randint(CLASSES, (2 * samples,), generator=generator)
    return Data(
        inputs=x[:samples],
        targets=y[:samples],
        held_out_inputs=x[samples:],
        held_out_targets=y[samples:],
    )


def recipe(**changes: Any) -> Recipe:
    return Recipe(**{"loss": None, "steps": 12, "batch_size": 16, "looks": (1, 5), **changes})


def built(build: Build, count: int = len(SEEDS)) -> list[nn.Module]:
    torch.manual_seed(3)
    return [build().double() for _ in range(count)]


def alone(models: list[nn.Module], given: Data, how: Recipe) -> list[Run]:
    jobs = zip(models, RATES, SEEDS, strict=True)
    return [
        train_single(m, given, how, learning_rate=rate, seed=seed, progress=quiet)
        for m, rate, seed in jobs
    ]


def as_one(models: list[nn.Module], given: Data, how: Recipe) -> list[Run]:
    trial = attempt(models[0], given, how)
    assert trial.obstacle is None
    options = {"drops": trial.drops, "frozen": trial.frozen, "progress": quiet}
    return list(train_stacked(models, given, how, learning_rates=RATES, seeds=SEEDS, **options))


def assert_same(found: list[Run], wanted: list[Run]) -> None:
    # 12 steps in double precision round by some 1e-14; two runs of this file differ by 1e-3.
    for one, other in zip(found, wanted, strict=True):
        assert (one.seed, one.learning_rate) == (other.seed, other.learning_rate)
        assert one.losses == pytest.approx(other.losses, rel=1e-9)
        assert one.scores == pytest.approx(other.scores, rel=1e-9)
        assert (one.score, one.optimizer) == (one.scores[-1], other.optimizer)


def mlp(*between: nn.Module, width: int = 6) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, width), *between, nn.Linear(width, CLASSES))


ACTIVATIONS: tuple[Build, ...] = (
    *ELEMENTWISE,
    lambda: nn.ReLU(inplace=True),
    lambda: nn.Dropout(0.3),
    lambda: nn.Dropout(0.3, inplace=True),
    lambda: nn.Dropout(0.0),
)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_chain_trains_as_one(activation: Build) -> None:
    def build() -> nn.Module:
        inner = nn.Sequential(nn.Linear(6, 6, bias=False), activation())
        return nn.Sequential(nn.Flatten(), mlp(activation(), inner))

    models = built(build)
    assert chain_of(models[0]) is not None
    assert_same(as_one(models, data(), recipe()), alone(models, data(), recipe()))


class Positions(nn.Module):
    """Embedding, an encoder block, and the mean over positions."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 4)
        self.block = nn.TransformerEncoderLayer(4, 2, 6, dropout=dropout, batch_first=True)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.out(self.block(self.embedding(x)).mean(dim=1))
        return mean


class Own(nn.Module):
    """Dropout as a module and as a function, layer norm, a skip, a tied and an unused weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, FEATURES)
        self.second = nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.norm = nn.LayerNorm(FEATURES)
        self.drop = nn.Dropout(0.2)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.unused = nn.Parameter(torch.ones(3))
        self.out = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale * self.drop(functional.silu(self.norm(self.first(x))))
        x = functional.dropout(torch.tanh(self.second(x)), 0.4, self.training)
        out: Tensor = self.out(x)
        return out


def pictures() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )


def frozen() -> nn.Module:
    model = mlp(nn.LayerNorm(6), nn.Tanh())
    model[0].weight.requires_grad_(False)  # type: ignore[index, union-attr]
    return model


MODELS: dict[str, tuple[Build, str]] = {
    "pictures": (pictures, "pictures"),
    "layer norm": (lambda: mlp(nn.LayerNorm(6), nn.ReLU()), "vectors"),
    "batch norm": (lambda: mlp(nn.BatchNorm1d(6), nn.ReLU()), "vectors"),
    "attention": (Positions, "tokens"),
    "own": (Own, "vectors"),
    "frozen": (frozen, "vectors"),
    "writes into its input": (lambda: nn.Sequential(nn.ReLU(True), Own()), "vectors"),
    "positions": (
        lambda: nn.Sequential(
            nn.Embedding(TOKENS, 4),
            nn.Linear(4, 4),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(20, CLASSES),
        ),
        "tokens",
    ),
    "channels": (
        lambda: nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, CLASSES)),
        "pictures",
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_any_model_trains_as_one(name: str, optimizer: str) -> None:
    build, kind = MODELS[name]
    models, how = built(build), recipe(optimizer=optimizer)
    assert_same(as_one(models, data(kind), how), alone(models, data(kind), how))
    runs = train(models, data(kind), how, learning_rates=RATES, seeds=SEEDS)
    assert list(runs) == as_one(models, data(kind), how)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sgd", lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.8)),
        ("adam", lambda p, lr: torch.optim.Adam(p, lr=lr)),
        ("adamw", lambda p, lr: torch.optim.AdamW(p, lr=lr)),
        ("rmsprop", lambda p, lr: torch.optim.RMSprop(p, lr=lr)),
    ],
)
def test_updates_are_those_of_torch(name: str, make: Any, clip_norm: float | None) -> None:
    how = recipe(optimizer=name, momentum=0.8, clip_norm=clip_norm)
    rates = torch.tensor([0.1, 0.01, 0.5], dtype=torch.float64)
    rows = torch.randn(3, 5, dtype=torch.float64)
    theirs = [row.clone().requires_grad_() for row in rows]
    optimizers = [make([row], float(rate)) for row, rate in zip(theirs, rates, strict=True)]
    updates = Updates(how, rows, rates)
    for _ in range(6):
        gradient = torch.randn(3, 5, dtype=torch.float64)
        for row, optimizer, own in zip(theirs, optimizers, gradient, strict=True):
            row.grad = own.clone()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_([row], clip_norm)
            optimizer.step()
        updates.step(rows, gradient)
        torch.testing.assert_close(rows, torch.stack(theirs).detach(), rtol=1e-12, atol=1e-13)


def spoilt(model: nn.Module, value: float = math.inf) -> nn.Module:
    """With one bias of the last layer as given."""
    with torch.no_grad():
        [*model.parameters()][-1][0] = value
    return model


def chain() -> nn.Module:
    return mlp(nn.ReLU())


def normed() -> nn.Module:
    return mlp(nn.BatchNorm1d(6), nn.ReLU())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("build", [chain, normed])
def test_a_diverging_model_harms_no_other(build: Build, optimizer: str) -> None:
    how = recipe(optimizer=optimizer)
    healthy = built(build)
    broken = [*healthy[:1], spoilt(built(build)[0]), *healthy[2:]]
    found, wanted = as_one(broken, data(), how), as_one(healthy, data(), how)
    assert found[1].diverged and not any(run.diverged for run in wanted)
    assert len(found[1].losses) == 1 and not math.isfinite(found[1].losses[0])
    assert found[1].scores == alone(broken, data(), how)[1].scores
    # To the bit: beside it the others are computed as beside any other.
    assert [*found[:1], *found[2:]] == [*wanted[:1], *wanted[2:]]


def test_when_most_have_gone_the_rest_go_on() -> None:
    how = recipe(optimizer="adam")
    models = built(Own)
    for place, value in ((0, math.inf), (1, math.nan), (3, -math.inf)):
        spoilt(models[place], value)
    steps: list[int] = []
    runs = train(models, data(), how, learning_rates=RATES, seeds=SEEDS, progress=steps.append)
    assert [run.diverged for run in runs] == [True, True, False, True]
    assert sum(steps) == len(models) * how.steps
    assert_same([runs[2]], [alone(models, data(), how)[2]])


def test_when_all_have_gone_it_ends() -> None:
    models = [spoilt(model) for model in built(chain)]
    steps: list[int] = []
    runs = train(models, data(), recipe(), learning_rates=RATES, seeds=SEEDS, progress=steps.append)
    assert all(run.diverged and len(run.losses) == 1 and len(run.scores) == 3 for run in runs)
    assert sum(steps) == len(models) * recipe().steps


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, 4)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.lstm(x)[0])
        return out


class OneLayer(nn.Module):
    """One linear layer and what each subclass does to it."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(FEATURES, CLASSES)


class Deciding(OneLayer):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(x)
        return -out if out.sum() > 0 else out


class Reading(OneLayer):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(x)
        return out * x.abs().max().item()


class Noisy(OneLayer):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(x + torch.randn_like(x))
        return out


class Choosing(OneLayer):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(x)
        return out + out[x[:, 0] > 0].mean()


class Writing(OneLayer):
    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), CLASSES, dtype=x.dtype)
        out += self.out(x)
        return out


class Remembering(OneLayer):
    """Keeps something of each batch where no buffer is."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(x) + self.last
        self.last = out.detach().mean()
        return out


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (Recurrent, "aten::lstm"),
        (Deciding, "decides by the values"),
        (Reading, "reads single values"),
        (Noisy, "draws random numbers"),
        (Choosing, "depend on values"),
        (Writing, "writes into tensors"),
        (Remembering, "neither parameters nor buffers"),
        (lambda: parametrizations.weight_norm(nn.Linear(FEATURES, CLASSES)), "aten::_weight_norm"),
    ],
)
def test_what_cannot_be_stacked_trains_alone(build: Build, words: str) -> None:
    models = built(build)
    told = together(models[0], data(), recipe())
    assert told.count == 1
    assert told.reason.startswith("trained one after another: ") and words in told.reason
    runs = train(models, data(), recipe(), learning_rates=RATES, seeds=SEEDS)
    assert list(runs) == alone(models, data(), recipe())


def test_how_many_train_together_follows_from_their_size() -> None:
    given = data(samples=256)

    def count(width: int) -> int:
        model = mlp(nn.ReLU(), nn.Linear(width, width), width=width).double()
        return together(model, given, recipe(batch_size=256)).count

    counts = [count(width) for width in (8, 64, 128, 1024)]
    assert counts[0] == 64 and counts[-1] == 1
    assert counts == sorted(counts, reverse=True) and counts[2] > 1
    assert (
        "large enough"
        in together(
            mlp(nn.Linear(1024, 1024), width=1024).double(), given, recipe(batch_size=256)
        ).reason
    )


def test_models_that_are_not_alike_train_apart() -> None:
    models = built(lambda: mlp(nn.LeakyReLU(0.1)), 2) + built(lambda: mlp(nn.LeakyReLU(0.4)), 2)
    runs = train(models, data(), recipe(), learning_rates=RATES, seeds=SEEDS)
    assert_same(list(runs), alone(models, data(), recipe()))


def test_a_class_made_anew_for_each_model_trains_as_one() -> None:
    def build() -> nn.Module:
        class Local(OneLayer):
            def forward(self, x: Tensor) -> Tensor:
                out: Tensor = self.out(x)
                return out

        return Local()

    models = built(build)
    runs = train(models, data(), recipe(), learning_rates=RATES, seeds=SEEDS)
    assert list(runs) == as_one(models, data(), recipe())


def ignoring(given: Data) -> Data:
    targets = given.targets.clone()
    targets[::3] = -100
    return Data(**{**vars(given), "targets": targets})


def valued(given: Data) -> Data:
    shares = functional.one_hot(given.targets, CLASSES).double() * 0.9 + 0.1 / CLASSES
    held_out = functional.one_hot(given.held_out_targets, CLASSES).double()
    return Data(**{**vars(given), "targets": shares, "held_out_targets": held_out})


@pytest.mark.parametrize(
    ("loss", "given"),
    [
        (None, data()),
        ("cross_entropy", ignoring(data())),
        (nn.CrossEntropyLoss(label_smoothing=0.1), data()),
        ("cross_entropy", valued(data())),
        ("mse", valued(data())),
        ("binary_cross_entropy", valued(data())),
        (lambda output, target: (output - target).abs().mean() ** 2, valued(data())),
    ],
)
def test_each_loss_is_the_mean_of_its_own_batch(loss: Any, given: Data) -> None:
    models, how = built(chain), recipe(loss=loss)
    assert_same(as_one(models, given, how), alone(models, given, how))


def test_a_target_of_another_shape_is_broadcast_as_it_is_alone() -> None:
    given = data()
    values = given.inputs.sum(dim=1), given.held_out_inputs.sum(dim=1)
    given = Data(**{**vars(given), "targets": values[0], "held_out_targets": values[1]})
    models = built(lambda: nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, 1)))
    with pytest.warns(UserWarning, match="target size"):
        assert_same(as_one(models, given, recipe()), alone(models, given, recipe()))


def test_a_look_is_the_score_of_a_shorter_run() -> None:
    models = built(normed)
    long = as_one(models, data(), recipe(steps=9, looks=(2, 7)))
    for place, steps in enumerate((2, 7, 9)):
        short = as_one(models, data(), recipe(steps=steps, looks=()))
        assert [run.scores[place] for run in long] == [run.score for run in short]


def test_nothing_else_is_touched() -> None:
    models = built(Own)
    before = [{name: t.clone() for name, t in model.state_dict().items()} for model in models]
    modes = [module.training for model in models for module in model.modules()]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    together(models[0], data(), recipe())
    train(models, data(), recipe(), learning_rates=RATES, seeds=SEEDS)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert [module.training for model in models for module in model.modules()] == modes
    for model, was in zip(models, before, strict=True):
        assert all(p.grad is None for p in model.parameters())
        assert all(torch.equal(tensor, was[name]) for name, tensor in model.state_dict().items())


def fingerprint() -> str:
    """Of single-precision runs with dropout, batch norm and more than one group's worth of ops."""
    torch.manual_seed(0)
    given = data()
    single = Data(**{k: v.float() if v.is_floating_point() else v for k, v in vars(given).items()})
    models = [mlp(nn.BatchNorm1d(6), nn.GELU(), nn.Dropout(0.2)) for _ in SEEDS]
    models += [mlp(nn.Tanh()) for _ in SEEDS]
    runs = train(
        models, single, recipe(optimizer="adam"), learning_rates=RATES * 2, seeds=SEEDS * 2
    )
    return hashlib.sha256(repr(runs).encode()).hexdigest()


def test_runs_are_the_same_bit_for_bit_in_another_process() -> None:
    code = "import test_training; print(test_training.fingerprint())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == fingerprint()


def times(factor: float) -> Callable[[Tensor], Tensor]:
    """A function that carries a number with it."""
    return lambda x: x * factor


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (0.5, 0.6),
        ("mean", "sum"),
        (torch.tensor([1.0, math.nan]), torch.tensor([2.0, math.nan])),
        (torch.tensor(True), torch.tensor(False)),
        ([1, (2, 3)], [1, (2, 4)]),
        ({"a": None}, {"b": None}),
        (torch.relu, torch.tanh),
        (functional.relu, functional.gelu),
        (times(2.0), times(3.0)),
    ],
)
def test_models_are_told_apart_by_what_they_hold(own: Any, other: Any) -> None:
    def holding(value: Any) -> Any:
        model = nn.Linear(2, 2)
        model.own = value  # type: ignore[assignment]
        return signature(model)

    assert holding(own) == holding(copy.deepcopy(own)) != holding(other)
    assert hash(holding(own)) == hash(holding(own))
