"""What a pass gave, made into one record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from firstlight.frameworks.jax.ends import recognised, softmax_head
from firstlight.frameworks.jax.losses import KINDS
from firstlight.frameworks.jax.passing import Ends, Known, Pass, Shapes, Taken, arrays_in
from firstlight.frameworks.jax.probes import came, reading_of, strained, sums_of
from firstlight.frameworks.jax.program import Program
from firstlight.frameworks.jax.sharding import is_abstract
from firstlight.frameworks.jax.updates import relative_updates
from firstlight.frameworks.jax.view import View
from firstlight.frameworks.jax.waking import awake, waking
from firstlight.measuring.inputs import input_reading
from firstlight.measuring.undecided import Undecided
from firstlight.measuring.weights import norm, parameter_readings
from firstlight.records.checkup import InputReading, Observation, ParameterReading, Reading
from firstlight.records.network import Network, Operation

_Gradients = Mapping[str, Array | None]


@dataclass(frozen=True)
class Look:
    """A pass with everything that it is run on."""

    view: View
    program: Program
    shapes: Shapes
    ends: Ends
    run: Pass
    leaves: Sequence[Array]
    key: Array
    target: Sequence[Array]

    def taken(self, arrays: Mapping[str, Array] | None = None, start: int | None = None) -> Taken:
        """Run it; with care where numbers left the range in which they can be squared."""
        given = self.view.arrays if arrays is None else arrays
        found = self.run.run(given, self.leaves, self.key, self.target, start=start)
        every = (*found.value.values(), *found.delta.values())
        if arrays is not None or not any(map(strained, every)):
            return found
        return self.run.run(given, self.leaves, self.key, self.target, start=start, careful=True)


def observation(
    look: Look, taken: Taken, *, samples: int, optimizer: Any, lean: bool, loss_name: str
) -> Observation:
    """The record of one pass.

    Args:
        look: what was run.
        taken: what it gave.
        samples: the batch size.
        optimizer: as for `observe`.
        lean: as for `observe`.
        loss_name: what to call a loss that is not known.
    """
    program, ends, view = look.program, look.ends, look.view
    host = {n: np.asarray(array) for n, array in view.arrays.items() if not is_abstract(array)}
    gradients: _Gradients = {}
    delta, restarted = dict(taken.delta), False
    if not lean:
        wanted = [p.name for p in program.parameters if p.trainable]
        gradients = {name: taken.gradients.get(name) for name in wanted}
        start = _blocked_head(look, taken, host)
        if start is not None:
            again = look.taken(start=start)
            delta |= {index: sums for index, sums in again.delta.items() if came(sums)}
            restarted = True
    known = recognised(ends, taken)
    seen = None if known is None else _undecided(look, known, taken)
    uninformed, prior = None, None
    if seen is not None and taken.loss is not None:
        uninformed, prior = seen.of(taken.loss)
    if known is None and ends.is_loss and not lean:
        head_place = softmax_head(program.operations)
        if head_place is not None and head_place in look.shapes.results:
            known = Known(kind=KINDS[0], head=head_place)
            uninformed = look.run.loss_without(head_place, view.arrays, look.leaves, look.key)
    operations, made_by = _operations(look, known, loss_name)
    first = next(iter(view.arrays.values()))
    head = None if known is None else _head_shape(look, known)
    return Observation(
        network=Network(
            name=view.name,
            framework=view.framework,
            operations=operations,
            parameters=program.parameters,
            outputs=made_by,
            not_looked_into=tuple(op.name for op in operations if op.opaque),
        ),
        readings=tuple(_readings(look, taken, delta, operations)),
        parameters=_parameters(look, host, gradients, optimizer, lean=lean),
        samples=samples,
        loss=taken.loss,
        undecided_loss=uninformed,
        prior_loss=prior,
        best_constant=None if seen is None else seen.constant,
        task="unknown" if known is None else known.kind.task,
        classes=_classes(known, head),
        logits_std=_spread(look, known, taken),
        input_second_moment=_mean_square(look.leaves),
        inputs=tuple(_inputs(program, look.leaves)),
        cotangent="head-input" if restarted else "random" if taken.loss is None else "loss",
        device=_device(first),
        dtype=str(first.dtype),
        mode="train",
    )


def _readings(
    look: Look, taken: Taken, delta: Mapping[int, Any], operations: Sequence[Operation]
) -> list[Reading]:
    found = []
    for index, probe in look.run.probes(careful=False).items():
        seen = index in taken.value  # nothing is, of a model without values
        if seen and index < len(operations) and operations[index] == probe.operation:
            reading = reading_of(probe, taken.value[index], delta.get(index))
            square, number = taken.raw.get(index, (None, 1))
            raw = None if square is None else float(square) / max(1, int(number))
            found.append(replace(reading, raw_mean_square=raw))
    return found


def _parameters(
    look: Look,
    host: Mapping[str, NDArray[Any]],
    gradients: _Gradients,
    optimizer: Any,
    *,
    lean: bool,
) -> tuple[ParameterReading, ...]:
    asleep = [name for name, g in gradients.items() if g is not None and not awake(g)]
    woken: frozenset[str] = frozenset()
    if asleep:
        woken = waking(look.view.arrays, gradients, asleep, lambda a: look.taken(a).gradients)
    norms = {name: None if g is None else norm(np.asarray(g)) for name, g in gradients.items()}
    described = [p for p in look.program.parameters if p.name in host]
    readings = parameter_readings(host, described, norms, woken, lean=lean)
    if optimizer is None or lean:
        return readings
    ratios = relative_updates(optimizer, look.view.arrays, gradients)
    return tuple(replace(r, update_ratio=ratios.get(r.name)) for r in readings)


def _blocked_head(look: Look, taken: Taken, host: Mapping[str, NDArray[Any]]) -> int | None:
    """Where a zero head stops the loss's gradient: the operation that makes the head's input.

    It is so if δ is exactly zero at every operation before some weighted one, and that one reads
    more than zeros.
    """
    if not any(array.ndim > 1 and not array.any() for array in host.values()):
        return None
    operations, delta = look.program.operations, taken.delta
    zero = {index for index, sums in delta.items() if came(sums) and not sums["norms"].any()}
    passed = [
        index
        for index, sums in delta.items()
        if came(sums) and index not in zero and operations[index].kind == "weighted"
    ]
    if not zero or not passed or min(passed) < max(zero):
        return None
    feeding = operations[min(passed)].inputs
    start = feeding[0] if feeding else None
    while feeding and feeding[0] not in taken.value:  # shapes and norms are not measured
        feeding = operations[feeding[0]].inputs
    if start is None or not feeding or start not in look.shapes.results:
        return None
    return start if taken.value[feeding[0]]["norms"].any() else None


def _operations(
    look: Look, known: Known | None, loss_name: str
) -> tuple[tuple[Operation, ...], tuple[int, ...]]:
    """The operations with the loss as one of them, and those that made what the model returned."""
    program, ends = look.program, look.ends
    makers = (look.shapes.makers[place] for place in ends.leaves)
    made_by = tuple(maker for maker in makers if maker is not None) or program.outputs
    operations = program.operations
    if ends.is_loss and known is not None and known.head is not None:
        # The step's own way to the loss is the loss.
        operations, made_by = operations[: known.head + 1], (known.head,)
    elif ends.compute is None:
        return operations, made_by
    loss = Operation(
        index=len(operations),
        name=known.kind.function if known is not None else loss_name,
        kind="loss",
        function=known.kind.function if known is not None else loss_name,
        inputs=made_by[:1],
    )
    return (*operations, loss), made_by


def _head_shape(look: Look, known: Known) -> tuple[int, ...]:
    if known.head is not None:
        return tuple(look.shapes.results[known.head].shape)
    return tuple(arrays_in(look.shapes.output)[look.ends.leaves[0]].shape)


def _undecided(look: Look, known: Known, taken: Taken) -> Undecided:
    paid = taken.paid[look.ends.known.index(known)]
    target = look.target[0] if known.leaf is None else look.leaves[known.leaf]
    return known.kind.undecided(paid, _head_shape(look, known), np.asarray(target))


def _classes(known: Known | None, head: tuple[int, ...] | None) -> int | None:
    if known is None or not head:
        return None
    return {"classification": head[-1], "binary": 2}.get(known.kind.task)


def _spread(look: Look, known: Known | None, taken: Taken) -> float | None:
    """Standard deviation of the head's output."""
    ends = look.ends
    if known in ends.known:
        return taken.spreads[ends.known.index(known)]
    if known is not None and known.head is not None and known.head in taken.value:
        # Of a head that no known loss was computed from, the sums are enough.
        probe = look.run.probes(careful=False)[known.head]
        sums = sums_of(probe, taken.value[known.head])
        square = float((sums.norms**2).mean()) / sums.elements
        return math.sqrt(max(0.0, square - (sums.mean or 0.0) ** 2))
    return None if ends.is_loss else taken.spreads[-1]


def _device(array: Array) -> str:
    """The first device that holds an array, in the words that torch has for one."""
    if is_abstract(array):
        return "none"
    device = min(array.devices(), key=lambda device: device.id)
    return device.platform if device.platform == "cpu" else f"{device.platform}:{device.id}"


def _mean_square(leaves: Sequence[Array]) -> float | None:
    """Of the floating arrays in a batch."""
    floating = (leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact))
    arrays = [array for leaf in floating if (array := np.asarray(leaf)).size]
    if not arrays:
        return None
    total = sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays)
    return total / sum(array.size for array in arrays)


def _inputs(program: Program, leaves: Sequence[Array]) -> list[InputReading]:
    """The readings of the operations that are inputs."""
    found = []
    for place, leaf in enumerate(leaves):
        index = program.reading.results.get(len(program.names) + place)
        if index is not None and program.operations[index].kind == "input":
            values = np.asarray(leaf)
            read = input_reading(program.operations[index], values)
            found += [read] if read is not None else []
    return found
