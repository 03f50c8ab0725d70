"""`predict`: the tables' values, every kind of network, and one clear line for bad input."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

import firstlight as fl
from firstlight.cli.app import run
from firstlight.errors import BadInputError, InfeasibleError
from firstlight.records.codec import from_json, to_json
from firstlight.records.network import ActivationRef
from firstlight.records.prediction import Prediction
from firstlight.theory.mean_field import chi, fixed_length

sys.path.append(str(Path(__file__).parents[1] / "theory"))
from theory_tables import CONSTANTS, EDGE, OFF_THE_EDGE, printed


@pytest.mark.parametrize("row", OFF_THE_EDGE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_fixed_points_and_scales_of_the_table(row):
    said = fl.predict("tanh", depth=5, sigma_w2=float(row[0]), sigma_b2=float(row[1]))
    found = (
        said.fixed_length,
        said.chi,
        said.length_slope,
        said.xi_length,
        said.fixed_correlation,
        said.xi_correlation,
        said.xi_gradient,
    )
    for value, text in zip(found, row[2:], strict=True):
        expected, tolerance = printed(text)
        # The kernel between stored lengths is good to 1e-6 of K(1).
        assert value == pytest.approx(expected, abs=tolerance, rel=2e-6)


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "selu", "softplus", "sin"])
def test_gains_and_edge_of_the_tables(name):
    said = fl.predict(name, depth=2)
    row = next(row for row in CONSTANTS if row[0] == name)
    found = (said.forward_gain, said.centered_gain, said.backward_gain)
    for value, text in zip(found, row[6:9], strict=True):
        expected, tolerance = printed(text)
        assert value == pytest.approx(expected, abs=tolerance)
    edge = next((row for row in EDGE if row[0] == name), None)
    if edge is None:
        assert said.edge is None and "sigma_b2 would be -2.14" in said.edge_note
    else:
        assert said.edge == pytest.approx((float(edge[2]), float(edge[3])), abs=1e-7)
        assert ("unstable" in said.edge_note) == (float(edge[4]) > 1)


def test_pytorchs_default_sinks_to_the_floor_of_its_biases():
    said = fl.predict("relu", width=256, depth=5, technique="torch_linear", length=2.0)
    # U(±1/√fan_in) for both: σ_w² = 1/3, σ_b² = 1/(3·256), χ = 1/6, floor σ_b²·6/5.
    assert said.sigma_w2 == pytest.approx(1 / 3) and said.sigma_b2 == pytest.approx(1 / 768)
    assert said.fixed_length == pytest.approx(0.0015625)
    expected = [2.0]
    for _ in range(4):
        expected.append(expected[-1] / 6 + 1 / 768)
    assert said.profile.second_moment == pytest.approx(expected)


def test_a_mirrored_start_carries_gelu_to_any_depth_and_an_orthogonal_one_does_not():
    mirrored = fl.predict("gelu", technique="mirrored", depth=1000)
    assert mirrored.chi == 1 and math.isinf(mirrored.trainable.layers) and mirrored.limit is None
    assert mirrored.profile.delta_square[0] == 1 and mirrored.profile.alike[-1] == 0.9
    orthogonal = fl.predict("gelu", technique="orthogonal", depth=100)
    assert orthogonal.sigma_w2 == 1 and orthogonal.limit is not None
    with pytest.raises(BadInputError, match="tanh is odd, and mirrored units would stay twins"):
        fl.predict("tanh", technique="mirrored")


def test_the_planners_start_is_told_beside_every_plain_chain():
    said = fl.predict("elu", depth=1000)
    assert said.instead.law.startswith("mirrored") and said.instead.length < 0.1
    assert said.instead.delta_square_ratio < 3.1 < said.profile.delta_square[0]
    assert fl.predict("elu", norm="layer", depth=3).instead is None
    assert fl.predict(np.sign, depth=3).instead is None


def test_the_phase_diagram_agrees_with_the_fixed_point_and_holds_the_edge():
    said = fl.predict("tanh", depth=2, sigma_w2=2.5, sigma_b2=0.05)
    phase = said.phase
    column = min(range(len(phase.sigma_w2)), key=lambda i: abs(phase.sigma_w2[i] - 2.5))
    row = min(range(len(phase.sigma_b2)), key=lambda i: abs(phase.sigma_b2[i] - 0.045))
    q = fixed_length("tanh", 2.5, phase.sigma_b2[row])
    assert phase.chi[row][column] == pytest.approx(chi("tanh", q, 2.5), rel=3e-3)
    assert phase.fixed_length[row][column] == pytest.approx(q, rel=1e-2)
    edge = {round(q, 6): (w, b) for w, b, q in phase.edge}
    assert edge[1.0] == pytest.approx((2.15330265, 0.15096463), abs=1e-7)
    for w, b, _ in phase.edge[5:-1:5]:
        assert chi("tanh", fixed_length("tanh", w, b), w) == pytest.approx(1)


def test_any_function_and_any_form_of_name_will_do():
    named = fl.predict("softplus", depth=20)
    unseen = fl.predict(lambda x: np.logaddexp(0, x), depth=20)
    assert unseen.profile.delta_square == pytest.approx(named.profile.delta_square, rel=1e-6)
    assert unseen.trainable == named.trainable
    leaky = fl.predict("LeakyReLU", parameter=0.2, depth=2)
    assert leaky == fl.predict(ActivationRef(name="leaky_relu", parameter=0.2), depth=2)
    assert leaky.forward_gain == pytest.approx(1.38675049)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"depth": 0}, "depth must be 1 to 100,000, got 0"),
        ({"depth": 2.5}, "depth must be a whole number"),
        ({"width": -1}, "width must be 1 to"),
        ({"sigma_w2": 0.0}, "sigma_w2 is a second moment, must be positive"),
        ({"sigma_w2": math.nan}, "sigma_w2 must be a finite number"),
        ({"sigma_b2": -1.0}, "sigma_b2 is a variance"),
        ({"sigma_w2": 2.0, "technique": "he_normal"}, "give one of them"),
        ({"technique": "zeros"}, "is not random"),
        ({"technique": "he_norml"}, "did you mean"),
        ({"norm": "group"}, "norm must be 'batch', 'layer' or None"),
        ({"skip": -1.0}, "skip must be True or a positive"),
        ({"dropout": 1.0}, "dropout is a rate"),
        ({"length": "long"}, "length must be a finite number"),
        ({"parameter": 0.1}, "takes no parameter"),
    ],
    ids=str,
)
def test_bad_input_gets_one_clear_line(options, match):
    with pytest.raises(BadInputError, match=match) as caught:
        fl.predict("relu", **options)
    assert "\n" not in str(caught.value)


def test_what_no_start_can_keep_is_infeasible():
    with pytest.raises(InfeasibleError, match="no sigma_w2 keeps"):
        fl.predict("relu", sigma_b2=1.5)


@pytest.mark.parametrize(
    "options",
    [{}, {"norm": "batch", "dropout": 0.1}, {"skip": True}, {"sigma_w2": 3.0}, {"sigma_w2": 0.1}],
    ids=str,
)
def test_predictions_round_trip_and_print(options):
    said = fl.predict("gelu", depth=250, **options)
    assert from_json(to_json(said)) == said
    assert str(said).startswith("gelu, 250 ")
    assert len(said.profile.layers) == 200 and said.profile.layers[-1] == 250


def test_the_command_prints_writes_and_refuses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["predict", "softplus", "--depth", "30", "--html", "theory.html"]) == 0
    printed_text = capsys.readouterr().out
    assert "beyond which the gradient is lost" in printed_text
    assert "the mirrored start with gain 1" in printed_text
    assert "Phase diagram" in (tmp_path / "theory.html").read_text(encoding="utf-8")
    assert run(["predict", "relu", "--skip", "1", "--norm", "layer", "--json"]) == 0
    said = from_json(capsys.readouterr().out)
    assert isinstance(said, Prediction) and said.skip == 1 and said.norm == "layer"
    assert run(["predict", "sofplus"]) == 2
    assert "did you mean 'softplus'" in capsys.readouterr().err
