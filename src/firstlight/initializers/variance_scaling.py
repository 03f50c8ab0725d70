"""Techniques whose variance is a gain over a fan: Glorot, He, LeCun, and the general rule.

All of them solve one equation. A pre-activation is a sum of fan_in terms, its second moment is
fan_in · Var(w) · E[x²]; the gradient going back is a sum of fan_out terms. The techniques differ in
which of the two they hold at one, and in the share of the signal that the activation lets through.
"""

from __future__ import annotations

import math

from firstlight.errors import BadInputError
from firstlight.initializers.technique import Technique
from firstlight.records.law import Law, Normal, TruncatedNormal, Uniform
from firstlight.records.network import Fans, Layout


def fan_for(fans: Fans, mode: str) -> float:
    """The fan that ``mode`` names: fan_in (forward), fan_out (backward) or their mean, fan_avg."""
    by_mode = {
        "fan_in": fans.forward,
        "fan_out": fans.backward,
        "fan_avg": (fans.forward + fans.backward) / 2,
    }
    if not by_mode[mode] > 0:
        raise BadInputError(f"{mode} is {by_mode[mode]:g}; a tensor without inputs takes zeros")
    return by_mode[mode]


def centred(distribution: str, std: float) -> Law:
    """The law of mean zero and (realised) standard deviation ``std``.

    >>> str(centred("uniform", 1.0))
    'U(±1.732)'
    """
    if distribution == "uniform":
        return Uniform(low=-math.sqrt(3) * std, high=math.sqrt(3) * std)
    if distribution == "truncated_normal":
        return TruncatedNormal(std=std)
    return Normal(std=std)


def _variance_scaling(
    _layout: Layout, fans: Fans, *, scale: float, mode: str, distribution: str
) -> Law:
    if not scale > 0:
        raise BadInputError(f"scale must be positive, got {scale:g}; for zeros use zeros")
    return centred(distribution, math.sqrt(scale / fan_for(fans, mode)))


class _Glorot:
    """gain² · 2/(fan_in + fan_out) in one distribution."""

    def __init__(self, distribution: str) -> None:
        self.distribution = distribution

    def __call__(self, _layout: Layout, fans: Fans, *, gain: float) -> Law:
        return centred(self.distribution, abs(gain) / math.sqrt(fan_for(fans, "fan_avg")))


class _FanIn:
    """gain² / fan_in in one distribution."""

    def __init__(self, distribution: str) -> None:
        self.distribution = distribution

    def __call__(self, _layout: Layout, fans: Fans, *, gain: float = 1.0) -> Law:
        return centred(self.distribution, abs(gain) / math.sqrt(fan_for(fans, "fan_in")))


class _He:
    """2/((1 + slope²) · fan) in one distribution."""

    def __init__(self, distribution: str) -> None:
        self.distribution = distribution

    def __call__(self, _layout: Layout, fans: Fans, *, mode: str, slope: float) -> Law:
        variance = 2 / ((1 + slope**2) * fan_for(fans, mode))
        return centred(self.distribution, math.sqrt(variance))


_DISTRIBUTIONS = (
    ("normal", "normal", "N(0, {})"),
    ("uniform", "uniform", "U(±√(3 · {}))"),
    ("truncated_normal", "truncated normal", "N cut at ±2σ of its parent, widened to variance {}"),
)

_EFFECTIVE = (
    " Fans are effective: groups divided out, a stride of transposed convolutions counted, fused"
    " matrices taken one by one. torch reads size(1)·∏k and size(0)·∏k off the stored tensor"
    " instead, which differs for grouped, transposed and packed weights."
)

_NORMAL_MEANS = {
    "normal": " Keras and JAX cut their `normal` at ±2σ; that is `{}_truncated_normal` here.",
    "uniform": "",
    "truncated_normal": " This is what Keras and JAX call `{}_normal`; torch has no such form.",
}


def _glorot(distribution: str, words: str, form: str) -> Technique:
    alias = {"normal": ("xavier_normal",), "uniform": ("xavier_uniform",)}
    return Technique(
        name=f"glorot_{distribution}",
        aliases=alias.get(distribution, ("xavier_truncated_normal",)),
        title=f"Glorot {words}",
        formula="w ~ " + form.format("gain² · 2/(fan_in + fan_out)"),
        law=_Glorot(distribution),
        options={"gain": 1.0},
        needs_fans=True,
        assumptions="Activations act as the identity around zero; a compromise between constant"
        " signal forward (1/fan_in) and constant gradient backward (1/fan_out).",
        source="Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward"
        " neural networks, AISTATS (PMLR 9:249–256), eq. 12 and 16",
        suits="tanh, softsign, softmax and linear layers of moderate depth; attention projections",
        not_suits="deep ReLU chains (half of the second moment is lost per layer); very unequal"
        " widths, where it keeps neither direction",
        differs="Some texts call 1/fan_in 'Xavier': see xavier_fan_in_normal."
        + _NORMAL_MEANS[distribution].format("glorot")
        + _EFFECTIVE,
    )


