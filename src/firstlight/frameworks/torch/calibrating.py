"""One calibrating pass: as each weighted operation runs, its result and its weight are rescaled.

What comes after sees the corrected result, so one forward pass settles a whole network whatever its
depth. A pass has to be quick, for the cell of a long recurrence as well: no graph is written down,
and what a call is to do is found out when it comes first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch import composites, functions
from firstlight.frameworks.torch.calls import Call
from firstlight.frameworks.torch.tracing import Tracer
from firstlight.frameworks.torch.weight_uses import Use, Weight, factor_of, mean_square
from firstlight.records.network import OperationKind

_ADDING = frozenset({"addmm", "baddbmm"})
"""Products whose first argument is added to the result."""

_LISTS = frozenset({list, tuple})


def _tensors(args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Iterator[Tensor]:
    """The tensors of a call, and those in its lists and tuples."""
    for value in (*args, *keywords.values()):
        if isinstance(value, Tensor):
            yield value
        elif type(value) in (list, tuple):
            yield from (item for item in value if isinstance(item, Tensor))


def _kind(name: str) -> OperationKind | None:
    if name in functions.WEIGHTED:
        return "weighted"
    return "embedding" if name in functions.LOOKUPS or name == "embedding_bag" else None


class Calibrator(Tracer):
    """A tracer that corrects as it goes, and records nothing else: it has to be quick.

    Args:
        model: whose modules name the operations.
        parameters: canonical names by tensor identity.
        weights: those with a target, by name.
        biases: names of all biases with one axis.
        centred: names of the biases that shall take the mean off; ``shifts`` has what they became,
            divided by the weight's factor.
    """

    wants_gates = False

    def __init__(
        self,
        model: nn.Module,
        parameters: Mapping[int, str],
        weights: Mapping[str, Weight],
        *,
        biases: Collection[str] = (),
        centred: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        super().__init__(model, parameters, lambda _, result, __: result)
        # By identity, the parameters that a tensor is or stems from. The expressions are held, so
        # that no identity comes twice.
        self._known: dict[int, tuple[str, ...]] = {i: (n,) for i, n in parameters.items()}
        self._derived: list[Tensor] = []
        self._marked = {*self._known, *self._buffers}
        self._seen_uses: dict[tuple[Any, ...], Use | None] = {}
        self.shifts: dict[str, tuple[str, Tensor]] = {}
        self._weights = weights
        self._biases = biases
        self._centred = centred or {}
        self._storages = {w.tensor.untyped_storage().data_ptr(): n for n, w in weights.items()}

    @contextmanager
    def module_names(self) -> Iterator[None]:
        """No operation gets a name."""
        yield

    def _used(self, operand: Tensor) -> tuple[str, ...]:
        return self._known.get(id(operand), ())

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one torch function; what has no parameter in it passes as it is."""
        if self._foreign is not None and not self._opened:
            found = self._foreign.instead(func, args, kwargs or {}, self)
            if isinstance(found, Tensor):
                return found
            if found is not None:
                func, args, kwargs = found.func, found.args, found.keywords
        if kwargs:
            return self._run(func, args, kwargs, None)
        known = self._known
        for value in args:
            if id(value) in known:
                break
            if type(value) in _LISTS and not known.keys().isdisjoint(map(id, value)):
                return self._run(func, args, {}, None)
        else:
            return func(*args)
        # What a call is to do depends on its function and on which of its operands are parameters.
        if not _LISTS.isdisjoint(map(type, args)):
            return self._run(func, args, {}, None)
        key = (func, *[id(v) if id(v) in self._marked else type(v) for v in args])
        if key not in self._seen_uses:
            return self._run(func, args, {}, key)
        use = self._seen_uses[key]
        result = func(*args)
        if use is not None:
            self._calibrate(use, args, result)
        return result

    def _run(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        key: tuple[Any, ...] | None,
    ) -> Any:
        """A call that is not known yet."""
        operands = list(_tensors(args, kwargs))
        parameters = tuple(dict.fromkeys(name for t in operands for name in self._used(t)))
        if not parameters:
            return func(*args, **kwargs)
        call = Call(
            func=func,
            name=functions.plain_name(func),
            args=args,
            keywords=dict(kwargs),
            operands=operands,
            makers=[None] * len(operands),
            parameters=parameters,
            in_place=functions.is_in_place(func),
        )
        reads_data = any(map(self._is_data, operands))
        if reads_data and not self._opened:
            found = self._inside(call)
            if found is not None:
                return found
        result = func(*args, **kwargs)
        if reads_data:
            kind = _kind(call.name)
            use = None if kind is None else self._use(call, kind)
            if key is not None and not composites.may_open(call.name, func):
                self._seen_uses[key] = use
            if use is not None:
                self._calibrate(use, args, result)
            return result
        for tensor in _tensors((result,), {}):
            if id(tensor) not in self._known:
                self._known[id(tensor)] = parameters
                self._marked.add(id(tensor))
                self._derived.append(tensor)
        return result

    def _is_data(self, tensor: Tensor) -> bool:
        return id(tensor) not in self._marked

    def _record(self, call: Call, kind: OperationKind, result: Tensor) -> Tensor:
        """What `composites` writes down: kernels, whose weight has to be right before they run."""
        use = self._use(call, kind)
        if use is not None:
            self._calibrate(use, call.args, result)
        return result

    def _use(self, call: Call, kind: OperationKind) -> Use | None:
        """What there is to do at a call; None if no weight with a target scales it."""
        if kind not in ("weighted", "embedding") or call.in_place:
            return None
        name = self._scale_of(call)
        if name is None:
            return None
        behind = 0
        if call.name in functions.CONVOLUTIONS:
            behind = int(call.name[-2])
        elif call.name in functions.PRODUCTS and self._used(call.operands[0]):
            behind = 1  # W @ x: the weight's rows are the result's rows
        bias = next((t for t in call.operands if self._is_bias(t)), None)
        centred = next((n for n in call.parameters if n in self._centred), None)
        if bias is not None and centred is None and not bias.count_nonzero().item():
            bias = None
        return Use(
            weight=self._weights[name],
            name=name,
            kind=kind,
            bias=bias,
            centred=centred,
            adds=call.name in _ADDING,
            keyword=call.keywords.get("input"),
            behind=behind,
            in_kernel=call.func is None,
        )

    def _scale_of(self, call: Call) -> str | None:
        """The weight with a target that scales this operation, if there is one."""
        named = [name for name in call.parameters if name in self._weights]
        if not named:
            return None
        for tensor in call.operands:
            if tensor.layout == torch.strided and not tensor.is_nested:
                found = self._storages.get(tensor.untyped_storage().data_ptr())
                if found is not None and found in named:
                    return found
        self._weights[named[0]].direct = False  # an expression; whether it is linear is tried out
        return str(named[0])

    def _is_bias(self, tensor: Tensor) -> bool:
        return tensor.dim() == 1 and any(name in self._biases for name in self._used(tensor))

    def _calibrate(self, use: Use, args: tuple[Any, ...], result: Tensor) -> None:
        weight = use.weight
        weight.kind = weight.kind or use.kind
        if use.kind != weight.kind:
            return
        if weight.fixed:
            square = mean_square(result)
            if square > 0 and math.isfinite(square):
                weight.errors.append(math.log(square / weight.target))
                if weight.probed:
                    result.mul_(math.sqrt(weight.target / square))
            elif result.numel():
                weight.empty += 1
            return
        axis = result.dim() - 1 - use.behind
        offset = use.offset(args, axis)
        if offset is not None:
            result.sub_(offset)
        factor = None
        if use.centred is not None and axis >= 0 and result.numel():
            factor = self._centre(weight, use.name, use.centred, axis, result)
        else:
            factor = factor_of(weight, result, offset)
            if factor is not None:
                result.mul_(factor)
            if offset is not None:
                result.add_(offset)
        if factor is not None:
            wanted = weight.current * factor
            if use.in_kernel or not weight.factors:
                weight.set(wanted)  # later uses are corrected at their results
            weight.factors.append(wanted)
            weight.errors.append(0.0)

    def _centre(
        self, weight: Weight, name: str, bias: str, axis: int, product: Tensor
    ) -> float | None:
        """Take each unit's mean off, by its bias, and give the rest the target."""
        others = [i for i in range(product.dim()) if i != axis]
        means = product.detach().mean(dim=others, keepdim=True)
        product.sub_(means)
        square = mean_square(product)
        if not (0 < square < math.inf):
            product.add_(means)
            weight.empty += 1
            return None
        factor = math.sqrt(weight.target / square)
        product.mul_(factor)
        shift = means.flatten().neg()
        self._centred[bias].data.copy_(shift * factor)
        self.shifts[bias] = (name, shift / weight.current)
        return factor
