"""Techniques that shape the whole matrix: orthogonal, delta-orthogonal, mirrored, identity, sparse.

They need an input axis, but most need no fan: an isometry keeps lengths whatever its size.
"""

from __future__ import annotations

import math

from firstlight.errors import BadInputError
from firstlight.initializers.technique import NO_FANS_NEEDED, Technique, describe
from firstlight.records.law import DeltaOrthogonal, Identity, Mirrored, Orthogonal, Sparse
from firstlight.records.network import Fans, Layout


def require_matrix(layout: Layout) -> None:
    """Refuse tensors that have no input axis or no output axis."""
    if not {"in", "out"} <= set(layout.roles):
        raise BadInputError(
            f"needs a matrix with axes out and in, got {describe(layout)}; use {NO_FANS_NEEDED}"
        )


def _require_kernel(layout: Layout, instead: str) -> None:
    require_matrix(layout)
    if not layout.kernel:
        raise BadInputError(
            f"needs a convolution kernel, got {describe(layout)}; use {instead} for dense weights"
        )


def _orthogonal(layout: Layout, fans: Fans | None, *, gain: float, preserve: bool) -> Orthogonal:
    require_matrix(layout)
    if preserve:
        # The squares of an isometry's elements average 1/max(rows, columns); an output sums
        # fan_in of them. The product is the share of the signal that comes through.
        columns = layout.in_ * math.prod(layout.kernel)
        terms = columns if fans is None else fans.forward
        if not terms > 0:
            raise BadInputError("fan_in is 0; a tensor without inputs takes zeros")
        gain = gain * math.sqrt(max(layout.out, columns) / terms)
    return Orthogonal(gain=gain)


def _delta_orthogonal(layout: Layout, _fans: Fans | None, *, gain: float) -> DeltaOrthogonal:
    _require_kernel(layout, "orthogonal")
    if layout.out < layout.in_:
        raise BadInputError(
            f"an isometry needs at least as many output channels as inputs, got {layout.in_} in and"
            f" {layout.out} out; use orthogonal"
        )
    return DeltaOrthogonal(gain=gain)


def _mirrored(
    layout: Layout, _fans: Fans | None, *, gain: float, inputs: bool, outputs: bool
) -> Mirrored:
    require_matrix(layout)
    return Mirrored(gain=gain, inputs=inputs, outputs=outputs)


def _identity(layout: Layout, _fans: Fans | None, *, gain: float) -> Identity:
    require_matrix(layout)
    return Identity(gain=gain)


def _dirac(layout: Layout, _fans: Fans | None, *, gain: float) -> Identity:
    _require_kernel(layout, "identity")
    return Identity(gain=gain)


def _sparse(layout: Layout, _fans: Fans | None, *, zero_fraction: float, std: float) -> Sparse:
    require_matrix(layout)
    return Sparse(zero_fraction=zero_fraction, std=std)


