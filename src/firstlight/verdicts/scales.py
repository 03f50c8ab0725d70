"""Findings on single parameters whose scale no sensible law gives."""

from __future__ import annotations

from collections.abc import Iterator

from firstlight.records.checkup import Finding
from firstlight.records.network import Operation
from firstlight.verdicts import limits
from firstlight.verdicts.cures import initialize
from firstlight.verdicts.view import View, is_norm_scale, named


def _silent(view: View) -> set[str]:
    """Norm scales of zero behind which a weight receives nothing: they end no branch."""
    network, operations = view.observation.network, view.graph.operations
    found: set[str] = set()
    for operation in network.weighted():
        reading, weight = view.reading(operation), view.weight_of(operation)
        if reading is None or reading.sample_spread != 0 or not operation.inputs:
            continue  # samples make a difference here (a scale of 1 + γ with γ = 0 lets them)
        if weight is None or weight.value_rms == 0:
            continue
        current = operations[operation.inputs[0]]
        while current.kind in ("norm", "other", "shape", "dropout", "activation"):
            scales = [n for n in current.parameters if is_norm_scale(network.parameter(n))]
            zero = [n for n in scales if view.parameters[n].value_rms == 0]
            found.update(zero if not view.receives_nothing(current) else ())
            if len(current.inputs) != 1:
                break
            current = operations[current.inputs[0]]
    return found


def norm_scales(view: View) -> Iterator[Finding]:
    """wrong-law, of norms: a scale γ is 1 at the start, or 0 at the end of a residual branch."""
    silent = _silent(view)
    wrong = [
        r
        for r in view.observation.parameters
        if is_norm_scale(view.observation.network.parameter(r.name))
        if r.name in silent or (r.value_rms and not r.constant and not _near_one(r.value_rms))
    ]
    if not wrong:
        return
    first = wrong[0]
    size = "0" if first.name in silent else f"of RMS {first.value_rms:.2g}"
    yield Finding(
        kind="wrong-law",
        severity="error",
        where=tuple(r.name for r in wrong),
        evidence=f"the norm scales of {named([r.name for r in wrong])} are {size} (healthy: 1, and"
        f" from 1/{limits.NORM_SCALE:g} to {limits.NORM_SCALE:g} if drawn at random)",
        cause="a rule for weights was applied to norms: a norm brings the signal to unit scale, and"
        " its γ then takes that away again",
        cure=initialize(view.observation.network, [r.name for r in wrong], law="ones"),
    )


def _near_one(rms: float) -> bool:
    return 1 / limits.NORM_SCALE <= rms <= limits.NORM_SCALE


def zero_embeddings(view: View) -> Iterator[Finding]:
    """collapsed-samples, where a table of zeros is all that the network reads."""
    wrong: list[str] = []
    zeros: list[str] = []
    for operation in view.observation.network.operations:
        if operation.kind != "embedding" or not _joins_nothing(view, operation):
            continue
        tables = [n for n in operation.parameters if view.parameters[n].value_rms == 0]
        wrong += [name for name in (*tables, operation.name) if tables and name not in wrong]
        zeros += [name for name in tables if name not in zeros]
    if not wrong:
        return
    yield Finding(
        kind="collapsed-samples",
        severity="error",
        where=tuple(wrong),
        evidence=f"all values of `{wrong[0]}` are 0, and nothing is added to its rows",
        cause="every token looks alike: the network cannot tell its inputs apart until these rows"
        " have grown",
        cure=initialize(view.observation.network, zeros),
    )


def _joins_nothing(view: View, operation: Operation) -> bool:
    """Whether what is read is zero, and so is every sum that it goes into before a weight."""
    joined = {branch.addition.index for branch in view.graph.branches}
    stack, seen = [operation], {operation.index}
    while stack:
        current = stack.pop()
        reading = view.reading(current)
        if reading is not None and reading.second_moment and reading.second_moment.value:
            return False
        users = (
            view.graph.operations[i]
            for i in view.graph.consumers[current.index]
            if i not in joined and i not in seen
        )
        fresh = [u for u in users if u.kind in ("add", "shape", "dropout", "other")]
        seen.update(u.index for u in fresh)
        stack += fresh
    return True


