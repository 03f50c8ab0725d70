"""Draw starts into a model, look at each, and put the model back: a plan among its rivals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from firstlight.errors import BadInputError, ModelRaisedError, NotDrawableError
from firstlight.laws.structured import check_drawable
from firstlight.planning.choice import (
    FURTHER_DRAWS,
    OWN,
    PLAN,
    USUAL,
    beats,
    better_start,
    contenders,
    lost,
    measured,
    renewed,
)
from firstlight.records.plan import Plan, Ranked
from firstlight.verbs.adapters import adapter_for
from firstlight.verbs.apply import arrays

_SEEDS = 2**64


@dataclass(frozen=True, kw_only=True)
class Trials:
    """One model on one batch, under any number of starts.

    Args:
        model: left bit for bit as it was by every trial.
        batch: as for `check`; so are ``loss``, ``target`` and ``step``.
        loss: see above.
        target: see above.
        step: see above.
        seed: of the first draw; further ones count up from it.
        namespace: as for `apply`.
    """

    model: Any
    batch: Any
    loss: Any
    target: Any
    step: Callable[[Any, Any], Any] | None
    seed: int
    namespace: str = ""

    def place(self, name: str, start: Plan | None, draw: int = 0) -> Ranked:
        """How even one draw of a start is; of the model as it came if there is no plan."""
        adapter, seed = adapter_for(self.model), (self.seed + draw) % _SEEDS
        values: Iterable[tuple[str, Any]] = ()
        if start is not None:
            values = arrays(adapter, self.model, start, seed, self.namespace)
        observation = adapter.trial(
            self.model, values, self.batch, loss=self.loss, target=self.target, step=self.step
        )
        return measured(name, observation)


def compared(
    plan: Plan, compare: Sequence[str] | str, rival: Callable[[str], Plan], trials: Trials
) -> Plan:
    """The plan with measured places for itself, the model's own start, and what it is compared to.

    Each start costs one forward and one backward pass. Where a technique is more even than the plan
    by a margin, both are drawn again, and the plan says so if every draw confirms it.

    Args:
        plan: as it would be applied.
        compare: as for `contenders`.
        rival: the plan of a technique for the same model.
        trials: of that model.

    Raises:
        BadInputError: a technique that is named and does not fit one of the weights.
    """
    starts: dict[str, Plan] = {}
    remarks = []
    for name in contenders(compare):
        try:
            starts[name] = _drawable(rival(name))
        except (BadInputError, NotDrawableError) as error:
            if compare != USUAL:
                raise BadInputError(f"compare: {error}") from error
            remarks.append(f"{name} was not measured: {error}")
    seen = {PLAN: trials.place(PLAN, plan), OWN: trials.place(OWN, None)}
    for name, start in starts.items():
        try:
            seen[name] = trials.place(name, start)
        except ModelRaisedError as error:  # it ran from its own start and from the plan
            seen[name] = lost(name)
            remarks.append(f"{name} stops the model: {error}")
    first = f"{len(seen)} starts measured by one draw each, with seed {trials.seed}"
    if trials.batch is None and trials.step is None:
        first += ", on a synthetic batch; a real one says more"
    ranking = renewed(plan.ranking, seen.values())
    remarks = [first, *remarks, *_better(ranking, plan, starts, trials)]
    return replace(plan, ranking=ranking, remarks=(*plan.remarks, *remarks))


def _drawable(start: Plan) -> Plan:
    for entry in start:
        if entry.law is not None:
            check_drawable(entry.law, entry.layout)
    return start


def _better(
    ranking: Sequence[Ranked], plan: Plan, starts: dict[str, Plan], trials: Trials
) -> Iterator[str]:
    """A remark on the most even technique that beats the plan in every draw, if one does."""
    mine = next(place for place in ranking if place.technique == PLAN)
    again: dict[int, Ranked] = {}

    def confirmed(name: str) -> bool:
        for draw in range(1, 1 + FURTHER_DRAWS):
            if draw not in again:
                again[draw] = trials.place(PLAN, plan, draw)
            if not beats(trials.place(name, starts[name], draw), again[draw]):
                return False
        return True

    for place in ranking:
        if place.technique in starts and beats(place, mine) and confirmed(place.technique):
            yield better_start(place, mine)
            return
