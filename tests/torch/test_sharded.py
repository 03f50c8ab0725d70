"""Real processes over gloo: what each draws is, bit for bit, its part of what one process draws."""

from __future__ import annotations

from functools import cache
from typing import Any

import meshes
import pytest
import torch

import firstlight as fl
from firstlight.frameworks.torch.sharding import runs_here
from firstlight.records.codec import to_json

WORLDS = (1, 2, 4)
LAWS = [technique.name for technique in fl.techniques()]


@cache
def plans() -> dict[str, str]:
    torch.manual_seed(0)
    block = fl.plan(meshes.Attention(), torch.randint(23, (32, 6)))
    plain = fl.plan(meshes.plain_model(), torch.randn(64, 16), prefer="orthogonal")
    return {"plain": to_json(plain), "block": to_json(block)}


@cache
def outcome(world: int) -> list[dict[str, Any]]:
    jobs = [
        ("laws", "every_law", (LAWS,)),
        ("functions", "torch_functions", ()),
        ("models", "models", (plans(),)),
        ("flattened", "flattened", (plans(),)),
        ("asked", "asked", (plans(),)),
        ("too many", "places_drawn", ()),
        ("ranks", "rank_of_duplicates", ()),
    ]
    return list(meshes.outcomes(world, jobs))


def found(world: int, job: str) -> list[Any]:
    each = [ranks.get(job, "not run") for ranks in outcome(world)]
    assert not any(isinstance(one, str) for one in each), next(o for o in each if o)
    return each


@cache
def alone(kind: str) -> dict[str, str]:
    """The bits of one process without a mesh."""
    from firstlight.records.codec import from_json

    model = meshes.Attention() if kind == "block" else meshes.plain_model()
    if kind == "bfloat16":
        model = model.bfloat16()
    fl.apply(model, from_json(plans()["block" if kind == "block" else "plain"]), seed=meshes.SEED)
    return meshes.digests(model)


@pytest.mark.parametrize("world", WORLDS)
def test_every_law_at_every_placement(world: int) -> None:
    """Structured laws too: on one machine, every process makes the same call of LAPACK."""
    for cases in found(world, "laws"):
        assert len(cases) > len(LAWS) * 2
        assert {case for case, (same, _) in cases.items() if not same} == set()
        assert {case for case, (_, sent) in cases.items() if sent} == set()


@pytest.mark.parametrize("world", WORLDS)
def test_the_names_that_torch_has_too(world: int) -> None:
    for cases in found(world, "functions"):
        assert {case for case, same in cases.items() if not same} == set()


@pytest.mark.parametrize("world", WORLDS)
def test_no_process_draws_more_than_it_holds(world: int) -> None:
    assert found(world, "too many") == [0] * world


@pytest.mark.parametrize("world", WORLDS)
def test_models_under_every_way_of_sharding(world: int) -> None:
    for cases in found(world, "models"):
        assert cases.pop("strided", True)  # FSDP2 over tensor parallelism cuts from the right
        for way, case in cases.items():
            tensor_parallel, half = "tensor" in way, "bfloat16" in way
            wanted = alone("block" if tensor_parallel else "bfloat16" if half else "plain")
            assert case["bits"] == wanted, way
            assert case["sent"] == 0, way


@pytest.mark.parametrize("world", (2, 4))
def test_the_receipt_says_how_much_was_measured(world: int) -> None:
    each = [cases["FSDP2 on meta"]["shares"] for cases in found(world, "models")]
    for name in each[0]:
        assert sum(shares[name] for shares in each) == pytest.approx(1)
    # Three rows are not enough for four processes: the last one holds none.
    assert each[-1]["5.weight"] == (1 / 3 if world == 2 else 0)
    assert "are of what this process holds" in found(world, "asked")[0]["text"]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("original", [False, True])
def test_fsdp1(world: int, original: bool) -> None:
    from firstlight.records.codec import from_json

    other = meshes.plain_model()
    fl.apply(other, from_json(plans()["plain"]), seed=meshes.SEED + 1)
    for cases in found(world, "flattened"):
        assert cases[f"param_init_fn {original}"] == alone("plain")
        assert cases[f"summoned {original}"] == meshes.digests(other)
        assert "FSDP1 has flattened" in cases[f"refused {original}"]


@pytest.mark.parametrize("world", (2, 4))
def test_what_cannot_be_done_is_said_in_one_line(world: int) -> None:
    for said in found(world, "asked"):
        for what in ("check", "jacobian", "calibrate", "initialize"):
            assert "sharded over processes cannot be looked at as it runs" in said[what], what
            assert "\n" not in said[what]
        assert f"{world} processes train together" in said["seed"]
        assert f"{world} processes share this tensor" in said["drop-in"]
        assert said["generator"]


@pytest.mark.parametrize("world", (2, 4))
def test_a_plan_without_a_batch_gathers_nothing(world: int) -> None:
    shapes = {name: tuple(p.shape) for name, p in meshes.plain_model().named_parameters()}
    for said in found(world, "asked"):
        assert said["shapes"] == shapes and said["sent"] == 0
        assert said["modules"]["0.weight"] == "Linear"
        assert said["checked"] == (None, None)
        assert said["fullest"] == said["whole"]


def test_processes_can_agree_on_a_plan() -> None:
    """Each looked at a batch of its own: the plans differ until they agree."""
    first = fl.plan(meshes.plain_model(), torch.full((4, 16), 1.0))["0.weight"].law
    each = found(2, "asked")
    assert len({said["apart"] for said in each}) == 2
    assert {said["agreed"] for said in each} == {str(first)}


@pytest.mark.parametrize("world", WORLDS)
def test_no_duplicated_shards(world: int) -> None:
    """Torch's own start gives each of the CPU's processes the same bytes, and half the rank."""
    assert found(world, "ranks") == [(16 // world, 16)] * world


class _Cut:
    """A placement, as far as it is looked at."""

    def __init__(self, dim: int | None, split_factor: int | None = None) -> None:
        self.dim, self.split_factor = dim, split_factor

    def is_replicate(self) -> bool:
        return self.dim is None

    def is_partial(self) -> bool:
        return False


def test_runs_of_a_cut_from_the_right() -> None:
    """As in the documentation of torch's `_StridedShard`: eight rows on a mesh of 2 × 2."""
    places = [_Cut(0, 2), _Cut(0)]
    rows = {
        (i, j): [p for run in runs_here((8,), (2, 2), (i, j), places)[0] for p in run]
        for i in range(2)
        for j in range(2)
    }
    assert rows == {(0, 0): [0, 1], (0, 1): [4, 5], (1, 0): [2, 3], (1, 1): [6, 7]}


def test_partial_sums_are_refused() -> None:
    from torch.distributed.tensor import Partial

    with pytest.raises(fl.BadInputError, match="placed as P"):
        runs_here((8,), (2,), (0,), [Partial()])
