"""Activations, by the function that a run of elementwise steps is, whoever wrote it.

A run starts from one signal and ends in one value. It is evaluated on numbers in float64 and
compared with the table of activations; what is not in the table is known to the theory as the
function that it is. Runs end at weights, norms, reductions, random numbers and wherever two
signals meet, so neither a residual addition nor a gate falls into one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firstlight.frameworks.jax.elementwise import evaluated
from firstlight.frameworks.jax.flat import CUSTOM, Atom, Constant, Step
from firstlight.frameworks.jax.flow import Flow, is_floating
from firstlight.frameworks.jax.found import Found
from firstlight.theory.formulas import Array
from firstlight.theory.recognizing import recognized

_SAME = {"bfloat16": 2e-3, "float16": 3e-4}
"""Largest difference from a function of the table, in units of its largest value, where it is more
than 1e-6: constants of models have the precision of their type, a GELU's √(2/π) seven digits."""
_LONGEST = 64
_REDUCTIONS = frozenset(
    {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "cumsum", "argmax", "argmin"}
)
_MEASURES = frozenset({"square", "abs", "integer_pow"})
_SCALING = frozenset({"add", "sub", "mul", "div", "neg", "convert_element_type", "copy"})
_NO_ROOTS = frozenset({"input", "softmax", "loss"})
MORE = "firstlight_more"
"""The scope of what is traced after the model: a loss, which has no activations of its own."""
_INTERNAL = frozenset({"_where", "clip", "square", "_threefry_split", "atleast_1d"})

Structural = Callable[[int], Found | None]
"""The operation of another kind that ends in a value, if one does."""


@dataclass(frozen=True)
class _Run:
    root: int
    members: tuple[int, ...]
    """Places of its steps in the flat list, in order."""


def activation(
    flow: Flow, result: int, structural: Structural, kind_of: Callable[[int], str]
) -> Found | None:
    """The activation that ends in this value.

    Args:
        flow: the steps.
        result: the value.
        structural: what else ends in a value.
        kind_of: the kind of operation that makes a value.
    """
    runs = _runs(flow, result, structural)
    longest = next((run for run in runs if _function(flow, run) is not None), None)
    alone = next((run for run in runs if len(run.members) == 1), None)
    for run in dict.fromkeys((longest, alone)):  # a sigmoid stays one, however it is shifted
        found = None if run is None else _of_run(flow, result, run, kind_of)
        if found is not None:
            return found
    return None


def _of_run(flow: Flow, result: int, run: _Run, kind_of: Callable[[int], str]) -> Found | None:
    """The activation that a run is, if it is one."""
    function = _function(flow, run)
    if function is None:
        return None
    steps = [flow.steps[place] for place in run.members]
    working = [s for s in steps if s.name not in ("convert_element_type", "copy")]
    if not working or _is_gate(flow, working) or _is_statistic(flow, run, working):
        return None
    call = _call(run, steps, flow)
    same = _SAME.get(flow.flat.avals[result].dtype.name, 1e-6)
    ref = recognized(function, None, call or _names(working), same=same)
    if ref is None:
        return None
    root = kind_of(run.root)
    alone = len(working) == 1 or call is not None
    if root in _NO_ROOTS and (ref.is_custom or not alone):
        return None
    if ref.is_custom and MORE in steps[-1].scope:
        return None
    if ref.is_custom and root in ("activation", "reduction", "product"):
        return None
    parameters = tuple(
        dict.fromkeys(n for s in steps for a in s.inputs for n in _names_of(flow, a))
    )
    if parameters and ref.name == "leaky_relu":
        ref = replace(ref, name="prelu")
    return Found(
        result=result,
        kind="activation",
        function=ref.name if not ref.is_custom else (call or working[-1].name),
        operands=(run.root,),
        parameters=parameters,
        activation=ref,
    )


def _names_of(flow: Flow, atom: Atom) -> tuple[str, ...]:
    return () if flow.is_signal(atom) else flow.names(atom)


def _depends(flow: Flow, atom: Atom) -> bool:
    """Whether a value, or a mask, was made from the batch."""
    return isinstance(atom, int) and (flow.data[atom] or flow.signal[atom])


