"""What a model without skill pays at a loss: one that knows nothing, and one that knows the shares.

Neither looks at its input; both give the same output to every sample. The first prefers nothing
(equal logits, predictions of zero); the second knows how often each class occurs, or the mean of
the target, so that its loss is the entropy of the classes, or the target's variance. A head's bias
alone can learn the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from firstlight.frameworks.torch.beside import has_values, readable
from firstlight.measuring.undecided import Undecided


def undecided(
    func: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], result: Tensor
) -> Undecided | None:
    """What models without skill would have paid in this call, with all of the call's own options.

    With K classes, and shares p of the target: ln K and −Σ p ln p; with one logit: ln 2 and the
    entropy of the positives' share, for each output by itself; mean square: E[t²] and Var[t];
    absolute error: E|t| and E|t − median|. Class weights, masked targets, label smoothing, soft
    targets and reductions enter as the call has them.

    Args:
        func: a function of `torch.nn.functional`, as a `TorchFunctionMode` sees it.
        args: its positional arguments.
        keywords: its keyword arguments.
        result: what it returned.

    Returns:
        None for losses of other kinds.

    >>> from torch.nn import functional as F
    >>> logits, target = torch.randn(8, 4), torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])
    >>> seen = undecided(F.cross_entropy, (logits, target), {}, F.cross_entropy(logits, target))
    >>> round(seen.uninformed / math.log(2), 3), round(seen.prior / math.log(2), 3)
    (2.0, 1.75)
    """
    price = _PRICES.get(func)
    if price is None:
        return None
    given = signature(func).bind(*args, **keywords)
    given.apply_defaults()
    options = given.arguments
    head, target = _shown(options["input"]), readable(options["target"])
    if target is None:
        return None
    if not head.is_floating_point() or not head.numel() or not target.numel():
        return None
    with torch.no_grad():
        uninformed, prior = price(func, head.detach(), target.detach(), options)
        best = _CONSTANTS.get(func)
        return Undecided(
            paid=float(result.detach().float().mean()) if has_values(result) else math.nan,
            uninformed=uninformed,
            prior=prior,
            constant=None if best is None else best(head.detach(), target.detach(), options),
        )


def _shown(head: Tensor) -> Tensor:
    """A head's output; zeros in place of what has no values, since only its shape is asked for."""
    found = readable(head)
    return torch.zeros((), dtype=head.dtype).expand(head.shape) if found is None else found


def _host(tensor: Tensor) -> Tensor:
    """Small sums in float64, which not every device has."""
    return tensor.detach().to("cpu", torch.float64)


def _reduction(options: Mapping[str, Any]) -> str:
    """``mean``, ``sum`` or ``none``, also by the two flags that stood for it in old code."""
    flags = options.get("size_average"), options.get("reduce")
    if flags == (None, None):
        return str(options["reduction"])
    average, reduced = (flag is not False for flag in flags)
    return ("mean" if average else "sum") if reduced else "none"


def _classes(
    _func: Any, head: Tensor, target: Tensor, options: Mapping[str, Any]
) -> tuple[float, float]:
    """Of Σ_c a_c (−ln p_c): at equal shares, and at the shares a/Σa that make it least.

    The masses a_c are counted from the target; no tensor as large as the logits is made.
    """
    classes = head.shape[1 if head.dim() > 1 else 0]
    given = options["weight"]
    weight = torch.ones(classes, dtype=torch.float64) if given is None else _host(given)
    if target.is_floating_point():
        axes = [axis for axis in range(target.dim()) if axis != min(1, target.dim() - 1)]
        counts = _host(target.float().sum(dim=axes) if axes else target)
        positions = kept = divisor = target.numel() / classes
    else:
        known = target[target != options["ignore_index"]]
        counts = _host(torch.bincount(known.reshape(-1), minlength=classes))
        positions, kept, divisor = target.numel(), known.numel(), float(weight @ counts)
    smoothing = options.get("label_smoothing", 0.0)
    # Smoothing gives each kept position an equal part of every class.
    masses = weight * ((1 - smoothing) * counts + smoothing * kept / classes)
    unit = {"mean": divisor, "sum": 1.0, "none": positions}[_reduction(options)]
    mass = float(masses.sum())
    if not mass or not unit:
        return 0.0, 0.0  # every target is masked
    entropy = float(torch.special.entr(masses / mass).sum())
    return mass * math.log(classes) / unit, mass * entropy / unit


def _per_output(values: Tensor) -> Tensor:
    """(outputs, observations): what one bias of a head would serve stands in one row.

    The second axis holds the outputs, in sequences (three axes) the last one; else there is one.
    """
    axis = {0: None, 1: None, 3: 2}.get(values.dim(), 1)
    return values.reshape(1, -1) if axis is None else values.movedim(axis, 0).flatten(1)


