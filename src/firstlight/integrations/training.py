"""What every trainer's callback does: look or initialize before the first step, then watch."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from firstlight.errors import BadInputError, UnhealthyError, UnhealthyWarning
from firstlight.records.checkup import Checkup
from firstlight.records.plan import Receipt
from firstlight.records.watched import Watched
from firstlight.verbs.check import check
from firstlight.verbs.initialize import initialize
from firstlight.verbs.watch import Alarm, Watch


class Care:
    """The state of one training under care: the arguments that every callback takes by keyword.

    Args:
        initialize: draw Firstlight's plan into the model before the first step; a training that is
            resumed keeps its weights. Otherwise the model is only looked at.
        seed: of the initialization.
        every: steps between glances at the training model (see `firstlight.Watch`); None takes
            none.
        until: no glance after this many steps.
        alarm: of an error at the start or later: ``"warn"``, ``"raise"``, ``"none"``, or, while it
            trains, a function of the `Glance`.
        report: a folder for ``start.html`` and ``watched.html``.
    """

    def __init__(
        self,
        *,
        initialize: bool = False,
        seed: int = 0,
        every: int | None = None,
        until: int | None = 1000,
        alarm: Alarm = "warn",
        report: str | os.PathLike[str] | None = None,
    ) -> None:
        if not callable(alarm) and alarm not in ("warn", "raise", "none"):
            raise BadInputError(
                f"alarm: expected 'warn', 'raise', 'none' or a function, got {alarm!r}"
            )
        self._initialize, self._seed, self._report = initialize, seed, report
        self._every, self._until, self._alarm = every, until, alarm
        self._watch: Watch | None = None
        self.start: Checkup | Receipt | None = None

    @property
    def watched(self) -> Watched | None:
        """The glances, if any were asked for."""
        return self._watch.history if self._watch else None

    def begin(
        self,
        model: Any,
        batch: Any,
        *,
        resumed: bool = False,
        primary: bool = True,
        **options: Any,
    ) -> None:
        """Before the first step.

        Args:
            model: that will train.
            batch: that is looked at.
            resumed: whether it has trained before.
            primary: whether this is the process, of several that train one model, that writes and
                warns; all of them look, since each may hold a part.
            **options: of `check`.
        """
        if not primary:
            self._report = None
            self._alarm = "none" if self._alarm == "warn" else self._alarm
        if self._initialize and not resumed:
            receipt = initialize(model, batch, seed=self._seed, **options)
            self.start, after = receipt, receipt.after
        else:
            self.start = after = check(model, batch, **options)
        if self._report is not None:
            self._save(self.start, "start.html")
        if after is not None and not after.healthy:
            first = next(f for f in after.findings if f.severity == "error")
            words = (
                f"{after.network.name} before its first step: {first.kind} at"
                f" {', '.join(first.where[:3])}: {first.evidence}"
            )
            if self._alarm == "raise":
                raise UnhealthyError(words)
            if self._alarm == "warn":
                warnings.warn(words, UnhealthyWarning, stacklevel=3)
        if self._every is not None:
            self._watch = Watch(
                model,
                batch,
                how=options.pop("step", None),
                every=self._every,
                until=self._until,
                alarm=self._alarm,
                **options,
            )

    def step(self, number: int, model: Any = None) -> None:
        """Before training step ``number``, counted from 0."""
        beyond = self._until is not None and number > self._until
        if self._watch is None or self._every is None or number % self._every or beyond:
            return
        self._watch.look(number, model)

    def end(self) -> None:
        """After the last step."""
        if self._report is not None and self.watched is not None:
            self._save(self.watched, "watched.html")

    def _save(self, record: Checkup | Receipt | Watched, name: str) -> None:
        assert self._report is not None
        os.makedirs(self._report, exist_ok=True)  # noqa: PTH103 - any path-like
        record.save(os.path.join(self._report, name))  # noqa: PTH118


@contextmanager
def random_states(torch: Any) -> Iterator[None]:
    """Random states as they were, whatever reads a batch in between."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def first_batch(loader: Any, torch: Any) -> Any:
    """The first batch of a torch loader; the loader and all random states stay as they were."""
    generators = [
        g
        for holder in (
            loader,
            getattr(loader, "sampler", None),
            getattr(loader, "batch_sampler", None),
        )
        if isinstance(g := getattr(holder, "generator", None), torch.Generator)
    ]
    states = [g.get_state() for g in generators]
    with random_states(torch):
        try:
            return next(iter(loader))
        except StopIteration:
            raise BadInputError("train_dataloader: has no batch") from None
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def model_init(
    build: Callable[[], Any], batch: Any = None, *, seed: int = 0, **options: Any
) -> Callable[..., Any]:
    """A function that builds and initializes a model: ``Trainer(model_init=…)`` and the like.

    Args:
        build: gives a new model.
        batch: as for `firstlight.initialize`.
        seed: of the weights: each call gives the same ones.
        **options: of `firstlight.initialize`.

    Returns:
        A function of an optional trial, which it does not look at.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from firstlight.integrations.training import model_init
        >>> made = model_init(lambda: nn.Linear(4, 2), torch.randn(32, 4), seed=1)
        >>> torch.equal(made().weight, made().weight)
        True
    """

    def made(trial: Any = None) -> Any:  # noqa: ARG001 - of a search, passed by the trainer
        return initialize(build(), batch, seed=seed, **options).model

    return made