def _xavier_fan_in(distribution: str, words: str, form: str) -> Technique:
    return Technique(
        name=f"xavier_fan_in_{distribution}",
        title=f"'Xavier' over fan_in only, {words}",
        formula="w ~ " + form.format("1/fan_in"),
        law=_FanIn(distribution),
        needs_fans=True,
        assumptions="As LeCun's, whose formula it is: unit second moment in, nearly linear units.",
        source="Caffe's `xavier` filler (Jia et al. 2014, arXiv:1408.5093), which divides by fan_in"
        " by default; courses and blog posts that write 'Xavier: 1/n' follow it",
        suits="reproducing code and texts that mean 1/fan_in by 'Xavier'",
        not_suits="what the paper of that name derives: use glorot_normal or glorot_uniform; deep"
        " ReLU chains",
        differs="Glorot & Bengio's variance is 2/(fan_in + fan_out); both agree only where the fans"
        " are equal. The same law as lecun_normal or lecun_uniform." + _EFFECTIVE,
    )


def _he(distribution: str, words: str, form: str) -> Technique:
    alias = {"normal": ("kaiming_normal",), "uniform": ("kaiming_uniform",)}
    return Technique(
        name=f"he_{distribution}",
        aliases=alias.get(distribution, ("kaiming_truncated_normal",)),
        title=f"He {words}",
        formula="w ~ " + form.format("2/((1 + slope²) · fan)") + ", fan by mode",
        law=_He(distribution),
        options={"mode": "fan_in", "slope": 0.0},
        needs_fans=True,
        assumptions="ReLU (slope 0) or leaky ReLU of that slope before the layer, its input"
        " symmetric around zero; wide layers; zero biases.",
        source="He, Zhang, Ren & Sun 2015, Delving deep into rectifiers, ICCV (arXiv:1502.01852),"
        " eq. 10 (fan_in), 14 (fan_out), 15 (slope)",
        suits="ReLU, leaky ReLU and PReLU networks without normalization; convolutions",
        not_suits="tanh, sigmoid, SELU; GELU and SiLU (gain slightly off: activation_gain); the"
        " first layer on raw inputs is given twice the signal that it needs",
        differs="torch's `kaiming_*` default to nonlinearity='leaky_relu' with a = 0, which is"
        " this; they have no fan_avg." + _NORMAL_MEANS[distribution].format("he") + _EFFECTIVE,
    )


def _lecun(distribution: str, words: str, form: str) -> Technique:
    return Technique(
        name=f"lecun_{distribution}",
        title=f"LeCun {words}",
        formula="w ~ " + form.format("gain²/fan_in"),
        law=_FanIn(distribution),
        options={"gain": 1.0},
        needs_fans=True,
        assumptions="Inputs of unit second moment; activations that keep it (scaled tanh, SELU).",
        source="LeCun, Bottou, Orr & Müller 1998, Efficient BackProp, in Neural Networks: Tricks of"
        " the Trade (LNCS 1524), eq. 16; SELU: Klambauer et al. 2017 (arXiv:1706.02515)",
        suits="SELU, linear layers, layers that a normalization follows, the first layer",
        not_suits="deep plain ReLU chains: the second moment halves in each layer",
        differs="torch has no such function; its Linear default U(±1/√fan_in) has a third of this"
        " variance." + _NORMAL_MEANS[distribution].format("lecun") + _EFFECTIVE,
    )


VARIANCE_SCALING = (
    *(_glorot(*each) for each in _DISTRIBUTIONS),
    *(_xavier_fan_in(*each) for each in _DISTRIBUTIONS[:2]),
    *(_he(*each) for each in _DISTRIBUTIONS),
    *(_lecun(*each) for each in _DISTRIBUTIONS),
    Technique(
        name="variance_scaling",
        title="Variance scaling",
        formula="Var(w) = scale/fan, fan by mode, in a normal, uniform or truncated normal form",
        law=_variance_scaling,
        options={"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
        needs_fans=True,
        assumptions="Those of the scale that is put in: 2 for ReLU, 1 for linear and SELU.",
        source="the common parent of Glorot, He and LeCun in Keras (`VarianceScaling`) and JAX"
        " (`variance_scaling`)",
        suits="configurations that come from Keras or JAX",
        not_suits="stating why: the named techniques and activation_gain say what they assume",
        differs="Keras's 'untruncated_normal' and JAX's 'normal' are 'normal' here; both call the"
        " truncated form 'truncated_normal', and correct its std as done here." + _EFFECTIVE,
    ),
)
