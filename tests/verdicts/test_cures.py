"""Each finding's cure, pasted as it stands, makes the finding disappear.

A kind is tested by being in `FINDING_KINDS`: one without a case here fails.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import firstlight
from firstlight.records.checkup import FINDING_KINDS, Checkup, Finding
from firstlight.reporting.code import is_code

SAMPLES, FEATURES, CLASSES = 128, 32, 10

Case = tuple[nn.Module, dict[str, Any]]


def _data() -> dict[str, Any]:
    noise = torch.Generator().manual_seed(3)
    x = torch.randn(SAMPLES, FEATURES, generator=noise)
    return {"batch": x, "target": torch.randint(CLASSES, (SAMPLES,), generator=noise)}


def _chain(
    depth: int, gain: float = 2**0.5, activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layer = nn.Linear(FEATURES, FEATURES)
        nn.init.normal_(layer.weight, std=gain / FEATURES**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, activation()]
    return nn.Sequential(*layers, nn.Linear(FEATURES, CLASSES))


def _changed(depth: int, change: Callable[[nn.Sequential], object], **more: Any) -> Case:
    model = _chain(depth, **more)
    with torch.no_grad():
        change(model)
    return model, _data()


def _constant(model: nn.Sequential) -> None:
    for parameter in model.parameters():
        parameter.fill_(0.05)


def _positive(model: nn.Sequential) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.abs_()


class _LowRank(nn.Module):
    """A frozen layer beside two factors that are both zero."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.base = nn.Linear(FEATURES, CLASSES).requires_grad_(False)
        self.a = nn.Parameter(torch.zeros(4, FEATURES))
        self.b = nn.Parameter(torch.zeros(CLASSES, 4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + x @ self.a.T @ self.b.T
        return out


class _Forgetful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = _chain(2)
        self.forgotten = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def _normed() -> nn.Sequential:
    torch.manual_seed(0)
    rows: list[nn.Module] = []
    for _ in range(4):
        rows += [nn.Linear(FEATURES, FEATURES), nn.LayerNorm(FEATURES), nn.ReLU()]
    return nn.Sequential(*rows, nn.Linear(FEATURES, CLASSES))


def _silent_norms() -> Case:
    model = _normed()
    for module in model:
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, std=0.02)
    return model, _data()


def _large_steps() -> Case:
    model = _chain(3)
    return model, {**_data(), "optimizer": torch.optim.SGD(model.parameters(), lr=100.0)}


def _softmax_head() -> Case:
    return nn.Sequential(*_chain(2), nn.Softmax(dim=-1)), _data()


def _raw_pixels() -> Case:
    data = _data()
    return _chain(2), {**data, "batch": 50 * data["batch"] + 128}


CASES: dict[str, Callable[[], Case]] = {
    "symmetric-units": lambda: _changed(3, _constant),
    "parallel-units": lambda: _changed(3, _positive),
    "cloned-layers": lambda: _changed(3, lambda m: m[4].load_state_dict(m[2].state_dict())),
    "dead-units": lambda: _changed(3, lambda m: m[2].bias.fill_(-30.0)),
    "saturated-units": lambda: _changed(3, lambda m: m[2].weight.mul_(30), activation=nn.Tanh),
    "forward-vanishing": lambda: _changed(20, lambda m: m[20].weight.mul_(1e-4)),
    "forward-exploding": lambda: (_chain(20, gain=2.5), _data()),
    "backward-vanishing": lambda: (_chain(20, gain=0.6), _data()),
    "backward-exploding": lambda: (_chain(20, gain=2.5), _data()),
    "collapsed-samples": lambda: _changed(6, lambda m: m[4].weight.zero_(), activation=nn.Tanh),
    "loss-at-start": lambda: _changed(3, lambda m: m[6].weight.mul_(50)),
    "head-mismatch": _softmax_head,
    "no-gradient": lambda: (_LowRank(), _data()),
    "unreachable": lambda: (_Forgetful(), _data()),
    "non-finite": lambda: _changed(3, lambda m: m[2].weight[0, 0].fill_(float("nan"))),
    "input-scale": _raw_pixels,
    "update-ratio": _large_steps,
    "wrong-law": _silent_norms,
    "rank-deficient": lambda: _changed(
        3, lambda m: m[2].weight.copy_(m[2].weight[:4].repeat(8, 1))
    ),
}


def _all(findings: tuple[Finding, ...]) -> Iterator[Finding]:
    for finding in findings:
        yield finding
        yield from _all(finding.consequences)


def _checked(model: nn.Module, given: dict[str, Any]) -> Checkup:
    return firstlight.check(**{"model": model, **given})


@pytest.mark.parametrize("kind", FINDING_KINDS)
def test_the_cure_cures(kind: str) -> None:
    model, given = CASES[kind]()
    found = [f for f in _all(_checked(model, given).findings) if f.kind == kind]
    assert found, f"{kind} was not found"
    assert found[0].severity in ("error", "warning")
    cure = found[0].cure
    assert is_code(cure), cure

    names = {"model": copy.deepcopy(model), "torch": torch, "firstlight": firstlight, **given}
    if "optimizer" in given:
        names["optimizer"] = torch.optim.SGD(names["model"].parameters(), lr=100.0)
    exec(cure, names)
    healed = {key: names[key] for key in given}
    left = [f.kind for f in _all(_checked(names["model"], healed).findings)]
    assert kind not in left, cure


def test_the_leading_finding_is_the_cause_and_holds_its_consequences() -> None:
    model, given = _changed(10, lambda m: m[8].bias.fill_(-30.0))
    findings = _checked(model, given).findings
    assert [f.kind for f in findings] == ["dead-units"]
    assert {"no-gradient"} <= {f.kind for f in findings[0].consequences}


RARE = torch.arange(512) < 1

UNCENTRED: dict[str, tuple[Tensor, dict[str, Any]]] = {
    "regression": (torch.randn(512, 1, generator=torch.Generator().manual_seed(0)) + 30, {}),
    "binary": (RARE[:, None].float(), {"loss": "binary_cross_entropy"}),
    "classification": (RARE.long(), {"loss": "cross_entropy"}),
}


@pytest.mark.parametrize("task", UNCENTRED)
def test_a_heads_bias_learns_what_is_common(task: str) -> None:
    target, how = UNCENTRED[task]
    outputs = CLASSES if task == "classification" else 1
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, outputs))
    names = {"model": model, "batch": torch.randn(512, 8), "target": target}
    found = [f for f in _checked(model, {**names, **how}).findings if f.kind == "loss-at-start"]
    assert len(found) == 1 and "bias does not know" in found[0].cause
    weight = model[2].weight.clone()
    exec(found[0].cure, names | {"firstlight": firstlight})
    assert not _checked(model, {**names, **how}).findings, found[0].cure
    assert torch.equal(model[2].weight, weight)
    model[2].bias = None
    bare = _checked(model, {**names, **how}).findings[-1]
    assert bare.cure.startswith("give the head a bias")


