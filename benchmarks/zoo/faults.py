"""The faults that are planted in the zoo, each with the finding that must come out.

A fault is scored on the architectures of the zoo's ``score`` part, and published figures come from
operators of the ``score`` part too. Each finding kind has at least one operator that calibrates (so
that its limit can be set) and, where there are several mechanisms, others that were never looked at
while setting it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.parts import Operator
from zoo.planting import reach, scale, silence, units
from zoo.specimen import Specimen, Split


def _same(value: Any) -> Any:
    return value


def _always(_specimen: Specimen) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to spoil a model, or (without kinds) to change it harmlessly.

    Args:
        name: unique.
        kinds: any of these as leading finding is right; empty for a control, which must give no
            finding of severity error.
        apply: changes a model in place; the culprits by name (modules or parameters), or None if it
            does not apply to this model.
        thread: row of the table of users' reports in `docs`, or what it comes from.
        split: see `zoo.specimen.Split`.
        to: the specimens where it makes sense.
        batch: changes what the model is fed.
        check: changes the keywords of `firstlight.check`.
    """

    name: str
    kinds: tuple[str, ...]
    apply: Callable[[nn.Module, int], tuple[str, ...] | None]
    split: Split
    thread: str = ""
    to: Callable[[Specimen], bool] = _always
    batch: Callable[[Any], Any] = _same
    check: Callable[[dict[str, Any]], dict[str, Any]] = _same


# Where they make sense ---------------------------------------------------------------------------


def _classifies(specimen: Specimen) -> bool:
    """One class per sample, by cross-entropy."""
    target = specimen.check(0).get("target")
    if target is None:
        batch = specimen.batch(0)
        target = batch.get("labels") if isinstance(batch, dict) else None
    return isinstance(target, Tensor) and not target.is_floating_point() and target.dim() == 1


def _classifies_plainly(specimen: Specimen) -> bool:
    return _classifies(specimen) and "target" in specimen.check(0)


def _predicts_tokens(specimen: Specimen) -> bool:
    batch = specimen.batch(0)
    return isinstance(batch, dict) and "labels" in batch and batch["labels"].dim() == 2


def _has_logits(specimen: Specimen) -> bool:
    return _classifies(specimen) or (_predicts_tokens(specimen) and specimen.name != "wav2vec2-ctc")


def _reads_numbers(specimen: Specimen) -> bool:
    batch = specimen.batch(0)
    return isinstance(batch, Tensor) and batch.is_floating_point() and _classifies(specimen)


# What they change besides the model ---------------------------------------------------------------


def _times_thousand(x: Tensor) -> Tensor:
    return 1000 * x


def _bytes(x: Tensor) -> Tensor:
    """0 … 255 as a picture is stored."""
    return (64 * x + 128).clamp(0, 255)


def _even_classes(options: dict[str, Any]) -> dict[str, Any]:
    return {"loss": "binary_cross_entropy", "target": (options["target"] % 2).float()}


def _imbalanced(options: dict[str, Any]) -> dict[str, Any]:
    target = options["target"].clone()
    target[: int(0.95 * len(target))] = 0
    return {**options, "target": target}


_EQUAL = ("symmetric-units",)
_PARALLEL = ("parallel-units",)
_CLONES = ("cloned-layers",)
_RANK = ("rank-deficient",)
_VANISHING = ("forward-vanishing", "backward-vanishing")
_EXPLODING = ("forward-exploding", "backward-exploding")
_UNREACHED = ("unreachable", "no-gradient")
_MISMATCH = ("head-mismatch",)


def _fault(
    name: str,
    kinds: tuple[str, ...],
    split: Split,
    apply: Operator,
    thread: str = "",
    **more: Any,
) -> Fault:
    return Fault(name=name, kinds=kinds, split=split, apply=apply, thread=thread, **more)


