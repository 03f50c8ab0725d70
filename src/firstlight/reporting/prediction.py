"""A prediction in words and rows, shared by text and page."""

from __future__ import annotations

import math

from firstlight.records.prediction import Prediction
from firstlight.reporting.numbers import number

Pairs = list[tuple[str, str]]

_ROWS = (1, 2, 3, 5)
"""Layers of the short table: these and their multiples by powers of ten."""

_FAR = 5
"""A spread of a logarithm beyond this says only that draws have nothing in common."""


def kind(said: Prediction) -> str:
    """The network in words: ``100 residual layers of 256 with layer norm and dropout 0.1``."""
    sort = "plain" if said.skip is None else "residual"
    extras = [f"{said.norm} norm"] if said.norm else []
    extras += [f"dropout {said.dropout:g}"] if said.dropout else []
    noun = "layer" if said.depth == 1 else "layers"
    words = f"{said.depth:,} {sort} {noun} of {said.width:,}"
    return words + (f" with {' and '.join(extras)}" if extras else "")


def layers(value: float) -> str:
    """A depth: ``79``, ``no limit``."""
    if math.isinf(value):
        return "no limit"
    return f"{value:,.0f}" if value < 1e5 else number(value, digits=2)


def within(said: Prediction) -> bool:
    """Whether the depth is within what theory allows."""
    return said.depth <= said.trainable.layers


def verdict(said: Prediction) -> str:
    """One sentence: whether this depth is within reach."""
    found = said.trainable
    if math.isinf(found.layers):
        return f"{said.activation}, {kind(said)}: theory sets no limit to the depth."
    about = f"about {layers(found.layers)} layer{'s' * (found.layers != 1)}"
    if within(said):
        return f"{said.activation}, {kind(said)}: within the trainable depth of {about}."
    lost = (
        "the gradient is lost"
        if found.by_gradient_layers <= found.by_correlation_layers
        else "inputs can no longer be told apart"
    )
    return (
        f"{said.activation}, {kind(said)}: deeper than theory's trainable depth of {about}, beyond"
        f" which {lost}."
    )


def activation_rows(said: Prediction) -> Pairs:
    """The activation's moments and gains, and its edge of chaos."""
    moments = [
        ("mean E φ", said.mean),
        ("second moment E φ²", said.second_moment),
        ("variance Var φ", said.variance),
        ("derivative E φ′²", said.derivative_second_moment),
    ]
    gains = [
        ("gain forward", said.forward_gain),
        ("gain forward, mean removed", said.centered_gain),
        ("gain backward", said.backward_gain),
    ]
    rows = [(what, number(value, digits=5)) for what, value in (*moments, *gains)]
    if said.edge is None:
        return [*rows, ("edge of chaos", f"none: {said.edge_note}")]
    edge = f"σ_w² {number(said.edge[0], digits=5)}, σ_b² {number(said.edge[1], digits=4)}"
    return [*rows, ("edge of chaos", edge + (f" ({said.edge_note})" if said.edge_note else ""))]


def start_rows(said: Prediction) -> Pairs:
    """The start, and what the recursion tends to from there."""
    rows = [
        ("start", said.start),
        ("σ_w², σ_b²", f"{number(said.sigma_w2, digits=5)}, {number(said.sigma_b2, digits=4)}"),
        ("fixed length q*", _fixed(said)),
        ("‖δ‖² a layer, χ", number(said.chi, digits=5)),
        ("slope of the length map", number(said.length_slope, digits=5)),
        ("fixed correlation c*", number(said.fixed_correlation, digits=4)),
    ]
    scales = [
        ("length scale ξ_q", said.xi_length),
        ("correlation scale ξ_c", said.xi_correlation),
        ("gradient scale ξ_∇", said.xi_gradient),
    ]
    return rows + [(what, _scale(value)) for what, value in scales]


def _scale(value: float | None) -> str:
    if value is None or math.isinf(value):
        return "–" if value is None else "infinite"
    return f"{number(value, digits=4)} layers"


def _fixed(said: Prediction) -> str:
    if said.fixed_length is None:
        return "none: the length grows without bound"
    if said.fixed_length == 0:
        return "0: the signal dies"
    return number(said.fixed_length, digits=5)


def depth_rows(said: Prediction) -> Pairs:
    """What is left at the far end, and how deep such a network may be."""
    path, found = said.profile, said.trainable
    growth = path.second_moment[-1] / path.second_moment[0] if path.second_moment[0] else math.nan
    spread = said.log_length_spread
    rows = [
        ("second moment, last over first", number(growth)),
        ("‖δ‖², first over last", number(path.delta_square[0])),
        ("correlation at the end, from 0", number(path.unrelated[-1], digits=4)),
        ("correlation at the end, from 0.9", number(path.alike[-1], digits=4)),
        ("trainable depth by gradient", layers(found.by_gradient_layers)),
        ("trainable depth by correlation", layers(found.by_correlation_layers)),
    ]
    if spread:
        shown = number(spread, digits=2) if spread < _FAR else f"more than {_FAR}"
        rows.insert(1, ("its logarithm's spread", shown))
    return rows


def profile_rows(said: Prediction) -> list[tuple[str, ...]]:
    """A few layers of the profile: 1, 2, 3, 5, 10, 20 … and the last."""
    path = said.profile
    wanted = {m * 10**k for m in _ROWS for k in range(6)} | {said.depth}
    rows, before = [], 0
    for i, layer in enumerate(path.layers):
        # A thinned profile may not list a wanted layer; the next one stands for it.
        if any(before < w <= layer for w in wanted):
            values = (path.second_moment[i], path.delta_square[i])
            rows.append(
                (
                    f"{layer:,}",
                    *(number(v) for v in values),
                    number(path.unrelated[i], digits=4),
                    number(path.alike[i], digits=4),
                )
            )
        before = layer
    return rows


PROFILE_HEADS = ("layer", "second moment", "‖δ‖² over the last", "c from 0", "c from 0.9")


def instead(said: Prediction) -> str:
    """What the start for deep chains would do; empty if it does not apply."""
    other = said.instead
    if other is None:
        return ""
    entry = "" if other.length == 1 else f", entered at a second moment of {number(other.length)}"
    return (
        f"{other.law}{entry}, would hold the second moment to"
        f" × {number(other.second_moment_ratio)} and ‖δ‖² to × {number(other.delta_square_ratio)}"
        f" over {said.depth:,} layers (trainable depth: {layers(other.limit_layers)})."
    )


def limit(said: Prediction) -> str:
    """Why the depth is out of reach and what would help; empty if it is not."""
    return f"{said.limit.sentence[0].upper()}{said.limit.sentence[1:]}." if said.limit else ""


def change_rows(said: Prediction) -> list[tuple[str, ...]]:
    """The changes that were considered where the depth is out of reach."""
    if said.limit is None:
        return []
    return [
        (
            change.what,
            layers(change.limit_layers),
            number(change.delta_square_ratio, digits=2),
            "yes" if change.helps else "no",
        )
        for change in said.limit.changes
    ]


CHANGE_HEADS = ("change", "trainable depth", "‖δ‖² ratio", "helps")
