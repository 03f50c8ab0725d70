"""transformers' Trainer: look at a model, or initialize it, before its first step, and watch."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from firstlight.integrations.training import Care, first_batch, model_init

__all__ = ["FirstlightCallback", "model_init"]


class FirstlightCallback(TrainerCallback):
    """A healthy start and a watched training for a Trainer's model.

    The model is called as the Trainer calls it, ``model(**batch)``, and its own loss is judged. To
    draw weights before the optimizer is made, give the Trainer ``model_init=model_init(build,
    batch)`` instead of ``initialize=True``.

    Args:
        batch: a mapping; None takes the first batch of the training data.
        **care: initialize, seed, every, until, alarm, report; see `training.Care`.

    Example: ``Trainer(…, callbacks=[FirstlightCallback(every=50)])``.
    """

    def __init__(self, *, batch: Any = None, **care: Any) -> None:
        self._batch = batch
        self._care = Care(**care)

    @property
    def start(self) -> Any:
        """What was seen, or done, before the first step."""
        return self._care.start

    @property
    def watched(self) -> Any:
        """The glances, if any were asked for."""
        return self._care.watched

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Before the first step; a training that is resumed keeps its weights."""
        batch = self._batch
        if batch is None:
            batch = first_batch(given["train_dataloader"], torch)
        self._care.begin(
            given["model"],
            _placed(batch, args.device),
            resumed=state.global_step > 0,
            primary=state.is_world_process_zero,
        )

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Look, if it is time to."""
        self._care.step(state.global_step, given["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Write what was watched."""
        self._care.end()


def _placed(batch: Any, device: Any) -> dict[str, Any]:
    return {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in dict(batch).items()
    }
