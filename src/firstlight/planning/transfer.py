"""Starts and rates that follow a base model to another width and depth: the maximal update.

For a weight whose number of inputs is m_in and of outputs m_out times that of the base model, and
with nothing changed in the forward pass (Yang et al. 2022, table 3; "n" is the width):

    standard deviation × 1/√m_in inside and 1/m_in at an output,
    Adam's rate × 1/m_in,          SGD's rate × m_out/m_in,

where what sums nothing (biases, norms, embeddings) has m_in = 1. So each step changes each
coordinate by an amount that does not depend on n, which is the largest that stays finite. An
embedding that also makes the logits would need both rates at once; it takes the embedding's, and
the logits' input takes 1/m. Scores of attention have to be q·k/d where a head's size d grows, not
q·k/√d: the query's weights carry the difference.

A residual stream of r times as many branches takes 1/√r of each (Yang et al. 2023, depth-μP;
Bordelon et al. 2023): carried by the branch's last weight, whose own rate is then 1/r, while Adam's
rate of what stands before it in the branch is 1/√r, and SGD's does not change.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

from firstlight.errors import BadInputError, near_names
from firstlight.laws.moments import moments, scaled
from firstlight.network.branch_ends import has_own_size, normed_after
from firstlight.network.graph import Graph
from firstlight.network.residual import Branch
from firstlight.network.scores import Scores, scores
from firstlight.records.network import Network, Operation, Parameter
from firstlight.records.plan import Plan, PlanEntry
from firstlight.records.transfer import Multiplier, Rate, Role

SOURCE = "Yang et al. 2022 (μP)"
_DEPTH_SOURCE = "Yang et al. 2023 (depth-μP)"
_SUMMED = ("weight", "recurrent")
_PLACES = re.compile(r"(?<![^.])\d+(?![^.])")
"""Numbers that are a whole part of a name, as of a list of blocks."""

_NUMBERS = re.compile(r"\d+")
_SAME = 1e-3
"""Relative difference of two scales that is not worth a word."""


def _is_norm(operation: Operation | None) -> bool:
    return operation is not None and operation.kind == "norm"


def base_name(name: str, base: Network) -> str:
    """What a parameter or operation is called in the base model, of another depth perhaps.

    Args:
        name: canonical name in the model.
        base: the base model.

    Raises:
        BadInputError: no parameter of that name, nor one that differs from it in numbers alone.
    """
    names = [parameter.name for parameter in base.parameters]
    names += [tie for parameter in base.parameters for tie in parameter.ties]
    if name in names:
        return name
    for numbers in (_PLACES, _NUMBERS):
        alike = [other for other in names if numbers.sub("#", other) == numbers.sub("#", name)]
        if len({base.parameter(other).layout.view for other in alike}) == 1:
            return alike[0]
    raise BadInputError(
        f"base: has no parameter '{name}'; {near_names(name, names)}; the base model must differ in"
        " widths and depth alone"
    )


def _growth(parameter: Parameter, other: Parameter) -> tuple[float, float]:
    """Inputs and outputs over those of the base model."""
    here, there = parameter.layout, other.layout
    if here.roles != there.roles or here.kernel != there.kernel:
        raise BadInputError(
            f"base: '{parameter.name}' has axes {there.roles} of {there.view} there, here"
            f" {here.roles} of {here.view}; the base model must differ in widths and depth alone"
        )
    sums = parameter.kind in _SUMMED
    fan_in, fan_out = 1.0, 1.0
    for role, size, was in zip(here.roles, here.view, there.view, strict=True):
        if not was or not size or role in ("index", "expert"):
            continue  # vocabularies and experts are no widths
        if sums and role == "in":
            fan_in *= size / was
        else:
            fan_out *= size / was
    return fan_in, fan_out


def _role(parameter: Parameter, fan_in: float, fan_out: float, tied: bool) -> Role:
    if fan_in != 1:
        return "hidden" if fan_out != 1 else "output"
    if fan_out == 1:
        return "fixed"
    if parameter.kind == "embedding":
        return "tied" if tied else "input"
    return "input" if parameter.kind in _SUMMED else "vector"


class _Depths:
    """Which parameters stand in residual branches of a stream that is longer than the base's."""

    def __init__(self, graph: Graph, base: Graph) -> None:
        self.inside: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.remarks: list[str] = []
        if not graph.operations or not base.operations:
            return
        here, there = graph.streams, base.streams
        if len(here) != len(there):
            self.remarks.append(
                f"the base model has {len(there)} residual streams and this one {len(here)}: rates"
                " follow the width alone"
            )
            return
        for stream, other in zip(here, there, strict=True):
            longer = len(stream) / len(other)
            if longer == 1:
                continue
            if len(stream) > 1 and normed_after(graph, stream[0], _is_norm):
                self.remarks.append(
                    "the stream is normalized behind its additions (post-norm): no rule for its"
                    " depth is known, rates follow the width alone"
                )
                continue
            for branch in stream:
                self._note(graph, branch, longer)

    def _note(self, graph: Graph, branch: Branch, longer: float) -> None:
        end = set() if has_own_size(graph, branch, _is_norm) else {branch.last_weight.index}
        if not end:
            self.remarks.append(
                f"{branch.addition.name}: the branch has a scale or norm of its own at its end,"
                f" which this plan leaves; its size should be × {longer**-0.5:.3g}"
            )
        for index in _region(graph, branch):
            for name in graph.operations[index].parameters:
                (self.last if index in end else self.inside)[name] = longer


