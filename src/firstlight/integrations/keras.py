"""Keras's ``fit``: look at a model, or initialize it, before its first step, and watch."""

from __future__ import annotations

from typing import Any

import keras

from firstlight.integrations.training import Care


class FirstlightCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """A healthy start and a watched training for ``model.fit``, on torch or JAX.

    Args:
        batch: what is looked at; Keras shows callbacks no data.
        target: the compiled loss is judged with it.
        **care: initialize, seed, every, until, alarm, report; see `training.Care`.

    Example: ``model.fit(x, y, callbacks=[FirstlightCallback(x[:64], y[:64], every=50)])``.
    """

    def __init__(self, batch: Any, target: Any = None, **care: Any) -> None:
        super().__init__()
        self._batch, self._target = batch, target
        self._care = Care(**care)
        self._step = 0

    @property
    def start(self) -> Any:
        """What was seen, or done, before the first step."""
        return self._care.start

    @property
    def watched(self) -> Any:
        """The glances, if any were asked for."""
        return self._care.watched

    def on_train_begin(self, logs: Any = None) -> None:
        """Before the first step; a training that goes on keeps its weights."""
        optimizer = getattr(self.model, "optimizer", None)
        self._step = int(optimizer.iterations.value) if optimizer is not None else 0
        self._care.begin(self.model, self._batch, target=self._target, resumed=self._step > 0)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Look, if it is time to."""
        self._care.step(self._step, self.model)
        self._step += 1

    def on_train_end(self, logs: Any = None) -> None:
        """Write what was watched."""
        self._care.end()
