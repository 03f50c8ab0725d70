"""The unseen faults and controls, each with the findings that a fair expert would accept.

They were written by somebody who had not read the detectors, after these were finished, and no
expectation was changed for what the checkup answered.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from zoo import parts
from zoo.faults import Fault
from zoo.holdout import operators as plant
from zoo.parts import Operator
from zoo.planting import reach
from zoo.specimen import Specimen

_EQUAL = ("symmetric-units", "rank-deficient", "cloned-layers")
_VANISHING = ("forward-vanishing", "backward-vanishing")
_EXPLODING = ("forward-exploding", "backward-exploding")
_UNREACHED = ("unreachable", "no-gradient")
_LOUD = (*_EXPLODING, "loss-at-start", "saturated-units", "wrong-law")


# Where they make sense ---------------------------------------------------------------------------


def _target(specimen: Specimen) -> Tensor | None:
    found = specimen.check(0).get("target")
    return found if isinstance(found, Tensor) else None


def _classifies(specimen: Specimen) -> bool:
    """One class per sample, by cross-entropy."""
    target = _target(specimen)
    return target is not None and target.dim() == 1 and "loss" not in specimen.check(0)


def _regresses(specimen: Specimen) -> bool:
    """Numbers of any sign, by mean squares."""
    target = _target(specimen)
    return target is not None and target.is_floating_point() and "loss" not in specimen.check(0)


def _classifies_numbers(specimen: Specimen) -> bool:
    batch = specimen.batch(0)
    return _classifies(specimen) and isinstance(batch, Tensor) and batch.is_floating_point()


def _classifies_rows(specimen: Specimen) -> bool:
    return _classifies_numbers(specimen) and specimen.batch(0).dim() == 2


def _has_no_norm(specimen: Specimen) -> bool:
    return _classifies_numbers(specimen) and not parts.has_norm(specimen.model(0))


# What they change besides the model ---------------------------------------------------------------


def _wide_column(x: Tensor) -> Tensor:
    """An income in cents beside standardised numbers."""
    factor = torch.ones(x.shape[1])
    factor[3] = 1e4
    return x * factor


def _cast(dtype: torch.dtype) -> Any:
    def cast(value: Any) -> Any:
        floats = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if floats else value

    return lambda batch: tree_map(cast, batch)


def _thousandfold(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "target": 1000 * options["target"]}


def _odd(options: dict[str, Any]) -> dict[str, Any]:
    return {"loss": "binary_cross_entropy", "target": (options["target"] % 2).float()}


def _fault(name: str, kinds: tuple[str, ...], apply: Operator, **more: Any) -> Fault:
    return Fault(name=name, kinds=kinds, split="score", apply=apply, **more)


FAULTS: tuple[Fault, ...] = (
    # Scale
    _fault("xavier-bound-as-std", _LOUD, plant.bound_as_std),
    _fault("kernel-forgotten", _LOUD, plant.kernel_forgotten),
    _fault("orthogonal-gain-0.5", (*_VANISHING, "wrong-law"), plant.half_orthogonal),
    _fault("sign-weights", (*_LOUD, "non-finite"), plant.signs),
    _fault("wgan-clip-at-start", (*_VANISHING, "wrong-law"), plant.clipped),
    _fault("leaky-relu-of-true", (*_EXPLODING, "loss-at-start", "wrong-law"), plant.leaky_true),
    _fault("recurrent-std-1", _LOUD, plant.recurrent_normal),
    _fault("head-bias-100", ("loss-at-start", "wrong-law"), plant.big_head_bias, to=_classifies),
    _fault(
        "half-precision-overflow",
        ("non-finite", *_EXPLODING),
        plant.half_precision,
        to=_classifies_rows,
        batch=_cast(torch.float16),
    ),
    # Attention, gates and look-ups
    _fault("equal-heads", _EQUAL, plant.equal_heads),
    _fault(
        "hot-attention",
        ("saturated-units", "wrong-law", "update-ratio", *_EXPLODING, *_VANISHING),
        plant.hot_attention,
    ),
    _fault(
        "closed-gates",
        ("saturated-units", "wrong-law", "collapsed-samples", *_VANISHING, *_UNREACHED),
        plant.closed_gates,
    ),
    _fault(
        "one-vector-for-all", (*_EQUAL, "parallel-units", "collapsed-samples"), plant.one_vector
    ),
    _fault("near-copies", (*_EQUAL, "parallel-units"), plant.near_copies),
    # Norms
    _fault(
        "norm-shift-plus-5",
        ("wrong-law", "collapsed-samples", "parallel-units", "loss-at-start", "saturated-units"),
        plant.norms_shifted,
    ),
    _fault("norm-epsilon-1e5", (*_VANISHING, "collapsed-samples"), plant.large_epsilon),
    # Functions with the wrong gradient
    _fault("root-at-zero", ("non-finite",), plant.root_at_zero),
    _fault("round-without-estimator", (*_UNREACHED, "backward-vanishing"), plant.rounded),
    # Head and loss
    _fault("tanh-on-logits", ("head-mismatch",), reach.after_head(torch.tanh), to=_classifies),
    _fault(
        "sigmoid-before-logit-loss",
        ("head-mismatch",),
        reach.one_unit(nn.Sigmoid),
        to=_classifies,
        check=_odd,
    ),
    _fault(
        "sigmoid-on-regression",
        ("head-mismatch",),
        reach.after_head(torch.sigmoid),
        to=_regresses,
    ),
    _fault(
        "log-of-logits",
        ("non-finite", "head-mismatch"),
        reach.after_head(torch.log),
        to=_classifies,
    ),
    # Data
    _fault(
        "targets-times-1000",
        ("loss-at-start", "head-mismatch"),
        plant.targets,
        to=_regresses,
        check=_thousandfold,
    ),
    _fault(
        "one-column-times-1e4",
        ("input-scale",),
        reach.untouched,
        to=_classifies_rows,
        batch=_wide_column,
    ),
    _fault(
        "input-plus-100",
        ("input-scale", "collapsed-samples"),
        reach.untouched,
        to=_classifies_numbers,
        batch=lambda x: x + 100,
    ),
    _fault(
        "input-over-255-twice",
        ("input-scale", "collapsed-samples", *_VANISHING),
        reach.untouched,
        to=_has_no_norm,
        batch=lambda x: x / 255 / 255,
    ),
)

CONTROLS: tuple[Fault, ...] = (
    _fault(
        "log-softmax-before-cross-entropy",
        (),
        reach.after_head(lambda x: x.log_softmax(dim=-1)),
        to=_classifies,
    ),
    _fault("negated-weights", (), plant.negated),
    _fault("doubled-relu", (), plant.doubled_relu),
    _fault("linear-probe", (), plant.linear_probe, to=_classifies),
    _fault(
        "double-precision",
        (),
        plant.double_precision,
        to=_classifies_numbers,
        batch=_cast(torch.float64),
    ),
)
"""Changes that look like faults and are none: no finding of severity error may come out.

log_softmax is idempotent, so that one before the cross-entropy changes nothing.
"""
