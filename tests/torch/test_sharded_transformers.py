"""Ten architectures from their configs: what is drawn is the plan, on one process and on two."""

from __future__ import annotations

from functools import cache
from typing import Any

import meshes
import pytest
import tiny_transformers
import torch

import firstlight as fl
from firstlight.laws.draw import draw
from firstlight.records.codec import from_json, to_json

NAMES = list(tiny_transformers.CONFIGS)


@cache
def plan_of(name: str) -> str:
    torch.manual_seed(0)
    return to_json(fl.plan(tiny_transformers.build(name)))


@cache
def outcome(world: int) -> list[dict[str, Any]]:
    plans = {name: plan_of(name) for name in NAMES}
    return list(meshes.outcomes(world, [("architectures", "architectures", (plans,))]))


@pytest.mark.parametrize("name", NAMES)
def test_from_config_is_the_plan(name: str) -> None:
    """Each parameter, by its law drawn alone."""
    model, plan = tiny_transformers.build(name), from_json(plan_of(name))
    fl.apply(model, plan, seed=meshes.SEED)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for entry in plan:
        assert entry.law is not None, entry.name
        wanted = draw(entry.law, entry.layout, name=entry.address or entry.name, seed=meshes.SEED)
        if entry.zero_row is not None:
            wanted[entry.zero_row] = 0
        assert torch.equal(parameters[entry.name].detach(), torch.from_numpy(wanted)), entry.name


@pytest.mark.parametrize("world", (1, 2))
@pytest.mark.parametrize("name", NAMES)
def test_processes_draw_what_one_draws(name: str, world: int) -> None:
    model = tiny_transformers.build(name)
    fl.apply(model, from_json(plan_of(name)), seed=meshes.SEED)
    for ranks in outcome(world):
        cases = ranks["architectures"]
        assert not isinstance(cases, str), cases
        assert cases[name]["sent"] == 0
        assert cases[name]["sharded"] == len(meshes.digests(model))
        assert cases[name]["bits"] == meshes.digests(model)


def test_what_transformers_has_loaded_stays() -> None:
    model = tiny_transformers.build("Llama")
    loaded = model.model.layers[0].mlp.up_proj.weight
    loaded._is_hf_initialized = True
    before = loaded.detach().clone()
    plan = fl.plan(model)
    assert plan["model.layers.0.mlp.up_proj.weight"].action == "keep"
    fl.apply(model, plan, seed=0)
    assert torch.equal(loaded, before)
    assert not torch.equal(model.model.layers[1].mlp.up_proj.weight, before)
