"""Does a model train alike at every width? From power laws over widths to findings.

In the limit of large widths every coordinate of every result should move by an amount that does not
depend on the width: more and training diverges, less and that part no longer learns. Exponents of
wrong parametrizations are multiples of ½, so the limit lies half-way, at ¼: an exponent is steady
within ±¼, and undecided where its interval reaches from there to the next wrong one.

The cause is read from the parameters. A change ∝ n^−a of an element of a weight with n inputs makes
a change ∝ n^(1−a) of its result, since the change is aligned with what arrives: 1 is needed where
the inputs grow, 0 elsewhere. A start may be as large as 1/√n inside and 1/n at an output. Where the
model multiplies a weight's input with a power of n, as mup's readout with 1/n, both are as much
larger.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from firstlight.measuring.coordinates import geometric, slope
from firstlight.measuring.multipliers import own_multipliers
from firstlight.records.checkup import Finding
from firstlight.records.network import Network, Operation, Parameter
from firstlight.records.transfer import (
    Coordinates,
    ParameterTrend,
    Role,
    Slope,
    Traced,
    Trend,
)

LIMIT = 0.25
"""Half-way from no dependence to the weakest wrong one, √width."""

NEXT = 0.5
"""The weakest wrong exponent."""

_NEGLIGIBLE = 1e-6
"""A change below this share of the start is rounding, not learning."""

Runs = Sequence[Sequence[Traced]]
"""For each width one training of each seed."""


def trend(found: Slope | None, values: Sequence[float]) -> Trend:
    """What an exponent and the values behind it say.

    Args:
        found: None where a value is zero or not finite.
        values: over the widths.

    >>> trend(Slope(value=0.1, low=0.0, high=0.2), [1.0, 1.1])
    'steady'
    >>> trend(Slope(value=0.9, low=0.7, high=1.1), [1.0, 1.9])
    'grows'
    """
    if any(not math.isfinite(value) for value in values):
        return "grows"
    if found is None:
        return "unmoved"
    if found.value > LIMIT:
        return "grows" if found.low > 0 else "undecided"
    if found.value < -LIMIT:
        return "vanishes" if found.high < 0 else "undecided"
    return "undecided" if found.high > NEXT or found.low < -NEXT else "steady"


def follow(
    widths: Sequence[int], runs: Runs, left_out: Collection[str] = ()
) -> tuple[Coordinates, ...]:
    """The coordinates of each operation that ran at all widths, in order of execution.

    Args:
        widths: two or more.
        runs: the trainings.
        left_out: names of operations that are not the same at all sizes.
    """
    every = [traced for row in runs for traced in row]
    network = every[0].network
    outputs = {_made(network, index).name for index in network.outputs}
    found = []
    for name, kind in {op.name: op.kind for op in network.operations}.items():
        if name in left_out or not all(name in traced.change for traced in every):
            continue
        starts = [[traced.start[name] for traced in row] for row in runs]
        steps = len(every[0].change[name])
        changes = [
            tuple(geometric([traced.change[name][step] for traced in row]) for row in runs)
            for step in range(steps)
        ]
        last = [[traced.change[name][-1] for traced in row] for row in runs]
        rounding = all(
            moved <= _NEGLIGIBLE * start
            for row, begun in zip(last, starts, strict=True)
            for moved, start in zip(row, begun, strict=True)
        )
        begun = tuple(geometric(row) for row in starts)
        start_slope = slope(widths, starts)
        change_slope = None if rounding else slope(widths, last)
        found.append(
            Coordinates(
                name=name,
                kind=kind,
                is_output=name in outputs,
                start=begun,
                change=tuple(changes),
                start_slope=start_slope,
                change_slope=change_slope,
                trend="unmoved" if rounding else trend(change_slope, changes[-1]),
                start_trend=trend(start_slope, begun),
            )
        )
    return tuple(found)


def _made(network: Network, index: int) -> Operation:
    """What made an output, past what only reshapes it."""
    operation = network.operations[index]
    while operation.kind in ("shape", "dropout") and len(operation.inputs) == 1:
        operation = network.operations[operation.inputs[0]]
    return operation


def _moves(name: str, runs: Runs) -> list[list[float]]:
    """How far one parameter moves: in the first step, if it does so in all runs, else in all steps.

    Later steps go back and forth where the training is too fast, so that a rate that is right seems
    to fall with the width. Behind a readout of zeros nothing moves in the first one.
    """
    first = [[traced.parameter_first[name] for traced in row] for row in runs]
    if all(moved > 0 for row in first for moved in row):
        return first
    return [[traced.parameter_change[name] for traced in row] for row in runs]


def parameter_trends(
    widths: Sequence[int], runs: Runs, roles: Mapping[str, Role]
) -> tuple[ParameterTrend, ...]:
    """How each parameter that all widths have starts and moves, and how it would have to.

    Args:
        widths: as for `follow`.
        runs: the trainings.
        roles: what the width does to each parameter.
    """
    found = []
    own = own_multipliers(widths, runs)
    for name, role in roles.items():
        if not all(name in traced.parameter_change for row in runs for traced in row):
            continue
        starts = [[traced.parameter_start[name] for traced in row] for row in runs]
        moves = _moves(name, runs)
        sums = role in ("hidden", "output")
        factor = own.get(name, 0.0) if sums else 0.0
        found.append(
            ParameterTrend(
                name=name,
                role=role,
                start_slope=slope(widths, starts),
                start_needed=(-1.0 if role == "output" else -0.5 if sums else 0.0) - factor,
                update_slope=slope(widths, moves),
                update_needed=(-1.0 if sums else 0.0) - factor,
            )
        )
    return tuple(found)


def judge_coordinates(
    operations: Sequence[Coordinates],
    parameters: Sequence[ParameterTrend],
    network: Network,
    *,
    adaptive: bool | None,
    base: int,
) -> tuple[Finding, ...]:
    """What is wrong, the causes first; nothing if every coordinate moves alike at every width.

    Args:
        operations: from `follow`.
        parameters: from `parameter_trends`.
        network: of one width; it tells who uses which parameter.
        adaptive: whether steps depend on the gradient's size; None if that is not known.
        base: a width to follow, for the cures.
    """
    seen = _seen(operations, base)
    causes = _causes(operations, parameters, network, adaptive, base)
    if not any(finding.severity == "error" for finding in seen):
        return (*_not_yet_seen(causes, parameters), *seen)
    if not causes:
        return seen
    first, *rest = causes
    # The causes stand first; what they bring stands with the leading one.
    return (replace(first, consequences=seen), *rest)


def _not_yet_seen(
    causes: Sequence[Finding], parameters: Sequence[ParameterTrend]
) -> tuple[Finding, ...]:
    """Rates that will make results grow where they do not stand out yet, at widths so small.

    Of a sum of changes the one with the larger exponent is seen late if it begins small. What moves
    too slowly may be of no importance, and starts act at once: those are left to the coordinates.
    """
    too_fast = {
        p.name
        for p in parameters
        if p.role in ("hidden", "output") and _moves_wrong(p) and _excess(p, signed=True) > 0
    }
    return tuple(
        replace(
            cause,
            severity="warning",
            evidence=f"{cause.evidence}; at these widths no result shows it yet",
        )
        for cause in causes
        if cause.kind == "rate-scaling" and too_fast.issuperset(cause.where)
    )


def _seen(operations: Sequence[Coordinates], base: int) -> tuple[Finding, ...]:
    """What the coordinates themselves show."""
    found = []
    grows = [op for op in operations if op.trend == "grows"]
    started = [op for op in operations if op.start_trend == "grows" and op not in grows]
    falls = [op for op in operations if op.trend == "vanishes"]
    cause = "the rates or starts of the weights before it do not follow the width or depth"
    cure = f"plan = firstlight.plan(model, batch, base=build({base}))"
    for kind, guilty, words in (
        ("coordinates-grow", grows, "change"),
        ("coordinates-grow", started, "start"),
        ("coordinates-vanish", falls, "change"),
    ):
        if guilty:
            worst = _worst(guilty, words)
            value = worst.change_slope if words == "change" else worst.start_slope
            law = "is not finite" if value is None else f"goes as width^({value})"
            found.append(
                Finding(
                    kind=kind,
                    severity="error",
                    where=tuple(op.name for op in guilty),
                    evidence=f"the {words} of `{worst.name}` {law}; within ±{LIMIT:g} it would not"
                    " depend on the width",
                    cause=cause,
                    cure=cure,
                )
            )
    unsure = [op.name for op in operations if op.trend == "undecided"]
    if unsure and not found:
        found.append(
            Finding(
                kind="coordinates-grow",
                severity="note",
                where=tuple(unsure),
                evidence="the interval of the exponent reaches from 0 to a wrong one",
                cause="too few seeds or too narrow widths to tell",
                cure="more seeds=, or a wider range of widths=",
            )
        )
    return tuple(found)


def _worst(guilty: Sequence[Coordinates], words: str) -> Coordinates:
    def size(op: Coordinates) -> float:
        value = op.change_slope if words == "change" else op.start_slope
        return math.inf if value is None else abs(value.value)

    return max(guilty, key=size)


def _causes(
    operations: Sequence[Coordinates],
    parameters: Sequence[ParameterTrend],
    network: Network,
    adaptive: bool | None,
    base: int,
) -> list[Finding]:
    """Why: rates, starts, and embeddings that make the logits too."""
    trends = {op.name: op.trend for op in operations}
    large = [p for p in parameters if p.role in ("output", "hidden") and _starts_wrong(p)]
    # Where steps follow the gradient's size, an output that starts too large makes all δ before it
    # too large by as much; that is the start's fault, not that of their rates.
    behind = [_start_excess(p) for p in large if p.role == "output" and adaptive is False]
    moved = [
        replace(p, update_needed=p.update_needed + max(behind))
        if behind and p.role in ("hidden", "input", "vector")
        else p
        for p in parameters
    ]
    found: list[Finding] = []
    for role in _PLURALS:
        guilty = [p for p in moved if p.role == role and _moves_wrong(p)]
        if guilty:
            found.append(_rates(role, guilty, adaptive, base))
    if large:
        found.append(_starts(large, base))
    for parameter in parameters:
        if parameter.role != "tied" or _moves_wrong(parameter):
            continue
        owner = network.parameter(parameter.name)
        logits = [op.name for op in network.weighted() if _uses(op.parameters, owner, network)]
        if any(trends.get(name) == "grows" for name in logits):
            found.append(_tied(parameter.name, logits, base))
    return found


def _uses(names: Sequence[str], owner: Parameter, network: Network) -> bool:
    return any(network.parameter(name).name == owner.name for name in names)


def _moves_wrong(parameter: ParameterTrend) -> bool:
    found = parameter.update_slope
    return found is not None and abs(found.value - parameter.update_needed) > LIMIT


def _starts_wrong(parameter: ParameterTrend) -> bool:
    """Whether a start grows too fast; smaller ones are allowed (a zero readout is advised)."""
    return _start_excess(parameter) > LIMIT


def _start_excess(parameter: ParameterTrend) -> float:
    found = parameter.start_slope
    return 0.0 if found is None else found.value - parameter.start_needed


_PLURALS: dict[Role, str] = {
    "hidden": "hidden weights",
    "output": "output weights",
    "input": "input weights and embeddings",
    "vector": "biases and norms",
    "tied": "the tied embedding",
}

_NEEDED: dict[tuple[bool, Role], str] = {
    (True, "hidden"): "divided by the width (inputs over the base model's)",
    (True, "output"): "divided by the width (inputs over the base model's)",
    (True, "input"): "the same at every width",
    (True, "vector"): "the same at every width",
    (True, "tied"): "the same at every width",
    (False, "hidden"): "multiplied with outputs / inputs over the base model's",
    (False, "output"): "divided by the width (inputs over the base model's)",
    (False, "input"): "multiplied with the width (outputs over the base model's)",
    (False, "vector"): "multiplied with the width (outputs over the base model's)",
    (False, "tied"): "multiplied with the width (outputs over the base model's)",
}


def _rates(
    role: Role, guilty: Sequence[ParameterTrend], adaptive: bool | None, base: int
) -> Finding:
    worst = max(guilty, key=_excess)
    too = "fast" if _excess(worst, signed=True) > 0 else "slowly"
    needed = _needed(worst, adaptive)
    law = "" if adaptive is None else f" under {'Adam' if adaptive else 'SGD'}"
    kind = "sgd" if adaptive is False else "adam"
    return Finding(
        kind="rate-scaling",
        severity="error",
        where=tuple(parameter.name for parameter in guilty),
        evidence=f"the change of `{worst.name}` goes as width^({worst.update_slope}), needed is"
        f" width^{worst.update_needed:+.2g}",
        cause=f"the learning rate of {_PLURALS[role]} is not {needed}{law}: they move too {too} as"
        " the width grows",
        cure=f"plan = firstlight.plan(model, batch, base=build({base}))\n"
        f'groups = plan.param_groups("{kind}", model, lr=lr)',
    )


def _needed(parameter: ParameterTrend, adaptive: bool | None) -> str:
    """How the rate would have to follow the width."""
    words = _NEEDED[(adaptive is not False, parameter.role)]
    if parameter.role != "output" and (parameter.role != "hidden" or adaptive is False):
        return words
    factor = -1.0 - parameter.update_needed
    if abs(factor) <= LIMIT:
        return words
    power = parameter.update_needed - (factor if adaptive is False else 0.0)
    law = "the same at every width" if abs(power) <= LIMIT else f"∝ width^{power:+.2g}"
    return f"{law} (the model multiplies their input with width^{factor:+.2g} itself)"


def _excess(parameter: ParameterTrend, *, signed: bool = False) -> float:
    assert parameter.update_slope is not None
    found = parameter.update_slope.value - parameter.update_needed
    return found if signed else abs(found)


def _starts(guilty: Sequence[ParameterTrend], base: int) -> Finding:
    worst = max(guilty, key=lambda p: 0 if p.start_slope is None else p.start_slope.value)
    what = "output" if worst.role == "output" else "hidden"
    usual, power = (-1.0, "1/width") if worst.role == "output" else (-0.5, "1/√width")
    if abs(worst.start_needed - usual) > LIMIT:  # the model multiplies its input itself
        power = f"width^{worst.start_needed:+.2g}"
    return Finding(
        kind="start-scaling",
        severity="error",
        where=tuple(parameter.name for parameter in guilty),
        evidence=f"the start of `{worst.name}` goes as width^({worst.start_slope}), needed is at"
        f" most width^{worst.start_needed:+g}",
        cause=f"the start of the {what} layer does not fall as {power}: what moves before it adds"
        " up in the result",
        cure=f"plan = firstlight.plan(model, batch, base=build({base}))\nplan.apply(model)",
    )


def _tied(name: str, logits: Sequence[str], base: int) -> Finding:
    return Finding(
        kind="tied-logits",
        severity="error",
        where=(*logits, name),
        evidence=f"`{name}` moves alike at every width, and the logits that it makes grow",
        cause="one tensor is embedding and output: the one needs a rate that does not depend on the"
        " width, the other one that falls as 1/width",
        cure=f"plan = firstlight.plan(model, batch, base=build({base}))\n"
        "plan.scale_inputs(model)  # before training",
    )
