"""What was observed of a model at step zero, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from firstlight.errors import UnhealthyError
from firstlight.records.detail import Detail
from firstlight.records.late import Shown
from firstlight.records.network import Network, Task

Severity = Literal["error", "warning", "note"]

FINDING_KINDS = (
    "symmetric-units",
    "parallel-units",
    "cloned-layers",
    "dead-units",
    "saturated-units",
    "forward-vanishing",
    "forward-exploding",
    "backward-vanishing",
    "backward-exploding",
    "collapsed-samples",
    "loss-at-start",
    "head-mismatch",
    "no-gradient",
    "unreachable",
    "non-finite",
    "input-scale",
    "update-ratio",
    "wrong-law",
    "rank-deficient",
)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured number with its standard error (None where it has none, as for an exact count)."""

    value: float
    standard_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one operation did at step zero; None where it was not measured.

    Args:
        operation: index in `Network.operations`.
        name: the operation's name.
        mean: mean of its result over samples and units.
        second_moment: mean square of its result; the error is over samples.
        sample_spread: the part of it that differs between samples: mean squared deviation from the
            batch mean; None for one sample.
        delta_mean_square: mean square of the gradient with respect to its result.
        delta_square_per_sample: squared norm of that gradient, mean over samples, ‖δ‖².
        dead_fraction: share of units that are zero on every sample (activations only).
        saturated_fraction: share of elements on the flat ends of a bounded activation.
        twin_units: units that equal another unit (up to sign) in value and in gradient.
        twin_example: two such units, by index.
        non_finite: how many elements are NaN or infinite.
        non_finite_delta: how many elements of the gradient are.
        raw_mean_square: mean square of the entries that are not zero of what it reads, where that
            comes from the batch through no weight and no norm.
        detail: a close look at its result, of weighted operations.
    """

    operation: int
    name: str
    mean: float | None = None
    second_moment: Estimate | None = None
    sample_spread: float | None = None
    delta_mean_square: Estimate | None = None
    delta_square_per_sample: Estimate | None = None
    dead_fraction: float | None = None
    saturated_fraction: float | None = None
    twin_units: int | None = None
    twin_example: tuple[int, int] | None = None
    non_finite: int = 0
    non_finite_delta: int = 0
    raw_mean_square: float | None = None
    detail: Detail | None = None


@dataclass(frozen=True, kw_only=True)
class InputReading:
    """One floating input of the model: its moments, and how alike its positions and samples are.

    What follows the second moment is given three times: for units along the second axis, along the
    last one, and for positions alone. The likenesses are mean products of one unit's values at two
    places.

    Args:
        operation: index in `Network.operations`.
        name: the operation's name.
        mean: mean of all values.
        second_moment: mean square.
        near: at two neighbouring positions of one sample; the second moment if there are none.
        positions: at any two positions of one sample; likewise.
        samples: in two samples.
        uneven: relative variance, from place to place, of the mean square over the units there.
    """

    operation: int
    name: str
    mean: float
    second_moment: float
    near: tuple[float, ...]
    positions: tuple[float, ...]
    samples: tuple[float, ...]
    uneven: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ParameterReading:
    """One parameter's values and gradient.

    Args:
        name: canonical name.
        value_rms: root mean square of the values.
        gradient_rms: of the gradient; None if the loss does not depend on the parameter at all.
        constant: whether all values are equal.
        non_finite: how many values are NaN or infinite.
        zero_gradient_at_start_only: the gradient is exactly zero now, and not after a few small
            steps.
        unit_cosine: mean cosine between the incoming weights of two units, of stacked matrices
            (gates; q, k and v) the largest; None for what has no units.
        rank_share: numerical rank of a sample of its rows over their number, of stacked matrices
            the smallest; None likewise.
        equals: another parameter with the very same values, if there is one.
        largest: largest absolute value.
        update_ratio: ‖Δw‖/‖w‖ of the first step, where an optimizer was given.
        repeated_rows: share of the units whose incoming weights (of an embedding: whose vectors)
            equal another's, number by number, over all stacked matrices; zero rows set aside, and
            rows that are another's negative, as mirrored starts have. None for constant tensors
            and rows of fewer than four numbers.
        constant_blocks: how many of the stacked matrices (gates; q, k and v) hold one value each,
            where the tensor as a whole holds several.
        distinct_values: of a vector, how many different values it holds if they are at most four;
            None for more, and for other tensors.
        value: the one number that all values are, if they are; None where they differ, and for
            what cannot be filled with a number (complex, integer and sparse tensors).
    """

    name: str
    value_rms: float
    gradient_rms: float | None
    constant: bool
    non_finite: int = 0
    zero_gradient_at_start_only: bool = False
    unit_cosine: float | None = None
    rank_share: float | None = None
    equals: str | None = None
    largest: float | None = None
    update_ratio: float | None = None
    repeated_rows: float | None = None
    constant_blocks: int = 0
    distinct_values: int | None = None
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class JacobianReading:
    """Singular values σ of the input–output Jacobian, per sample, as means over samples.

    There are min(inputs, outputs) of them. All equal is dynamical isometry: ``spread`` 0,
    ``condition`` 1.

    Args:
        largest: up to eight largest, in descending order.
        smallest: the smallest; None unless ``exact``.
        mean_square: mean of σ²; the error is over samples, of one sample over random vectors.
        spread: standard deviation of σ² over its mean; None if all are zero.
        condition: largest over smallest; None unless ``exact``, or if one is zero.
        inputs: numbers that enter, of one sample.
        outputs: numbers that leave.
        samples: how many were looked at.
        exact: whether all were computed; else by random products.
    """

    largest: tuple[float, ...]
    smallest: float | None
    mean_square: Estimate
    spread: float | None
    condition: float | None
    inputs: int
    outputs: int
    samples: int
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One instrumented forward and backward pass.

    Args:
        network: the model as plain data.
        readings: one per operation that was measured.
        parameters: one per parameter.
        samples: batch size.
        loss: value of the loss, None without one.
        undecided_loss: what a model pays that knows nothing: equal logits, predictions of zero.
        task: what the loss and head make of it.
        classes: number of classes, if it classifies.
        logits_std: standard deviation of the head's output.
        cotangent: where backward started: ``loss``, ``random`` (no loss) or ``head-input`` (the
            head is zero, so that the loss's own gradient stops there).
        input_second_moment: mean square of the floating inputs.
        device: as the framework names it.
        dtype: of the measured values.
        mode: ``train`` or ``eval``.
        raised: the error that stopped the pass, if one did.
        prior_loss: what a model pays that knows only the class shares, or the target's mean.
        best_constant: the output, by unit of the head, of a model that knows only the class shares
            or the target's mean (centred log shares, log odds, means); None where the batch does
            not show that it differs from zero.
        jacobian: singular values from input to output, if they were asked for.
        inputs: one per floating input.
    """

    network: Network
    readings: tuple[Reading, ...]
    parameters: tuple[ParameterReading, ...]
    samples: int
    loss: float | None = None
    undecided_loss: float | None = None
    task: Task = "unknown"
    classes: int | None = None
    logits_std: float | None = None
    cotangent: Literal["loss", "random", "head-input"] = "random"
    input_second_moment: float | None = None
    device: str = "cpu"
    dtype: str = "float32"
    mode: str = "train"
    raised: str | None = None
    prior_loss: float | None = None
    best_constant: tuple[float, ...] | None = None
    jacobian: JacobianReading | None = None
    inputs: tuple[InputReading, ...] = ()

    def reading(self, operation: int) -> Reading | None:
        """The reading of an operation, by its index."""
        return next((r for r in self.readings if r.operation == operation), None)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Args:
        kind: stable word, one of `FINDING_KINDS`.
        severity: error (training will suffer), warning (it may), note.
        where: names of the culprits, the first one leading.
        evidence: what was measured, with its limit, as a sentence.
        cause: why it is so, as precisely as the measurement allows.
        cure: code that can be pasted, or the change to make.
        consequences: further findings that this one explains; they go when it goes.
    """

    kind: str
    severity: Severity
    where: tuple[str, ...]
    evidence: str
    cause: str
    cure: str
    consequences: tuple[Finding, ...] = ()


def walk(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings with their consequences, causes first."""
    for finding in findings:
        yield finding
        yield from walk(finding.consequences)


@dataclass(frozen=True, kw_only=True)
class Checkup(Shown):
    """The verdict on a network at step zero."""

    observation: Observation
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is no finding of severity error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def walk(self) -> Iterator[Finding]:
        """All findings, each followed by what it explains."""
        return walk(self.findings)

    @property
    def layers(self) -> tuple[Reading, ...]:
        """One reading per measured operation, in order of execution."""
        return self.observation.readings

    @property
    def network(self) -> Network:
        """The model as it was read."""
        return self.observation.network

    def assert_healthy(self) -> None:
        """Raise `UnhealthyError`, naming every error, unless the network is healthy."""
        errors = [finding for finding in self.findings if finding.severity == "error"]
        if errors:
            lines = "; ".join(f"{f.kind} at {', '.join(f.where[:3])}: {f.evidence}" for f in errors)
            raise UnhealthyError(f"{self.network.name}: {lines}")
