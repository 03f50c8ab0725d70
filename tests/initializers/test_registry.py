"""The registry: names, texts, options, and errors by their words."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import BadInputError
from firstlight.initializers import Technique, technique, techniques
from firstlight.initializers.technique import NO_FANS_NEEDED
from firstlight.records.network import Fans, Layout, plain_layout

VECTOR = plain_layout((64,))
MATRIX, SPREAD = plain_layout((64, 32)), Fans(forward=32, backward=64)


def test_names_and_aliases_are_unique() -> None:
    names = [n for t in techniques() for n in (t.name, *t.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("xavier_normal", "glorot_normal"),
        ("xavier_uniform", "glorot_uniform"),
        ("kaiming_normal", "he_normal"),
        ("kaiming_uniform", "he_uniform"),
        ("looks_linear", "mirrored"),
        ("jax_dense", "flax_dense"),
    ],
)
def test_aliases(alias: str, name: str) -> None:
    assert technique(alias) is technique(name)


@pytest.mark.parametrize("entry", techniques(), ids=lambda t: t.name)
def test_every_text_is_there(entry: Technique) -> None:
    for field in ("title", "formula", "assumptions", "source", "suits", "not_suits", "differs"):
        text = getattr(entry, field)
        assert text and text == text.strip(), field
        assert "{" not in text and "  " not in text, field
    assert (entry.defaults_of is None) == (
        entry.name.split("_")[0] not in ("torch", "keras", "flax")
    )


def test_a_technique_cannot_be_changed() -> None:
    entry = technique("he_normal")
    with pytest.raises(FrozenInstanceError):
        entry.name = "she_normal"  # type: ignore[misc]
    with pytest.raises(TypeError):
        entry.options["slope"] = 1.0  # type: ignore[index]
    assert entry.with_options(slope=0.5) is not entry
    assert technique("he_normal").options["slope"] == 0.0
    assert len({hash(t) for t in techniques()}) == len(techniques())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("he_norml", {}, "technique: none is called 'he_norml'; did you mean 'he_normal'"),
        ("HE_NORMAL", {}, "did you mean 'he_normal'"),
        ("qqqq", {}, "known: activation_gain, chrono, constant"),
        ("he_normal", {"slop": 0.1}, "he_normal: no option 'slop'; did you mean 'slope'?"),
        ("zeros", {"value": 1}, "zeros: no option 'value'; it takes none"),
        (
            "he_normal",
            {"mode": "fan_inn"},
            "he_normal: mode must be one of fan_in, fan_out, fan_avg, got 'fan_inn'",
        ),
        ("he_normal", {"slope": "0.1"}, "he_normal: slope must be a number, got '0.1'"),
        ("he_normal", {"slope": True}, "he_normal: slope must be a number, got True"),
        ("mirrored", {"inputs": 0}, "mirrored: inputs must be True or False, got 0"),
        ("torch_bias", {"fan_in": "3"}, "torch_bias: fan_in must be a number, got '3'"),
    ],
)
def test_wrong_names_and_options(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        technique(name, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("random_normal", {"std": -1.0}, "random_normal: Normal: std must be zero or positive"),
        ("random_uniform", {"low": 2.0}, "high must be at least low = 2"),
        ("constant", {"value": float("nan")}, "constant: Constant: value must be a finite number"),
        ("variance_scaling", {"scale": 0.0}, "scale must be positive, got 0; for zeros use zeros"),
        ("activation_gain", {"q": 0.0}, "activation_gain: q (second moment of the pre-activation)"),
        ("activation_gain", {"activation": "gleu"}, "activation_gain: activation: unknown name"),
        ("flax_embed", {}, "flax_embed: is for embeddings (axes index, out)"),
        ("torch_conv", {}, "use torch_linear or torch_bias"),
        ("torch_bias", {}, "torch_bias: is for biases"),
        ("mirrored", {"inputs": False, "outputs": False}, "set inputs, outputs or both"),
    ],
)
def test_wrong_values_and_tensors(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        technique(name).law_for(MATRIX, SPREAD, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("entry", [t for t in techniques() if t.needs_fans], ids=lambda t: t.name)
def test_a_vector_is_told_what_it_may_take(entry: Technique) -> None:
    with pytest.raises(BadInputError) as caught:
        entry.law_for(VECTOR, None)
    assert str(caught.value) == (
        f"{entry.name}: divides by a fan, and a tensor of shape (64,) with axes (out) has none;"
        f" use {NO_FANS_NEEDED}"
    )


def test_what_the_error_offers_to_vectors_works() -> None:
    offered = [t for t in techniques() if t.name in NO_FANS_NEEDED.replace(",", " ").split()]
    assert len(offered) == 7
    for entry in offered:
        options = {"fan_in": 10} if entry.name == "torch_bias" else {}
        entry.law_for(VECTOR, None, **options)


def test_an_empty_fan_is_an_error_not_an_infinity() -> None:
    empty = Layout(shape=(4, 0), view=(4, 0), roles=("out", "in"))
    for name in ("he_normal", "torch_linear"):
        with pytest.raises(BadInputError, match="takes zeros"):
            technique(name).law_for(empty, Fans(forward=0, backward=4))


@given(fan_in=st.integers(1, 10**6), fan_out=st.integers(1, 10**6))
def test_identities_between_techniques(fan_in: int, fan_out: int) -> None:
    spread = Fans(forward=fan_in, backward=fan_out)

    def std(name: str, **options: Any) -> float:
        return technique(name).law_for(MATRIX, spread, **options).std  # type: ignore[union-attr]

    nine = 1.3e-8  # laws keep nine digits: 5e-9 for each side, √2 of it for a multiple
    assert std("he_normal") == pytest.approx(2**0.5 * std("lecun_normal"), rel=nine)
    assert std("lecun_normal") == std("xavier_fan_in_normal")
    assert std("he_normal", slope=1.0) == pytest.approx(std("lecun_normal"), rel=nine)
    assert std("he_normal", mode="fan_avg") == pytest.approx(
        2**0.5 * std("glorot_normal"), rel=nine
    )
    lower, upper = sorted((std("he_normal"), std("he_normal", mode="fan_out")))
    assert lower <= std("he_normal", mode="fan_avg") <= upper
    assert std("variance_scaling", scale=2.0) == pytest.approx(std("he_truncated_normal"), rel=nine)


def test_the_registry_loads_neither_scipy_nor_a_framework() -> None:
    code = (
        "import sys, firstlight.initializers as i; i.techniques(); i.technique('he_normal');"
        "print([m for m in ('scipy', 'torch', 'keras', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
