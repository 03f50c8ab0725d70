"""Running a model that has shapes and no values, with the values that are known beside it.

Weights on the meta device have none, and nothing that they multiply has. The batch has, and so have
masks, positions and constants. Under `Shapes` every operation runs on meta tensors, which cost
nothing, and once more on real ones where all of its operands are known; the model's code sees meta
tensors alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from firstlight.frameworks.torch.beside import MASKING, MOST, Beside, is_plain, running

_META = torch.device("meta")
_CPU = torch.device("cpu")

_SEED = 20_260_201

_INDICES: Mapping[str, int] = {
    "aten::topk": 1,
    "aten::sort": 1,
    "aten::argsort": 0,
    "aten::argmax": 0,
    "aten::argmin": 0,
    "aten::multinomial": 0,
}
"""Choices by unknown scores, and which of their results holds the indices: they are drawn."""

_INDEXING = frozenset(
    {"aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index_put"}
)

_LIKE = tuple(
    f"aten::{way}"
    for way in (
        *("zeros_like", "ones_like", "full_like", "empty_like"),
        *("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided"),
    )
)
"""Of their first operand the shape alone counts."""

_EMPTY = ("aten::empty", "aten::new_empty")
_FILLING = frozenset({"aten::fill_", "aten::zero_", "aten::copy_"})


class NoValueError(RuntimeError):
    """A number is asked for that only weights with values could give."""


class Shapes(TorchDispatchMode):
    """Runs what is inside on meta tensors, and on values where all operands have some.

    Args:
        building: what runs fills tensors. Random numbers are then no values that anybody knows, and
            memory that nobody has written to is not zero.
    """

    def __init__(self, *, building: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._building = building
        self.known = Beside()
        self._generator = torch.Generator().manual_seed(_SEED)

    def __enter__(self) -> Shapes:
        super().__enter__()  # type: ignore[no-untyped-call]
        running.append(self.known)
        return self

    def __exit__(self, *raised: Any) -> None:
        running.remove(self.known)
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        wanted = kwargs.get("device")
        target = None if wanted is None else torch.device(wanted)
        if target != _META and not any(t.is_meta for t in tensors):
            return func(*args, **kwargs)
        values = {id(t): self.known.value(t) for t in tensors}
        if func._schema.name in _LIKE and values[id(args[0])] is None:
            values[id(args[0])] = torch.zeros((), dtype=args[0].dtype, device=_CPU).expand(
                args[0].shape
            )
        known = all(value is not None for value in values.values())
        if self._building:
            known = known and not _is_nobodys(func)
        if target is not None and target != _META:
            if known:  # ``.cpu()`` of what is known
                return func(*_swapped(args, values), **_swapped(kwargs, values))
            kwargs = {**kwargs, "device": _META}
        if known:
            return self._on_both(func, args, kwargs, values)
        return self._on_shapes(func, args, kwargs, values)

    def _on_both(
        self, func: Any, args: Sequence[Any], kwargs: Any, values: Mapping[int, Tensor | None]
    ) -> Any:
        def really() -> Any:
            real = _swapped(kwargs, values)
            if real.get("device") is not None:
                real["device"] = _CPU
            try:
                return func(*_swapped(args, values), **real)
            except NotImplementedError:  # of this type; other devices count integers, too
                wide = {key: _widened(value) for key, value in values.items()}
                return func(*_swapped(args, wide), **_swapped(kwargs, wide))

        if not any(isinstance(r.type, torch.TensorType) for r in func._schema.returns) and not any(
            "Tensor" in str(r.type) for r in func._schema.returns
        ):
            return really()  # a number, a truth value
        twins = _Twins()
        shaped = {**kwargs, "generator": None} if "generator" in kwargs else kwargs
        try:
            result = func(*twins.of(args), **twins.of(shaped))
        except (NotImplementedError, RuntimeError):
            # The shape depends on the values.
            found = really()
            return tree_map(lambda t: self._shown(t) if isinstance(t, Tensor) else t, found)
        if any(t.numel() > MOST for t in _tensors(result)):
            for written in _written(func, args, kwargs):
                self.known.forget(written)
            return twins.back(result)
        found = really()
        if func._schema.name.startswith(_EMPTY):
            for tensor in _tensors(found):
                tensor.zero_()  # what was in the memory is nobody's value
        given = {id(t) for t in _tensors((args, kwargs))}
        for shape, value in zip(_tensors(result), _tensors(found), strict=True):
            if id(shape) not in given and self.known.value(shape) is None:
                self.known.give(shape, value)
        return twins.back(result)

    def _shown(self, value: Tensor) -> Tensor:
        """A meta tensor that stands for a real one."""
        shape = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=_META)
        self.known.give(shape, value)
        return shape

    def _on_shapes(
        self, func: Any, args: Sequence[Any], kwargs: Any, values: Mapping[int, Tensor | None]
    ) -> Any:
        name = func._schema.name
        if name in _INDEXING:
            args = [args[0], _by_number(args[1], values), *args[2:]]
        if name == "aten::masked_select" and (mask := values[id(args[1])]) is not None:
            places = mask.broadcast_to(args[0].shape).nonzero().unbind(1)
            func, args = torch.ops.aten.index.Tensor, [args[0], list(places)]
        if name == "aten::_grouped_mm":
            return _grouped(*args[:3], **kwargs)
        twins = _Twins()
        for written in _written(func, args, kwargs):
            self.known.forget(written)
        if name in _FILLING:
            self._fill(func, args, values)
        try:
            result = func(*twins.of(args), **twins.of(kwargs))
        except (NotImplementedError, RuntimeError) as error:
            if _asks_for_values(func, error):
                raise NoValueError(
                    f"{name.removeprefix('aten::')} asks for numbers that weights decide"
                ) from None
            raise
        if name in MASKING and isinstance(result, Tensor) and result.is_floating_point():
            self.known.hide(name, result, args)
        place = _INDICES.get(name)
        if place is not None:
            chosen = result if isinstance(result, Tensor) else result[place]
            self.known.give(chosen, self._choice(name, args, kwargs, tuple(chosen.shape)))
        elif name == "aten::max" and isinstance(result, tuple | list):
            self.known.give(result[1], self._choice(name, args, kwargs, tuple(result[1].shape)))
        return twins.back(result)

    def _fill(self, func: Any, args: Sequence[Any], values: Mapping[int, Tensor | None]) -> None:
        """What is written over as a whole is known from then on."""
        tensor, *rest = args
        filled = is_plain(tensor) and tensor.is_contiguous() and 0 < tensor.numel() <= MOST
        whole = filled and tensor.untyped_storage().nbytes() == tensor.nbytes
        if tensor.is_meta and whole and all(values.get(id(r), r) is not None for r in rest):
            value = torch.empty(tensor.shape, dtype=tensor.dtype, device=_CPU)
            self.known.give(tensor, func(value, *_swapped(rest, values)))

    def _choice(
        self, name: str, args: Sequence[Any], kwargs: Any, shape: tuple[int, ...]
    ) -> Tensor:
        """Indices as equal scores would give them: any as likely as any other."""
        scores = args[0]
        chooses = name == "aten::topk"
        dim = kwargs.get("dim", args[1 + chooses] if len(args) > 1 + chooses else -1)
        whole = dim is None or not scores.dim()
        if whole or name == "aten::multinomial" or len(shape) != scores.dim():
            most = scores.numel() if whole else scores.shape[-1]
            if not whole and name != "aten::multinomial":
                most = scores.shape[int(dim)]
            return torch.randint(max(1, most), shape, generator=self._generator, device=_CPU)
        axis = int(dim) if isinstance(dim, int) and not isinstance(dim, bool) else -1
        drawn = torch.rand(tuple(scores.shape), generator=self._generator, device=_CPU)
        return drawn.argsort(dim=axis).narrow(axis, 0, shape[axis])


class _Twins:
    """Meta tensors in place of real ones, and the way back for what is written in place."""

    def __init__(self) -> None:
        self._twins: dict[int, Tensor] = {}
        self._real: dict[int, Tensor] = {}

    def of(self, value: Any) -> Any:
        """The same arguments with every tensor on the meta device."""
        return tree_map(self._twin, value)

    def _twin(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.is_meta:
            return leaf
        if id(leaf) not in self._twins:
            twin = torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device=_META)
            self._twins[id(leaf)] = twin
            self._real[id(twin)] = leaf
        return self._twins[id(leaf)]

    def back(self, result: Any) -> Any:
        """A result with the tensors that went in as themselves."""
        return tree_map(lambda t: self._real.get(id(t), t), result) if self._real else result


def _is_nobodys(func: Any) -> bool:
    """Whether an operation gives random numbers, or what happened to be in the memory."""
    return torch.Tag.nondeterministic_seeded in func.tags or func._schema.name.startswith(_EMPTY)


def _grouped(a: Tensor, b: Tensor, offs: Tensor | None = None, **options: Any) -> Tensor:
    """The shape of a product of groups of rows, which meta kernels give of one type alone."""
    shape: tuple[int, ...]
    if a.dim() == 2 and b.dim() == 2:
        shape = (0 if offs is None else len(offs), a.shape[0], b.shape[1])
    elif a.dim() == 2:
        shape = (a.shape[0], b.shape[2])
    else:
        shape = (*a.shape[:-1], b.shape[-1]) if b.dim() == 3 else (a.shape[1], b.shape[1])
    return torch.empty(shape, dtype=options.get("out_dtype") or a.dtype, device=_META)


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _swapped(value: Any, values: Mapping[int, Tensor | None]) -> Any:
    return tree_map(lambda leaf: values[id(leaf)] if isinstance(leaf, Tensor) else leaf, value)


def _widened(value: Tensor | None) -> Tensor | None:
    return value if value is None or value.is_floating_point() else value.float()


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterable[Tensor]:
    """The operands that an operation writes into."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from _tensors(args[place] if place < len(args) else kwargs.get(argument.name))


def _by_number(indices: Sequence[Any], values: Mapping[int, Tensor | None]) -> list[Any]:
    """Masks as the places that they choose: a meta tensor cannot say how many there are."""
    found: list[Any] = []
    for index in indices:
        value = None if index is None else values[id(index)]
        if value is not None and value.dtype in (torch.bool, torch.uint8):
            found += [place.to(_META) for place in value.nonzero().unbind(1)]
        else:
            found.append(index)
    return found


def _asks_for_values(func: Any, error: Exception) -> bool:
    """Whether an operation failed for want of values, not for a mistake in its shapes."""
    tags = getattr(func, "tags", ())
    if torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags:
        return True
    return isinstance(error, NotImplementedError) or "meta" in str(error).lower()
