"""Mimetic attention: products of weights that look like those of trained transformers.

A law of pairs: W_Qᵀ·W_K ≈ αZ + βI in each head, W_O·W_V = αZ − βI over all of them. Each weight is
drawn on its own from an address that the pair shares. `mimetic_laws` names the pairs of one block.
"""

from __future__ import annotations

from typing import Any

from firstlight.errors import BadInputError
from firstlight.initializers.structured import require_matrix
from firstlight.initializers.technique import Technique, describe
from firstlight.laws.structured import check_drawable
from firstlight.records.law import Law, Stacked
from firstlight.records.network import Fans, Layout
from firstlight.records.patterned import PARTS, Mimetic

QUERY_KEY = (0.7, 0.7)
VALUE_OUTPUT = (0.4, 0.4)
"""(α, β) for vision transformers; the sign of the identity is − for values and outputs."""

Weight = tuple[str, Layout]
"""A weight's canonical name and its axes."""

_PACKED = (("qkv", 3),)


def _heads(value: Any) -> int:
    if value is None:
        raise BadInputError("needs heads, the number of attention heads; heads=8, say")
    if value != int(value) or value < 1:
        raise BadInputError(f"heads must be an integer of at least 1, got {value}")
    return int(value)


def _part(part: str, heads: int, pair: str, strengths: tuple[float, float]) -> Mimetic:
    alpha, beta = strengths
    if part in ("value", "output"):
        return Mimetic(part=part, alpha=alpha, beta=-beta, pair=pair)  # type: ignore[arg-type]
    return Mimetic(part=part, alpha=alpha, beta=beta, heads=heads, pair=pair)  # type: ignore[arg-type]


def _packed(heads: int, pair: str, qk: tuple[float, float], vo: tuple[float, float]) -> Stacked:
    strengths = {"query": qk, "key": qk, "value": vo}
    return Stacked(laws=tuple(_part(part, heads, pair, ab) for part, ab in strengths.items()))


def _mimetic(
    layout: Layout,
    _fans: Fans | None,
    *,
    part: str,
    heads: float | None,
    pair: str,
    alpha: float,
    beta: float,
    value_alpha: float,
    value_beta: float,
) -> Law:
    require_matrix(layout)
    qk, vo = (alpha, beta), (value_alpha, value_beta)
    law: Law
    if layout.stacks == _PACKED:
        law = _packed(_heads(heads), pair, qk, vo)
    elif not part or not pair:
        raise BadInputError(
            f"is a law of two weights, got {describe(layout)} alone; use it on packed q/k/v, or"
            f" give part= ({', '.join(PARTS)}) and pair=, a name that both weights of a pair share"
        )
    elif part in ("value", "output"):
        law = _part(part, 1, pair, vo)
    else:
        law = _part(part, _heads(heads), pair, qk)
    check_drawable(law, layout)
    return law


def mimetic_laws(
    *,
    query: Weight,
    key: Weight,
    value: Weight,
    output: Weight,
    heads: int,
    query_key: tuple[float, float] = QUERY_KEY,
    value_output: tuple[float, float] = VALUE_OUTPUT,
) -> dict[str, Law]:
    """The laws of the four weights of one attention, by their names.

    Args:
        query: name and layout of the weight; packed weights are given three times.
        key: likewise.
        value: likewise.
        output: of the projection after the heads.
        heads: number of attention heads, the same for queries and keys.
        query_key: α and β of W_Qᵀ·W_K ≈ αZ + βI, for each head.
        value_output: α and β of W_O·W_V = αZ − βI.

    Returns:
        Name → law: three or four entries and, for packed weights, two.

    Raises:
        BadInputError: fewer key heads than query heads, other widths for keys or values than for
            queries, or a layout that no factor can fill; the message names the weight.

    Example:
        >>> from firstlight.records.network import plain_layout
        >>> square = plain_layout((64, 64))
        >>> names = {part: (f"attn.{part[0]}_proj.weight", square) for part in PARTS}
        >>> for name, law in mimetic_laws(**names, heads=4).items():
        ...     print(name, "|", law)
        attn.q_proj.weight | mimetic query of 0.7Z + 0.7I
        attn.k_proj.weight | mimetic key of 0.7Z + 0.7I
        attn.v_proj.weight | mimetic value of 0.4Z − 0.4I
        attn.o_proj.weight | mimetic output of 0.4Z − 0.4I
    """
    heads = _heads(heads)
    (query_name, query_layout), (value_name, _) = query, value
    packed = query_layout.stacks == _PACKED
    if len({query_name, key[0], value_name}) != (1 if packed else 3):
        raise BadInputError(
            f"{query_name}: mimetic: needs three weights, or one with a stacked axis qkv of 3; got"
            f" {query_name}, {key[0]}, {value_name}"
        )
    if key[1].matrix != query_layout.matrix:
        raise BadInputError(
            f"{key[0]}: mimetic: needs keys of the shape of the queries {query_layout.shape}, got"
            f" {key[1].shape}; shared key heads and inputs of another width have no such product"
        )
    laws: dict[str, Law] = {}
    if packed:
        laws[query_name] = _packed(heads, query_name, query_key, value_output)
    else:
        laws[query_name] = _part("query", heads, query_name, query_key)
        laws[key[0]] = _part("key", heads, query_name, query_key)
        laws[value_name] = _part("value", 1, value_name, value_output)
    laws[output[0]] = _part("output", 1, value_name, value_output)
    _, inner, width = value[1].matrix
    if output[1].matrix != (1, width, inner):
        raise BadInputError(
            f"{output[0]}: mimetic: needs the shape ({width}, {inner}), of the values"
            f" {value[1].shape} turned round, got {output[1].shape}"
        )
    for name, layout in (query, key, value, output):
        try:
            check_drawable(laws[name], layout)
        except BadInputError as error:
            raise BadInputError(f"{name}: {error}") from error
    return laws


MIMETIC = (
    Technique(
        name="mimetic",
        title="Mimetic attention",
        formula="W_Qᵀ·W_K ≈ αZ + βI per head, W_O·W_V = αZ − βI, Z[i, j] ~ N(0, 1/width); factors"
        " √S·Uᵀ and √S·Vᵀ of the singular value decomposition",
        law=_mimetic,
        options={
            "part": "",
            "heads": None,
            "pair": "",
            "alpha": QUERY_KEY[0],
            "beta": QUERY_KEY[1],
            "value_alpha": VALUE_OUTPUT[0],
            "value_beta": VALUE_OUTPUT[1],
        },
        assumptions="Self-attention over one width; as many key heads as query heads. α and β are"
        " those of trained vision transformers.",
        source="Trockman & Kolter 2023, Mimetic initialization of self-attention layers, ICML"
        " (arXiv:2305.09828)",
        suits="vision transformers on small data sets, with sinusoidal positions; q, k, v and"
        " output weights or packed ones",
        not_suits="cross-attention, shared key heads, anything that is no attention",
        differs="The authors draw both factors in one call. Here each weight is drawn from the"
        " address of its pair, so that order and sharding do not matter: packed weights pair q with"
        " k under their own name; their output takes part='output' and that name as pair.",
    ),
)
