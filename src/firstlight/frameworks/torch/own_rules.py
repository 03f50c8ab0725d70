"""What a model's own code means a tensor to be: its rules, run on a copy at the side.

A rule is a method that a model's author wrote to fill tensors: ``_init_weights(module)`` of
transformers and of those who follow it, ``reset_parameters()``. Here they run on a copy of the
model whose parameters have shapes but no values (meta tensors), to see which parameters each one
reaches. Then, one small group of parameters at a time, those get memory, the same rules run again
in the same order, and what they drew is handed out. Nothing of the user's model is written to: a
rule that tries to is stopped and left out, and all random states are put back.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firstlight.errors import said
from firstlight.frameworks.torch.rules import Rule, rules_of
from firstlight.frameworks.torch.watching import (
    Touched,
    Writes,
    WroteToModelError,
    aside,
    random_state,
    storage_of,
)
from firstlight.laws.addresses import canonical_name
from firstlight.records.network import Parameter

_SEED = 20_260_101
_TOGETHER = 1 << 25
"""Elements that get memory at one time, unless one tensor alone has more."""

_POOLED = 1 << 13
"""A tensor of fewer elements is drawn several times, so that its law shows."""

_REPEATS = 16


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What the model's own code would put into a parameter.

    Args:
        rule: ``GPT2LMHeadModel._init_weights``.
        binding: whether nothing can have followed it: transformers promises that of
            ``_init_weights``, and a module's ``reset_parameters`` is all that it does by itself.
            Other models call their ``_init_weights`` when they please.
        draws: independent draws; the first alone for large tensors; none if the rule fills the
            tensor in part or could not be run, so that nothing is known of the whole.
        fixed: whether it puts in the same numbers every time.
        bounds: the least and largest value that a truncation allowed, if there was one.
    """

    rule: str
    binding: bool
    draws: tuple[NDArray[np.floating], ...]
    fixed: bool = False
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Place:
    """Where the copy holds one parameter."""

    module: nn.Module
    local: str
    like: Tensor

    def put(self, tensor: Tensor) -> nn.Parameter:
        parameter = nn.Parameter(tensor, requires_grad=self.like.requires_grad)
        self.module._parameters[self.local] = parameter
        return parameter

    def empty(self) -> nn.Parameter:
        return self.put(torch.empty_like(self.like, device="meta"))

    def full_of_nan(self) -> nn.Parameter:
        return self.put(torch.full_like(self.like, float("nan"), device="cpu"))

    @property
    def now(self) -> Tensor:
        return cast(Tensor, getattr(self.module, self.local))


