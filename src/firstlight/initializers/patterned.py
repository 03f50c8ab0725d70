"""Techniques with a fixed pattern: ZerO, IDInit, sinusoidal. Seeds hardly enter or do not at all.

What is equal in every run is also equal in every matrix of one shape: between layers that must
differ (queries and keys, say) only the noise of IDInit, or training, tells them apart.
"""

from __future__ import annotations

import math

from firstlight.errors import BadInputError
from firstlight.initializers.structured import require_matrix
from firstlight.initializers.technique import Technique, describe
from firstlight.initializers.variance_scaling import fan_for
from firstlight.records.law import Identity
from firstlight.records.network import Fans, Layout
from firstlight.records.patterned import Hadamard, PaddedIdentity, Sinusoidal


def _zero_hadamard(layout: Layout, _fans: Fans | None, *, gain: float) -> Identity | Hadamard:
    require_matrix(layout)
    return Identity(gain=gain) if layout.out <= layout.in_ else Hadamard(gain=gain)


def _idinit(layout: Layout, _fans: Fans | None, *, gain: float, noise: float) -> PaddedIdentity:
    require_matrix(layout)
    return PaddedIdentity(gain=gain, noise=noise)


def _sinusoidal(layout: Layout, fans: Fans, *, gain: float, mode: str) -> Sinusoidal:
    require_matrix(layout)
    columns = layout.in_ * math.prod(layout.kernel)
    if columns < 3:
        raise BadInputError(
            f"a wave needs at least 3 inputs, got {columns} in {describe(layout)}; use"
            " glorot_uniform"
        )
    return Sinusoidal(std=abs(gain) / math.sqrt(fan_for(fans, mode)))


PATTERNED = (
    Technique(
        name="zero_hadamard",
        aliases=("zer_o",),
        title="ZerO (identity and Hadamard)",
        formula="W = gain · I if out ≤ in; else the corner of gain · H_p/√p, p = 2^⌈log₂ out⌉;"
        " kernels at their centre",
        law=_zero_hadamard,
        options={"gain": 1.0},
        assumptions="Skips or norms carry the rest: partial identities pass only the first inputs"
        " on. Hadamard columns keep lengths where out is a power of two.",
        source="Zhao, Schäfer & Anandkumar 2022, ZerO Initialization: initializing neural networks"
        " with only zeros and ones, TMLR (arXiv:2110.12661), algorithm 1",
        suits="residual networks that should start equal in every run; low-rank training, which the"
        " rank grows out of",
        not_suits="plain chains that narrow (what is cut off never returns); attention, whose"
        " queries and keys would be equal",
        differs="The paper prints c = 2^(−(m − 1)/2) with m = ⌈log₂ out⌉, its code divides by"
        " 2^(m/2), as here: the one of the two that keeps lengths. There the whole matrix of a"
        " grouped or packed weight counts as one; here each has its own.",
    ),
    Technique(
        name="idinit",
        title="IDInit (padded identity)",
        formula="W[i, j] = gain if i ≡ j mod min(out, in · kernel) else 0, + N(0, noise²)",
        law=_idinit,
        options={"gain": 1.0, "noise": 1e-6},
        assumptions="Residual branches that end in idinit_zero; SGD with momentum, which leaves the"
        " symmetry that the identity has.",
        source="Pan et al. 2025, IDInit: a universal and stable initialization method for neural"
        " network training, ICLR (arXiv:2503.04626)",
        suits="the stem of residual networks and all but the last weight of their branches",
        not_suits="plain chains (narrowing n → m sums n/m inputs and multiplies the second moment"
        " by it); plain gradient descent, which keeps equal units equal but for the noise",
        differs="`identity` pads with zeros, so that surplus units are silent; this repeats."
        " `dirac` fills a kernel's centre; this takes (in, kernel) for one axis, so that the ones"
        " spread over the taps.",
    ),
    Technique(
        name="idinit_zero",
        title="IDInit at the end of a branch",
        formula="W[i, j] = gain if i ≡ j mod min(out, in · kernel) else 0, gain = 1e-6",
        law=_idinit,
        options={"gain": 1e-6, "noise": 0.0},
        assumptions="A skip carries the signal past the branch.",
        source="Pan et al. 2025, IDInit: a universal and stable initialization method for neural"
        " network training, ICLR (arXiv:2503.04626)",
        suits="the last weight of a residual branch: zero to the eye, but the weights before it get"
        " a gradient from the first step",
        not_suits="weights without a skip around them (their signal ends here)",
        differs="`zeros` there keeps the rest of the branch without gradient for one step.",
    ),
    Technique(
        name="sinusoidal",
        title="Sinusoidal rows",
        formula="W[i, j] = √2 · σ · sin(2π·f·j/n + π·(i + ½)/(F·S)), n = in · kernel,"
        " F = ⌊(n − 1)/2⌋, f = 1 + i mod F, S = ⌈out/F⌉; σ² = gain²/fan",
        law=_sinusoidal,
        options={"gain": 1.0, "mode": "fan_in"},
        needs_fans=True,
        assumptions="Inputs of mean zero: every row sums to zero and passes no common part on."
        " Every row has the same mean square exactly; up to 2F rows are orthogonal.",
        source="Fernández-Hernández, Mestre, Dolz, Duato & Quintana-Ortí 2025, Sinusoidal"
        " initialization, time for a new start, NeurIPS (arXiv:2505.12909)",
        suits="dense and convolutional layers that should start equal in every run and use their"
        " inputs evenly",
        not_suits="attention, whose queries and keys would be equal; fewer than three inputs;"
        " inputs with a large mean, of which nothing comes through",
        differs="AnyInit's `sinusoidal` gives its phases to the rows of one frequency only, so that"
        " a matrix with fewer rows than frequencies starts with a column of zeros: an input that"
        " nobody sees. Here the phases differ in every row.",
    ),
)
