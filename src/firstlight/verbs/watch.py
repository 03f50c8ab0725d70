"""The same measurements while a model trains its first steps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from firstlight.errors import BadInputError, UnhealthyError, UnhealthyWarning
from firstlight.records.checkup import Checkup, Finding
from firstlight.records.watched import Glance, Watched
from firstlight.verbs.check import check

KINDS = frozenset(
    {
        "symmetric-units",
        "dead-units",
        "saturated-units",
        "forward-vanishing",
        "forward-exploding",
        "backward-vanishing",
        "backward-exploding",
        "collapsed-samples",
        "no-gradient",
        "non-finite",
    }
)
"""Kinds of finding that mean the same after a step as before: not those about laws or losses."""

GROWN = 1e4
"""Times E[z²] has grown since the first glance: a hundredfold signal."""

LOSS_GROWN = 10.0
"""Times the loss has grown since the first glance."""

Alarm = Literal["warn", "raise", "none"] | Callable[[Glance], Any]


class Watch:
    """Look at a model every few steps of its training, and give alarm when it falls ill.

    Each glance is a `check` on one batch that stays the same, so glances can be compared; it leaves
    the model, its gradients and the random states bit for bit as they were, and the training takes
    the same course as without. It costs what `check` does: below two steps (`check_cost.py`).

    Args:
        model: that trains, of any framework; of JAX pass each new one to `step`.
        batch: as for `check`.
        loss: as for `check`.
        target: as for `check`.
        how: ``step=`` of `check`.
        every: steps between glances, at least 1.
        until: no glance after this many steps; None looks as long as it trains.
        alarm: of an error that the glance before did not have: ``"warn"`` (`UnhealthyWarning`),
            ``"raise"`` (`UnhealthyError`), ``"none"``, or a function of the `Glance`.

    Raises:
        BadInputError: ``every``, ``until`` or ``alarm`` that cannot be used.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> x, y = torch.randn(64, 8), torch.arange(64) % 2
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> watch = fl.Watch(model, x, target=y, every=5)
        >>> for _ in range(10):
        ...     _ = watch.step()
        ...     optimizer.zero_grad()
        ...     nn.functional.cross_entropy(model(x), y).backward()
        ...     _ = optimizer.step()
        >>> [glance.step for glance in watch.history], watch.history.healthy
        ([0, 5], True)
    """

    def __init__(
        self,
        model: Any,
        batch: Any,
        *,
        loss: Any = None,
        target: Any = None,
        how: Callable[[Any, Any], Any] | None = None,
        every: int = 50,
        until: int | None = 1000,
        alarm: Alarm = "warn",
    ) -> None:
        for name, value in (("every", every), ("until", until)):
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (value is None and name == "until") and not (whole and value > 0):  # type: ignore[operator]
                raise BadInputError(f"{name}: expected an integer of at least 1, got {value!r}")
        if not callable(alarm) and alarm not in ("warn", "raise", "none"):
            raise BadInputError(
                f"alarm: expected 'warn', 'raise', 'none' or a function, got {alarm!r}"
            )
        self._model, self._batch = model, batch
        self._options = {"loss": loss, "target": target, "step": how}
        self._every, self._until, self._alarm = every, until, alarm
        self._steps = 0
        self._glances: list[Glance] = []
        self._name = type(model).__name__

    @property
    def history(self) -> Watched:
        """All glances so far."""
        return Watched(model=self._name, every=self._every, glances=tuple(self._glances))

    def step(self, model: Any = None) -> Glance | None:
        """Tell that a training step begins; looks if it is time to.

        Args:
            model: the present one, where models are immutable.

        Returns:
            The glance, or None between glances.

        Raises:
            UnhealthyError: an alarm, with ``alarm="raise"``.
        """
        number, self._steps = self._steps, self._steps + 1
        if number % self._every or (self._until is not None and number > self._until):
            return None
        return self.look(number, model)

    def look(self, number: int, model: Any = None) -> Glance:
        """Look now, whatever `step` has counted.

        Args:
            number: of training steps taken, for the record.
            model: the present one, where models are immutable.

        Returns:
            The glance.

        Raises:
            UnhealthyError: an alarm, with ``alarm="raise"``.
        """
        if model is not None:
            self._model = model
        checkup = check(self._model, self._batch, **self._options)
        self._name = checkup.network.name
        first, last = (self._glances[0], self._glances[-1]) if self._glances else (None, None)
        glance = _glance(number, checkup, first, last)
        self._glances.append(glance)
        if glance.alarms:
            self._raise_alarm(glance)
        return glance

    def _raise_alarm(self, glance: Glance) -> None:
        if callable(self._alarm):
            self._alarm(glance)
            return
        first, *others = glance.alarms
        more = f" (and {len(others)} more)" if others else ""
        words = (
            f"{self._name}, step {glance.step}: {first.kind} at {', '.join(first.where[:3])}:"
            f" {first.evidence}{more}"
        )
        if self._alarm == "raise":
            raise UnhealthyError(words)
        if self._alarm == "warn":
            warnings.warn(words, UnhealthyWarning, stacklevel=4)


def _key(finding: Finding) -> tuple[str, str]:
    return finding.kind, finding.where[0] if finding.where else ""


def _glance(number: int, checkup: Checkup, first: Glance | None, last: Glance | None) -> Glance:
    observation = checkup.observation
    weighted = {operation.index for operation in observation.network.weighted()}
    forward, backward = {}, []
    for reading in observation.readings:
        if reading.operation in weighted and reading.second_moment is not None:
            forward[reading.name] = reading.second_moment.value
        if reading.operation in weighted and reading.delta_square_per_sample is not None:
            backward.append(reading.delta_square_per_sample.value)
    dead = [r.dead_fraction for r in observation.readings if r.dead_fraction is not None]
    glance = Glance(
        step=number,
        loss=observation.loss,
        forward=(min(forward.values()), max(forward.values())) if forward else None,
        backward=(min(backward), max(backward)) if backward else None,
        dead=max(dead, default=0.0),
        findings=(),
        alarms=(),
    )
    errors = [f for f in checkup.walk() if f.severity == "error" and f.kind in KINDS]
    if first is not None:
        errors += _diverging(first, glance, forward)
    before = {_key(f) for f in last.findings} if last else set()
    alarms = tuple(f for f in errors if _key(f) not in before)
    return replace(glance, findings=tuple(errors), alarms=alarms)


def _diverging(first: Glance, now: Glance, forward: Mapping[str, float]) -> list[Finding]:
    """An error if signal or loss have grown far beyond what they were at the first glance."""
    grown = []
    if first.forward and now.forward and not now.forward[1] <= GROWN * first.forward[1]:
        ratio = now.forward[1] / first.forward[1] if first.forward[1] else math.inf
        grown.append(f"E[z²] is {ratio:.2g} times its largest at step {first.step}")
    if first.loss and now.loss is not None and not now.loss <= LOSS_GROWN * abs(first.loss):
        grown.append(f"the loss is {now.loss:.3g}, at step {first.step} it was {first.loss:.3g}")
    if not grown:
        return []
    where = max(forward, key=lambda name: forward[name]) if forward else ""
    return [
        Finding(
            kind="diverging",
            severity="error",
            where=(where,),
            evidence=f"{'; '.join(grown)} (limits {GROWN:g} and {LOSS_GROWN:g} times)",
            cause="the steps are too large for this start",
            cure="divide the learning rate by ten, or let it rise over the first steps;"
            " firstlight.check(model, batch, optimizer=optimizer) judges the first step",
        )
    ]