FAULTS: tuple[Fault, ...] = (
    # Equal and parallel units
    _fault("all-zeros", _EQUAL, "calibrate", units.constant(0.0), "20"),
    _fault("constant-0.05", _EQUAL, "score", units.constant(0.05), "20"),
    _fault("half-duplicated", (*_EQUAL, *_RANK), "score", units.half_duplicated),
    _fault(
        "one-layer-zero",
        (*_EQUAL, *_UNREACHED, "collapsed-samples"),
        "score",
        units.one_layer_zero,
        "15",
    ),
    _fault(
        "zeros-biases-kept",
        (*_EQUAL, "collapsed-samples"),
        "calibrate",
        units.constant(0.0, biases=False, embeddings=False),
        "20",
    ),
    _fault("positive-he", _PARALLEL, "calibrate", units.positive(True)),
    _fault("np-random-random", (*_PARALLEL, *_EXPLODING), "score", units.positive(False), "21"),
    _fault("mean-of-one-std", _PARALLEL, "score", units.shifted_mean),
    _fault(
        "large-biases",
        ("wrong-law", *_PARALLEL, "collapsed-samples", "loss-at-start", "saturated-units"),
        "score",
        silence.large_biases,
    ),
    # Clones and rank
    _fault("cloned-encoder-layers", _CLONES, "calibrate", units.cloned_blocks, "1"),
    _fault("cloned-pair", _CLONES, "score", units.cloned_pair, "1"),
    _fault("reseeded-layers", _CLONES, "score", units.reseeded),
    _fault("outer-product", _RANK, "calibrate", units.outer_product),
    _fault("repeated-shards", (*_RANK, *_EQUAL), "score", units.repeated_shards),
    # Scale
    _fault("torch-default", _VANISHING, "calibrate", scale.torch_default, "3, 12, 13, 24"),
    _fault("half-he", _VANISHING, "score", scale.gain(0.5), "12"),
    _fault("twice-he", _EXPLODING, "score", scale.gain(2.0), "25"),
    _fault(
        "std-1-everywhere",
        (*_EXPLODING, "loss-at-start", "saturated-units", "non-finite", "wrong-law"),
        "score",
        scale.same_std(1.0, chains=False),
        "21",
    ),
    _fault(
        "std-0.001-everywhere",
        _VANISHING,
        "calibrate",
        scale.same_std(0.001, chains=True),
        "16, 24",
    ),
    _fault(
        "one-layer-times-100",
        (*_EXPLODING, "loss-at-start", "saturated-units"),
        "calibrate",
        scale.one_layer(100.0),
        "9",
    ),
    _fault("one-layer-times-0.01", _VANISHING, "score", scale.one_layer(0.01)),
    _fault("head-times-50", ("loss-at-start",), "calibrate", scale.big_head, "5", to=_has_logits),
    _fault(
        "embedding-times-50",
        ("wrong-law", "update-ratio", "loss-at-start", "saturated-units", *_EXPLODING),
        "score",
        scale.big_embedding,
        "17",
    ),
    _fault(
        "branches-times-10",
        (*_EXPLODING, "wrong-law", "update-ratio", "loss-at-start"),
        "score",
        scale.big_branches,
    ),
    _fault("tiny-before-norm", ("update-ratio", *_VANISHING), "calibrate", scale.before_norm(1e-3)),
    _fault("huge-before-norm", ("update-ratio", *_EXPLODING), "score", scale.before_norm(1e3)),
    # Activations
    _fault("sigmoid-everywhere", ("backward-vanishing",), "calibrate", silence.sigmoids, "19, 24"),
    _fault("saturated-tanh", ("saturated-units",), "score", silence.saturated, "23"),
    _fault("dead-by-bias", ("dead-units",), "calibrate", silence.dead(False), "22"),
    _fault("dead-by-bias-functional", ("dead-units",), "score", silence.dead(True), "22"),
    _fault(
        "dead-by-negative-weights",
        ("dead-units", *_PARALLEL),
        "score",
        silence.negative_weights,
        "22",
    ),
    _fault("dead-by-norm-shift", ("dead-units",), "score", silence.dead_norm, "22"),
    # Norms
    _fault(
        "norm-scales-zero",
        (*_UNREACHED, "forward-vanishing", *_EQUAL, "wrong-law"),
        "calibrate",
        scale.norm_scales(0.0),
        "8",
    ),
    _fault(
        "norm-scales-0.02",
        (*_VANISHING, "wrong-law"),
        "score",
        scale.norm_scales(0.02),
        "EfficientNet in transformers 5.23",
    ),
    # Values that are no numbers
    _fault("nan-weight", ("non-finite",), "calibrate", scale.one_value(float("nan")), "7"),
    _fault("inf-weight", ("non-finite",), "score", scale.one_value(float("inf")), "9"),
    _fault("nan-norm-shift", ("non-finite",), "score", scale.nan_bias, "8"),
    _fault(
        "uninitialised-memory",
        ("non-finite", "wrong-law", "forward-exploding"),
        "score",
        scale.unfilled,
        "6, 18",
    ),
    # Reach
    _fault("lora-both-zero", _UNREACHED, "score", reach.adapters(True), "10"),
    _fault("two-zero-layers", (*_UNREACHED, *_EQUAL), "calibrate", reach.two_zeros, "11"),
    _fault(
        "zero-embedding",
        (*_UNREACHED, *_EQUAL, "forward-vanishing", "collapsed-samples"),
        "score",
        scale.zero_embedding,
        "20",
    ),
    _fault("detached-branch", _UNREACHED, "score", reach.detached),
    _fault("frozen-by-mistake", _UNREACHED, "calibrate", reach.frozen),
    _fault("unused-parameters", _UNREACHED, "score", reach.unused),
    # Head and loss
    _fault(
        "softmax-before-cross-entropy",
        _MISMATCH,
        "calibrate",
        reach.after_head(lambda x: x.softmax(dim=-1)),
        "UMLAUT's missing softmax, the other way round",
        to=_classifies,
    ),
    _fault(
        "relu-on-logits",
        (*_MISMATCH, "dead-units"),
        "score",
        reach.after_head(torch.relu),
        to=_classifies,
    ),
    _fault(
        "softmax-over-one-unit",
        _MISMATCH,
        "score",
        reach.one_unit(lambda: nn.Softmax(dim=-1)),
        to=_classifies_plainly,
        check=_even_classes,
    ),
    # Data
    _fault(
        "input-times-1000",
        ("input-scale",),
        "calibrate",
        reach.untouched,
        to=_reads_numbers,
        batch=_times_thousand,
    ),
    _fault(
        "input-as-bytes",
        ("input-scale",),
        "score",
        reach.untouched,
        to=lambda s: _reads_numbers(s) and s.batch(0).dim() == 4,
        batch=_bytes,
    ),
)