class OwnRules:
    """The rules of one model, and what they would draw.

    Args:
        model: read, never written to.

    ``failed`` names the rules that could not be run at the side, with the reason.
    """

    def __init__(self, model: nn.Module) -> None:
        self.failed: dict[str, str] = {}
        self._places: dict[str, _Place] = {}
        self._rules: list[Rule] = []
        self._by_name: dict[str, list[int]] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._ready: dict[str, Drawn | None] = {}
        self._protected = frozenset(
            storage_of(t) for t in (*model.parameters(), *model.buffers()) if t.numel()
        )
        if next(rules_of(model), None) is None:
            return
        try:
            self._copy(model)
        except Exception as error:  # whatever a user's class does when it is copied
            self.failed[type(model).__name__] = f"{_line(error)} when it was copied"
            return
        self._find_reach()

    def _copy(self, model: nn.Module) -> None:
        """The skeleton: every module and buffer, and parameters without values."""
        hollow = {
            id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
            for p in model.parameters()
        }
        with aside(_SEED):
            skeleton: nn.Module = copy.deepcopy(model, cast(dict[int, Any], hollow))
        for path, local, tensor in _held(model):
            place = _Place(skeleton.get_submodule(path), local, tensor)
            place.empty()  # a tie gets a parameter of its own at each place
            self._places.setdefault(canonical_name(f"{path}.{local}" if path else local), place)
        self._rules = list(rules_of(skeleton))

    def _find_reach(self) -> None:
        reached: dict[str, list[int]] = defaultdict(list)
        watched = {id(place.now): name for name, place in self._places.items()}
        everything = set(self._places)
        with aside(_SEED):
            for index, rule in enumerate(self._rules):
                touched = Touched(watched)
                try:
                    with Writes(self._protected), touched:
                        rule.run()
                    names = touched.names
                except Exception as error:
                    # It may ask for values, which only the second run has.
                    names = touched.names or everything
                    if names is everything:
                        self.failed[rule.words] = _line(error)
                        continue
                for name in names:
                    reached[name].append(index)
                for name in names:
                    if id(self._places[name].now) not in watched:  # the rule put in another one
                        watched[id(self._places[name].empty())] = name
        self._by_name = dict(reached)
        self._group()

    def _group(self) -> None:
        """Parameters that one last rule reaches get memory together, as far as there is room."""
        by_rule: dict[int, list[str]] = defaultdict(list)
        for name, indices in self._by_name.items():
            by_rule[indices[-1]].append(name)
        for names in by_rule.values():
            # Small ones among themselves, for they are drawn several times.
            chunk: list[str] = []
            room = _POOLED
            for size, name in sorted((self._places[n].like.numel(), n) for n in names):
                if size > room:
                    self._groups.update(dict.fromkeys(chunk, tuple(chunk)))
                    chunk, room = [], _POOLED if size < _POOLED else _TOGETHER
                chunk.append(name)
                room -= size
            self._groups.update(dict.fromkeys(chunk, tuple(chunk)))

    def drawn(self, parameter: Parameter) -> Drawn | None:
        """What the model's code would put into a parameter; None if no rule of it fills it.

        Of a tied tensor the embedding counts, which heads are tied to. What was handed out is
        not kept.
        """
        names = [name for name in (parameter.name, *parameter.ties) if name in self._groups]
        names.sort(key=lambda n: isinstance(self._places[n].module, nn.Embedding), reverse=True)
        return self._drawn(names[0]) if names else None

    def _drawn(self, name: str) -> Drawn | None:
        if name not in self._ready:
            names = self._groups[name]
            self._ready.update({**dict.fromkeys(names), **self._draw(names)})
        return self._ready.pop(name, None)

    def _draw(self, names: tuple[str, ...]) -> dict[str, Drawn]:
        rules = sorted({index for name in names for index in self._by_name[name]})
        try:
            return self._drawn_with(names, names, rules)
        except Exception as error:
            problem = error
        # A rule may join what it fills with what it finds; then that needs memory, too.
        beside = tuple(n for n, reached in self._by_name.items() if set(reached) & set(rules))
        if sum(self._places[name].like.numel() for name in beside) <= _TOGETHER:
            try:
                return self._drawn_with(names, beside, rules)
            except Exception as error:
                problem = error
        self.failed[self._rules[rules[-1]].words] = _line(problem)
        return {name: self._drawn_by(name, ()) for name in names}

    def _drawn_with(
        self, names: tuple[str, ...], held: tuple[str, ...], rules: list[int]
    ) -> dict[str, Drawn]:
        """What the rules draw into ``names`` while all of ``held`` have memory."""
        draws: dict[str, list[NDArray[np.floating] | None]] = defaultdict(list)
        bounds: dict[str, tuple[float, float]] = {}
        most = max(self._places[name].like.numel() for name in names)
        repeats = 1 if most > _POOLED else max(2, min(_REPEATS, _POOLED // max(1, most)))
        random_numbers = False
        try:
            for repeat in range(repeats):
                # Other numbers for each rule and repetition, the same ones in every audit.
                with aside(_SEED + _REPEATS * rules[-1] + repeat):
                    before = random_state()
                    values = self._run(held, rules, bounds)
                    random_numbers = random_state() != before
                for name in names:
                    if name in values:
                        draws[name].append(values[name])
                if not random_numbers:
                    break
        finally:
            for name in held:
                self._places[name].empty()
        return {
            name: replace(
                self._drawn_by(name, tuple(array for array in each if array is not None)),
                fixed=not random_numbers or _all_equal(each),
                bounds=bounds.get(name),
            )
            for name, each in draws.items()
        }

    def _drawn_by(self, name: str, draws: tuple[NDArray[np.floating], ...]) -> Drawn:
        last = self._rules[self._by_name[name][-1]]
        return Drawn(rule=last.words, binding=last.binding, draws=draws)

    def _run(
        self, names: tuple[str, ...], rules: list[int], bounds: dict[str, tuple[float, float]]
    ) -> dict[str, NDArray[np.floating] | None]:
        """One draw, None where it fills only a part; without parameters that are only read."""
        before = {name: storage_of(self._places[name].full_of_nan()) for name in names}
        writes = Writes(self._protected)
        with writes:
            for index in rules:
                self._rules[index].run()
        found: dict[str, NDArray[np.floating] | None] = {}
        for name, storage in before.items():
            now = self._places[name].now
            if storage_of(now) == storage and storage not in writes.written:
                continue
            if now.is_meta:
                continue
            value = now.detach()
            wide = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
            array = wide.numpy()
            found[name] = None if np.isnan(array).any() else array
            if storage in writes.low and storage in writes.high:
                bounds[name] = writes.low[storage], writes.high[storage]
        return found


def _held(model: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Path of the module, local name, tensor; a tied tensor at each of its places."""
    for path, module in model.named_modules(remove_duplicate=False):
        for local, tensor in module.named_parameters(recurse=False, remove_duplicate=False):
            yield path, local, tensor


def _all_equal(draws: list[NDArray[np.floating] | None]) -> bool:
    first = draws[0]
    if first is None or len(draws) < 2:
        return False
    return all(other is not None and np.array_equal(first, other) for other in draws[1:])


def _line(error: BaseException) -> str:
    if isinstance(error, WroteToModelError):
        return "writes to the model itself"
    return f"raised {type(error).__name__}: {said(error)}"[:200]