def large_embeddings(view: View) -> Iterator[Finding]:
    """wrong-law, of embeddings: rows far larger than any law in use gives, as they enter."""
    wrong = []
    for operation in view.observation.network.operations:
        table = view.weight_of(operation)
        if operation.kind == "embedding" and table is not None and table.value_rms:
            entering = max(table.value_rms, _entering(view, operation))
            if entering > limits.EMBEDDING_RMS:
                wrong.append((operation, table, entering))
    if not wrong:
        return
    operation, table, entering = wrong[0]
    yield Finding(
        kind="wrong-law",
        severity="warning",
        where=tuple(op.name for op, _, _ in wrong),
        evidence=f"the rows of `{table.name}` have a root mean square of {table.value_rms:.3g} and"
        f" enter the network with {entering:.3g} (limit {limits.EMBEDDING_RMS:g};"
        f" {view.habit.embeds})",
        cause="what is added to these rows, positions and branches and every step, is small beside"
        " them",
        cure=initialize(
            view.observation.network, list(dict.fromkeys(each.name for _, each, _ in wrong))
        ),
    )


def _entering(view: View, operation: Operation) -> float:
    """RMS of the smallest sum that an embedding's rows go into, before any norm or weight."""
    stack, sums, seen = [operation], [0.0], set[int]()
    while stack:
        for index in view.graph.consumers[stack.pop().index]:
            if index in seen:
                continue
            seen.add(index)
            user = view.graph.operations[index]
            reading = view.reading(user)
            if user.kind == "add" and reading is not None and reading.second_moment is not None:
                sums.append(reading.second_moment.value**0.5)
            elif user.kind in ("shape", "dropout", "other"):
                stack.append(user)
    return min(sums[1:], default=0.0)


def large_biases(view: View) -> Iterator[Finding]:
    """wrong-law, of biases: larger than the signal that they are added to."""
    wrong = []
    for operation in view.hidden:
        reading = view.reading(operation)
        if reading is None or not reading.sample_spread or operation.index in view.graph.steering:
            continue
        for name in operation.parameters:
            bias = view.parameters.get(name)
            drowned = (
                bias is not None
                and view.observation.network.parameter(name).kind == "bias"
                and bias.value_rms > limits.BIAS_SIGNAL * reading.sample_spread**0.5
                and bias.value_rms > 1
            )
            if drowned and bias is not None:
                wrong.append((bias, reading))
    if not wrong:
        return
    bias, reading = wrong[0]
    yield Finding(
        kind="wrong-law",
        severity="warning",
        where=tuple(b.name for b, _ in wrong),
        evidence=f"`{bias.name}` has a root mean square of {bias.value_rms:.3g}; what differs"
        f" between samples at `{reading.name}` has {(reading.sample_spread or 0) ** 0.5:.3g}"
        f" (limit {limits.BIAS_SIGNAL:g} times)",
        cause="biases drown the signal: every input gives nearly the same; they start at zero, or"
        " within 1/√fan_in of it",
        cure=initialize(
            view.observation.network,
            list(dict.fromkeys(each.name for each, _ in wrong)),
            law="zeros",
        ),
    )


def outliers(view: View) -> Iterator[Finding]:
    """update-ratio, of weights far larger or smaller than their peers, before a norm.

    The norm hides their scale from the signal, but a step of any optimizer is then far too small or
    far too large for them: the gradient goes with 1/‖W‖.
    """
    wrong = [
        (operation, ratio) for operation, ratio in view.sigmas.outliers if view.is_normed(operation)
    ]
    if not wrong:
        return
    operation, ratio = wrong[0]
    weight = view.weight_of(operation)
    yield Finding(
        kind="update-ratio",
        severity="warning",
        where=tuple(op.name for op, _ in wrong),
        evidence=f"`{weight.name if weight else operation.name}` has a variance × fan_in of"
        f" {ratio:.1e} times the median of the hidden weights (limits 1/{limits.OUTLIER:g} and"
        f" {limits.OUTLIER:g})",
        cause="a norm follows, so the signal does not show it, but steps do: the gradient of such a"
        " weight goes with one over its size, and a step is "
        + ("far too small for it" if ratio > 1 else "many times its size"),
        cure=initialize(),
    )


def overall(view: View) -> Iterator[Finding]:
    """wrong-law, of all hidden weights: one standard deviation for every width.

    Norms hide it from the signal, but not from training: a step is small beside such weights.
    """
    excess = view.sigmas.excess
    if excess is None or excess <= limits.EXCESS:
        return
    yield Finding(
        kind="wrong-law",
        severity="error",
        where=tuple(operation.name for operation in view.hidden),
        evidence=f"the median variance × fan_in of the hidden weights is {excess:.3g} times what"
        f" would keep the signal (limit {limits.EXCESS:g}); largest at"
        f" {view.sigmas.extreme(largest=True)}",
        cause="the law does not go with the width (a standard deviation of 1, say): norms hide it"
        " from the signal, but steps are small beside such weights",
        cure=initialize(),
    )