STRUCTURED = (
    Technique(
        name="orthogonal",
        title="Orthogonal",
        formula="W = gain · Q, Q a uniformly random isometry of (out, in · kernel);"
        " preserve: × √(max(out, in · kernel)/fan_in)",
        law=_orthogonal,
        options={"gain": 1.0, "preserve": False},
        assumptions="Activations near linear (or a gain that makes up for them); gain 1 keeps"
        " lengths exactly in square layers.",
        source="Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of"
        " learning in deep linear neural networks, ICLR (arXiv:1312.6120)",
        suits="deep tanh and linear chains (dynamical isometry), recurrent matrices",
        not_suits="very wide matrices (QR is cubic); ReLU chains, where no scale of it gives"
        " isometry (Pennington, Schoenholz & Ganguli 2017); layers that widen, without preserve",
        differs="torch, Keras and JAX have no `preserve`: widening n → m, their second moment falls"
        " to n/m. torch also takes the stored rows for outputs, wrong for transposed convolutions,"
        " and treats packed or grouped matrices as one.",
    ),
    Technique(
        name="delta_orthogonal",
        title="Delta-orthogonal",
        formula="W[:, :, centre] = gain · Q with QᵀQ = 1, W = 0 elsewhere",
        law=_delta_orthogonal,
        options={"gain": 1.0},
        assumptions="At least as many output channels as inputs; stride 1; near-linear units.",
        source="Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs, ICML"
        " (arXiv:1806.05393), algorithm 1",
        suits="very deep plain convolutional chains (10,000 tanh layers in the paper)",
        not_suits="strided and narrowing convolutions; shallow nets, where it wastes the kernel's"
        " other taps at first",
        differs="JAX's `delta_orthogonal` takes (kernel, in, out) storage; torch has none."
        " `orthogonal` on a kernel is not an isometry of the convolution: this is.",
    ),
    Technique(
        name="mirrored",
        aliases=("looks_linear",),
        title="Mirrored (looks linear)",
        formula="W = gain · [[O, −O], [−O, O]], O an isometry; kernels at their centre",
        law=_mirrored,
        options={"gain": 1.0, "inputs": True, "outputs": True},
        assumptions="The activation φ is not odd: twins ±z pass through φ(z) − φ(−z), which is"
        " linear for ReLU, leaky ReLU, GELU, SiLU, hardswish and softplus.",
        source="Balduzzi et al. 2017, The shattered gradients problem, ICML (arXiv:1702.08591);"
        " Burkholz & Dubatovka 2019, Initialization of ReLUs for dynamical isometry, NeurIPS"
        " (arXiv:1806.06362)",
        suits="deep plain chains without norms or skips: gain one both ways at any depth",
        not_suits="odd activations (tanh, erf, sin, softsign), whose twins never part; shallow or"
        " normalized networks, which gain nothing from half the rank",
        differs="The first weight of a chain mirrors outputs only, the head inputs only. Rank is"
        " half the width on purpose.",
    ),
    Technique(
        name="identity",
        aliases=("eye",),
        title="Identity",
        formula="W[i, j] = gain if i = j else 0; kernels at their centre",
        law=_identity,
        options={"gain": 1.0},
        assumptions="Inputs are already a useful representation; equal widths.",
        source="Le, Jaitly & Hinton 2015, A simple way to initialize recurrent networks of"
        " rectified linear units (arXiv:1504.00941)",
        suits="recurrent ReLU matrices, residual-like layers, adapters",
        not_suits="widening layers (surplus units start at zero and stay silent), narrowing ones"
        " (surplus inputs are ignored)",
        differs="torch's `eye_` takes matrices only; of stacked matrices (gates, groups) this"
        " fills each.",
    ),
    Technique(
        name="dirac",
        title="Dirac",
        formula="W[i, i, centre] = gain, 0 elsewhere, in each group",
        law=_dirac,
        options={"gain": 1.0},
        assumptions="As identity, for convolutions; the centre is k // 2.",
        source="Zagoruyko & Komodakis 2017, DiracNets (arXiv:1706.00388)",
        suits="convolutions that should start by passing their input on",
        not_suits="widening or strided convolutions",
        differs="torch's `dirac_` must be told the number of groups; here the layout has it.",
    ),
    Technique(
        name="sparse",
        title="Sparse",
        formula="each unit keeps (1 − zero_fraction) · fan_in weights, w ~ N(0, std²), others 0",
        law=_sparse,
        options={"zero_fraction": 0.9, "std": 0.01},
        assumptions="A fixed small number of inputs per unit bounds its input whatever the width.",
        source="Martens 2010, Deep learning via Hessian-free optimization, ICML, section 5 (15"
        " incoming connections per unit)",
        suits="wide sigmoid and tanh layers trained by second-order methods; recurrent reservoirs",
        not_suits="deep networks at the default std 0.01 (the signal vanishes); convolutions",
        differs="torch's `sparse_` zeroes a share of each *column*, so that units keep unequal"
        " numbers of inputs, and its pattern ignores the generator passed to it; Martens limits"
        " each unit's incoming connections, as here.",
    ),
)
