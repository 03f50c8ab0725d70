"""Plans of models on the meta device against those of the same models with values."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import meta_models
import pytest
import torch
from meta_models import MODELS, on_meta, with_values
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.records.plan import Plan

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers")

MEASURED_OPTIONS = frozenset({"expression", "constant"})
"""Moments of what weights were made into (learned positions): no values, no moments."""


def _tokens(rows: int, length: int) -> Tensor:
    return torch.randint(0, 50, (rows, length), generator=torch.Generator().manual_seed(5))


def _normal(*shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(6)) + 1


BATCHES: dict[str, dict[str, Any]] = {
    "mlp": {"batch": _normal(32, 20), "target": torch.arange(32) % 3},
    "deep": {"batch": _normal(32, 32), "target": _normal(32, 3), "loss": "mse"},
    "cnn": {"batch": _normal(4, 3, 16, 16)},
    "resnet": {"batch": _normal(4, 3, 16, 16)},
    "lstm": {"batch": _tokens(8, 9)},
    "encoder": {"batch": _normal(8, 5, 8)},
    "gpt2": {"batch": {"input_ids": _tokens(4, 9), "labels": _tokens(4, 9)}},
    "llama": {
        "batch": {
            "input_ids": _tokens(4, 9),
            "attention_mask": (torch.arange(9) < torch.tensor([[9], [5], [7], [9]])).long(),
        }
    },
    "bert": {
        "batch": {
            "input_ids": _tokens(4, 9),
            "attention_mask": (torch.arange(9) < torch.tensor([[9], [5], [7], [9]])).long(),
        }
    },
    "t5": {"batch": {"input_ids": _tokens(4, 7), "labels": _tokens(4, 6)}},
    "vit": {"batch": {"pixel_values": _normal(4, 3, 16, 16)}},
}


def _same_plan(real: Plan, meta: Plan) -> None:
    assert list(meta) == list(real)  # laws, layouts, targets, reasons, sources
    assert meta.forecast == real.forecast
    assert meta.ranking == real.ranking
    assert meta.remarks == real.remarks
    assert meta.network.parameters == real.network.parameters
    for ours, theirs in zip(meta.network.operations, real.network.operations, strict=True):
        kept = tuple(o for o in theirs.options if o[0] not in MEASURED_OPTIONS)
        found = tuple(o for o in ours.options if o[0] not in MEASURED_OPTIONS)
        assert (ours.name, ours.kind, ours.inputs, ours.shape, ours.activation) == (
            *(theirs.name, theirs.kind, theirs.inputs, theirs.shape),
            theirs.activation,
        )
        assert found == kept


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_needs_no_values(name: str) -> None:
    model = on_meta(name)
    before = copy.deepcopy({k: v for k, v in vars(model).items() if not k.startswith("_")})
    _same_plan(fl.plan(with_values(name)), fl.plan(model))
    assert all(t.is_meta for t in (*model.parameters(), *model.buffers()))
    after = {k: v for k, v in vars(model).items() if not k.startswith("_")}
    assert after.keys() == before.keys()


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_with_values_is_read_as_it_is(name: str) -> None:
    given = BATCHES[name]
    _same_plan(fl.plan(with_values(name), **given), fl.plan(on_meta(name), **given))


@pytest.mark.parametrize("technique", ["he_normal", "orthogonal"])
def test_techniques_need_no_values(technique: str) -> None:
    real, meta = (fl.plan(m("mlp"), technique=technique) for m in (with_values, on_meta))
    assert list(meta) == list(real)


def test_a_step_of_the_users_own_runs_on_shapes() -> None:
    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1])

    batch = _normal(16, 20), torch.arange(16) % 10
    real, meta = (fl.plan(m("mlp"), batch, step=step) for m in (with_values, on_meta))
    _same_plan(real, meta)


def test_a_model_may_have_values_in_part() -> None:
    def build(device: str) -> nn.Module:
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(20, 16), nn.ReLU())
        return nn.Sequential(encoder, nn.Linear(16, 4, device=device))

    real, meta = build("cpu"), build("meta")
    values = meta[0][0].weight.clone()  # type: ignore[index, union-attr]
    _same_plan(fl.plan(real, _normal(8, 20)), fl.plan(meta, _normal(8, 20)))
    assert torch.equal(meta[0][0].weight, values)  # type: ignore[index, union-attr]


# What values alone can say ----------------------------------------------------------------------

DIFFERENT: dict[str, tuple[Callable[[], nn.Module], str, frozenset[str]]] = {
    "zero γ": (
        lambda: meta_models.resnet(meta_models.ZeroGamma),
        "the constructor zeroed a norm after that had filled itself; no rule can be run again",
        frozenset({"1.last.weight", "2.last.weight", "2.first.weight", "5.weight"}),
    ),
    "zero gate": (
        lambda: nn.Sequential(nn.Linear(8, 8), meta_models.Scaled(8), nn.Linear(8, 3)),
        "a scalar of the constructor's choice counts as one, as `remarks` says",
        frozenset({"1.gate", "1.inner.weight", "2.weight"}),
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_only_these_laws_differ(name: str) -> None:
    build, reason, allowed = DIFFERENT[name]
    with torch.device("meta"):  # where a plan may be made, too
        meta = fl.plan(build())
    real = fl.plan(build())
    differ = {a.name for a, b in zip(real, meta, strict=True) if a.law != b.law}
    assert differ <= allowed, reason


def test_what_is_kept_unknown_is_named() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 8), meta_models.Scaled(8), nn.Linear(8, 3))
    remarks = [r for r in fl.plan(model).remarks if "without values" in r]
    assert len(remarks) == 1 and "1.gate" in remarks[0] and "\n" not in remarks[0]
    # A scale that the model's own code sets to one is known, and no remark is due.
    assert not any("without values" in r for r in fl.plan(on_meta("llama")).remarks)


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return y if y.sum() > 0 else -y


LINES: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "check": (lambda m: fl.check(m, _normal(4, 20)), "plan and apply first"),
    "audit": (fl.audit, "plan and apply first"),
    "apply": (lambda m: fl.apply(m, fl.plan(m)), "plan and apply first"),
    "initialize": (fl.initialize, "plan and apply first"),
    "compare": (lambda m: fl.plan(m, compare="usual"), "plan and apply first"),
    "meta batch": (lambda m: fl.plan(m, torch.empty(4, 20, device="meta")), "pass real data"),
    "wrong batch": (lambda m: fl.plan(m, _normal(4, 21)), "raised RuntimeError"),
    "branches on values": (
        lambda _: fl.plan(_Branching().to("meta"), _normal(4, 4)),
        "asks for numbers that weights decide",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_what_needs_values_says_so_in_a_line(name: str) -> None:
    act, words = LINES[name]
    model = on_meta("mlp")
    with pytest.raises(fl.FirstlightError) as caught:
        act(model)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert all(p.is_meta for p in model.parameters())
    if "first" in words:
        assert isinstance(caught.value, BadInputError) and re.match(
            r"0\.weight: ", str(caught.value)
        )


_LARGE = """
import resource, time, torch
import firstlight as fl
from transformers import LlamaConfig, LlamaForCausalLM
with torch.device("meta"):
    model = LlamaForCausalLM(LlamaConfig())
started = time.perf_counter()
plan = fl.plan(model)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
numbers = sum(p.numel() for p in model.parameters()) / 1e9
print(numbers, len(list(plan)), seconds, peak)
"""


def test_seven_billion_parameters_are_planned_in_a_corner_of_memory() -> None:
    ran = subprocess.run([sys.executable, "-c", _LARGE], capture_output=True, text=True, check=True)
    numbers, entries, seconds, peak = map(float, ran.stdout.split())
    print(f"{numbers:.2f} billion parameters: {seconds:.1f} s, {peak:.2f} GB at most")
    assert numbers > 6.7 and entries == 291
    assert peak < 1.5
    assert seconds < 120