def _region(graph: Graph, branch: Branch) -> set[int]:
    """The operations between where a branch left and where it joins."""
    first = graph.ancestors([branch.skip])
    seen: set[int] = set()
    stack = [i for i in branch.addition.inputs if i != branch.skip]
    while stack:
        index = stack.pop()
        if index in first or index in seen:
            continue
        seen.add(index)
        stack.extend(graph.operations[index].inputs)
    return seen


class _Reader:
    """Two networks side by side."""

    def __init__(self, network: Network, base: Network) -> None:
        self.network, self.base = network, base
        self.graph, self.other = Graph(network), Graph(base)
        self.depths = _Depths(self.graph, self.other)
        self.remarks = list(dict.fromkeys(self.depths.remarks))
        self.multipliers: list[Multiplier] = []
        self.queries = self._queries()

    def is_tied(self, parameter: Parameter) -> bool:
        """Whether an embedding makes the logits too."""
        return bool(self.logits(parameter))

    def logits(self, parameter: Parameter) -> list[Operation]:
        """The products that an embedding stands in."""
        if parameter.kind != "embedding":
            return []
        return [op for op in self.network.weighted() if parameter.name in self._names(op)]

    def _names(self, operation: Operation) -> set[str]:
        return {self.network.parameter(name).name for name in operation.parameters}

    def _queries(self) -> dict[str, float]:
        """Factor of each query's weights, where heads grew and the scores do not follow."""
        before = {score.name: score for score in scores(self.other)}
        found: dict[str, float] = {}
        for score in scores(self.graph):
            was = before.get(score.name) or next(iter(before.values()), None)
            if was is None:
                continue
            factor = _score_factor(score, was)
            if abs(factor - 1) < _SAME:
                continue
            names = () if score.query is None else score.query.parameters
            if not names or any(self._is_shared(name) for name in names):
                self.remarks.append(
                    f"{score.name}: heads of {score.size} against {was.size} in the base model, and"
                    " query, key and value share one weight: multiply the scores with"
                    f" {factor:.3g} (μP: q·k/d, not q·k/√d), or grow their number, not their size"
                )
            else:
                found |= dict.fromkeys(names, factor)
        return found

    def _is_shared(self, name: str) -> bool:
        stacks = dict(self.network.parameter(name).layout.stacks)
        return "qkv" in stacks or self.graph.uses[name] > 1

    def rate(self, parameter: Parameter, own: Rate | None) -> Rate:
        """The rate of one parameter; ``own`` is what its chain asks for besides."""
        fan_in, fan_out = _growth(parameter, self.base.parameter(self.name(parameter)))
        tied = self.is_tied(parameter)
        role = _role(parameter, fan_in, fan_out, tied)
        query = self.queries.get(parameter.name, 1.0)
        adam, sgd = query / fan_in, query**2 * fan_out / fan_in
        words = _words(role, fan_in, fan_out)
        if query != 1:
            words.append(f"the query carries × {query:.3g} of the scores")
        depth = self.depths.last.get(parameter.name)
        if depth is not None:
            adam, sgd = adam / depth, sgd / depth
            words.append(f"ends one of × {depth:.3g} branches")
        else:
            depth = self.depths.inside.get(parameter.name, 1.0)
            adam /= math.sqrt(depth)
            words += [f"in one of × {depth:.3g} branches"] if depth != 1 else []
        if own is not None:
            adam, sgd = adam * own.adam, sgd * own.sgd
            words.append(own.reason)
        if role == "tied":
            for op in self.logits(parameter):
                self.multipliers.append(
                    Multiplier(
                        operation=op.name,
                        factor=1 / fan_out,
                        reason=f"'{parameter.name}' makes the logits too: as an embedding it moves"
                        f" at one rate, as an output at 1/{fan_out:.3g} of it",
                    )
                )
        return Rate(
            name=parameter.name,
            role=role,
            fan_in=fan_in,
            fan_out=fan_out,
            depth=depth,
            adam=adam,
            sgd=sgd,
            reason="; ".join(words),
        )

    def name(self, parameter: Parameter) -> str:
        """Its name in the base model."""
        found = base_name(parameter.name, self.base)
        if self._is_head(self.graph, parameter.name) != self._is_head(self.other, found):
            raise BadInputError(
                f"base: '{found}' is not what '{parameter.name}' is here, one of them ends the"
                " network; number layers so that names stay the same at another depth"
            )
        return found

    @staticmethod
    def _is_head(graph: Graph, name: str) -> bool:
        return any(name in op.parameters and graph.is_head(op) for op in graph.network.weighted())

    def spread(self, rate: Rate) -> float:
        """Standard deviation over that in the base model."""
        power = 1.0 if rate.role == "output" else 0.5
        shrunk = self.queries.get(rate.name, 1.0) / math.pow(rate.fan_in, power)
        return shrunk / math.sqrt(self.depths.last.get(rate.name, 1.0))


