"""The audit names fixed patterns, and what only looks like one it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.initializers import technique
from firstlight.initializers.mimetic import mimetic_laws
from firstlight.laws.draw import draw
from firstlight.records.law import Constant, Listed, Normal, Stacked
from firstlight.records.network import Layout, plain_layout
from firstlight.verdicts.audit_numbers import numbers_of
from firstlight.verdicts.audit_structure import structure_of
from firstlight.verdicts.law_fit import REJECT, fit_p

LAYERS = {
    "wide": lambda: nn.Linear(20, 9, bias=False),
    "square": lambda: nn.Linear(16, 16, bias=False),
    "tall": lambda: nn.Linear(9, 20, bias=False),
    "isometry": lambda: nn.Linear(9, 32, bias=False),
    "kernel": lambda: nn.Conv2d(6, 20, 3, bias=False),
    "grouped": lambda: nn.Conv2d(12, 40, 3, groups=2, bias=False),
    "transposed": lambda: nn.ConvTranspose1d(6, 20, 3, bias=False),
}


def audited(layer: nn.Module, name: str, dtype: torch.dtype = torch.float32, **options):
    """What the audit says of a layer that a technique has filled."""
    with torch.no_grad():
        parameter = fl.audit(layer)["weight"]
        law = technique(name, **options).law_for(parameter.layout, _fans(parameter.layout))
        layer.weight.copy_(torch.from_numpy(draw(law, parameter.layout, name="w", seed=0)))
    return fl.audit(layer.to(dtype))["weight"]


def _fans(layout: Layout):
    from firstlight.theory.fans import fans

    return fans(layout)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("zero_hadamard", {}),
        ("idinit", {}),
        ("idinit", {"noise": 0.0, "gain": 3.0}),
        ("sinusoidal", {}),
    ],
)
def test_a_technique_is_called_by_its_name(layer, name, options):
    entry = audited(LAYERS[layer](), name, **options)
    wide = layer in ("wide", "square")
    plain = (name == "zero_hadamard" and wide) or (options and layer == "square")
    assert [(fit.technique, fit.p_value) for fit in entry.laws] == [
        ("identity" if plain else name, 1.0)
    ]


@pytest.mark.parametrize("name", ["zero_hadamard", "idinit", "sinusoidal"])
def test_sixteen_bits_are_enough(name):
    entry = audited(LAYERS["tall"](), name, torch.bfloat16)
    assert [fit.technique for fit in entry.laws] == [name]


@pytest.mark.parametrize("layer", ["tall", "isometry", "kernel"])
@pytest.mark.parametrize("name", ["zero_hadamard", "idinit", "sinusoidal"])
@pytest.mark.parametrize("where", [0, -1])
def test_one_changed_element_is_another_law(layer, name, where):
    module = LAYERS[layer]()
    audited(module, name)
    with torch.no_grad():
        module.weight.view(-1)[where] += 0.5
    found = fl.audit(module)["weight"].laws
    assert name not in [fit.technique for fit in found]


def test_random_numbers_and_random_signs_have_no_pattern():
    rng = np.random.default_rng(0)
    for shape in ((8, 4), (3, 5), (40, 20), (20, 40)):
        for values in (rng.normal(size=shape), rng.choice([-1.0, 1.0], shape)):
            assert structure_of(values.astype(np.float32), plain_layout(shape)) is None
    six_signs = np.array([[1, 1], [1, -1], [1, 1]], np.float32)  # one of 32 patterns
    assert structure_of(six_signs, plain_layout((3, 2))) is None


def test_the_forget_bias_is_seen():
    layer = nn.LSTM(3, 5)
    with torch.no_grad():
        layer.bias_ih_l0.copy_(torch.tensor([0.0, 1, 0, 0]).repeat_interleave(5))
    (fit,) = fl.audit(layer)["bias_ih_l0"].laws
    assert fit.law == Stacked(laws=tuple(Constant(value=v) for v in (0, 1, 0, 0)))
    with torch.no_grad():
        layer.bias_ih_l0[7] = 0.9
    found = fl.audit(layer)["bias_ih_l0"].laws
    assert not any(isinstance(fit.law, Stacked) for fit in found)


def test_fit_of_given_numbers_and_of_stacks():
    layout = Layout(shape=(8, 30), view=(2, 4, 30), roles=("gate", "out", "in"))
    law = Stacked(laws=(Normal(std=1.0), Normal(std=3.0)))
    values = draw(law, layout, name="w", seed=0)
    turned = Stacked(laws=law.laws[::-1])
    half = Stacked(laws=(law.laws[0], law.laws[0]))
    fits = [
        fit_p(numbers_of(values), one, layout, values=values) >= REJECT
        for one in (law, turned, half)
    ]
    assert fits == [True, False, False]
    assert fit_p(numbers_of(values), Stacked(laws=law.laws[:1]), layout, values=values) == 0
    given = np.array([0.1, -0.2, 0.3], np.float32)
    right = Listed(values=(0.1, -0.2, 0.3))
    assert fit_p(numbers_of(given), right, plain_layout((3,)), values=given) == 1
    for wrong in ((0.1, -0.2, 0.301), (0.1, -0.2), (0.3, -0.2, 0.1)):
        assert fit_p(numbers_of(given), Listed(values=wrong), plain_layout((3,)), values=given) == 0


def test_mimetic_weights_can_be_audited():
    """A factor shows no law that has a name; nothing else than that is said."""
    layers = nn.ModuleDict({p: nn.Linear(32, 32, bias=False) for p in "qkvo"})
    square = plain_layout((32, 32))
    names = {"query": "q", "key": "k", "value": "v", "output": "o"}
    laws = mimetic_laws(
        **{part: (f"{short}.weight", square) for part, short in names.items()}, heads=4
    )
    with torch.no_grad():
        for short in layers:
            name = f"{short}.weight"
            layers[short].weight.copy_(
                torch.from_numpy(draw(laws[name], square, name=name, seed=0))
            )
    audit = fl.audit(layers)
    assert {entry.name for entry in audit} == set(laws)
    structures = {"orthogonal", "idinit", "sinusoidal", "zero_hadamard", "identity"}
    assert not structures & {fit.technique for entry in audit for fit in entry.laws}
