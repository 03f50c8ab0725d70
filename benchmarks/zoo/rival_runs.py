"""Each rival, run as its authors mean it, on a model that it may spoil.

Each function returns the alarms in `zoo.rival_rules`' words and leaves out other matters. Rivals
are imported when they run, so that this module is there without them.
"""

from __future__ import annotations

import atexit
import ctypes
import io
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch import batches
from zoo.rival_rules import RULES, Alarm, Severity

STEPS, LEARNING_RATE = 20, 0.01
"""For torchmortem, which watches a training."""


@dataclass(frozen=True)
class Given:
    """A model, its batch, its loss of (output, target), and fresh samples for further steps."""

    model: nn.Module
    batch: Any
    options: dict[str, Any]
    fresh: Callable[[int], tuple[Any, dict[str, Any]]]
    seed: int

    @property
    def target(self) -> Tensor | None:
        """None for a model that computes its own loss."""
        return self.options.get("target")

    @property
    def loss_function(self) -> Callable[[Any, Any], Tensor] | None:
        """Of (output, target); None for a model that computes its own loss."""
        if self.target is None:
            return None
        chosen = batches.resolve_loss(self.options.get("loss"))
        return chosen or torch.nn.functional.cross_entropy

    def loss(self, output: Any, options: dict[str, Any] | None = None) -> Tensor:
        """What training lowers."""
        own = batches.own_loss(output)
        if own is not None:
            return own
        assert self.loss_function is not None
        return self.loss_function(
            batches.output_tensor(output), (options or self.options)["target"]
        )

    def optimizer(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE)


@contextmanager
def _mute() -> Iterator[None]:
    """What C libraries print (on every NaN that torchmortem decomposes) stays off the tables."""
    sys.stdout.flush()
    kept, sink = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(sink)


def torchtest2(given: Given) -> Iterator[Alarm]:
    """`check_model` with its defaults: 18 checks, 200 steps on one batch among them."""
    report = import_module("torchtest2").check_model(
        given.model, given.batch, given.target, loss_fn=given.loss_function
    )
    severities: dict[str, Severity] = {"FAIL": "fail", "WARN": "warning"}
    for result in report:
        severity = severities.get(str(result.status))
        if severity is not None:
            rule = _torchtest2_rule(result.name, result.message)
            if rule in RULES["torchtest2"]:
                yield Alarm(rule, _names_in(result.details), severity)


def _torchtest2_rule(check: str, message: str) -> str:
    signs = {
        "loss": {"the loss is ": "not finite", "not connected": "detached", "leaf": "detached"},
        "initial_loss": {"much larger": "large", "suspiciously low": "low"},
        "gradient_flow": {"get no gradient": "none", "all-zero gradient": "zero"},
        "gradient_magnitude": {"NaN/inf": "not finite", "exploding": "large"},
        "params_change": {
            "after an optimizer step": "unchanged",
            "too small to change": "vanishing",
            "exactly zero": "zero",
        },
        "overfit_batch": {"became": "not finite"},
    }
    found = (what for sign, what in signs.get(check, {}).items() if sign in message)
    what = next(found, None)
    return check if what is None else f"{check}: {what}"


def _names_in(details: Any) -> tuple[str, ...]:
    """The parameters that a check lists; not its losses and norms."""
    lists = [value for key, value in details.items() if isinstance(value, list)]
    return tuple(sorted({name for items in lists for name in items if isinstance(name, str)}))


def torch_audit(given: Given) -> Iterator[Alarm]:
    """A whole audited step: static, forward, backward, optimizer."""
    auditor = import_module("torch_audit").Auditor(given.model, optimizer=given.optimizer())
    with auditor:
        auditor.audit_static()
        auditor.audit_init()
        batch = given.batch
        output = auditor.forward(**batch) if isinstance(batch, dict) else auditor.forward(batch)
        auditor.backward(given.loss(output))
        auditor.optimizer_step()
    severities: dict[str, Severity] = {"FATAL": "fail", "ERROR": "fail", "WARN": "warning"}
    for finding in auditor.finish().findings:
        if finding.rule_id in RULES["torch-audit"]:
            where = tuple(part for part in (finding.module_path, finding.entity) if part)
            yield Alarm(finding.rule_id, where, severities.get(finding.severity.value, "info"))


