"""Is this network healthy at step zero?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from firstlight.errors import BadInputError
from firstlight.records.checkup import Checkup
from firstlight.verbs.adapters import adapter_for
from firstlight.verdicts.findings import judge


def check(
    model: Any,
    batch: Any = None,
    *,
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
    optimizer: Any = None,
    jacobian: bool = False,
) -> Checkup:
    """Look at a network before training: one forward and one backward pass, and what they tell.

    At every weighted operation and activation the forward second moment E[z²] and the gradient δ
    that comes back are measured; so are each weight's gradient ∇W, dead, saturated and equal units,
    and the loss against that of an undecided model. The model is left bit for bit as it was.

    Args:
        model: a torch.nn.Module with values, on any device; or a built Keras model.
        batch: what the model is called with: a mapping → ``model(**batch)``, a tuple or list →
            ``model(*batch)``, anything else → ``model(batch)``. 64 samples or more make good
            statistics. Without it a synthetic normal batch is tried.
        loss: ``"cross_entropy"``, ``"mse"``, ``"binary_cross_entropy"``, or a callable
            (output, target) → scalar. The output's ``.loss`` is used where there is one.
        target: for the loss. If only a target is given, a loss that fits is inferred; of a Keras
            model the compiled loss counts first, then what its last activation asks for.
        step: (model, batch) → scalar loss, for everything else.
        optimizer: over the model's parameters; how far its first step would move each weight is
            then judged too. It is only read.
        jacobian: also measure the singular values of the input–output Jacobian of each sample, into
            ``.observation.jacobian``: up to 64 dimensions all of them, beyond that the largest and
            the mean square by random products. It takes tens of passes; all values equal is
            dynamical isometry (Saxe et al. 2014; Pennington et al. 2017).

    Returns:
        A `Checkup`: ``.healthy``, ``.findings``, ``.layers``, ``.assert_healthy()``, ``.save()``.

    Raises:
        BadInputError: the batch, target or model cannot be used; one line says why. So with
            ``jacobian`` and ``step``: a loss has no Jacobian worth looking at.
        ModelRaisedError: the model raised on this batch.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
        >>> for parameter in model.parameters():
        ...     _ = nn.init.constant_(parameter, 0.01)
        >>> checkup = fl.check(model, torch.randn(128, 20), target=torch.randint(3, (128,)))
        >>> checkup.findings[0].kind, checkup.findings[0].where
        ('symmetric-units', ('0',))
    """
    adapter = adapter_for(model)
    if jacobian and step is not None:
        raise BadInputError("jacobian: needs the model's output, which step hides; leave step out")
    observation = adapter.observe(
        model, batch, loss=loss, target=target, step=step, optimizer=optimizer
    )
    if jacobian:
        observation = replace(observation, jacobian=adapter.jacobian(model, batch))
    return Checkup(observation=observation, findings=judge(observation))
