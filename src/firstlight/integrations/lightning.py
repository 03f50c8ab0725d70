"""Lightning: look at a module, or initialize it, after sharding and before its first step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from firstlight.errors import BadInputError
from firstlight.integrations.training import Care, first_batch

try:
    from lightning.pytorch import Callback
except ImportError:
    from pytorch_lightning import Callback


class FirstlightCallback(Callback):  # type: ignore[misc]
    """A healthy start and a watched training for a LightningModule.

    Without ``batch`` the first one of the training data is taken and given to ``training_step``;
    its logging is left out. With ``batch`` and ``target`` the module itself is called, which is
    what modules with manual optimization need.

    Args:
        batch: as for `firstlight.check`.
        target: likewise.
        loss: likewise.
        **care: initialize, seed, every, until, alarm, report; see `training.Care`.

    Raises:
        BadInputError: manual optimization, and no ``batch``.

    Example: ``Trainer(callbacks=[FirstlightCallback(every=50)])``. Of the callback ``start`` is the
    `Checkup` or `Receipt` from before the first step, ``watched`` the glances.
    """

    def __init__(
        self, *, batch: Any = None, target: Any = None, loss: Any = None, **care: Any
    ) -> None:
        super().__init__()
        self._given = batch, target, loss
        self._care = Care(**care)

    @property
    def start(self) -> Any:
        """What was seen, or done, before the first step."""
        return self._care.start

    @property
    def watched(self) -> Any:
        """The glances, if any were asked for."""
        return self._care.watched

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """The strategy has set the module up: sharded, on its devices, or loaded."""
        batch, target, loss = self._given
        known = {"resumed": trainer.global_step > 0, "primary": trainer.is_global_zero}
        if batch is not None:
            self._care.begin(module, batch, target=target, loss=loss, **known)
            return
        if not module.automatic_optimization:
            raise BadInputError(
                "FirstlightCallback: the module optimizes by hand in training_step, which a look"
                " must not run; pass batch= and target="
            )
        first = first_batch(trainer.train_dataloader, torch)
        first = trainer.strategy.batch_to_device(first)
        self._care.begin(module, first, step=_training_step, **known)

    def on_train_batch_start(
        self,
        trainer: Any,
        module: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look, if it is time to."""
        self._care.step(trainer.global_step, module)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Write what was watched."""
        self._care.end()


def _training_step(module: Any, batch: Any) -> Any:
    with _silent(module):
        found = module.training_step(batch, 0)
    return found["loss"] if isinstance(found, dict) else found


@contextmanager
def _silent(module: Any) -> Iterator[None]:
    """Without what a step logs: it is no step of the training."""
    for name in ("log", "log_dict"):
        module.__dict__[name] = lambda *args, **options: None  # noqa: ARG005
    try:
        yield
    finally:
        for name in ("log", "log_dict"):
            del module.__dict__[name]
