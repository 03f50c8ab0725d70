"""Activations that no table names, found in the trace of a pass.

A run of elementwise steps that starts from one signal and ends in one is a function φ of that
signal, whatever its author called it: ``x * torch.sigmoid(1.7 * x)``, a module without weights, a
clamp. Its last operation becomes the activation, with that signal as its input; the others stay in
the record as its parts. A run ends at weights, norms, reductions, changes of shape, random numbers
and wherever two signals meet, so neither a residual addition nor a gate falls into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from firstlight.frameworks.torch.functions import WEIGHTED
from firstlight.frameworks.torch.identities import reference
from firstlight.frameworks.torch.replay import agrees
from firstlight.frameworks.torch.steps import OPERATORS, At
from firstlight.frameworks.torch.written import Written
from firstlight.records.network import ActivationRef, Operation

_REDUCTIONS = frozenset(
    [
        "mean",
        "sum",
        "var",
        "std",
        "norm",
        "vector_norm",
        "amax",
        "amin",
        "max",
        "min",
        "prod",
        "logsumexp",
    ]
)
_MEASURES = frozenset({"pow", "square", "abs", "absolute"})
"""Their means are variances and errors."""

_GATES = frozenset({"sigmoid", "expit", "hardsigmoid"})
_SCALING = OPERATORS | {"neg", "negative", "multiply", "subtract", "divide"}

_NO_ROOTS = frozenset({"input", "softmax", "loss", "activation"})
"""Kinds whose results are no pre-activations: φ would not act on what theory assumes."""

_LONGEST = 64
"""Steps in one activation; longer runs are computations of another kind (an ODE's solver)."""


@dataclass(frozen=True)
class _Run:
    """Elementwise steps from one operation to another.

    Args:
        root: the operation whose result it is a function of.
        members: its steps in order; the last one gives φ.
    """

    root: int
    members: tuple[int, ...]


def with_activations(
    operations: Sequence[Operation], written: Written, outputs: Sequence[int]
) -> tuple[Operation, ...]:
    """The operations with each run of elementwise steps known as one activation.

    Args:
        operations: of one pass, in order.
        written: their elementwise steps.
        outputs: operations whose results the model returned; none of them becomes a part.
    """
    uses = _uses(operations, written)
    found: dict[int, tuple[_Run, ActivationRef]] = {}
    taken: set[int] = set()
    for last in sorted(written.steps, reverse=True):
        if last in taken:
            continue
        run = _run(last, written, uses, frozenset(outputs))
        if run is None or _is_no_activation(run, operations, uses) or _is_gate(run, written):
            continue
        ref = _reference(run, written)
        if ref is not None:
            found[last] = run, ref
            taken.update(run.members)
    changed = list(operations)
    for last in sorted(found):
        run, ref = found[last]
        if changed[run.root].kind in _NO_ROOTS:
            continue
        parts = run.members[:-1]
        changed[last] = replace(
            operations[last],
            kind="activation",
            activation=ref,
            inputs=(run.root,),
            operands=operations[last].inputs if parts else (),
            options=(),  # those were of its last step
        )
        for part in parts:
            changed[part] = replace(operations[part], part_of=last)
    return tuple(changed)


def _uses(operations: Sequence[Operation], written: Written) -> list[set[int]]:
    """Who needs each result, masks made from it included."""
    uses: list[set[int]] = [set() for _ in operations]
    for operation in operations:
        step = written.steps.get(operation.index)
        for source in operation.inputs if step is None else {*step.sources, *operation.inputs}:
            uses[source].add(operation.index)
    return uses


def _run(
    last: int, written: Written, uses: Sequence[set[int]], outputs: frozenset[int]
) -> _Run | None:
    """The longest run that ends here and starts from one operation, if there is one.

    Backwards, the latest operation that is still outside comes in next: whatever else is outside
    cannot stem from it. Its result must be used inside alone.
    """
    members = {last}
    entries = set(written.steps[last].sources)
    best = None
    while entries and len(members) <= _LONGEST:
        if len(entries) == 1:
            best = _Run(root=min(entries), members=tuple(sorted(members)))
        latest = max(entries)
        step = written.steps.get(latest)
        if step is None or latest in outputs or not uses[latest] <= members:
            break
        entries = (entries - {latest}) | step.sources
        members.add(latest)
    return best


def _is_no_activation(run: _Run, operations: Sequence[Operation], uses: Sequence[set[int]]) -> bool:
    """Whether it is known by name already, or belongs to a statistic (a norm written out)."""
    last, root = operations[run.members[-1]], operations[run.root]
    if len(run.members) == 1 and last.activation is not None:
        return True
    if root.kind in _NO_ROOTS - {"activation"} or root.function in _REDUCTIONS:
        return True
    if root.kind == "other" and root.function in WEIGHTED:
        return True  # a product of two signals: scores of attention
    users = uses[last.index]
    if not users or any(operations[user].function not in _REDUCTIONS for user in users):
        return False
    measures = len(run.members) == 1 and last.function in _MEASURES
    return measures or not uses[root.index] <= set(run.members)


def _is_gate(run: _Run, written: Written) -> bool:
    """Whether it is a sigmoid, scaled and shifted: it weighs something, and stays a sigmoid."""
    steps = [written.steps[index] for index in run.members]
    curved = [step.name for step in steps if step.name not in _SCALING]
    in_a_row = all(sum(isinstance(o, At) for o in step.operands) == 1 for step in steps)
    return in_a_row and len(curved) == 1 and curved[0] in _GATES


def _reference(run: _Run, written: Written) -> ActivationRef | None:
    """What the run computes, under a name, if a replay gives what the model got."""
    places = {run.root: 0} | {index: i for i, index in enumerate(run.members, 1)}
    program = tuple(written.steps[index].moved(places) for index in run.members)
    if not agrees(program, written.samples[run.root], written.samples[run.members[-1]]):
        return None
    return reference(program, _module_of(run, written))


def _module_of(run: _Run, written: Written) -> str | None:
    """The class of the user's module that does this and nothing else."""
    members = frozenset(run.members)
    for call in reversed(written.calls_of[run.members[-1]]):
        inside = written.inside[call]
        if not inside <= members:
            return None
        kind = written.classes[call]
        if inside == members and not kind.__module__.startswith("torch."):
            return kind.__name__
    return None
