"""Plans, receipts and audits: what each weight should be, became, and is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from math import log
from typing import Any, Literal, Protocol, TypeVar

from firstlight.errors import BadInputError, near_names
from firstlight.records.checkup import Checkup
from firstlight.records.late import NOT_SAVED, Shown, call
from firstlight.records.law import Law
from firstlight.records.network import Layout, Network
from firstlight.records.transfer import Multiplier, Rate


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def by_name(entries: tuple[N, ...], name: str, what: str) -> N:
    """The entry called ``name``; a `BadInputError` with near names otherwise."""
    for entry in entries:
        if entry.name == name:
            return entry
    raise BadInputError(
        f"{what}: no parameter '{name}'; {near_names(name, [e.name for e in entries])}"
    )


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """An alternative that was considered, and the figure that spoke against it."""

    technique: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What one operation will do under a plan.

    Args:
        operation: index in `Network.operations`.
        name: the operation's name.
        second_moment: expected mean square of its result; None if it cannot be told.
        delta_square_per_sample: expected ‖δ‖² there, relative to the last operation that has one;
            None if it cannot be told.
        how: ``theory``, or ``measured`` where theory does not reach or was off by more than 10 %.
    """

    operation: int
    name: str
    second_moment: float | None = None
    delta_square_per_sample: float | None = None
    how: Literal["theory", "measured"] = "theory"


