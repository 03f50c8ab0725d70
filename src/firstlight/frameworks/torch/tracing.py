"""Reading a model by running it: every torch function that it calls becomes an operation.

A `TorchFunctionMode` sees what hooks on modules do not: functional activations, residual
additions, in-place operations, modules that are called twice, control flow that depends on data.
It needs no change to the model. What it cannot open (`multi_head_attention_forward`, ``lstm``, one
function each) is recorded as opaque and named in `Network.not_looked_into`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from firstlight.frameworks.torch import functions
from firstlight.laws.addresses import canonical_name
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


class Tracer(TorchFunctionMode):
    """Records the operations of one forward pass.

    Args:
        model: whose modules name the operations.
        parameters: canonical names by tensor identity.
        observer: sees each floating result as it is made.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[int, str], observer: Observer) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._observer = observer
        self._parameters = parameters
        self._buffers = {id(buffer) for buffer in model.buffers()}
        self._paths = {
            id(m): canonical_name(name) if name else "" for name, m in model.named_modules()
        }
        self._leaves = {id(m) for m in model.modules() if not any(m.children())}
        self._stack: list[tuple[str, bool]] = [("", False)]
        self._names: Counter[str] = Counter()
        # Which operation made a tensor, and which parameters an expression of parameters used.
        self._makers: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._expressions: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    @contextmanager
    def module_names(self) -> Iterator[None]:
        """Keep track of which module is running, by global hooks: none is put on a module."""

        def enter(module: nn.Module, _: Any) -> None:
            path = self._paths.get(id(module), self._stack[-1][0])
            self._stack.append((path, id(module) in self._leaves))

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            self._stack.pop()

        before = module_hooks.register_module_forward_pre_hook(enter)
        after = module_hooks.register_module_forward_hook(leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def add_inputs(self, tensors: Iterable[Tensor]) -> None:
        """Make the batch's floating tensors operations of kind ``input``."""
        for tensor in tensors:
            if id(tensor) not in self._parameters:
                self._record("input", "input", (), (), tensor, ())

    def maker(self, tensor: Tensor) -> int | None:
        """The operation that made ``tensor``, if it was seen."""
        found = self._makers.get(tensor)
        return None if found is None else int(found)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one torch function and record it."""
        keywords = dict(kwargs or {})
        in_place = functions.is_in_place(func)
        operands = [t for t in tensors_in((args, keywords)) if isinstance(t, Tensor)]
        makers = [self.maker(t) for t in operands]
        result = func(*args, **keywords)
        if isinstance(result, Tensor):
            if _is_tracked(result):
                return self._seen(func, in_place, args, keywords, operands, makers, result)
        elif isinstance(result, tuple | list) and any(_is_tracked(item) for item in result):
            items = [
                self._seen(func, in_place, args, keywords, operands, makers, item)
                if _is_tracked(item)
                else item
                for item in result
            ]
            # Named tuples of torch (``max`` with a dimension) are rebuilt from a sequence.
            return type(result)(items) if type(result) is not tuple else tuple(items)
        return result

    def _seen(
        self,
        func: Any,
        in_place: bool,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        operands: list[Tensor],
        makers: list[int | None],
        result: Tensor,
    ) -> Tensor:
        if id(result) in self._parameters or id(result) in self._buffers:
            return result
        if not in_place and self.maker(result) is not None:
            return result  # handed through: ``contiguous`` of what already is
        parameters = tuple(
            dict.fromkeys(
                name
                for operand in operands
                for name in (
                    (self._parameters[id(operand)],)
                    if id(operand) in self._parameters
                    else self._expressions.get(operand, ())
                )
            )
        )
        sources = tuple(dict.fromkeys(m for m in makers if m is not None))
        if not sources and parameters:
            self._expressions[result] = parameters  # weight norm and its like: still a weight
            return result
        name = functions.plain_name(func)
        data = tuple(o for o, m in zip(operands, makers, strict=True) if m is not None)
        return self._record(
            name,
            self._kind(name, sources, parameters, args, keywords),
            sources,
            parameters,
            result,
            data,
            activation=functions.activation_of(name, args, keywords),
            in_place=in_place,
        )

    def _kind(
        self,
        name: str,
        sources: tuple[int, ...],
        parameters: tuple[str, ...],
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
    ) -> OperationKind:
        if name in functions.WEIGHTED:
            return "weighted" if parameters else "other"
        if functions.activation_of(name, args, keywords) is not None:
            return "activation"
        kind = functions.kind_of(name)
        if kind in ("add", "multiply") and len(sources) < 2:
            return "other"  # a constant or a parameter is added: no branches meet
        return kind

    def _record(
        self,
        function: str,
        kind: OperationKind,
        sources: tuple[int, ...],
        parameters: tuple[str, ...],
        result: Tensor,
        data: tuple[Tensor, ...],
        **more: Any,
    ) -> Tensor:
        operation = Operation(
            index=len(self.operations),
            name=self._name(function),
            kind=kind,
            function=function,
            inputs=sources,
            parameters=parameters,
            shape=tuple(result.shape),
            unit_axis=self._unit_axis(function, kind, sources, result),
            opaque=kind == "composite" and function != "scaled_dot_product_attention",
            **more,
        )
        self.operations.append(operation)
        result = self._observer(operation, result, data)
        self._makers[result] = operation.index
        return result

    def _name(self, function: str) -> str:
        path, leaf = self._stack[-1]
        base = path if leaf else (f"{path}.{function}" if path else function)
        self._names[base] += 1
        count = self._names[base]
        return base if count == 1 else f"{base}#{count}"

    def _unit_axis(
        self, function: str, kind: OperationKind, sources: tuple[int, ...], result: Tensor
    ) -> int | None:
        rank = result.dim()
        if rank == 0:
            return None
        if function in functions.CONVOLUTIONS:
            spatial = int(function[-2])
            return rank - spatial - 1
        if function in ("batch_norm", "instance_norm", "group_norm"):
            return 1 if rank > 1 else None
        if kind in ("weighted", "embedding") or function == "layer_norm":
            return rank - 1
        for source in sources:
            made = self.operations[source]
            if len(made.shape) == rank and made.unit_axis is not None:
                same = made.shape[made.unit_axis] == result.shape[made.unit_axis]
                return made.unit_axis if same else None
        return rank - 1 if rank == 2 else None
