"""Mimetic pairs: weights drawn apart, in any order, multiply to αZ + βI."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from shared_cases import P_LIMIT
from torch import nn

import firstlight as fl
from firstlight.errors import BadInputError, NotDrawableError
from firstlight.frameworks.torch.layouts import describe_parameters
from firstlight.initializers import technique
from firstlight.initializers.mimetic import mimetic_laws
from firstlight.laws.draw import draw, draw_matrix
from firstlight.laws.moments import moments, scaled
from firstlight.records.codec import from_json, to_json
from firstlight.records.law import Constant, Law, Listed, Stacked
from firstlight.records.network import Layout, plain_layout
from firstlight.records.patterned import Mimetic

WIDTH, HEADS = 48, 4
DEPTH = WIDTH // HEADS
SQUARE = plain_layout((WIDTH, WIDTH))
NAMES = {part: f"blocks.0.{part}.weight" for part in ("query", "key", "value", "output")}


def block(**changes: Any) -> dict[str, Law]:
    weights = {part: (name, SQUARE) for part, name in NAMES.items()}
    return mimetic_laws(**{**weights, "heads": HEADS, **changes})


def drawn(laws: dict[str, Law], part: str, seed: int = 0, **kinds: str) -> np.ndarray:
    name = NAMES[part]
    return draw(laws[name], SQUARE, name=name, seed=seed, **kinds).astype(np.float64)


def is_product(product: np.ndarray, alpha: float, beta: float) -> bool:
    """Whether (product − βI)/α is a sample of N(0, 1/width), on the diagonal too."""
    n = len(product)
    z = (product - beta * np.eye(n)) / alpha * math.sqrt(n)
    five = 5.0  # standard errors
    return bool(
        stats.kstest(z.ravel(), stats.norm.cdf).pvalue > P_LIMIT
        and abs(z.std() - 1) < five / math.sqrt(2 * n * n)
        and abs(np.diag(z).mean()) < five / math.sqrt(n)
    )


def test_values_and_output_multiply_to_the_product() -> None:
    laws = block()
    product = drawn(laws, "output") @ drawn(laws, "value")
    assert is_product(product, 0.4, -0.4)
    assert not is_product(product, 0.4, 0.4)
    assert not is_product(product, 0.44, -0.4)
    other = block(value_output=(0.3, 0.9))
    assert is_product(drawn(other, "output") @ drawn(other, "value"), 0.3, -0.9)


def test_one_head_of_full_rank_multiplies_to_the_product() -> None:
    laws = block(heads=1)
    product = drawn(laws, "query").T @ drawn(laws, "key")
    assert is_product(product, 0.7, 0.7)
    assert not is_product(product, 0.7, -0.7)


def test_each_head_is_the_best_approximation_of_its_own_product() -> None:
    """Both factors of head h, at any rank, are cut from the matrix that one head alone has."""
    laws, found = block(), []
    for head in range(HEADS):
        rows = slice(head * DEPTH, (head + 1) * DEPTH)
        query, key = drawn(laws, "query")[rows], drawn(laws, "key")[rows]
        found.append(query.T @ key)
        # Balanced: the Gram matrices of both are the same diagonal of singular values.
        for factor in (query, key):
            gram = factor @ factor.T
            assert np.allclose(gram, np.diag(np.diag(gram)), atol=1e-5)
            assert np.allclose(np.diag(gram), np.linalg.svd(found[-1])[1][:DEPTH], rtol=1e-5)
    whole = block(heads=1)
    first = drawn(whole, "query").T @ drawn(whole, "key")
    u, s, vt = np.linalg.svd(first)
    assert np.allclose(found[0], u[:, :DEPTH] * s[:DEPTH] @ vt[:DEPTH], atol=1e-5)
    apart = [np.abs(found[0] - other).max() for other in found[1:]]
    assert min(apart) > 0.1  # a Z of its own for each head


def test_trained_transformers_look_so_on_the_diagonal() -> None:
    """W_QᵀW_K has a positive diagonal, W_O·W_V a negative one."""
    laws = block()
    attention = sum(
        drawn(laws, "query")[i : i + DEPTH].T @ drawn(laws, "key")[i : i + DEPTH]
        for i in range(0, WIDTH, DEPTH)
    )
    assert np.diag(attention).min() > 0
    assert np.diag(drawn(laws, "output") @ drawn(laws, "value")).max() < 0


def test_the_order_of_drawing_does_not_matter() -> None:
    laws = block()
    forward = {part: drawn(laws, part) for part in NAMES}
    backward = {part: drawn(laws, part) for part in reversed(NAMES)}
    assert all(np.array_equal(forward[part], backward[part]) for part in NAMES)
    assert not np.array_equal(forward["query"], drawn(laws, "query", seed=1))
    assert not np.array_equal(forward["query"], drawn(laws, "query", namespace="twin"))
    rows = draw_matrix(laws[NAMES["key"]], SQUARE, name=NAMES["key"], seed=0, rows=range(5, 9))
    assert np.array_equal(rows, forward["key"][5:9])


def test_the_wrappers_of_a_model_do_not_part_a_pair() -> None:
    wrapped = Mimetic(part="query", alpha=0.7, beta=0.7, heads=4, pair="module.a.weight")
    plain = Mimetic(part="query", alpha=0.7, beta=0.7, heads=4, pair="a.weight")
    one, other = (draw(law, SQUARE, name="any", seed=0) for law in (wrapped, plain))
    assert np.array_equal(one, other)


def test_packed_and_separate_weights_hold_the_same_products() -> None:
    attention = nn.MultiheadAttention(WIDTH, HEADS)
    parameters = {p.name: p for p in describe_parameters(attention)}
    layout = parameters["in_proj_weight"].layout
    packed = ("in_proj_weight", layout)
    output = ("out_proj.weight", parameters["out_proj.weight"].layout)
    laws = mimetic_laws(query=packed, key=packed, value=packed, output=output, heads=HEADS)
    assert set(laws) == {"in_proj_weight", "out_proj.weight"}
    whole = draw(laws["in_proj_weight"], layout, name="in_proj_weight", seed=0)
    out = draw(laws["out_proj.weight"], SQUARE, name="out_proj.weight", seed=0)
    query, key, value = np.split(whole.astype(np.float64), 3)
    assert is_product(out.astype(np.float64) @ value, 0.4, -0.4)
    names = {"query": "in_proj_weight", "key": "k", "value": "v", "output": "o"}
    weights = {part: (name, SQUARE) for part, name in names.items()}
    separate = mimetic_laws(**weights, heads=HEADS)
    assert np.array_equal(query, draw(separate["in_proj_weight"], SQUARE, name="q", seed=0))
    assert np.array_equal(key, draw(separate["k"], SQUARE, name="k", seed=0))


def test_the_technique_fills_packed_weights_and_what_names_its_pair() -> None:
    layout = next(
        p.layout
        for p in describe_parameters(nn.MultiheadAttention(WIDTH, HEADS))
        if p.name == "in_proj_weight"
    )
    packed = technique("mimetic", heads=HEADS).law_for(layout)
    whole = draw(packed, layout, name="attn.in_proj_weight", seed=3).astype(np.float64)
    output = technique("mimetic").law_for(SQUARE, part="output", pair="attn.in_proj_weight")
    out = draw(output, SQUARE, name="attn.out_proj.weight", seed=3).astype(np.float64)
    assert is_product(out @ whole[2 * WIDTH :], 0.4, -0.4)
    query = technique("mimetic").law_for(
        SQUARE, part="query", pair="attn.in_proj_weight", heads=HEADS
    )
    assert np.array_equal(whole[:WIDTH], draw(query, SQUARE, name="q", seed=3))


@pytest.mark.parametrize("part", NAMES)
def test_moments_scale_and_json(part: str) -> None:
    law = block()[NAMES[part]]
    assert from_json(to_json(law)) == law
    values, asked = drawn(block(), part), moments(law, SQUARE)
    # From draw to draw the mean singular value varies by about 1/width.
    assert values.std() == pytest.approx(asked.std, rel=2.5 / WIDTH)
    assert abs(values.mean()) < 5 * asked.std / WIDTH
    doubled = draw(scaled(law, 2.0), SQUARE, name=NAMES[part], seed=0)
    assert np.allclose(doubled, 2 * values, rtol=1e-6)
    assert moments(scaled(law, 2.0), SQUARE).std == pytest.approx(2 * asked.std)


@pytest.mark.parametrize(
    ("layout", "options", "words"),
    [
        (SQUARE, {}, "is a law of two weights, got a tensor of shape (48, 48)"),
        (SQUARE, {"part": "query"}, "give part= (query, key, value, output) and pair="),
        (SQUARE, {"part": "query", "pair": "a"}, "needs heads, the number of attention heads"),
        (SQUARE, {"part": "query", "pair": "a", "heads": 2.5}, "heads must be an integer"),
        (SQUARE, {"part": "key", "pair": "a", "heads": 5}, "5 heads do not divide 48 rows"),
        (plain_layout((8,)), {}, "needs a matrix with axes out and in"),
        (
            plain_layout((8, 4)),
            {"part": "value", "pair": "a"},
            "a 4×4 product has at most 4 inner units, got 8",
        ),
        (
            plain_layout((4, 4, 3)),
            {"part": "value", "pair": "a"},
            "is for dense attention weights, got a kernel of (3,)",
        ),
        (
            Layout(shape=(16, 4), view=(4, 4, 4), roles=("gate", "out", "in")),
            {"part": "value", "pair": "a"},
            "is one part of an attention, got stacked matrices (('gate', 4),)",
        ),
    ],
)
def test_what_is_no_pair_is_refused(layout: Layout, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        technique("mimetic").law_for(layout, **options)
    assert str(caught.value).startswith("mimetic: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": ("k", plain_layout((12, 48)))}, "k: mimetic: needs keys of the shape"),
        ({"key": (NAMES["query"], SQUARE)}, "needs three weights, or one with a stacked axis"),
        ({"output": ("o", plain_layout((48, 24)))}, "o: mimetic: needs the shape (48, 48)"),
        ({"heads": 7}, "7 heads do not divide 48 rows"),
        ({"heads": 0}, "heads must be an integer of at least 1"),
    ],
)
def test_what_is_no_block_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        block(**changes)
    assert words in str(caught.value)


def test_the_law_refuses_what_means_nothing() -> None:
    for arguments, words in (
        ({"part": "queries", "alpha": 1, "beta": 1}, "part must be one of query, key"),
        ({"part": "query", "alpha": 0, "beta": 0}, "must not both be 0"),
        ({"part": "query", "alpha": 1, "beta": 1, "heads": 0}, "heads must be at least 1"),
    ):
        with pytest.raises(BadInputError, match=words):
            Mimetic(**arguments)  # type: ignore[arg-type]
    with pytest.raises(NotDrawableError, match="5 heads do not divide"):
        draw(Mimetic(part="key", alpha=1, beta=1, heads=5), SQUARE, name="w", seed=0)


def test_a_plan_with_pairs_and_given_biases_reaches_the_model() -> None:
    model = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True)
    attention = model.self_attn
    plan = fl.plan(model, torch.randn(2, 5, WIDTH))
    packed = ("self_attn.in_proj_weight", plan["self_attn.in_proj_weight"].layout)
    output = ("self_attn.out_proj.weight", plan["self_attn.out_proj.weight"].layout)
    laws = mimetic_laws(query=packed, key=packed, value=packed, output=output, heads=HEADS)
    given = tuple(0.5 - i / WIDTH for i in range(WIDTH))
    laws["self_attn.out_proj.bias"] = Listed(values=given)
    laws["self_attn.in_proj_bias"] = Stacked(laws=tuple(Constant(value=v) for v in (0, 0, 0.25)))
    entries = tuple(
        replace(entry, action="draw", law=laws[entry.name]) if entry.name in laws else entry
        for entry in plan
    )
    stored = from_json(to_json(replace(plan, entries=entries)))
    assert stored.entries == entries
    receipt = stored.apply(model, seed=5)
    value = attention.in_proj_weight[2 * WIDTH :].detach().double().numpy()
    assert is_product(attention.out_proj.weight.detach().double().numpy() @ value, 0.4, -0.4)
    assert np.allclose(attention.out_proj.bias.detach().numpy(), given, rtol=1e-7)
    assert attention.in_proj_bias.detach().reshape(3, WIDTH).unique(dim=1).tolist() == [
        [0],
        [0],
        [0.25],
    ]
    assert receipt["self_attn.in_proj_bias"].achieved.high == 0.25

    short = replace(plan["self_attn.out_proj.bias"], action="draw", law=Listed(values=given[:-1]))
    entries = tuple(short if entry.name == short.name else entry for entry in plan)
    before = attention.in_proj_weight.detach().clone()
    with pytest.raises(BadInputError, match=r"out_proj.bias: .* needs 48 numbers, got 47; nothing"):
        replace(plan, entries=entries).apply(model, seed=6)
    assert before.equal(attention.in_proj_weight)