def _binary(
    _func: Any, head: Tensor, target: Tensor, options: Mapping[str, Any]
) -> tuple[float, float]:
    """Of Σ a₁(−ln p) + a₀(−ln(1 − p)) for each output: at p = ½, and at p = a₁/(a₀ + a₁)."""
    weight, positive = options["weight"], options.get("pos_weight")
    ones, zeros = target.float(), 1 - target.float()
    if positive is not None:
        ones = ones * positive
    if weight is not None:
        ones, zeros = ones * weight, zeros * weight
    ones, zeros = (_host(_per_output(mass.expand_as(head)).sum(dim=1)) for mass in (ones, zeros))
    masses = ones + zeros
    shares = ones / masses.where(masses != 0, 1.0)
    entropy = torch.special.entr(shares) + torch.special.entr(1 - shares)
    unit = 1 if _reduction(options) == "sum" else head.numel()
    return float(masses.sum()) * math.log(2) / unit, float((masses * entropy).sum()) / unit


def _regression(
    func: Any, head: Tensor, target: Tensor, options: Mapping[str, Any]
) -> tuple[float, float]:
    """The call itself on predictions of zero, and on each output's own mean or median."""
    head, target = torch.broadcast_tensors(head, target)
    rows = _per_output(target.float())
    middle = rows.median(dim=1).values if func is functional.l1_loss else rows.mean(dim=1)
    shape = [1] * head.dim()
    if len(middle) > 1:
        shape[2 if head.dim() == 3 else 1] = len(middle)
    rest = {k: v for k, v in options.items() if k not in ("input", "target")}

    def price(prediction: Tensor) -> float:
        # Expanded, not filled: no memory is taken for a constant.
        return float(func(prediction.to(head).expand_as(head), target, **rest).float().mean())

    return price(torch.zeros(())), price(middle.reshape(shape))


_MOST_UNITS = 4096
"""Larger heads have more classes than a batch can tell the shares of."""
_BEYOND_CHANCE = 5.0
"""Standard errors from which a share or mean is taken as one of the task, not of the batch."""


def _log_shares(
    head: Tensor, target: Tensor, options: Mapping[str, Any]
) -> tuple[float, ...] | None:
    """Centred ln p of the classes, each counted once more than it was; None if about equal."""
    classes = head.shape[1 if head.dim() > 1 else 0]
    plain = options["weight"] is None and not options.get("label_smoothing", 0.0)
    if target.is_floating_point() or not plain or classes > _MOST_UNITS:
        return None
    known = target[target != options["ignore_index"]].reshape(-1)
    counts = _host(torch.bincount(known, minlength=classes))
    expected = max(len(known), 1) / classes
    # Pearson's statistic of equal shares has mean K − 1 and variance 2 (K − 1).
    statistic = float(((counts - expected) ** 2 / expected).sum())
    if statistic < classes - 1 + _BEYOND_CHANCE * math.sqrt(2 * max(classes - 1, 1)):
        return None
    logs = ((counts + 1) / (len(known) + classes)).log()
    return tuple((logs - logs.mean()).tolist())


def _log_odds(head: Tensor, target: Tensor, options: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Ln p/(1 − p) of each output that is not as often one as zero."""
    plain = options["weight"] is None and options.get("pos_weight") is None
    rows = _host(_per_output(target.float().expand_as(head)))
    if not plain or len(rows) > _MOST_UNITS:
        return None
    number = rows.shape[1]
    shares = (rows.sum(dim=1) + 1) / (number + 2)
    certain = (shares - 0.5).abs() > _BEYOND_CHANCE * 0.5 / math.sqrt(number)
    odds = (shares / (1 - shares)).log().where(certain, 0.0)
    return tuple(odds.tolist()) if bool(certain.any()) else None


def _means(head: Tensor, target: Tensor, _options: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The mean of each output that is not zero."""
    rows = _host(_per_output(torch.broadcast_tensors(head, target)[1].float()))
    if len(rows) > _MOST_UNITS or rows.shape[1] < 2:
        return None
    means, errors = rows.mean(dim=1), rows.std(dim=1) / math.sqrt(rows.shape[1])
    certain = means.abs() > _BEYOND_CHANCE * errors
    return tuple(means.where(certain, 0.0).tolist()) if bool(certain.any()) else None


_CONSTANTS: dict[Any, Callable[..., tuple[float, ...] | None]] = {
    functional.cross_entropy: _log_shares,
    functional.binary_cross_entropy_with_logits: _log_odds,
    functional.mse_loss: _means,
    functional.smooth_l1_loss: _means,
    functional.huber_loss: _means,
}

_PRICES: dict[Any, Callable[..., tuple[float, float]]] = {
    functional.cross_entropy: _classes,
    functional.nll_loss: _classes,
    functional.binary_cross_entropy: _binary,
    functional.binary_cross_entropy_with_logits: _binary,
    functional.mse_loss: _regression,
    functional.l1_loss: _regression,
    functional.smooth_l1_loss: _regression,
    functional.huber_loss: _regression,
}
