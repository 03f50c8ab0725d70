"""One parameter's numbers against the laws that are known and what was meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from firstlight.records.law import Law, Normal, TruncatedNormal, Uniform
from firstlight.records.network import Layout, Network, Parameter
from firstlight.records.plan import AuditEntry, AuditRemark, LawFit
from firstlight.verdicts.audit_defaults import Intent, default_of
from firstlight.verdicts.audit_estimates import Candidate
from firstlight.verdicts.audit_laws import bias_law, named_laws, shard_laws
from firstlight.verdicts.audit_numbers import Numbers, numbers_of, pooled
from firstlight.verdicts.audit_remarks import (
    padding_remark,
    rule_remark,
    scale_remarks,
    truncation_remark,
    value_remarks,
)
from firstlight.verdicts.law_fit import fit_p, fitting_laws, same_law_p

_RESOLUTION = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Relative spacing of the types whose rounding shows."""

_NAMELESS = "a law without a name"


class Drawn(Protocol):
    """What a model's own code would put into a parameter."""

    @property
    def rule(self) -> str:
        """Whose code."""

    @property
    def binding(self) -> bool:
        """Whether nothing can have followed it."""

    @property
    def draws(self) -> Sequence[NDArray[np.floating]]:
        """Independent draws; none if what it would put in is not known as a whole."""

    @property
    def fixed(self) -> bool:
        """Whether it puts in the same numbers every time."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Of a truncation, if there was one."""


class _Audited:
    """A parameter with its values, and everything that is asked of them."""

    def __init__(
        self,
        parameter: Parameter,
        values: NDArray[np.floating],
        *,
        network: Network,
        blocks: int | None,
        level: float,
    ) -> None:
        self.parameter = parameter
        self.blocks = blocks
        self.level = level
        self.resolution = _RESOLUTION.get(parameter.dtype, 0.0)
        row = parameter.padding_index
        self.zero_row = row if row is not None and not np.any(values[row]) else None
        self.overwritten = row is not None and self.zero_row is None
        self.values, self.layout = self._drawn_part(values)
        self.numbers = numbers_of(self.values)
        bias = bias_law(parameter, network)
        self.candidates = [*named_laws(parameter, blocks), *([bias] if bias else [])]

    def _drawn_part(self, values: NDArray[np.floating]) -> tuple[NDArray[np.floating], Layout]:
        """Without the padding row, which no law draws."""
        layout = self.parameter.layout
        if self.zero_row is None:
            return values, layout
        left = np.delete(values, self.zero_row, axis=0)
        return left, replace(layout, shape=left.shape, view=left.shape)

    @property
    def usable(self) -> bool:
        return self.numbers.size > 0 and not self.numbers.non_finite

    def laws(
        self, numbers: Numbers, values: NDArray[np.floating], *extra: Candidate
    ) -> list[tuple[Candidate, float]]:
        fans = self.parameter.fans
        return fitting_laws(
            numbers,
            values,
            self.layout,
            [*self.candidates, *extra],
            resolution=self.resolution,
            level=self.level,
            fan_in=fans.forward if fans and "in" in self.layout.roles else None,
        )

    def fits(self, law: Law) -> bool:
        p = fit_p(
            self.numbers,
            law,
            self.layout,
            values=self.values,
            resolution=self.resolution,
            level=self.level,
        )
        return p >= self.level

    def own(self, drawn: Drawn) -> tuple[Intent, bool, Numbers] | None:
        """What the model's code means, whether the tensor agrees, and what the code drew."""
        parts = [self._drawn_part(draw)[0] for draw in drawn.draws]
        theirs = pooled(parts)
        if not self.usable or theirs.non_finite or not theirs.size:
            return None
        if drawn.fixed and not theirs.constant:
            intent = Intent(whose=drawn.rule, law_words="fixed numbers", law=None)
            near = np.allclose(self.values, parts[0], rtol=max(1e-5, self.resolution), atol=0)
            return intent, near, theirs
        found = self.laws(theirs, parts[0])
        law = found[0][0][2] if found else None
        words = found[0][0][1] if found else _NAMELESS
        intent = Intent(whose=drawn.rule, law_words=words, law=law)
        # A scale that was estimated from the draws is itself uncertain; those are compared whole.
        random = (Normal, Uniform, TruncatedNormal)
        exact = [c[2] for c, _ in found if c in self.candidates or not isinstance(c[2], random)]
        first = theirs if len(parts) == 1 else numbers_of(parts[0])
        if first.digest == self.numbers.digest:
            agrees = True
        elif exact:
            agrees = any(self.fits(law) for law in exact)
        else:
            agrees = same_law_p(self.numbers, theirs) >= self.level
        return intent, agrees, theirs