CONTROLS: tuple[Fault, ...] = (
    _fault("zero-head", (), "score", reach.zero_head, "15", to=_classifies),
    _fault("zero-branch-ends", (), "score", reach.zero_branch_ends, "tensorpack #420"),
    _fault("lora", (), "score", reach.adapters(False), "microsoft/LoRA #59"),
    _fault(
        "imbalanced-labels",
        (),
        "score",
        reach.untouched,
        to=_classifies_plainly,
        check=_imbalanced,
    ),
)
"""Changes that look like faults and are none: no finding of severity error may come out."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault in a specimen, with a seed."""

    fault: Fault
    specimen: Specimen
    seed: int

    def plant(self) -> tuple[nn.Module, tuple[str, ...]] | None:
        """The spoiled model and the culprits; None if the fault does not apply."""
        if self.specimen.missing or not self.fault.to(self.specimen):
            return None
        model = self.specimen.model(self.seed)
        with torch.no_grad():
            culprits = self.fault.apply(model, self.seed)
        return None if culprits is None else (model, culprits)

    def fed(self) -> tuple[Any, dict[str, Any]]:
        """The batch and the keywords of the check."""
        batch = self.fault.batch(self.specimen.batch(self.seed))
        return batch, self.fault.check(self.specimen.check(self.seed))


def cases(faults: tuple[Fault, ...], specimens: tuple[Specimen, ...], seeds: range) -> list[Case]:
    """Every fault in every specimen, applicable or not, by fault."""
    return [Case(fault=f, specimen=s, seed=n) for f in faults for s in specimens for n in seeds]
