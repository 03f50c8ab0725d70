"""Techniques that give every element the same value."""

from __future__ import annotations

from firstlight.initializers.technique import Technique
from firstlight.records.law import Constant
from firstlight.records.network import Fans, Layout

SYMMETRY = (
    "weight matrices between hidden layers: all units of a layer compute the same, receive the same"
    " gradient and stay copies of each other however long they train"
)


def _constant(_layout: Layout, _fans: Fans | None, *, value: float) -> Constant:
    return Constant(value=value)


def _zeros(_layout: Layout, _fans: Fans | None) -> Constant:
    return Constant(value=0.0)


def _ones(_layout: Layout, _fans: Fans | None) -> Constant:
    return Constant(value=1.0)


CONSTANTS = (
    Technique(
        name="zeros",
        title="Zeros",
        formula="w = 0",
        law=_zeros,
        assumptions="Something else breaks the symmetry and lets the gradient through.",
        source="Rumelhart, Hinton & Williams 1986 (Nature 323) name the symmetry problem of equal"
        " weights; zero branch ends: Zhang, Dauphin & Ma 2019 (arXiv:1901.09321)",
        suits="biases, norm shifts, the last weight of a residual branch, LoRA's B, a linear head",
        not_suits=SYMMETRY + "; with zeros in two consecutive weights no gradient reaches either",
        differs="A zero head, a zero-γ norm or LoRA's B = 0 is healthy, since one step reaches the"
        " rest; zeros everywhere are not.",
    ),
    Technique(
        name="ones",
        title="Ones",
        formula="w = 1",
        law=_ones,
        assumptions="The element multiplies a signal that already has the right scale.",
        source="Ioffe & Szegedy 2015 (arXiv:1502.03167): γ = 1 starts as plain normalization",
        suits="norm scales",
        not_suits=SYMMETRY + "; sums of n inputs grow n-fold besides",
        differs="Some libraries store the scale minus one (Gemma's RMSNorm): zeros mean it there.",
    ),
    Technique(
        name="constant",
        title="Constant",
        formula="w = value",
        law=_constant,
        options={"value": 0.0},
        assumptions="The value carries meaning of its own.",
        source="LSTM forget bias 1: Jozefowicz, Zaremba & Sutskever 2015 (ICML); head bias"
        " −ln(1/π − 1): Lin et al. 2017 (arXiv:1708.02002)",
        suits="forget-gate biases, head biases that encode class shares, layer scales",
        not_suits=SYMMETRY,
        differs="torch's `constant_` and Keras's `Constant` do the same.",
    ),
)