def entry_of(
    parameter: Parameter,
    values: NDArray[Any],
    network: Network,
    *,
    drawn: Drawn | None = None,
    blocks: int | None = None,
    level: float,
) -> tuple[AuditEntry, Numbers]:
    """Name the laws of one parameter, and compare them with what was meant.

    Args:
        parameter: what is known of it.
        values: its numbers, in storage order.
        network: where it stands, for the fan_in of the weight beside a bias.
        drawn: what the model's own code would draw; counts before the framework's default.
        blocks: how many equal blocks the model has, if this stands in one.
        level: below which p-value a law is rejected.

    Returns:
        The entry with the remarks that its own numbers give, and the numbers.
    """
    this = _Audited(parameter, values, network=network, blocks=blocks, level=level)
    numbers, remarks = this.numbers, list(value_remarks(parameter, this.numbers))
    default = default_of(parameter, network)
    own = this.own(drawn) if drawn is not None and drawn.draws else None
    # What a rule fills in part is no longer the framework's, and not known as a whole.
    unknown = drawn is not None and not drawn.draws
    intent = own[0] if own else None if unknown else default
    found: list[tuple[Candidate, float]] = []
    if this.usable:
        extra: list[Candidate] = []
        laws = [law for _, _, law in this.candidates]
        if intent is not None and intent.law is not None and intent.law not in laws:
            extra.append((None, intent.law_words, intent.law))
        found = this.laws(numbers, this.values, *extra)
        # What was meant comes first among what is not rejected.
        found.sort(key=lambda fit: intent is None or fit[0][2] != intent.law)
        if not found or found[0][0][0] is None:
            found, shard = _with_shards(this, found)
            remarks += shard
    fits = tuple(LawFit(law=c[2], words=c[1], technique=c[0], p_value=p) for c, p in found)

    agrees: bool | None = None
    if own is not None and drawn is not None:
        meant, agrees, theirs = own
        agrees = agrees or any(law == meant.law for (_, _, law), _ in found)
        if agrees:
            remarks += truncation_remark(drawn.bounds, theirs)
        else:
            remarks.append(rule_remark(own[0], fits, default, binding=drawn.binding))
            if not drawn.binding and not (default and default.law and this.fits(default.law)):
                agrees = None  # another step of the model's code may have followed
    elif intent is not None and intent.law is not None:
        agrees = this.usable and this.fits(intent.law)
        agrees = (agrees or not numbers.size) and not this.overwritten
    remarks += scale_remarks(parameter, numbers, fits)
    remarks += padding_remark(parameter, this.overwritten)
    entry = AuditEntry(
        name=parameter.name,
        layout=parameter.layout,
        mean=numbers.mean,
        std=numbers.std,
        low=numbers.low,
        high=numbers.high,
        laws=fits,
        intended=None if intent is None else intent.words,
        agrees=agrees,
        remarks=tuple(remarks),
    )
    return entry, numbers


def _with_shards(
    this: _Audited, found: list[tuple[Candidate, float]]
) -> tuple[list[tuple[Candidate, float]], list[AuditRemark]]:
    """Where no named law fits, one whose fan_in was a shard's comes before estimated ones."""
    if any(candidate in this.candidates for candidate, _ in found):
        return found, []
    for k, candidate in shard_laws(this.parameter):
        if this.fits(candidate[2]):
            text = f"fits {candidate[1]}: fan_in was taken from one of {k} shards"
            p = fit_p(this.numbers, candidate[2], this.layout, resolution=this.resolution)
            return [(candidate, p), *found], [AuditRemark(kind="shard-fans", text=text)]
    return found, []
