"""Whatever technique drew a tensor, its law is in the set that the audit names."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from scipy import stats

import firstlight as fl
from firstlight.errors import BadInputError
from firstlight.laws.draw import draw
from firstlight.records.law import (
    Constant,
    DeltaOrthogonal,
    Law,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import Layout, Network, Parameter, plain_layout
from firstlight.records.patterned import PaddedIdentity, Sinusoidal
from firstlight.theory.fans import fans
from firstlight.verdicts.audit_entry import entry_of
from firstlight.verdicts.law_fit import REJECT

SHAPES = 40
NAMES = [technique.name for technique in fl.techniques()]


def random_layout(rng: np.random.Generator) -> Layout:
    """A dense weight, a (grouped) kernel, gates, an embedding or a vector, of random sizes."""
    out, in_ = (int(n) for n in rng.integers(2, 60, 2))
    size = int(rng.integers(1, 4))
    kind = rng.choice(["dense", "kernel", "group", "gate", "qkv", "embedding", "vector"])
    if kind == "dense":
        return Layout(shape=(out, in_), view=(out, in_), roles=("out", "in"))
    if kind == "kernel":
        shape = (out, in_, size, size)
        return Layout(shape=shape, view=shape, roles=("out", "in", "kernel", "kernel"))
    if kind in ("group", "gate", "qkv"):
        stacks = 3 if kind == "qkv" else int(rng.integers(2, 5))
        view = (stacks, out, in_, *((size,) if kind == "group" else ()))
        roles = (str(kind), "out", "in", *(("kernel",) if kind == "group" else ()))
        return Layout(shape=(stacks * out, *view[2:]), view=view, roles=roles)
    if kind == "embedding":
        return Layout(shape=(out, in_), view=(out, in_), roles=("index", "out"))
    return Layout(shape=(out * in_,), view=(out * in_,), roles=("out",))


# Where a framework draws so; elsewhere the same rule would be another law without a name.
AT_HOME = {
    "torch_linear": ("out", "in"),
    "torch_bilinear": None,  # drawn by torch itself in test_audit.py
    "torch_embedding": ("index", "out"),
    "torch_rnn": ("gate", "out", "in"),
    "torch_multihead_packed": ("qkv", "out", "in"),
    "torch_bias": ("out",),
    "forget_bias": None,  # biases of gates: in test_gates.py
    "chrono": None,
    "mimetic": None,  # a factor alone has no law that a tensor shows
}
BIAS_FAN_IN = 30


def parameter(layout: Layout, name: str = "bias") -> Parameter:
    """As a file would describe it: without the class of a module."""
    kind = {"index": "embedding", "out": "bias" if len(layout.shape) == 1 else "weight"}
    return Parameter(
        name=name,
        kind=kind.get(layout.roles[0], "weight"),  # type: ignore[arg-type]
        module="",
        layout=layout,
        fans=fans(layout),
    )


def holds(law: Law, entry: fl.records.plan.AuditEntry) -> bool:
    if isinstance(law, Constant | Normal | Uniform | TruncatedNormal):
        return any(fit.law == law for fit in entry.laws)
    for fit in entry.laws:
        if type(fit.law) is not type(law):
            continue
        if isinstance(law, Sparse):
            kept = np.prod(entry.layout.shape) * (1 - law.zero_fraction)
            return bool(abs(fit.law.std / law.std - 1) < 5 / np.sqrt(2 * kept))  # type: ignore[union-attr]
        if isinstance(law, Sinusoidal):
            return fit.law.std == pytest.approx(law.std, rel=1e-3)  # type: ignore[union-attr]
        if isinstance(law, PaddedIdentity) and law.noise:
            n = np.prod(entry.layout.shape) / 2  # at least so many numbers off the pattern
            noise = pytest.approx(law.noise, rel=5 / np.sqrt(2 * n))
            return fit.law.noise == noise and fit.law.gain == pytest.approx(law.gain)  # type: ignore[union-attr]
        return fit.law.gain == pytest.approx(law.gain, rel=1e-3)  # type: ignore[union-attr]
    return False


def _law(name: str, layout: Layout) -> Law | None:
    if AT_HOME.get(name, layout.roles) != layout.roles:
        return None
    if name == "torch_bias":
        return fl.technique(name).law_for(layout, None, fan_in=BIAS_FAN_IN)
    try:
        law = fl.technique(name).law_for(layout, fans(layout))
    except BadInputError:
        return None
    # On a kernel of one tap the two are one law, called by its plainer name.
    alone = np.prod(layout.kernel) == 1
    return Orthogonal(gain=law.gain) if isinstance(law, DeltaOrthogonal) and alone else law


def test_the_true_law_is_in_the_set_99_times_of_100() -> None:
    """All techniques, 40 random tensors each; the limit is passed by chance 1 in 10⁴."""
    trials, missing = 0, []
    for name in NAMES:
        if AT_HOME.get(name, ()) is None:
            continue
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        tried = 0
        while tried < SHAPES:
            layout = random_layout(rng)
            law = _law(name, layout)
            if law is None:
                continue
            tried += 1
            if not identifiable(law, layout):
                continue
            values = draw(law, layout, name="w", seed=tried)
            beside = plain_layout((layout.shape[0], BIAS_FAN_IN))
            network = Network(name="", framework="", parameters=(parameter(beside, "weight"),))
            entry, _ = entry_of(parameter(layout), values, network, level=REJECT)
            trials += 1
            if not holds(law, entry):
                missing.append((name, layout.view, layout.roles))
    assert trials > 0.7 * SHAPES * len(NAMES)
    assert len(missing) <= stats.binom.ppf(1 - 1e-4, trials, REJECT), missing


def identifiable(law: Law, layout: Layout) -> bool:
    """Whether such a tensor can show its law at all.

    A sparse row of under eight numbers, an orthogonal one of fewer than two rows, or a mirror whose
    half is one row, is also something else.
    """
    stacks, rows, columns = layout.matrix
    if isinstance(law, Sparse):
        kept = round((1 - law.zero_fraction) * columns)
        return columns >= 8 and 0 < kept < columns and rows * stacks >= 4
    if isinstance(law, Constant | Normal | Uniform | TruncatedNormal):
        return True
    return min(layout.out, layout.in_) >= 4


@pytest.mark.parametrize("k", [2, 4, 8])
def test_fans_of_a_shard_are_found(k: int) -> None:
    layout = Layout(shape=(320, 512), view=(320, 512), roles=("out", "in"))
    bound = float(np.sqrt(6 * k / 512))
    values = np.random.default_rng(k).uniform(-bound, bound, (320, 512)).astype(np.float32)
    entry, _ = entry_of(parameter(layout), values, Network(name="", framework=""), level=REJECT)
    shards = [r.text for r in entry.remarks if r.kind == "shard-fans"]
    assert len(shards) == 1 and entry.laws[0].words in shards[0]
    found = entry.laws[0].law
    assert isinstance(found, Uniform) and found.high == pytest.approx(bound)
    assert "of a shard of 1/" in shards[0]


def test_a_whole_layer_is_no_shard() -> None:
    rng = np.random.default_rng(0)
    layout = Layout(shape=(320, 512), view=(320, 512), roles=("out", "in"))
    for std in (np.sqrt(2 / 512), 0.02, 0.137):
        values = rng.normal(0, std, (320, 512)).astype(np.float32)
        entry, _ = entry_of(parameter(layout), values, Network(name="", framework=""), level=REJECT)
        assert entry.remarks == () and entry.laws


@pytest.mark.parametrize("cut", [2.0, 3.0])
@pytest.mark.parametrize("std", [0.02, 0.37])
def test_a_cut_normal_is_told_from_a_whole_one(cut: float, std: float) -> None:
    layout = Layout(shape=(96, 128), view=(96, 128), roles=("out", "in"))
    law = stats.truncnorm(-cut, cut, scale=std)
    values = law.rvs((96, 128), random_state=np.random.default_rng(1)).astype(np.float32)
    entry, _ = entry_of(parameter(layout), values, Network(name="", framework=""), level=REJECT)
    assert entry.laws and all(f"cut at ±{cut:g}σ" in fit.words for fit in entry.laws)
    assert all(isinstance(fit.law, TruncatedNormal) for fit in entry.laws)
