"""Width and depth: the rates that carry a training from one size to another, and their check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from firstlight.errors import BadInputError, UnhealthyError, near_names
from firstlight.records.checkup import Finding
from firstlight.records.late import Shown
from firstlight.records.network import Network

Role = Literal["hidden", "output", "input", "vector", "tied", "fixed"]
"""What the width does to a parameter: both sides grow, the inputs alone, the outputs alone (of a
weight or an embedding, of a bias, norm or position, of an embedding that also makes the logits), or
neither."""

TRANSFER_KINDS = (
    "rate-scaling",
    "start-scaling",
    "tied-logits",
    "coordinates-grow",
    "coordinates-vanish",
)
"""Kinds of finding of a coordinate check."""

Trend = Literal["steady", "grows", "vanishes", "undecided", "unmoved"]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How one parameter's learning rate follows from that of a base model.

    Args:
        name: canonical name of the parameter.
        role: what the width does to it.
        fan_in: its inputs over those in the base model, 1 for what sums nothing.
        fan_out: its outputs over those in the base model.
        depth: residual branches of its stream over those in the base model; 1 outside of branches.
        adam: factor of the learning rate under Adam and other optimizers whose steps do not depend
            on the gradient's size.
        sgd: factor of the learning rate under plain gradient descent, with momentum or without.
        reason: one line, why.
    """

    name: str
    role: Role = "fixed"
    fan_in: float = 1.0
    fan_out: float = 1.0
    depth: float = 1.0
    adam: float = 1.0
    sgd: float = 1.0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Multiplier:
    """A factor that the forward pass needs, because no start and no rate can stand for it.

    Args:
        operation: what its input has to be multiplied at.
        factor: by how much.
        reason: one line, why.
    """

    operation: str
    factor: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Traced:
    """One training of one model: root mean squares by name.

    Args:
        network: the model as it ran.
        losses: before each step and after the last.
        start: of each followed operation's result, before the first step.
        change: of its difference to that, after each step.
        arriving: of what each operation with weights reads, before the first step.
        parameter_start: of each parameter before the first step.
        parameter_first: of its difference to that, after the first step.
        parameter_change: the same after the last step.
    """

    network: Network
    losses: tuple[float, ...]
    start: dict[str, float]
    change: dict[str, tuple[float, ...]]
    arriving: dict[str, float]
    parameter_start: dict[str, float]
    parameter_first: dict[str, float]
    parameter_change: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Slope:
    """A power law over the widths: quantity ∝ width^value.

    Args:
        value: the exponent, by least squares on logarithms.
        low: lower end of its 95 % interval (Student's t over all runs).
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ± {(self.high - self.low) / 2:.2f}"


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """The coordinates of one operation's result, over widths.

    Args:
        name: the operation's name.
        kind: its kind, as in `Operation`.
        is_output: whether the model returns it, reshaped at most.
        start: root mean square at the start, for each width the mean over seeds of its logarithm,
            taken back.
        change: root mean square of the change since the start, for each step (rows) and width.
        start_slope: of ``start``; None where it is zero.
        change_slope: of the change after the last step; None where nothing moved.
        trend: of the change.
        start_trend: of the start.
    """

    name: str
    kind: str
    is_output: bool
    start: tuple[float, ...]
    change: tuple[tuple[float, ...], ...]
    start_slope: Slope | None
    change_slope: Slope | None
    trend: Trend
    start_trend: Trend


@dataclass(frozen=True, kw_only=True)
class ParameterTrend:
    """How one parameter starts and moves over widths, and how it would have to.

    Args:
        name: canonical name of the parameter.
        role: what the width does to it.
        start_slope: of its root mean square at the start; None where that is zero.
        start_needed: the exponent that the start should have, and of outputs at most.
        update_slope: of the root mean square of its change, after the first step; after the last
            one where nothing moved in the first.
        update_needed: the exponent that its change should have.
    """

    name: str
    role: Role
    start_slope: Slope | None
    start_needed: float
    update_slope: Slope | None
    update_needed: float


@dataclass(frozen=True, kw_only=True)
class CoordinateCheck(Shown):
    """Whether a model trains alike at every width.

    Args:
        model: the model's class.
        widths: what ``build`` was called with.
        seeds: of the starts.
        steps: steps of training.
        optimizer: its name.
        base: the width whose plan and rates the others follow; None if the model's own start was
            trained.
        operations: in order of execution, those that all widths have.
        parameters: those that all widths have.
        findings: what is wrong, with culprits, cause and cure.
        remarks: what the check assumes or could not do.
    """

    model: str
    widths: tuple[int, ...]
    seeds: tuple[int, ...]
    steps: int
    optimizer: str
    base: int | None
    operations: tuple[Coordinates, ...]
    parameters: tuple[ParameterTrend, ...]
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether there is no finding of severity error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def __getitem__(self, name: str) -> Coordinates:
        for operation in self.operations:
            if operation.name == name:
                return operation
        names = [operation.name for operation in self.operations]
        raise BadInputError(f"check: no operation '{name}'; {near_names(name, names)}")

    def assert_healthy(self) -> None:
        """Raise `UnhealthyError`, naming every error, unless the model trains alike at all widths.

        Raises:
            UnhealthyError: one line for each finding of severity error.
        """
        if not self.healthy:
            errors = [finding for finding in self.findings if finding.severity == "error"]
            lines = [f"{f.kind} at {', '.join(f.where)}: {f.evidence}; {f.cure}" for f in errors]
            raise UnhealthyError("\n".join(lines))
