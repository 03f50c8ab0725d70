"""Audits: the true law stays, wrong ones go, and torch's own defaults are named."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Any

import models as zoo
import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import firstlight as fl
from firstlight.records.law import Constant, Law, Normal, TruncatedNormal, Uniform
from firstlight.records.network import plain_layout
from firstlight.verdicts.audit_numbers import SAMPLE, numbers_of, positions
from firstlight.verdicts.law_fit import REJECT, _kurtosis, _spread_p, fit_p, same_law_p

STD = 0.1
CUT = stats.truncnorm(-2, 2)

# Drawn by SciPy and NumPy, not by Firstlight.
DRAWS: dict[str, tuple[Law, Callable[[np.random.Generator, tuple[int, int]], Any]]] = {
    "normal": (Normal(std=STD), lambda rng, shape: rng.normal(0, STD, shape)),
    "uniform": (
        Uniform(low=-STD * math.sqrt(3), high=STD * math.sqrt(3)),
        lambda rng, shape: rng.uniform(-STD * math.sqrt(3), STD * math.sqrt(3), shape),
    ),
    "truncated": (
        TruncatedNormal(std=STD),
        lambda rng, shape: CUT.rvs(shape, random_state=rng) * (STD / CUT.std()),
    ),
    "normal, He": (Normal(std=STD * zoo.HE), lambda rng, shape: rng.normal(0, STD * zoo.HE, shape)),
}


@pytest.mark.parametrize("shape", [(3, 4), (64, 48)])
@pytest.mark.parametrize("name", ["normal", "uniform", "truncated"])
def test_the_true_law_stays_99_times_of_100(name: str, shape: tuple[int, int]) -> None:
    """600 draws for each of six cases, 3,600 in all; the limit is passed by chance 1 in 10⁴."""
    law, draw = DRAWS[name]
    rng = np.random.default_rng(0)
    layout = plain_layout(shape)
    draws = 600
    rejected = sum(
        fit_p(numbers_of(draw(rng, shape).astype(np.float32)), law, layout) < REJECT
        for _ in range(draws)
    )
    assert rejected <= stats.binom.ppf(1 - 1e-4, draws, REJECT)  # 16


@pytest.mark.parametrize("truth", DRAWS)
@pytest.mark.parametrize("wrong", DRAWS)
def test_wrong_laws_go_at_4096_numbers(truth: str, wrong: str) -> None:
    rng = np.random.default_rng(1)
    layout = plain_layout((64, 64))
    law, draw = DRAWS[wrong][0], DRAWS[truth][1]
    kept = sum(fit_p(numbers_of(draw(rng, (64, 64))), law, layout) >= REJECT for _ in range(25))
    assert kept == 0 if truth != wrong else kept >= 23  # P(25 − 23 or more go) < 0.003


def test_a_constant_is_no_law_of_random_numbers() -> None:
    layout = plain_layout((8, 8))
    assert fit_p(numbers_of(np.full((8, 8), 0.5)), Constant(value=0.5), layout) == 1
    assert fit_p(numbers_of(np.full((8, 8), 0.5)), Constant(value=0.25), layout) == 0
    assert fit_p(numbers_of(np.full((8, 8), 0.05)), Normal(std=STD), layout) < REJECT


NAMED: list[tuple[Callable[..., Any], str, str]] = [
    (nn.init.kaiming_normal_, "he_normal", "N(0, 2/fan_in)"),
    (nn.init.kaiming_uniform_, "he_uniform", "U(±√(6/fan_in))"),
    (nn.init.xavier_normal_, "glorot_normal", "N(0, 2/(fan_in + fan_out))"),
    (nn.init.xavier_uniform_, "glorot_uniform", "U(±√(6/(fan_in + fan_out)))"),
    (lambda w: nn.init.normal_(w, std=0.02), "random_normal", "N(0, 0.02²)"),
    (nn.init.zeros_, "zeros", "zeros"),
    (nn.init.ones_, "ones", "ones"),
    (lambda w: nn.init.constant_(w, 0.3), "constant", "constant 0.3"),
    (nn.init.orthogonal_, "orthogonal", "orthogonal × 1"),
    (nn.init.eye_, "identity", "identity × 1"),
]


@pytest.mark.parametrize(("fill", "technique", "words"), NAMED)
def test_known_laws_are_named(fill: Callable[..., Any], technique: str, words: str) -> None:
    layer = nn.Linear(96, 160)
    fill(layer.weight)
    entry = fl.audit(layer)["weight"]
    assert (entry.laws[0].technique, entry.laws[0].words) == (technique, words)
    assert entry.agrees is False and entry.intended == "Linear's default, U(±1/√fan_in)"
    assert entry.std == pytest.approx(float(layer.weight.detach().std(correction=0)), rel=1e-5)


DEFAULTS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(64, 48),
    "Linear 1 → 1": lambda: nn.Linear(1, 1),
    "Conv1d": lambda: nn.Conv1d(8, 16, 3),
    "Conv2d, groups": lambda: nn.Conv2d(8, 16, 3, groups=4),
    "Conv3d": lambda: nn.Conv3d(4, 6, 3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(8, 12, 3, stride=2),
    "BatchNorm2d": lambda: nn.BatchNorm2d(8),
    "LayerNorm": lambda: nn.LayerNorm(8),
    "LSTM": lambda: nn.LSTM(16, 32, 2, bidirectional=True),
    "GRU": lambda: nn.GRU(16, 32),
    "LSTMCell": lambda: nn.LSTMCell(16, 32),
    "MultiheadAttention": lambda: nn.MultiheadAttention(32, 4),
    "MultiheadAttention, other keys": lambda: nn.MultiheadAttention(32, 4, kdim=16, vdim=24),
    "Embedding": lambda: nn.Embedding(50, 16, padding_idx=3),
    "EmbeddingBag": lambda: nn.EmbeddingBag(50, 16),
    "Bilinear": lambda: nn.Bilinear(8, 9, 10, bias=False),
    "BatchNorm1d": lambda: nn.BatchNorm1d(8),
    "nested": lambda: nn.TransformerEncoderLayer(32, 4, 64),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_torchs_defaults_agree_with_themselves(name: str) -> None:
    audits = [fl.audit(DEFAULTS[name]()) for _ in range(5)]
    entries = [entry for audit in audits for entry in audit]
    assert all(entry.intended is not None for entry in entries)
    disagreeing = [entry.name for entry in entries if not entry.agrees]
    assert len(disagreeing) <= stats.binom.ppf(1 - 1e-4, len(entries), REJECT)
    agreeing = [entry for entry in entries if entry.agrees]
    # The level is 1 % for all parameters of a model together; the default may have no name.
    assert all(entry.laws or "default" not in str(entry.intended) for entry in agreeing)
    assert all(entry.intended.endswith(entry.laws[0].words) for entry in agreeing)


def test_the_padding_row_is_left_out() -> None:
    embedding = nn.Embedding(5, 2000, padding_idx=3)  # a fifth of its numbers is zero
    assert fl.audit(embedding)["weight"].agrees
    with torch.no_grad():
        embedding.weight[2] = 0
    assert fl.audit(embedding)["weight"].agrees is False


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_agrees_with_nothing(value: float) -> None:
    layer = nn.Linear(8, 8)
    layer.weight.data[2, 3] = value
    entry = fl.audit(layer)["weight"]
    assert entry.agrees is False and entry.laws == ()
    layer.weight.data.fill_(value)
    assert fl.audit(layer)["weight"].agrees is False


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_few_numbers_reject_the_true_law_as_rarely(n: int) -> None:
    """Limits for large n would be too narrow here; 1,000 draws, passed by chance 1 in 10⁴."""
    rng = np.random.default_rng(n)
    layout = plain_layout((n,))
    level = 1e-3
    for law, draw in DRAWS.values():
        rejected = sum(
            fit_p(numbers_of(draw(rng, (n, 1))), law, layout, level=level) < level
            for _ in range(1000)
        )
        assert rejected <= stats.binom.ppf(1 - 1e-4, 1000, level)  # 6


@pytest.mark.parametrize("n", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("name", ["normal", "uniform", "truncated"])
def test_the_spread_is_judged_on_the_safe_side(name: str, n: int) -> None:
    """Of 200,000 draws, those below a level; 4 standard errors are passed 3 times in 10⁵."""
    law, draw = DRAWS[name]
    draws, kurtosis = 200_000, _kurtosis(law)  # type: ignore[arg-type]
    ratios = np.sort(np.mean(draw(np.random.default_rng(n), (draws, n)) ** 2, axis=1)) / STD**2
    for level in (1e-2, 1e-3):
        low = bisect.bisect(
            range(draws // 2), 0, key=lambda i: _rises(ratios[i], n, kurtosis, level)
        )
        high = bisect.bisect(
            range(draws // 2), 0, key=lambda i: _rises(ratios[-1 - i], n, kurtosis, level)
        )
        assert low + high <= draws * level + 4 * math.sqrt(draws * level)


def _rises(ratio: float, n: int, kurtosis: float, level: float) -> int:
    """0 while a mean of squares is rejected, 1 from where it is not."""
    return int(_spread_p(float(ratio), n, kurtosis) >= level)


def test_the_gamma_has_the_kurtosis_of_the_law() -> None:
    for law, draw in DRAWS.values():
        values = draw(np.random.default_rng(0), (1000, 1000)).reshape(-1)
        assert _kurtosis(law) == pytest.approx(stats.kurtosis(values, fisher=False), rel=0.01)  # type: ignore[arg-type]


def test_most_rows_orthonormal_is_not_orthogonal() -> None:
    layer = nn.Linear(64, 64)
    nn.init.orthogonal_(layer.weight)
    layer.weight.data[40] = layer.weight.data[41]
    assert "orthogonal" not in str(fl.audit(layer)["weight"].laws)


def test_two_samples_of_one_law_pass_and_of_others_do_not() -> None:
    rng = np.random.default_rng(3)
    for size in (50, 4000):  # exact and in the limit
        same = [
            same_law_p(*(numbers_of(rng.laplace(size=size)) for _ in range(2))) for _ in range(200)
        ]
        assert sum(p < REJECT for p in same) <= stats.binom.ppf(1 - 1e-4, 200, REJECT)  # 9
        other = same_law_p(numbers_of(rng.laplace(size=size)), numbers_of(rng.normal(3, 1, size)))
        assert other < 1e-6


def test_numbers_are_those_of_the_whole_tensor() -> None:
    values = np.random.default_rng(0).normal(3, 0.1, (700, 1000)).astype(np.float32)
    values[5, 7] = 0.0
    read = numbers_of(values)
    wide = values.astype(np.float64)
    assert read.size == values.size > SAMPLE == len(read.sample)
    assert read.mean == pytest.approx(wide.mean(), rel=1e-12)
    assert read.std == pytest.approx(wide.std(), rel=1e-10)
    assert (read.low, read.high, read.zeros) == (0.0, wide.max(), 1)
    values[600, 3] = np.nan
    assert numbers_of(values).non_finite == 1 and math.isnan(numbers_of(values).mean)


def test_the_sample_favours_no_column() -> None:
    chosen = positions(1000 * 1024, 102_400)
    assert len(set(chosen.tolist())) == len(chosen)
    columns = np.bincount(chosen % 1024, minlength=1024)
    assert columns.min() >= 90 and columns.max() <= 110  # equal short steps hit every tenth only


def test_an_unknown_law_is_described() -> None:
    layer = nn.Linear(64, 64)
    nn.init.normal_(layer.weight, mean=0.5, std=0.37)
    best = fl.audit(layer)["weight"].laws[0]
    assert best.technique is None and best.words.startswith("N(0.")
    layer.weight.data = torch.distributions.Laplace(0, 1).sample((64, 64))
    assert fl.audit(layer)["weight"].laws == ()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_audited(dtype: torch.dtype) -> None:
    assert fl.audit(nn.Linear(48, 32).to(dtype))["weight"].agrees


def test_what_firstlight_draws_is_recognised() -> None:
    model = zoo.mlp(2)
    fl.plan(model, zoo.vectors(0), technique="lecun_truncated_normal").apply(model, seed=3)
    audit = fl.audit(model)
    assert audit["0.weight"].laws[0].technique == "lecun_truncated_normal"
    assert audit["2.bias"].laws[0].words == "zeros"
    deep = zoo.mlp(12)
    fl.plan(deep, zoo.vectors(0)).apply(deep, seed=3)
    assert fl.audit(deep)["4.weight"].laws[0].technique == "mirrored"


def test_equal_laws_are_all_kept() -> None:
    """On a square matrix Glorot's law is LeCun's."""
    layer = nn.Linear(64, 64)
    nn.init.xavier_normal_(layer.weight)
    names = {fit.technique for fit in fl.audit(layer)["weight"].laws}
    assert {"glorot_normal", "lecun_normal"} <= names and "he_normal" not in names


def test_unknown_parameters_have_no_intention() -> None:
    entry = fl.audit(zoo.lora())["0.a"]
    assert entry.intended is None and entry.agrees is None