def _score_factor(score: Scores, was: Scores) -> float:
    """What the scores lack of q·k/d, relative to the base model."""
    return was.size / score.size * was.multiplied / score.multiplied


def _words(role: Role, fan_in: float, fan_out: float) -> list[str]:
    if role == "hidden":
        return [f"hidden: inputs × {fan_in:.3g}, outputs × {fan_out:.3g}"]
    if role == "output":
        return [f"output: inputs × {fan_in:.3g}"]
    return [] if role == "fixed" else [f"{role}: outputs × {fan_out:.3g}, sums nothing that grows"]


def transferred(plan: Plan, base: Plan, forecast: Callable[[Plan], Plan] | None = None) -> Plan:
    """The plan with starts and rates that follow those of a base model.

    Args:
        plan: of the model.
        base: of the base model, made with the same wishes.
        forecast: gives a plan the forecast of its changed entries; without it that is left out.

    Returns:
        The plan with one `Rate` for each trainable parameter.

    Raises:
        BadInputError: the base model differs in more than widths and depth.
    """
    reader = _Reader(plan.network, base.network)
    own = {rate.name: rate for rate in plan.rates}
    rates = {
        parameter.name: reader.rate(parameter, own.get(parameter.name))
        for parameter in plan.network.parameters
        if parameter.trainable
    }
    entries = tuple(
        _following(entry, base[reader.name(plan.network.parameter(entry.name))], rate, reader)
        if (rate := rates.get(entry.name)) is not None
        else entry
        for entry in plan
    )
    made = replace(
        plan,
        entries=entries,
        rates=tuple(rates.values()),
        multipliers=tuple(reader.multipliers),
        remarks=(*plan.remarks, *reader.remarks, *_told(reader.multipliers)),
        forecast=(),
        ranking=(),
    )
    return made if forecast is None else forecast(made)


def _told(multipliers: list[Multiplier]) -> list[str]:
    return [
        f"{m.operation}: multiply its input with {m.factor:.3g} (plan.scale_inputs(model)):"
        f" {m.reason}"
        for m in multipliers
    ]


def _size(entry: PlanEntry) -> float:
    if entry.law is None or entry.action != "draw":
        return 0.0
    found = moments(entry.law, entry.layout)
    return math.hypot(found.std, found.mean)


def _following(entry: PlanEntry, was: PlanEntry, rate: Rate, reader: _Reader) -> PlanEntry:
    """The entry at the scale that follows from the base model's."""
    has, wanted = _size(entry), _size(was) * reader.spread(rate)
    random = reader.network.parameter(entry.name).kind in (*_SUMMED, "embedding")
    if not (random and has and wanted and entry.law is not None):
        return entry
    factor = wanted / has
    if abs(factor - 1) < _SAME:
        return entry
    source = SOURCE if rate.depth == 1 else f"{SOURCE}; {_DEPTH_SOURCE}"
    return replace(
        entry,
        law=scaled(entry.law, factor),
        reason=f"{entry.reason}; × {factor:.3g} to follow the base model ({rate.role})",
        source=f"{entry.source}; {source}",
        target=None if entry.target is None else entry.target * factor**2,
    )


def roles(network: Network, narrow: Network) -> dict[str, Role]:
    """What the width does to each parameter, by its shapes at two widths.

    Args:
        network: at one width.
        narrow: at another one.

    Raises:
        BadInputError: the two differ in more than widths and depth.
    """
    reader = _Reader(network, narrow)
    return {p.name: reader.rate(p, None).role for p in network.parameters if p.trainable}
