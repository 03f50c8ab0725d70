"""What theory says of a network that nobody has built yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from firstlight.records.late import Shown

Norm = Literal["batch", "layer"]
Kind = Literal["width", "start", "activation", "norm", "skip"]
Cause = Literal["gradient", "correlation", "derivative"]


@dataclass(frozen=True, kw_only=True)
class DepthProfile:
    """How signal and gradient travel; one entry per listed layer, the first layer is 1.

    Args:
        layers: which layers are listed: all of a network of up to 200, else 200 of them.
        second_moment: of the pre-activation, or of the residual stream where there are skips.
        delta_square: ‖δ‖² there over ‖δ‖² at the last layer.
        unrelated: correlation of two inputs that enter with correlation 0.
        alike: correlation of two inputs that enter with correlation 0.9.
    """

    layers: tuple[int, ...]
    second_moment: tuple[float, ...]
    delta_square: tuple[float, ...]
    unrelated: tuple[float, ...]
    alike: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TrainableDepth:
    """How deep a network may be before the input is forgotten or the gradient is lost.

    Args:
        by_gradient_layers: layers after which ‖δ‖² has changed by e⁶; infinite if it never does.
        by_correlation_layers: layers after which the difference between a related and an unrelated
            pair of inputs has shrunk by e⁶; infinite if it never does.
        rule: the rule in words.
        source: where it comes from.
    """

    by_gradient_layers: float
    by_correlation_layers: float
    rule: str
    source: str

    @property
    def layers(self) -> float:
        """The smaller of the two."""
        return min(self.by_gradient_layers, self.by_correlation_layers)


@dataclass(frozen=True, kw_only=True)
class PhaseDiagram:
    """χ₁ at the fixed length over (σ_w², σ_b²), for the plain chain.

    Args:
        sigma_w2: the grid's columns.
        sigma_b2: the grid's rows.
        chi: one row per σ_b²; below 1 ordered (gradients vanish), above 1 chaotic (they explode).
        fixed_length: q* in the same order; 0 where the signal dies, infinite where it diverges.
        edge: points (σ_w², σ_b², q*) of the curve χ₁ = 1, up to the grid's border.
    """

    sigma_w2: tuple[float, ...]
    sigma_b2: tuple[float, ...]
    chi: tuple[tuple[float, ...], ...]
    fixed_length: tuple[tuple[float, ...], ...]
    edge: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change to a plain chain, and what theory predicts of it.

    Args:
        kind: what would be changed.
        what: the change in words.
        limit_layers: trainable depth after the change.
        delta_square_ratio: ‖δ‖² at the first over the last of the asked layers.
        helps: whether the asked depth is then within reach.
    """

    kind: Kind
    what: str
    limit_layers: float
    delta_square_ratio: float
    helps: bool


@dataclass(frozen=True, kw_only=True)
class DepthLimit:
    """Why a plain chain of this depth cannot train from this start, and what would help.

    Args:
        activation: its name.
        depth: activations in a row that were asked for.
        limit_layers: how many theory allows.
        by: what is lost first: ``gradient``, ``correlation`` or ``derivative`` (φ′ is zero).
        delta_square_ratio: ‖δ‖² at the first over the last layer.
        changes: all that were considered, the smallest first.
        sentence: the above in one sentence.
    """

    activation: str
    depth: int
    limit_layers: float
    by: Cause
    delta_square_ratio: float
    changes: tuple[Change, ...]
    sentence: str

    @property
    def smallest(self) -> Change | None:
        """The smallest change that helps."""
        return next((change for change in self.changes if change.helps), None)


@dataclass(frozen=True, kw_only=True)
class OtherStart:
    """What the plain chain would do from the start that the planner gives to deep chains.

    Args:
        law: the law of the inner weights.
        length: second moment of the pre-activations.
        second_moment_ratio: last over first layer.
        delta_square_ratio: ‖δ‖² at the first over the last layer.
        limit_layers: trainable depth.
    """

    law: str
    length: float
    second_moment_ratio: float
    delta_square_ratio: float
    limit_layers: float


@dataclass(frozen=True, kw_only=True)
class Prediction(Shown):
    """Theory's answer for one activation, start and kind of network.

    Args:
        activation: its name.
        depth: number of layers.
        width: units of a layer; it enters `log_length_spread` and the laws of techniques only.
        start: where σ_w² and σ_b² come from, in words.
        sigma_w2: fan_in times the variance of the weights.
        sigma_b2: variance of the biases.
        norm: ``batch``, ``layer`` or None.
        skip: scale of the residual branch, None without skips.
        dropout: the rate at which units are dropped.
        mean: E φ(z), z ~ N(0, 1).
        second_moment: E φ².
        variance: Var φ.
        derivative_second_moment: E φ′².
        forward_gain: 1/√E φ²; None if φ is zero.
        centered_gain: 1/√Var φ; None if φ is constant.
        backward_gain: 1/√E φ′²; None if φ′ is zero.
        edge: (σ_w², σ_b²) with χ₁ = 1 at length 1; None if there is none.
        edge_note: why there is none, or what is wrong with it.
        fixed_length: q* that the length tends to; None where it grows without bound.
        chi: factor of ‖δ‖² a layer at q*; at the last layer where there is no q*.
        length_slope: slope of the length map there.
        fixed_correlation: c* that two inputs end at; None where there is no q*.
        xi_length: ξ_q in layers, likewise.
        xi_correlation: ξ_c.
        xi_gradient: ξ_∇; negative where gradients explode.
        profile: layer by layer.
        log_length_spread: standard deviation, over draws of Gaussian weights at this width, of the
            logarithm of the last layer's second moment.
        trainable: how deep such a network may be.
        phase: the phase diagram of the plain chain.
        instead: the planner's start for a deep plain chain; None if the activation has none.
        limit: why the plain chain cannot train at this depth; None if it can, or if it has a norm
            or skips.
        remarks: where the theory stops being exact.
    """

    activation: str
    depth: int
    width: int
    start: str
    sigma_w2: float
    sigma_b2: float
    norm: Norm | None
    skip: float | None
    dropout: float
    mean: float
    second_moment: float
    variance: float
    derivative_second_moment: float
    forward_gain: float | None
    centered_gain: float | None
    backward_gain: float | None
    edge: tuple[float, float] | None
    edge_note: str
    fixed_length: float | None
    chi: float
    length_slope: float
    fixed_correlation: float | None
    xi_length: float | None
    xi_correlation: float | None
    xi_gradient: float | None
    profile: DepthProfile
    log_length_spread: float
    trainable: TrainableDepth
    phase: PhaseDiagram
    instead: OtherStart | None = None
    limit: DepthLimit | None = None
    remarks: tuple[str, ...] = ()