@dataclass(frozen=True, kw_only=True)
class PlanEntry:
    """What one parameter should start as.

    Args:
        name: canonical name of the parameter.
        action: ``draw`` from ``law``, or ``keep`` what is there.
        law: None when kept.
        layout: the axes by which it is drawn.
        rule: the planning rule that matched.
        reason: one line, why.
        source: the paper or derivation behind the rule.
        rejected: alternatives.
        zero_row: a row that stays zero (an embedding's padding), if any.
        rows: of an added part (new tokens, say) the first row and the one after the last that are
            drawn; the others stay. None for all.
        target: second moment that the result of the first operation with this weight should have;
            None where the rule does not set one (kept, biases, norms).
        calibrate: whether a measurement may rescale the law to reach the target. Isometries inside
            a chain are exact by themselves and are not touched.
    """

    name: str
    action: Literal["draw", "keep"]
    law: Law | None
    layout: Layout
    rule: str
    reason: str
    source: str
    rejected: tuple[Rejected, ...] = ()
    zero_row: int | None = None
    rows: tuple[int, int] | None = None
    target: float | None = None
    calibrate: bool = False
    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """How even signal and gradient are under one start.

    Args:
        technique: its name; ``plan`` for the plan itself, ``own start`` for the model as it came.
        forward_ratio: largest over smallest second moment along the depth, of the worst stream.
        delta_ratio: largest over smallest ‖δ‖² there.
        how: ``theory`` or ``measured``.
    """

    technique: str
    forward_ratio: float
    delta_ratio: float
    how: Literal["theory", "measured"]

    @property
    def unevenness(self) -> float:
        """Ln of the two ratios, added: 0 for a start that keeps both."""
        return log(self.forward_ratio) + log(self.delta_ratio)

    def __str__(self) -> str:
        return (
            f"{self.technique}: second moment within × {self.forward_ratio:.3g}, ‖δ‖² within ×"
            f" {self.delta_ratio:.3g} along the depth ({self.how})"
        )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One parameter that two plans start differently; None where a plan does not have it."""

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.name}: {self.before or 'absent'} → {self.after or 'absent'}"


def _start_of(entry: PlanEntry | None) -> str | None:
    """What an entry does, in words that are equal only if the numbers are."""
    if entry is None:
        return None
    if entry.law is None:
        return "keep"
    numbers = ", ".join(
        f"{field.name}={getattr(entry.law, field.name)}" for field in fields(entry.law)
    )
    return f"{type(entry.law).__name__}({numbers})"


@dataclass(frozen=True, kw_only=True)
class Plan(Shown):
    """Every parameter of a model once, with its law and the reason for it.

    Args:
        network: the model as it was read.
        entries: one per parameter.
        technique: the technique that was asked for, None if Firstlight chose.
        remarks: what the whole plan assumes or could not do.
        forecast: what each operation will do once the plan is drawn, in order of execution.
        ranking: the plan and other starts, the most even first.
        refusals: where no start can help: why, how deep one can go, and the smallest change that
            would.
        rates: learning rates of single parameters, relative to the one for all; those that are not
            named take it as it is.
        multipliers: factors that the forward pass needs, see `scale_inputs`.
    """

    network: Network
    entries: tuple[PlanEntry, ...]
    technique: str | None = None
    remarks: tuple[str, ...] = ()
    forecast: tuple[Forecast, ...] = ()
    ranking: tuple[Ranked, ...] = ()
    refusals: tuple[str, ...] = ()
    rates: tuple[Rate, ...] = ()
    multipliers: tuple[Multiplier, ...] = ()

    def __getitem__(self, name: str) -> PlanEntry:
        return by_name(self.entries, name, "plan")

    def __iter__(self) -> Iterator[PlanEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def edit(self, name: str, law: Law, reason: str = "edited by hand") -> Plan:
        """The plan with another law for one parameter; its forecast no longer holds.

        Args:
            name: canonical name of the parameter.
            law: what it shall be drawn from.
            reason: one line, why.

        Raises:
            BadInputError: no such parameter.
        """
        chosen = replace(
            self[name],
            action="draw",
            law=law,
            rule="edited",
            reason=reason,
            source="the user",
            calibrate=False,
        )
        entries = tuple(chosen if entry.name == name else entry for entry in self.entries)
        return replace(self, entries=entries, forecast=())

    def addressed(self, addresses: Mapping[str, str]) -> Plan:
        """The plan with parameters drawn under other names: as another model has them.

        So a model with q, k and v apart gets the numbers of one that stores them as one matrix, an
        expert those of its place in a stack, a renamed layer those of its old name.

        Args:
            addresses: by canonical name the name to draw under; with an index in brackets one of
                the matrices that are stacked there: ``{"k.weight": "qkv.weight[qkv=1]"}``. The word
                in the brackets is the role of the stacked axis: qkv, gate, expert, head, group.

        Raises:
            BadInputError: no such parameter.

        Laws are not changed: equal numbers need equal laws.
        """
        for name in addresses:
            self[name]
        entries = (
            replace(entry, address=addresses[entry.name]) if entry.name in addresses else entry
            for entry in self.entries
        )
        return replace(self, entries=tuple(entries))

    def diff(self, other: Plan) -> tuple[Difference, ...]:
        """What changes from this plan to another, parameter by parameter; empty if nothing does.

        Args:
            other: a plan for the same model, or for one that shares names with it.
        """
        mine, others = ({e.name: e for e in plan} for plan in (self, other))
        names = dict.fromkeys((*mine, *others))
        pairs = ((name, mine.get(name), others.get(name)) for name in names)
        return tuple(
            Difference(name=name, before=_start_of(old), after=_start_of(new))
            for name, old, new in pairs
            if _start_of(old) != _start_of(new)
        )

    def apply(self, model: Any, seed: int | None = None, namespace: str = "") -> Receipt:
        """Draw every parameter of the plan into ``model``; see `firstlight.apply`."""
        receipt: Receipt = call("apply", model, self, seed=seed, namespace=namespace)
        return receipt

    def param_groups(
        self, optimizer: Any, model: Any, *, lr: float, weight_decay: float | None = None
    ) -> list[dict[str, Any]]:
        """Parameter groups at the rates of this plan; see `firstlight.verbs.rates.param_groups`."""
        groups: list[dict[str, Any]] = call(
            "param_groups", self, optimizer, model, lr=lr, weight_decay=weight_decay
        )
        return groups

    def scale_inputs(self, model: Any) -> None:
        """Hook this plan's multipliers into ``model``; see `firstlight.verbs.rates`."""
        call("scale_inputs", self, model)