class _Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(50, 16)
        self.place = nn.Parameter(0.02 * torch.randn(6, 16))
        self.body = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, CLASSES))

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.body((self.table(tokens) + self.place).mean(dim=1))
        return out


class _OnlyTokens(_Tokens):
    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.body(self.table(tokens).mean(dim=1))
        return out


SINGLE: dict[str, tuple[str, type[_Tokens], Callable[[Any], object]]] = {
    "zero table": ("collapsed-samples", _OnlyTokens, lambda m: m.table.weight.zero_()),
    "one vector": (
        "symmetric-units",
        _Tokens,
        lambda m: m.table.weight[1:].copy_(m.table.weight[0]),
    ),
    "large table": ("wrong-law", _Tokens, lambda m: m.table.weight.mul_(1000)),
    "large bias": ("wrong-law", _Tokens, lambda m: m.body[0].bias.normal_(10, 5)),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_cure_for_one_parameter_leaves_the_others(name: str) -> None:
    kind, make, change = SINGLE[name]
    model = make()
    with torch.no_grad():
        change(model)
    before = {name: p.clone() for name, p in model.named_parameters()}
    given = {"model": model, "batch": torch.randint(50, (SAMPLES, 6))}
    found = [f for f in _all(_checked(model, given).findings) if f.kind == kind]
    cures = [f.cure for f in found if "only=" in f.cure]
    assert cures, found
    exec(cures[0], given | {"firstlight": firstlight})
    assert kind not in [f.kind for f in _all(_checked(model, given).findings)], cures[0]
    changed = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert len(changed) == 1 and repr(changed[0]) in cures[0]
