"""Data of a race: sets and loaders are read once, and what cannot be trained on is one line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from small_races import data, short
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.adapter import TorchAdapter
from firstlight.racing.data import guessing, read


def sets() -> tuple[TensorDataset, TensorDataset]:
    x, y, held_out_x, held_out_y = data()
    return TensorDataset(x, y), TensorDataset(held_out_x, held_out_y)


def test_sets_and_loaders_race_as_the_arrays_they_hold() -> None:
    options: dict[str, Any] = {"techniques": "default", "learning_rates": (0.1,), "steps": 3}
    arrays = short(**options)
    train, held_out = sets()
    assert short(data=(train, held_out), **options) == arrays
    loaders = DataLoader(train, batch_size=50), DataLoader(held_out)
    assert short(data=loaders, **options) == arrays


def test_a_loader_that_shuffles_is_read_alike_each_time_and_leaves_the_random_state() -> None:
    train, held_out = sets()
    adapter, states = TorchAdapter(), [torch.get_rng_state()]
    loader = DataLoader(train, batch_size=8, shuffle=True)
    first, second = (adapter.build(lambda: read((loader, held_out)), 0) for _ in range(2))
    states.append(torch.get_rng_state())
    assert torch.equal(*states)
    assert np.array_equal(first[0], second[0]) and not np.array_equal(first[0], data()[0])
    assert np.array_equal(np.sort(first[0], axis=None), np.sort(data()[0].numpy(), axis=None))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from (([1.0, 2.0], 0), ([3.0, 4.0], 1))


def test_samples_of_plain_numbers_become_float32_and_integers() -> None:
    x, y, *_ = read((Stream(), Stream()))
    assert x.dtype == np.float32 and x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert y.dtype == np.int64 and y.tolist() == [0, 1]


class Odd(Dataset[Any]):
    """Two samples: of two shapes, or no pairs."""

    def __init__(self, *samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


def changed(place: int, value: Any) -> tuple[Any, ...]:
    parts = list(data(8))
    parts[place] = value
    return tuple(parts)


HOLE = data(8)[0].clone()
HOLE[1, 1] = math.nan


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((Odd(), Odd()), "the training set is empty; expected at least one sample"),
        ((sets()[0], DataLoader(Odd())), "the held-out set is empty"),
        ((Odd(1, 2), sets()[1]), "the training set gave int; expected pairs (input, target)"),
        (
            (Odd(([1.0], 0), ([1.0, 2.0], 1)), sets()[1]),
            "training inputs differ in shape ((1,), (2,)); a race needs samples of one shape",
        ),
        (changed(1, torch.zeros(8, dtype=torch.long)), "training targets hold one class only (0)"),
        (changed(3, torch.ones(8, dtype=torch.long)), "held-out targets hold one class only (1)"),
        (changed(0, HOLE), "training inputs hold NaN or infinite values; clean them first"),
        (changed(2, torch.ones(8, 3)), "training inputs have shape (8,) each, held-out ones (3,)"),
        (changed(1, torch.zeros(7)), "training part has 8 inputs and 7 targets"),
        ({"x": 1}, "expected (inputs, targets, held-out inputs, held-out targets) or (training"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(given: Any, words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        short(data=given)
    message = str(caught.value)
    assert message.startswith("data: ") and words in message and "\n" not in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizers": ("sgd", "sgd")}, "race: optimizer 'sgd' is named twice; once is enough"),
        ({"optimizers": "adaam"}, "race: no optimizer 'adaam'; did you mean 'adam'"),
        ({"optimizers": ()}, "race: optimizers is empty; name at least one, 'sgd' or 'adam'"),
        ({"learning_rates": (0.1, 0.1)}, "race: learning_rates: [0.1, 0.1] names a rate twice"),
        ({"learning_rates": (math.inf,)}, "expected positive numbers, at least one; got [inf]"),
        ({"learning_rates": 0.1}, "expected positive numbers, at least one; got 0.1"),
        ({"learning_rates": {"adam": (0.1,)}}, "learning_rates has adam; expected rates for sgd"),
        (
            {"optimizers": ("sgd", "adam"), "learning_rates": {"sgd": (1, 2), "adam": (1,)}},
            "2 for sgd, 1 for adam; give each optimizer as many, for the same budget",
        ),
        ({"seeds": ()}, "race: seeds is empty; give a number of seeds, or the seeds"),
        ({"seeds": (3, 3)}, "race: seeds names a seed twice"),
        ({"seeds": (-1,)}, "race: each of seeds must be an integer of at least 0, got -1"),
        ({"seeds": (1_000_000,)}, "race: seeds holds 1000000, which the search for learning"),
        ({"steps": 0}, "race: steps must be an integer of at least 1, got 0"),
        ({"looks": -1}, "race: looks must be an integer of at least 0, got -1"),
        ({"target": "high"}, "race: target: expected a score such as 0.9, got 'high'"),
        ({"techniques": ("default", "dirac")}, "dirac: needs a convolution kernel"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        short(**options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_builder_that_gives_one_model_over_and_over_is_refused() -> None:
    model = torch.nn.Linear(8, 2)
    with pytest.raises(BadInputError, match="returned the same model twice"):
        short(lambda: model)


def test_guessing_is_the_commonest_class_or_the_mean() -> None:
    x = torch.zeros(4, 1)
    numbers = torch.tensor([[0.0], [2.0], [4.0], [6.0]])
    assert guessing((x, numbers, x, numbers), None) == 5.0
    assert guessing((x, numbers, x, numbers), "l1") is None
