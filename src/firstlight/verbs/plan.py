"""Which initialization should this model have?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from firstlight.laws.addresses import checked_seed
from firstlight.planning.choice import contenders
from firstlight.planning.planner import make_plan, make_technique_plan, reforecast
from firstlight.planning.transfer import transferred
from firstlight.planning.wishes import Override, Wishes
from firstlight.records.adapter import Adapter
from firstlight.records.law import Normal
from firstlight.records.plan import Plan, PlanEntry
from firstlight.verbs.adapters import adapter_for
from firstlight.verbs.trials import Trials, compared


def plan(
    model: Any,
    batch: Any = None,
    *,
    technique: str | None = None,
    keep: Sequence[str] = (),
    only: Sequence[str] | None = None,
    overrides: Mapping[str, Override] | None = None,
    prefer: str | None = None,
    loss: Any = None,
    target: Any = None,
    step: Callable[[Any, Any], Any] | None = None,
    compare: Sequence[str] | str | None = None,
    seed: int | None = None,
    base: Any = None,
) -> Plan:
    """Choose the law of every parameter, with a reason and a source for each.

    Args:
        model: as for `check`; it is read by running it once and left as it was. A torch model may
            be on the meta device: its weights get no memory. The plan is that of the same model
            with values, but for what its constructor alone knows (a last norm set to zero) and
            what values alone say (frozen weights); ``.remarks`` names what it keeps unknown.
        batch: as for `check`; its second moment sets the scale of the first weight.
        technique: one of `techniques` for all weights; None lets Firstlight choose.
        keep: names or patterns (``"encoder.*"``) of parameters that stay as they are. A pattern
            that matches nothing is an error, here and below.
        only: names or patterns of what is new: a head on a trained encoder, an adapter. All else
            stays. ``"embedding.weight[50257:]"`` draws added rows, at the size of those that stay.
        overrides: techniques or laws by pattern, ``{"*.attn.*": "orthogonal"}``; where two patterns
            match, the later one wins.
        prefer: the technique whose form hidden weights take (``"orthogonal"``,
            ``"truncated_normal"``), at the scale that the plan gives them.
        loss: as for `check`.
        target: as for `check`.
        step: as for `check`.
        compare: techniques to measure beside the plan and the model's own start, by one forward
            and backward pass each: names, or ``"usual"`` for He's, Glorot's, LeCun's normal starts
            and the orthogonal one. ``.ranking`` then holds what was measured. The plan stays the
            plan; if a technique is more even in every one of five draws, ``.remarks`` says by how
            much. Without a batch, on the synthetic one.
        seed: of what ``compare`` draws; as for `apply`.
        base: the same model at another width or depth, or its plan: where the learning rate was
            found. Starts and rates then follow it (μP; Yang et al. 2022, 2023), and
            ``plan.param_groups("adam", model, lr=lr)`` sets the rates. See `coordinate_check`.

    Returns:
        A `Plan`: ``plan["fc1.weight"].law``, ``.reason``, ``.source``; ``plan.apply(model)``.

    Raises:
        NoRuleError: a parameter that no rule matched, by name.
        BadInputError: as for `check`; an unknown technique, or one to compare that does not fit
            the weights; a pattern that matches nothing; a base that differs in more than widths
            and depth.

    Example:
        >>> import torch, firstlight as fl
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> plan = fl.plan(model, torch.randn(32, 64), overrides={"2.weight": "zeros"})
        >>> print(plan["0.bias"].law, "|", plan["2.weight"].reason)
        zeros | zeros, as asked for '2.weight': w = 0
    """
    wishes = Wishes(keep=keep, only=only, overrides=overrides or {}, prefer=prefer)
    if compare is not None:
        contenders(compare)  # a wrong name is refused before anything runs
    asked: dict[str, Any] = {"technique": technique, "wishes": wishes, "loss": loss}
    asked |= {"target": target, "step": step}
    if base is not None and not isinstance(base, Plan):
        base, _ = planned(base, batch, **asked)
    made, rival = planned(model, batch, **asked, base=base)
    if compare is None:
        return made
    chosen = adapter_for(model).initial_seed() if seed is None else checked_seed(seed)
    trials = Trials(model=model, batch=batch, loss=loss, target=target, step=step, seed=chosen)
    return compared(made, compare, rival, trials)


def planned(
    model: Any,
    batch: Any,
    *,
    technique: str | None,
    wishes: Wishes,
    loss: Any,
    target: Any,
    step: Callable[[Any, Any], Any] | None,
    base: Plan | None = None,
) -> tuple[Plan, Callable[[str], Plan]]:
    """The plan, and what gives that of any technique from the same look at the model."""
    adapter = adapter_for(model)
    observation = adapter.observe(model, batch, loss=loss, target=target, step=step, lean=True)

    def rival(name: str) -> Plan:
        return _matched(make_technique_plan(observation, name, wishes), model, adapter)

    if technique is not None:
        chosen = rival(technique)
    else:
        chosen = _matched(make_plan(observation, wishes), model, adapter)
    if base is not None:
        chosen = transferred(chosen, base, lambda plan: reforecast(plan, observation))
    return chosen, rival


def _matched(made: Plan, model: Any, adapter: Adapter) -> Plan:
    """The plan with added rows at the root mean square of the rows that stay."""
    if not any(entry.rows for entry in made):
        return made
    values = dict(adapter.values(model))
    entries = (entry if entry.rows is None else _like(entry, values[entry.name]) for entry in made)
    return replace(made, entries=tuple(entries))


def _like(entry: PlanEntry, values: Any) -> PlanEntry:
    assert entry.rows is not None
    first, last = entry.rows
    others = np.concatenate([values[:first], values[last:]]).astype(np.float64)
    size = float(np.sqrt(np.mean(others**2))) if others.size else 0.0
    if not np.isfinite(size) or size == 0:
        return entry
    reason = f"rows {first} to {last - 1} are new: the size of those that stay, rms {size:.3g}"
    return replace(
        entry, law=Normal(std=size), rule="added rows", reason=reason, target=None, calibrate=False
    )
