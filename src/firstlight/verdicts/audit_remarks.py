"""The classic silent failures, as far as the numbers of one parameter show them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from firstlight.records.network import Parameter
from firstlight.records.plan import AuditRemark, LawFit
from firstlight.verdicts.audit_defaults import Intent
from firstlight.verdicts.audit_laws import STORED_WORDS
from firstlight.verdicts.audit_numbers import Numbers

NEVER_DRAWN = 1e10
"""No initialization draws numbers of this size; memory that was never filled holds 1e37."""

SUBNORMAL_SHARE = 0.01
"""Share of values below 1.2e-38 that only unfilled memory has: integers read as floats."""

IDLE_SIGMAS = 6.0
"""A cut further out than this takes nothing away: a normal of 10⁸ values ends before it."""

_FEWEST = 1000
"""Values from which a factor √2 in the std is beyond doubt."""

_GLOROT = ("glorot_normal", "glorot_uniform", "glorot_truncated_normal")

_KEPT = 0.75
"""Share of the second moment above which Glorot's law is near enough to He's: fan_out is small."""

_PACKED_NAME = re.compile(r"(^|[._])(qkv|in_proj|c_attn|query_key_value|Wqkv)([._]|$)")


def value_remarks(parameter: Parameter, numbers: Numbers) -> Iterator[AuditRemark]:
    """What no law explains: NaN, memory never filled, constant matrices."""
    size = numbers.size
    if numbers.non_finite:
        yield AuditRemark(
            kind="non-finite",
            text=f"{numbers.non_finite:,} of {size:,} values are NaN or infinite",
        )
    sample = numbers.sample
    largest = max(abs(float(sample[0])), abs(float(sample[-1]))) if sample.size else 0.0
    if not numbers.non_finite:
        largest = numbers.largest
    if largest > NEVER_DRAWN or numbers.subnormal > SUBNORMAL_SHARE:
        what = (
            f"values up to {largest:.2g}"
            if largest > NEVER_DRAWN
            else f"{numbers.subnormal:.0%} of the values are below 1.2e-38"
        )
        yield AuditRemark(
            kind="unfilled-memory",
            text=f"{what}: no initialization draws them; memory that was never filled",
        )
    matrix = parameter.kind in ("weight", "recurrent", "embedding")
    if matrix and numbers.constant and size > 1 and numbers.low != 0 and not numbers.non_finite:
        yield AuditRemark(
            kind="constant",
            text=f"all {size:,} values are {numbers.low:.4g}: the units start as copies of each"
            " other and stay copies",
        )


def scale_remarks(
    parameter: Parameter, numbers: Numbers, fits: Sequence[LawFit]
) -> Iterator[AuditRemark]:
    """Fans that were counted wrongly: packed projections, groups, transposed, shards."""
    layout = parameter.layout
    names = {fit.technique for fit in fits}
    packed = "qkv" in layout.roles and "torch_multihead_packed" in names
    if not packed and _PACKED_NAME.search(parameter.name) and layout.out == 3 * layout.in_:
        packed = bool(names & {"glorot_uniform", "glorot_normal"})
    if packed and numbers.size >= _FEWEST:
        yield AuditRemark(
            kind="packed-fans",
            text="q, k and v drawn as one packed matrix: Xavier counted fan_out as 3E, so their"
            " std is √2 smaller than that of separate projections",
        )
    if fits and all(STORED_WORDS in fit.words for fit in fits):
        groups = math.prod(n for role, n in layout.stacks if role == "group")
        if groups > 1 and "fan_out" in fits[0].words:
            why = f"fan_out counts the outputs of all {groups} groups"
            if "fan_in" not in fits[0].words:
                why += f": the variance is {groups} times smaller than one group's fan_out asks"
            yield AuditRemark(kind="stored-fans", text=why)
        elif layout.roles[:1] == ("in",) and layout.kernel:
            yield AuditRemark(
                kind="stored-fans",
                text="fans read off the stored shape: the stride of this transposed convolution was"
                " not divided out",
            )
        elif "gate" in layout.roles and "fan_out" in fits[0].words:
            yield AuditRemark(kind="stored-fans", text="fan_out counts the outputs of all gates")


def padding_remark(parameter: Parameter, overwritten: bool) -> Iterator[AuditRemark]:
    """A padding row that holds something."""
    if overwritten:
        yield AuditRemark(
            kind="padding-row",
            text=f"row {parameter.padding_index} is padding and was overwritten: it should be zero",
        )


def rule_remark(
    intent: Intent, fits: Sequence[LawFit], default: Intent | None, *, binding: bool
) -> AuditRemark:
    """A rule of the model's own code, and numbers that are not what it draws.

    Args:
        intent: what the rule would draw.
        fits: the laws that the tensor has now.
        default: what the module's class does unasked.
        binding: whether nothing can have followed the rule.
    """
    now = fits[0].words if fits else None
    untouched = default is not None and any(fit.law == default.law for fit in fits)
    text = f"{intent.whose} would draw {intent.law_words} here; "
    if now is None:
        text += "no known law fits the numbers now: trained, loaded, or drawn by another rule"
    elif untouched:
        text += f"the tensor still has {now}, the framework's default: the rule never ran"
    else:
        text += f"the tensor has {now}: " + (
            "the rule never ran, or another followed it" if binding else "another rule followed"
        )
    return AuditRemark(kind="rule-never-ran", text=text)


def truncation_remark(
    bounds: tuple[float, float] | None, numbers: Numbers
) -> Iterator[AuditRemark]:
    """Bounds that are given in units of the values and meant in σ.

    Args:
        bounds: the least and the largest value that the model's own code lets through.
        numbers: of the tensor that the code drew.
    """
    if bounds is None or not numbers.std > 0:
        return
    nearest = min(bounds[1] - numbers.mean, numbers.mean - bounds[0]) / numbers.std
    if nearest > IDLE_SIGMAS:
        away = float(f"{nearest:.1g}")  # one digit: the same words for all weights of a model
        yield AuditRemark(
            kind="idle-truncation",
            text=f"cut at {bounds[0]:g} and {bounds[1]:g}, about {away:.0f} σ away: the"
            " truncation takes nothing off, and the law is the whole normal one",
        )


def gain_remark(
    parameter: Parameter, fits: Sequence[LawFit], fed: tuple[str, float]
) -> Iterator[AuditRemark]:
    """Glorot's law in a weight that ReLU feeds, where it loses much of the signal.

    Args:
        parameter: of which fan_in and fan_out are known, else nothing is said.
        fits: its laws.
        fed: the activation's class and its slope below zero.
    """
    kinds = {fit.technique.partition("_")[0] for fit in fits if fit.technique}
    plain = any(fit.technique in _GLOROT and not fit.words.startswith("gain") for fit in fits)
    if parameter.fans is None or not plain or "he" in kinds:
        return
    name, slope = fed
    fan_in, fan_out = parameter.fans.forward, parameter.fans.backward
    glorot, he = 2 / (fan_in + fan_out), 2 / ((1 + slope**2) * fan_in)
    kept = glorot / he
    if kept < _KEPT:
        yield AuditRemark(
            kind="glorot-for-relu",
            text=f"fed by {name}: Glorot's variance 2/(fan_in + fan_out) = {glorot:.3g}"
            f" keeps {kept:.2f} of the second moment in this layer, He's {he:.3g} all of it",
        )
