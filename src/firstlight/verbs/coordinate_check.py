"""Does this architecture train alike at every width?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from firstlight.errors import BadInputError
from firstlight.laws.addresses import checked_seed
from firstlight.measuring.optimizers import is_adaptive, normalises
from firstlight.network.residual import within_streams
from firstlight.planning.transfer import roles
from firstlight.records.adapter import Transferring
from firstlight.records.plan import Plan
from firstlight.records.transfer import CoordinateCheck, Traced
from firstlight.verbs.adapters import adapter_for, first_of, transferring
from firstlight.verbs.apply import apply
from firstlight.verbs.plan import plan as make_plan
from firstlight.verbs.rates import optimizer_name, param_groups, scale_inputs
from firstlight.verdicts.coordinates import follow, judge_coordinates, parameter_trends

ADAM_RATE, SGD_RATE = 1e-3, 0.1
"""Rates of the narrowest model; small enough that a few steps stay where the loss is smooth."""


def coordinate_check(
    build: Callable[[int], Any],
    batch: Any,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    steps: int = 4,
    optimizer: Any = "adam",
    lr: float | None = None,
    seeds: int | Sequence[int] = 3,
    base: int | None = None,
    technique: str | None = None,
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
) -> CoordinateCheck:
    """Train a few steps at several widths and see whether every result changes alike.

    Of each operation's result z the root mean square of z_t − z_0 over its coordinates is measured
    and its exponent over the widths fitted, RMS(z_t − z_0) ∝ width^a with a 95 % interval over all
    runs: a = 0 where learning neither blows up nor dies out with the width, and a learning rate
    found on a narrow model holds on a wide one (μP). Exponents of the parameters' own starts and
    changes name the cause.

    Args:
        build: gives a new model of a width; its parameters and operations must have the same names
            at every width. Or of a depth: what comes behind the residual streams is judged then.
        batch: as for `check`; every model trains on it.
        widths: two or more, ascending; numbers that ``build`` takes.
        steps: of training, at least 1. Differences that need several steps (a zero readout) show
            from the second on.
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"``, a class of torch.optim, or (without ``base``)
            a function of the model that gives an optimizer, with groups of its own.
        lr: learning rate at the narrowest width or at ``base``; None takes 1e-3, for SGD 0.1.
        seeds: how many, or which; each gives a start of its own.
        base: a width whose plan is carried to all: each model starts as `plan` with ``base=`` says
            and trains with its ``param_groups``. None judges the model as it comes, at one rate.
        technique: with ``base``, as for `plan`.
        loss: as for `check`.
        target: as for `check`.
        step: as for `check`.

    Returns:
        A `CoordinateCheck`: ``.healthy``, ``.findings``, ``check["fc2"].change_slope``,
        ``.parameters``, ``.assert_healthy()``, ``.save()``.

    Raises:
        BadInputError: widths, steps or seeds that cannot be used, models of another framework than
            torch, or nothing to train on.
        ModelRaisedError: a model raised.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> def build(n):
        ...     return nn.Sequential(nn.Linear(8, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh(),
        ...                          nn.Linear(n, 4))
        >>> x, y = torch.randn(32, 8), torch.randint(4, (32,))
        >>> check = fl.coordinate_check(build, x, target=y, widths=(32, 64, 128, 256))
        >>> check.healthy, check.findings[0].kind, check.findings[0].where
        (False, 'rate-scaling', ('2.weight',))
        >>> fl.coordinate_check(build, x, target=y, widths=(32, 64, 128, 256), base=32).healthy
        True

    Source: Yang et al. 2022, appendix D.1. ``mup.coord_check`` measures the mean absolute value of
    what modules return, not its change, and leaves the verdict to the eye.
    """
    sizes = _checked_widths(widths)
    chosen = _checked_seeds(seeds)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise BadInputError(f"steps: expected an integer of at least 1, got {steps!r}")
    if technique is not None and base is None:
        raise BadInputError("technique: the model's own start is judged; give base= a width too")
    given = callable(optimizer) and not isinstance(optimizer, type)
    if given and base is not None:
        raise BadInputError("optimizer: with base= give a name or a class; the plan makes groups")
    adaptive = None if given else normalises(optimizer_name(optimizer))
    rate = lr if lr is not None else SGD_RATE if adaptive is False else ADAM_RATE
    options = {"loss": loss, "target": target, "step": step}
    first = first_of(partial(build, sizes[0]))
    reader, adapter = adapter_for(first), transferring(first, "coordinate checks")

    if reader.build(partial(build, sizes[0]), 0) is first:
        raise BadInputError(
            "build: returned the same model twice; expected a function that makes a new one"
        )

    def planless(width: int) -> Any:
        return reader.build(lambda: build(width), 0)

    planned = _Planned(planless, batch, base, technique, sizes[-1], options)

    def one(width: int, seed: int) -> Traced:
        model = reader.build(lambda: build(width), seed)
        make = optimizer if given else planned.optimizer(adapter, width, optimizer, rate)
        return adapter.trace_training(
            planned.started(model, width, seed),
            batch,
            optimizer=make,
            steps=steps,
            seed=seed,
            **options,
        )

    runs = [[one(width, seed) for seed in chosen] for width in sizes]
    narrow, wide = runs[0][0].network, runs[-1][0].network
    deepens = {op.name for op in narrow.operations} != {op.name for op in wide.operations}
    left_out = within_streams(wide) if deepens else frozenset()
    operations = follow(sizes, runs, left_out)
    parameters = parameter_trends(sizes, runs, roles(wide, narrow))
    name = getattr(optimizer, "__name__", None) if given else optimizer_name(optimizer)
    return CoordinateCheck(
        model=wide.name,
        widths=sizes,
        seeds=chosen,
        steps=steps,
        optimizer=name or "own optimizer",
        base=base,
        operations=operations,
        parameters=parameters,
        findings=judge_coordinates(
            operations, parameters, wide, adaptive=adaptive, base=base or sizes[0]
        ),
        remarks=(*planned.remarks, *((_DEEPENS,) if left_out else ())),
    )


_DEEPENS = (
    "the depth is not the same at all sizes: what stands within the residual streams is left out,"
    " what comes before and behind them is judged"
)


class _Planned:
    """The plan of each width, made once, where one is carried from a base."""

    def __init__(
        self,
        build: Callable[[int], Any],
        batch: Any,
        base: int | None,
        technique: str | None,
        widest: int,
        options: dict[str, Any],
    ) -> None:
        self._build, self._batch, self._base, self._widest = build, batch, base, widest
        self._options = {"technique": technique, **options}
        self._plans: dict[int, Plan] = {}

    def of(self, width: int) -> Plan:
        """The plan of one width, following that of the base."""
        if width not in self._plans:
            base = None
            if self._base is not None:
                base = make_plan(self._build(self._base), self._batch, **self._options)
            self._plans[width] = make_plan(
                self._build(width), self._batch, base=base, **self._options
            )
        return self._plans[width]

    def started(self, model: Any, width: int, seed: int) -> Any:
        """The model with the start of its plan, if there is one."""
        if self._base is None:
            return model
        apply(model, self.of(width), seed=seed)
        own = self.of(width).multipliers
        # A hook at every width, at the base's too, so that operations have the same names.
        wide = {m.operation: replace(m, factor=1.0) for m in self.of(self._widest).multipliers}
        wide |= {m.operation: m for m in own}
        scale_inputs(replace(self.of(width), multipliers=tuple(wide.values())), model)
        return model

    def optimizer(
        self, adapter: Transferring, width: int, kind: Any, lr: float
    ) -> Callable[[Any], Any]:
        """What gives an optimizer for the model of one width."""
        if self._base is None:
            return lambda model: adapter.optimizer(kind, model, lr=lr)
        is_adaptive(optimizer_name(kind))
        plan = self.of(width)
        return lambda model: adapter.optimizer(kind, param_groups(plan, kind, model, lr=lr), lr=lr)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Those of the widest plan."""
        return self.of(self._widest).remarks if self._base is not None else ()


def _checked_widths(widths: Any) -> tuple[int, ...]:
    try:
        found = tuple(int(width) for width in widths)
    except (TypeError, ValueError) as error:
        raise BadInputError(
            f"widths: expected numbers such as (64, 128), got {widths!r}"
        ) from error
    if len(found) < 2 or any(width < 1 for width in found) or sorted(set(found)) != list(found):
        raise BadInputError(
            f"widths: expected two or more different ones above 0, ascending, got {found}"
        )
    return found


def _checked_seeds(seeds: Any) -> tuple[int, ...]:
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise BadInputError(f"seeds: expected at least 1, got {seeds}")
        return tuple(range(seeds))
    try:
        found = tuple(seeds)
    except TypeError as error:
        raise BadInputError(f"seeds: expected a number or a list of them, got {seeds!r}") from error
    if not found:
        raise BadInputError("seeds: expected at least one, got none")
    return tuple(checked_seed(seed) for seed in found)
