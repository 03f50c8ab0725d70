"""Random techniques whose scale is a fixed number, whatever the width."""

from __future__ import annotations

from firstlight.initializers.technique import Technique
from firstlight.records.law import Normal, TruncatedNormal, Uniform
from firstlight.records.network import Fans, Layout

_WIDTH_BLIND = (
    "deep chains: the signal is multiplied by about fan_in · std² in each layer, so one number"
    " vanishes in narrow layers and explodes in wide ones"
)


def _normal(_layout: Layout, _fans: Fans | None, *, mean: float, std: float) -> Normal:
    return Normal(mean=mean, std=std)


def _uniform(_layout: Layout, _fans: Fans | None, *, low: float, high: float) -> Uniform:
    return Uniform(low=low, high=high)


def _truncated(
    _layout: Layout,
    _fans: Fans | None,
    *,
    mean: float,
    std: float,
    low_sigma: float,
    high_sigma: float,
) -> TruncatedNormal:
    return TruncatedNormal(mean=mean, std=std, low_sigma=low_sigma, high_sigma=high_sigma)


FIXED_SCALE = (
    Technique(
        name="random_normal",
        aliases=("normal",),
        title="Random normal",
        formula="w ~ N(mean, std²)",
        law=_normal,
        options={"mean": 0.0, "std": 0.05},
        assumptions="The scale was chosen for one width, or does not matter (small, normalized).",
        source="Krizhevsky, Sutskever & Hinton 2012 (AlexNet, std 0.01); Radford et al. 2019"
        " (GPT-2, std 0.02); the default 0.05 is Keras's",
        suits="embeddings, positional tables, tokens; transformers of the std's own width",
        not_suits=_WIDTH_BLIND,
        differs="Default std: Keras 0.05, torch's `normal_` 1, JAX's `normal` 0.01.",
    ),
    Technique(
        name="random_uniform",
        aliases=("uniform",),
        title="Random uniform",
        formula="w ~ U(low, high); std = (high − low)/√12",
        law=_uniform,
        options={"low": -0.05, "high": 0.05},
        assumptions="As for random_normal; an interval around zero, or the units become parallel.",
        source="the field's oldest start (Rumelhart, Hinton & Williams 1986); default: Keras's",
        suits="embeddings, small shallow networks",
        not_suits=_WIDTH_BLIND + "; an all-positive interval makes all units nearly parallel",
        differs="torch's `uniform_` and NumPy's `random` default to U(0, 1), all positive; JAX's"
        " `uniform(scale)` draws from 0 to scale.",
    ),
    Technique(
        name="truncated_normal",
        aliases=("trunc_normal",),
        title="Truncated normal",
        formula="w ~ N(mean, ·) cut at low_sigma … high_sigma, widened so that the std is `std`",
        law=_truncated,
        options={"mean": 0.0, "std": 0.05, "low_sigma": -2.0, "high_sigma": 2.0},
        assumptions="Bounds count σ of the parent normal; `mean` and `std` hold after the cut.",
        source="Johnson, Kotz & Balakrishnan 1994, Continuous Univariate Distributions 1, ch. 13",
        suits="where a rare large weight would hurt: transformers, embeddings",
        not_suits=_WIDTH_BLIND,
        differs="torch's `trunc_normal_` takes *absolute* bounds (with std 0.02 its default ±2 cuts"
        " at ±100σ: nothing). Keras's and JAX's `TruncatedNormal` cut at ±2σ and do not widen, so"
        " their realised std is 0.8796 of what is asked.",
    ),
)