def _runs(flow: Flow, result: int, structural: Structural) -> list[_Run]:
    """The runs of elementwise steps that end here and start from one signal, longest first.

    Backwards, the latest step that is still outside comes in next: whatever else is outside cannot
    stem from it. Its result must be used inside alone.
    """
    place = flow.maker[result]
    if place is None or not flow.is_elementwise(flow.steps[place]):
        return []
    members = {place}
    entries = {a for a in flow.steps[place].inputs if isinstance(a, int) and _depends(flow, a)}
    runs: list[_Run] = []
    while entries and len(members) <= _LONGEST:
        if len(entries) == 1:
            root = next(iter(entries))
            if flow.is_signal(root) and is_floating(flow.flat.avals[root]):
                runs.append(_Run(root, tuple(sorted(members))))
        latest = max(entries, key=lambda value: (flow.maker[value] or -1, value))
        at = flow.maker[latest]
        if at is None or latest in flow.outputs or not set(flow.users[latest]) <= members:
            break
        step = flow.steps[at]
        if not flow.is_elementwise(step) or structural(latest) is not None:
            break
        if step.name == "stop_gradient" or flow.shape(latest) != flow.shape(result):
            break
        members.add(at)
        entries.discard(latest)
        entries |= {a for a in step.inputs if isinstance(a, int) and _depends(flow, a)}
    return [run for run in reversed(runs) if flow.shape(run.root) == flow.shape(result)]


def _is_statistic(flow: Flow, run: _Run, working: list[Step]) -> bool:
    """Whether it belongs to a statistic: an error or a variance, written out."""
    last = flow.steps[run.members[-1]].outputs[0]
    users = [flow.steps[place] for place in flow.users[last]]
    if not users or any(user.name not in _REDUCTIONS for user in users):
        return False
    measures = len(working) == 1 and working[0].name in _MEASURES
    elsewhere = run.root in flow.outputs or not set(flow.users[run.root]) <= set(run.members)
    return measures or elsewhere


def _is_gate(flow: Flow, working: list[Step]) -> bool:
    """Whether it is a sigmoid, scaled and shifted: it weighs something, and stays a sigmoid."""
    curved = [step.name for step in working if step.name not in _SCALING]
    in_a_row = all(sum(_depends(flow, a) for a in step.inputs) == 1 for step in working)
    return in_a_row and len(working) > 1 and curved == ["logistic"]


def _function(flow: Flow, run: _Run) -> Callable[[Array], Array] | None:
    """φ of float64 arrays; None where a step reads numbers that differ from place to place."""
    program: list[tuple[Step, list[Any]]] = []
    for place in run.members:
        step = flow.steps[place]
        given: list[Any] = []
        for atom in step.inputs:
            if isinstance(atom, int) and _depends(flow, atom):
                given.append(atom)
                continue
            number = _number(flow, atom)
            if number is None:
                return None
            given.append(Constant(number, None))
        program.append((step, given))
    last = program[-1][0].outputs[0]

    def function(x: Array) -> Array:
        values: dict[int, Any] = {run.root: x}
        for step, given in program:
            read = [a.value if isinstance(a, Constant) else values[a] for a in given]
            values[step.outputs[0]] = evaluated(step, read)
        with np.errstate(all="ignore"):
            return np.asarray(values[last], np.float64) + np.zeros_like(x)

    return function


def _number(flow: Flow, atom: Atom) -> float | None:
    """A constant, or a learned number; of many, the one with their mean square and first sign."""
    number = flow.number(atom)
    if number is not None:
        return number
    learned = flow.learned(atom)
    if learned is None or not learned.size:
        return None
    first = float(learned.flat[0])
    size = float(np.sqrt(np.mean(np.square(learned, dtype=np.float64))))
    return first if learned.size == 1 or np.isclose(abs(first), size) else size


def _call(run: _Run, steps: list[Step], flow: Flow) -> str | None:
    """The jitted or custom function that does this and nothing else."""
    working = [s for s in steps if s.name not in ("convert_element_type", "copy")]
    if len(working) == 1 and working[0].name in CUSTOM:
        label = working[0].params.get("name")
        return str(label) if label else None
    common = [call for call in steps[0].calls if all(call in s.calls for s in steps)]
    for number, name in reversed(common):
        inside = [i for i, s in enumerate(flow.steps) if (number, name) in s.calls]
        if name not in _INTERNAL and {i for i in inside if _works(flow, i)} <= set(run.members):
            return name
    return None


def _works(flow: Flow, place: int) -> bool:
    return any(_depends(flow, value) for value in flow.steps[place].outputs)


def _names(steps: list[Step]) -> str:
    """``sin·integer_pow·add``."""
    names = [step.name.removeprefix("integer_") for step in steps]
    return "·".join(names[:6]) + ("…" if len(names) > 6 else "")
