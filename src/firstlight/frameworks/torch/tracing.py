"""Reading a model by running it: every torch function that it calls becomes an operation.

A `TorchFunctionMode` sees what hooks on modules do not: functional activations, residual
additions, in-place operations, modules that are called twice, control flow that depends on data.
It needs no change to the model. Attention and recurrent stacks, one function each, are opened by
`composites`; what stays closed (single cells, scripted modules, which show no function at all) is
recorded as opaque and named in `Network.not_looked_into`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from inspect import getattr_static
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from firstlight.frameworks.torch import composites, functions
from firstlight.frameworks.torch.calls import Call
from firstlight.frameworks.torch.foreign import Foreign
from firstlight.frameworks.torch.options import options
from firstlight.frameworks.torch.undecided import undecided
from firstlight.frameworks.torch.usage import uses_in
from firstlight.frameworks.torch.written import Written
from firstlight.laws.addresses import canonical_name
from firstlight.measuring.undecided import Undecided
from firstlight.network.uses import Use
from firstlight.records.network import Operation, OperationKind

Observer = Callable[[Operation, Tensor, tuple[Tensor, ...]], Tensor]
"""Called with an operation, its result and its data inputs; returns the result to go on with."""


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, mappings and data classes, each where it stands."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif hasattr(value, "__dataclass_fields__"):
        for field in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, field, None))


def _is_tracked(value: Any) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _version(tensor: Tensor) -> int:
    """How often a tensor has been written to; inference tensors do not count it."""
    return 0 if tensor.is_inference() else int(tensor._version)


def _speaks_for_itself(module: nn.Module) -> bool:
    """Whether what runs inside a module *is* the module: torch's own layers, parametrised or not.

    Their operations bear the module's path alone; those in other modules add the function's name.
    """
    forward = getattr_static(type(module), "forward", None)
    own = str(getattr(forward, "__module__", "")).startswith("torch.nn.modules")
    inner = [name for name, _ in module.named_children() if name != "parametrizations"]
    return own and not inner


def _place_of_weight(parameters: Iterable[str]) -> str | None:
    """A name for what the first weight does: ``attention.in_proj``, ``lstm.hh_l0``."""
    for name in parameters:
        path, _, local = name.rpartition(".")
        if local == "weight":
            return path
        if "weight_" in local or "_weight" in local:
            stem = local.replace("weight_", "").replace("_weight", "")
            return f"{path}.{stem}".lstrip(".")
    return None


class Tracer(TorchFunctionMode):
    """Records the operations of one forward pass.

    Args:
        model: whose modules name the operations.
        parameters: canonical names by tensor identity.
        observer: sees each floating result as it is made.
    """

    wants_gates = True

    def __init__(self, model: nn.Module, parameters: Mapping[int, str], observer: Observer) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.undecided: Undecided | None = None
        """What a model without skill pays at the last loss; None if not known."""
        self.uses: dict[str, Use] = {}
        """What the first product with each parameter says of its axes."""
        self._observer = observer
        self._parameters = parameters
        self._model = model
        self._buffers = {id(buffer) for buffer in model.buffers()}
        # A parameter's canonical name, without the parameter: wrappers leave nothing behind.
        self._foreign = model if isinstance(model, Foreign) else None
        self._paths = {
            id(m): canonical_name(f"{name}.weight").rpartition(".")[0]
            for name, m in (() if self._foreign else model.named_modules())
        }
        self._speaking = {id(m) for m in model.modules() if _speaks_for_itself(m)}
        if self._foreign is not None:
            self._paths, self._speaking = self._foreign.paths(), set()
        self._closed: nn.Module | None = None
        """The layer of a foreign model that runs and is told as one operation."""
        self._stack: list[tuple[str, bool]] = [("", False)]
        self._leaving = False
        self._names: Counter[str] = Counter()
        self._opened = False
        """Whether what runs is the inside of a composite."""
        # Which operation made a tensor, and which parameters an expression of parameters used.
        self._makers: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._expressions: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        # Integers and masks that depend on the batch: no operations, but what they index is one.
        self._discrete: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self.written = Written()

    @contextmanager
    def module_names(self) -> Iterator[None]:
        """Keep track of which module is running, by global hooks: none is put on a module."""

        def enter(module: nn.Module, inputs: Any) -> None:
            if self._closed is not None:
                return
            if module is self._model:  # a step may call it with tensors of its own making
                self.add_inputs(tensors_in(inputs))
            if self._foreign is not None and inputs and self._foreign.is_closed(module):
                self._closed = module
            path = self._paths.get(id(module), self._stack[-1][0])
            self._stack.append((path, id(module) in self._speaking))
            self.written.enter(module)

        def leave(module: nn.Module, inputs: Any, output: Any) -> Any:
            if self._closed not in (None, module):
                return None
            self._leaving = True  # what is asked of tensors here is no operation of the model
            seen, self._closed = self._closed, None
            if seen is not None and isinstance(output, Tensor) and self.maker(output) is None:
                with torch._C.DisableTorchFunction():
                    output = self._note_closed(module, inputs, output)
            for tensor in tensors_in(output):
                if self._is_unseen(module, tensor):
                    self._record_closed(module, inputs, tensor)
                    break
            self._leaving = False
            self._stack.pop()
            self.written.leave()
            return None if seen is None else output

        before = module_hooks.register_module_forward_pre_hook(enter)
        after = module_hooks.register_module_forward_hook(leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def add_inputs(self, tensors: Iterable[Tensor]) -> None:
        """Make floating tensors operations of kind ``input``, and remember integer ones."""
        for tensor in tensors:
            if id(tensor) in self._parameters or self.depends_on_data(tensor):
                continue
            if _is_tracked(tensor):
                self._record(Call(None, "input", (), {}, [], [], (), False), "input", tensor)
            else:
                self._discrete[tensor] = True

    def _is_unseen(self, module: nn.Module, tensor: Tensor) -> bool:
        """Whether a module's result was made by code that no function mode sees, as scripts are.

        Constants are not: they need no gradient.
        """
        known = self.depends_on_data(tensor) or self._used(tensor) or id(tensor) in self._buffers
        closed = tensor.requires_grad or isinstance(module, torch.jit.ScriptModule)
        return _is_tracked(tensor) and closed and not known

    def _record_closed(self, module: nn.Module, inputs: Any, result: Tensor) -> None:
        operands = list(tensors_in(inputs))
        names = (self._parameters.get(id(parameter)) for parameter in module.parameters())
        call = Call(
            func=None,
            name="forward",
            args=(),
            keywords={},
            operands=operands,
            makers=[self.maker(t) for t in operands],
            parameters=tuple(name for name in names if name is not None),
            in_place=False,
        )
        self._record(call, "composite", result)

    def _note_closed(self, module: nn.Module, inputs: Any, result: Tensor) -> Tensor:
        """Record a layer of a foreign model as one operation."""
        assert self._foreign is not None
        found = self._foreign.closed(module, inputs, result)
        operands = list(found.operands)
        call = Call(
            func=None,
            name=found.function,
            args=(),
            keywords=dict(found.keywords),
            operands=operands,
            makers=[self.maker(t) for t in operands],
            parameters=tuple(dict.fromkeys(name for t in operands for name in self._used(t))),
            in_place=False,
            unit_axis=found.unit_axis,
        )
        return self._record(call, found.kind, result)

    def maker(self, tensor: Tensor) -> int | None:
        """The operation that made ``tensor``, if it was seen."""
        found = self._makers.get(tensor)
        return None if found is None else int(found)

    def depends_on_data(self, tensor: Tensor) -> bool:
        """Whether a tensor, of whatever type, was made from the batch."""
        return tensor in self._makers or tensor in self._discrete

    def parameter(self, tensor: Tensor) -> str | None:
        """The canonical name of a tensor that is a parameter."""
        return self._parameters.get(id(tensor))

    def used(self, operand: Tensor) -> tuple[str, ...]:
        """The parameters that an operand is, or was computed from."""
        return self._used(operand)

    def derive(self, func: Callable[..., Tensor], tensor: Tensor) -> Tensor:
        """A function of one tensor, as if the model had called it."""
        result: Tensor = self.__torch_function__(func, (), (tensor,))
        return result

    def _used(self, operand: Tensor) -> tuple[str, ...]:
        name = self._parameters.get(id(operand))
        return (name,) if name is not None else self._expressions.get(operand, ())

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one torch function and record it."""
        if self._closed is not None:
            return func(*args, **(kwargs or {}))
        if self._foreign is not None and not self._opened:
            found = self._foreign.instead(func, args, kwargs or {}, self)
            if isinstance(found, Tensor):
                return found
            if found is not None:
                func, args, kwargs = found.func, found.args, found.keywords
        keywords = dict(kwargs or {})
        operands = list(tensors_in((args, keywords)))
        if not self._leaving and getattr(func, "__name__", "") != "__get__":
            for tensor in filter(self._came_from_nowhere, operands):
                self.note("unseen", "composite", tensor, ())
        call = Call(
            func=func,
            name=functions.plain_name(func),
            args=args,
            keywords=keywords,
            operands=operands,
            makers=[self.maker(t) for t in operands],
            parameters=tuple(dict.fromkeys(name for t in operands for name in self._used(t))),
            in_place=functions.is_in_place(func),
        )
        from_data = any(self.depends_on_data(t) for t in operands)
        if from_data:
            inside = None if self._opened else self._inside(call)
            if inside is not None:
                return inside
            call = replace(call, step=self.written.step(call, self))
        versions = {id(t): _version(t) for t in operands}
        result = func(*args, **keywords)
        if isinstance(result, Tensor):
            if versions.get(id(result), _version(result)) != _version(result):
                call = replace(call, in_place=True)  # ``relu(x, inplace=True)``
            return self._seen(call, result, from_data)
        if type(result) in (tuple, list) or hasattr(result, "n_fields"):  # max, sort: named tuples
            return self._seen_many(call, result, from_data)
        if call.name == "setitem" and from_data:
            self._seen(replace(call, in_place=True), args[0], from_data)
        return result

    def _came_from_nowhere(self, tensor: Tensor) -> bool:
        """Whether a differentiable result was made by code that no function mode sees."""
        made = _is_tracked(tensor) and tensor.grad_fn is not None
        known = self.depends_on_data(tensor) or self._used(tensor) or id(tensor) in self._buffers
        return made and not known

    def _inside(self, call: Call) -> Any:
        """The result of a composite whose inside was recorded; None for all other calls."""
        self._opened = True
        try:
            body = composites.attention(call.func, call.operands)
            if body is not None:
                with self:
                    return body(*call.args, **call.keywords)
            found = composites.recurrent(call.name, call.func, call.args, call.keywords, self)
        finally:
            self._opened = False
        if found is not None:
            index = self.maker(found[0])
            for state in found[1:]:
                self._makers[state] = index
        return found

    def note(
        self,
        function: str,
        kind: OperationKind,
        result: Tensor,
        operands: Iterable[Tensor],
        **keywords: Any,
    ) -> Tensor:
        """Record an operation that no function mode saw."""
        tensors = list(operands)
        call = Call(
            func=None,
            name=function,
            args=(),
            keywords=keywords,
            operands=tensors,
            makers=[self.maker(t) for t in tensors],
            parameters=tuple(dict.fromkeys(name for t in tensors for name in self._used(t))),
            in_place=False,
        )
        return self._record(call, kind, result)

    def _seen_many(self, call: Call, results: Any, from_data: bool) -> Any:
        """One call, one operation: the first floating result stands for the others."""
        items = list(results)
        first = next((i for i, item in enumerate(items) if _is_tracked(item)), None)
        if first is not None:
            items[first] = self._seen(call, items[first], from_data)
            index = self.maker(items[first])
            for item in items:
                if _is_tracked(item) and index is not None:
                    self._makers[item] = index
                elif _is_tracked(item) and call.parameters:
                    self._expressions[item] = call.parameters
        for item in items:
            if isinstance(item, Tensor) and not _is_tracked(item):
                self._seen(call, item, from_data)
        return type(results)(items)

    def _seen(self, call: Call, result: Tensor, from_data: bool) -> Tensor:
        if id(result) in self._parameters or id(result) in self._buffers:
            return result
        if not _is_tracked(result):
            if from_data:
                self._discrete[result] = True
                self.written.made_mask(call.step, result)
            return result
        if not call.in_place and self.maker(result) is not None:
            return result  # handed through: ``contiguous`` of what already is
        kind = self._kind(call)
        if call.name in functions.WEIGHTED and call.parameters:
            named = {id(t): self._used(t) for t in call.operands}
            found = uses_in(call.name, call.args, call.keywords, call.operands, named)
            self.uses = found | self.uses
        if not from_data and kind != "embedding":
            # Constants, and expressions of parameters (weight norm and its like): still a weight.
            if call.parameters:
                self._expressions[result] = call.parameters
            return result
        if kind == "loss":
            self.undecided = undecided(call.func, call.args, call.keywords, result)
        return self._record(call, kind, result)

    def _kind(self, call: Call) -> OperationKind:
        if call.name in functions.WEIGHTED:
            return "weighted" if call.parameters else "other"
        if functions.activation_of(call.name, call.args, call.keywords) is not None:
            return "activation"
        if call.name in functions.LOOKUPS and call.parameters and not call.sources:
            return "embedding" if any(t in self._discrete for t in call.operands) else "shape"
        kind = functions.kind_of(call.name)
        if kind in ("add", "multiply") and len(call.sources) < 2:
            return "other"  # a constant or a parameter is added: no branches meet
        return kind

    def _record(self, call: Call, kind: OperationKind, result: Tensor) -> Tensor:
        operation = Operation(
            index=len(self.operations),
            name=self._name(call, kind),
            kind=kind,
            function=call.name,
            inputs=call.sources,
            parameters=call.parameters,
            shape=tuple(result.shape),
            unit_axis=self._unit_axis(call, kind, result),
            opaque=kind == "composite" and not self._opened and call.name not in functions.OPEN,
            activation=functions.activation_of(call.name, call.args, call.keywords),
            in_place=call.in_place,
            rate=functions.dropout_rate(call.name, call.args, call.keywords),
            score_scale=functions.score_scale(call.name, call.args, call.keywords),
            options=options(call, result, self._used),
        )
        self.operations.append(operation)
        result = self._observer(operation, result, call.data)
        self._makers[result] = operation.index
        self.written.made(call.step, operation.index, result)
        return result

    def _name(self, call: Call, kind: OperationKind) -> str:
        path, speaks = self._stack[-1]
        alone = path and (speaks or call.name in ("multi_head_attention_forward", "forward"))
        base = path if alone and not self._opened else f"{path}.{call.name}".lstrip(".")
        if self._opened:
            base = _place_of_weight(call.parameters) or base
        if self._foreign is not None:
            base = self._foreign.named(path, call.name, kind, call.parameters)
        self._names[base] += 1
        count = self._names[base]
        return base if count == 1 else f"{base}#{count}"

    def _unit_axis(self, call: Call, kind: OperationKind, result: Tensor) -> int | None:
        rank = result.dim()
        if rank == 0:
            return None
        if call.unit_axis is not None:
            return call.unit_axis
        if call.name in functions.CONVOLUTIONS:
            spatial = int(call.name[-2])
            return rank - spatial - 1
        if call.name in ("batch_norm", "instance_norm", "group_norm"):
            return 1 if rank > 1 else None
        if call.name in functions.PRODUCTS and rank > 1 and self._used(call.operands[0]):
            return rank - 2  # W @ x: the weight's rows are the result's rows
        if kind in ("weighted", "embedding", "composite") or call.name == "layer_norm":
            return rank - 1
        if call.name in functions.TRANSPOSING:
            return None
        for source in call.sources:
            made = self.operations[source]
            if len(made.shape) == rank and made.unit_axis is not None:
                same = made.shape[made.unit_axis] == result.shape[made.unit_axis]
                return made.unit_axis if same else None
        return rank - 1 if rank == 2 else None