@dataclass(frozen=True, kw_only=True)
class Achieved:
    """What a parameter's values are, measured after they were written.

    Args:
        mean: of the values.
        std: of the values.
        low: the least.
        high: the largest.
        zero_fraction: share of zeros.
        share: of the parameter's values that were measured: those that this process holds, where
            several share the parameter. 0 where it holds none.
    """

    mean: float
    std: float
    low: float
    high: float
    zero_fraction: float
    share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ReceiptEntry:
    """Asked against achieved, for one parameter."""

    name: str
    action: Literal["draw", "keep"]
    asked: Law | None
    achieved: Achieved


@dataclass(frozen=True, kw_only=True)
class Receipt(Shown):
    """What `apply` or `initialize` did.

    Args:
        entries: one per parameter.
        seed: the seed that was used; with the same seed, names and namespace the weights return.
        namespace: keeps models with equal names apart.
        plan: the plan that was carried out.
        before: checkup of the model as it came (`initialize` only).
        after: checkup of the model as it is now (`initialize` only).
        model: the model that carries the new weights: the one that was given, changed in place, or
            a new one where models are immutable, as in JAX. It is not saved with the receipt.
        model: the new model where models are immutable (JAX); None where it was changed in place.
    """

    entries: tuple[ReceiptEntry, ...]
    seed: int
    namespace: str
    plan: Plan
    before: Checkup | None = None
    after: Checkup | None = None
    model: Any = field(default=None, repr=False, compare=False, metadata=NOT_SAVED)

    def __getitem__(self, name: str) -> ReceiptEntry:
        return by_name(self.entries, name, "receipt")

    def __iter__(self) -> Iterator[ReceiptEntry]:
        return iter(self.entries)


@dataclass(frozen=True, kw_only=True)
class LawFit:
    """A law that the numbers in a tensor do not reject.

    Args:
        law: with the nominal or estimated scale.
        words: the law in the words of the tensor's fans: ``U(±1/√fan_in)``.
        technique: the registry's name for it at this layer, if it has one.
        p_value: of the test that did not reject it; 1 for exact matches.
    """

    law: Law
    words: str
    technique: str | None
    p_value: float


@dataclass(frozen=True, kw_only=True)
class AuditRemark:
    """Something about a parameter's numbers that fails silently, if it is a failure.

    Args:
        kind: ``rule-never-ran``, ``no-depth-scaling``, ``packed-fans``, ``stored-fans``,
            ``shard-fans``, ``cloned``, ``padding-row``, ``untied``, ``idle-truncation``,
            ``glorot-for-relu``, ``non-finite``, ``unfilled-memory`` or ``constant``.
        text: what was seen, in one sentence without a full stop.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One parameter's numbers, named.

    Args:
        laws: those not rejected, best first; empty if none of the known laws fits.
        intended: the law that the framework or the model's own code meant, in words; None if
            unknown.
        agrees: whether the numbers are compatible with what was intended; None if unknown.
        remarks: silent failures that the numbers show.
    """

    name: str
    layout: Layout
    mean: float
    std: float
    low: float
    high: float
    laws: tuple[LawFit, ...]
    intended: str | None = None
    agrees: bool | None = None
    remarks: tuple[AuditRemark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Audit(Shown):
    """Which initialization is in these weights now.

    Args:
        network: the parameters that were read.
        entries: one per parameter.
        remarks: what the whole audit assumes or could not do.
    """

    network: Network
    entries: tuple[AuditEntry, ...]
    remarks: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> AuditEntry:
        return by_name(self.entries, name, "audit")

    def __iter__(self) -> Iterator[AuditEntry]:
        return iter(self.entries)
