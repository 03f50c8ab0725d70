"""What is measured of arrays, against what torch's room measures of the same numbers as tensors."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from firstlight.frameworks.torch import inputs as torch_inputs
from firstlight.frameworks.torch import weights as torch_weights
from firstlight.frameworks.torch.undecided import undecided
from firstlight.measuring import inputs, weights
from firstlight.measuring.undecided import Undecided, of_classes, of_errors, of_odds
from firstlight.records.network import Layout, Operation, Parameter, plain_layout

# Sums of thousands of float32 numbers in another order.
CLOSE = 1e-5


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def half_turn(rows: Any) -> Any:
    return np.concatenate([rows, -rows])


ROWS = np.repeat(normal(10, 16), 3, axis=0)
ARRAYS = {
    "plain": normal(64, 32, 3, 3),
    "copy": normal(64, 32, 3, 3),
    "constant": np.ones((8, 8), np.float32),
    "zeros": np.zeros((9, 9), np.float32),
    "rows": ROWS,
    "mirror": half_turn(normal(32, 40)),
    "odd mirror": half_turn(normal(16, 40))[:-1],
    "tiny": normal(40, 30) * np.float32(1e-30),
    "huge": normal(40, 30) * np.float32(1e30),
    "half": normal(40, 30).astype(np.float16),
    "low rank": normal(32, 2) @ normal(2, 48),
    "parallel": abs(normal(32, 48)),
    "nan": np.full((9, 9), np.nan, np.float32),
    "one": normal(1, 1),
}


def as_parameter(name: str, array: Any, kind: Any = "weight", layout: Layout | None = None) -> Any:
    layout = layout or plain_layout(array.shape)
    return Parameter(name=name, kind=kind, module="Linear", layout=layout)


def both(arrays: dict[str, Any], parameters: list[Parameter]) -> list[tuple[Any, Any]]:
    gradients = {name: 2 * array.astype(np.float32) for name, array in arrays.items()}
    norms = {name: weights.norm(gradient) for name, gradient in gradients.items()}
    mine = weights.parameter_readings(arrays, parameters, norms)
    tensors = {name: torch.from_numpy(array).requires_grad_() for name, array in arrays.items()}
    given = {name: torch.from_numpy(gradient) for name, gradient in gradients.items()}
    theirs = torch_weights.parameter_readings(tensors, parameters, given, ())
    return [(asdict(a), asdict(b)) for a, b in zip(mine, theirs, strict=True)]


def assert_alike(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    sampled = ("unit_cosine", "rank_share")  # of other rows, where there are more than 64
    for key in mine.keys() - set(sampled):
        if isinstance(mine[key], float):
            assert mine[key] == pytest.approx(theirs[key], rel=CLOSE, nan_ok=True), key
        else:
            assert mine[key] == theirs[key], key
    for key in sampled:
        assert (mine[key] is None) == (theirs[key] is None), key
        if mine[key] is not None:
            assert mine[key] == pytest.approx(theirs[key], abs=0.08), key


def test_weights() -> None:
    for mine, theirs in both(ARRAYS, [as_parameter(n, a) for n, a in ARRAYS.items()]):
        assert_alike(mine, theirs)


def test_stacked_matrices_stored_as_other_libraries_store_them() -> None:
    gates = np.concatenate([normal(12, 16), np.ones((12, 16), np.float32)])
    layout = Layout(shape=(24, 16), view=(2, 12, 16), roles=("gate", "out", "in"))
    turned = Layout(shape=(16, 24), view=(16, 2, 12), roles=("in", "gate", "out"))
    plain, swapped = (
        both({"w": array}, [as_parameter("w", array, layout=given)])[0]
        for array, given in ((gates, layout), (np.ascontiguousarray(gates.T), turned))
    )
    assert_alike(*plain)
    assert_alike(*swapped)
    assert plain[0] == swapped[0]
    assert plain[0]["constant_blocks"] == 1


def test_biases_and_embeddings() -> None:
    arrays = {
        "ones": np.ones(40, np.float32),
        "two": (normal(40) > 0).astype(np.float32),
        "drawn": normal(40),
        "table": np.concatenate([normal(50, 8), normal(50, 8)]),
    }
    kinds = {"table": "embedding"}
    parameters = [as_parameter(n, a, kinds.get(n, "bias")) for n, a in arrays.items()]
    found = both(arrays, parameters)
    for mine, theirs in found:
        assert_alike(mine, theirs)
    assert [mine["distinct_values"] for mine, _ in found] == [1, 2, None, None]
    assert found[3][0]["repeated_rows"] == 1


@pytest.mark.parametrize("shape", [(8,), (8, 5), (8, 3, 6, 6), (1, 4, 4), (4, 7, 3)])
def test_inputs(shape: tuple[int, ...]) -> None:
    operation = Operation(index=0, name="input", kind="input", function="input")
    values = normal(*shape) + np.float32(0.3)
    mine = inputs.input_reading(operation, values)
    theirs = torch_inputs.input_reading(operation, torch.from_numpy(values))
    assert mine is not None and theirs is not None
    for name in ("mean", "second_moment", "near", "positions", "samples", "uneven"):
        assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-4, abs=1e-6)


def test_inputs_that_have_no_moments() -> None:
    operation = Operation(index=0, name="input", kind="input", function="input")
    assert inputs.input_reading(operation, np.float32(1)[...]) is None
    assert inputs.input_reading(operation, np.full((4, 4), 1e30, np.float32)) is None


def from_torch(function: Any, head: Any, target: Any) -> Undecided:
    given = torch.from_numpy(head), torch.from_numpy(target)
    found = undecided(function, given, {}, function(*given))
    assert found is not None
    return found


def assert_same(mine: Undecided, theirs: Undecided) -> None:
    assert mine.uninformed == pytest.approx(theirs.uninformed, rel=CLOSE)
    assert mine.prior == pytest.approx(theirs.prior, rel=CLOSE)
    assert (mine.constant is None) == (theirs.constant is None)
    if mine.constant is not None:
        assert mine.constant == pytest.approx(theirs.constant, rel=1e-4)


@pytest.mark.parametrize("shares", [[1, 1, 1, 1], [90, 9, 1, 0], [5, 0, 0, 0]])
def test_classes(shares: list[int]) -> None:
    target = np.repeat(np.arange(4), shares)
    theirs = from_torch(functional.cross_entropy, normal(len(target), 4), target)
    assert_same(of_classes(theirs.paid, shares), theirs)
    assert_same(of_classes(1.0, [0, 0]), Undecided(paid=1.0, uninformed=0.0, prior=0.0))


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_odds(share: float) -> None:
    target = (np.random.default_rng(0).random((400, 3)) < share).astype(np.float32)
    loss = functional.binary_cross_entropy_with_logits
    assert_same(of_odds(1.0, target), from_torch(loss, normal(400, 3), target))
    assert (of_odds(1.0, target).constant is None) == (share == 0.5)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_errors(offset: float) -> None:
    target = normal(200, 3) + np.float32(offset)
    head = normal(200, 3, seed=1)
    squared = of_errors(1.0, target, np.square)
    assert_same(squared, from_torch(functional.mse_loss, head, target))
    assert (squared.constant is None) == (offset == 0)
    absolute = of_errors(1.0, target, np.abs, absolute=True)
    assert absolute.constant is None
    # Torch takes the lower of the two middle numbers, NumPy their mean.
    assert absolute.prior == pytest.approx(
        from_torch(functional.l1_loss, head, target).prior, rel=1e-3
    )
    assert math.isclose(absolute.uninformed, float(abs(target).mean()), rel_tol=CLOSE)