def torchmortem(given: Given) -> Iterator[Alarm]:
    """An autopsy of the first steps of a training."""
    optimizer = given.optimizer()
    autopsy = import_module("torchmortem").Autopsy(given.model, optimizer=optimizer)
    try:
        with _mute(), autopsy:
            for step in range(STEPS):
                batch, options = given.fresh(step)
                optimizer.zero_grad()
                loss = given.loss(batches.call(given.model, batch), options)
                loss.backward()
                optimizer.step()
                autopsy.step(loss=loss.item())
    finally:
        atexit.unregister(autopsy._atexit_handler)  # it would keep every model until the end
    severities: dict[str, Severity] = {"CRITICAL": "fail", "WARNING": "warning"}
    for finding in autopsy.get_report().findings:
        rule = next((r for r in RULES["torchmortem"] if finding.title.startswith(r)), None)
        if rule is not None:
            alone = " in " in finding.title  # the others list examples of a trouble in the whole
            where = tuple(finding.affected_layers) if alone else ()
            yield Alarm(rule, where, severities.get(finding.severity.name, "info"))


class _Fed(nn.Module):
    """A model as a function from tensor to tensor, for callers that know nothing else."""

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.model = given.model
        self.batch = given.batch

    def forward(self, _x: Tensor) -> Tensor:
        output = batches.call(self.model, self.batch)
        own = batches.own_loss(output)
        return batches.output_tensor(output) if own is None else own


def torchdiag(given: Given) -> Iterator[Alarm]:
    """`check_dead_neurons`, and `verify_step` with `check_gradients` after its backward pass."""
    package = import_module("torchdiag")
    fed = _Fed(given)

    def loss(output: Tensor, target: Tensor | None) -> Tensor:
        return output if target is None else given.loss(output)

    first = next(iter(given.batch.values())) if isinstance(given.batch, dict) else given.batch
    with redirect_stdout(io.StringIO()):
        dead = package.check_dead_neurons(fed, first)
        step = package.verify_step(fed, given.optimizer(), loss, first, given.target)
        gradients = package.check_gradients(fed)
    for name, row in dead.items():
        if row["dead_pct"] > 20:  # its own limits: 20 % is a warning, 50 % critical
            yield Alarm("dead", (name,), "fail" if row["dead_pct"] > 50 else "warning")
    if any("FAILED" in str(step.get(part, "")) for part in ("forward", "loss", "backward")):
        yield Alarm("step failed", (), "fail")
    elif not math.isfinite(step["loss"]):
        yield Alarm("loss not finite", (), "fail")
    if step.get("params_updated") == 0 and step["params_unchanged"] > 0:
        yield Alarm("nothing changed", (), "fail")
    for name, row in gradients.items():
        rule = {"no_grad": "NO GRAD"}.get(row["status"], row["status"])
        if rule in RULES["torchdiag"]:
            yield Alarm(rule, (name,))


def anyinit(given: Given) -> Iterator[Alarm]:
    """`initialize`, then `assert_healthy`: the verdict on what its own draw has left."""
    batch = given.batch if isinstance(given.batch, Tensor) else None  # it takes no keywords
    report = import_module("anyinit").initialize(given.model, input_spec=batch, seed=given.seed)
    signs = {
        "did not converge": "not converged",
        "prediction is off": "prediction off",
        "not depth-stable": "not depth-stable",
    }
    try:
        report.assert_healthy()
    except AssertionError as error:
        found = [rule for sign, rule in signs.items() if sign in str(error)]
        for rule in found or ["validation failed"]:
            yield Alarm(rule, (), "fail")


RIVALS: dict[str, Callable[[Given], Iterator[Alarm]]] = {
    "torchtest2": torchtest2,
    "torch-audit": torch_audit,
    "torchmortem": torchmortem,
    "torchdiag": torchdiag,
    "anyinit": anyinit,
}
"""By the name under which each is installed."""


def missing(rival: str) -> str:
    """Why a rival cannot run here, in one line; empty if it can."""
    needed = [rival.replace("-", "_"), *(["plotly"] if rival == "torchmortem" else [])]
    absent = [name for name in needed if find_spec(name) is None]
    if not absent:
        return ""
    return (
        f"{rival}: {' and '.join(absent)} not installed, left out;"
        " pip install --no-deps -r benchmarks/requirements-rivals.txt"
    )
