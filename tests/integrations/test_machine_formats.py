"""SARIF and JUnit, as the command line writes them and others read them."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.cli.app import run
from firstlight.records.checkup import FINDING_KINDS
from firstlight.reporting.machine import to_junit, to_sarif

MODELS = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))
    nn.init.zeros_(model[0].weight)
    return model


def healthy():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))


def labels():
    return torch.arange(64) % 3
"""


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def broken():
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("<b>\x00]]>", nn.Linear(20, 32))
    model.add_module("relu", nn.ReLU())
    model.add_module("head", nn.Linear(32, 3))
    nn.init.zeros_(model[0].weight)
    return fl.check(model, torch.randn(64, 20), target=torch.arange(64) % 3)


def test_the_command_writes_both_and_its_status_is_that_of_a_hook(models):
    files = ["--sarif", "out.sarif", "--junit", "out.xml", "--quiet"]
    asked = ["--input", "64x20", "--target", "labels", *files]
    assert run(["check", "models.py:build", *asked]) == 1
    log = json.loads((models / "out.sarif").read_text())
    place = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "models.py"}, "region": {"startLine": 6}}
    suite = ElementTree.parse(models / "out.xml").getroot()
    assert int(suite.attrib["failures"]) >= 1
    assert run(["check", "models.py:healthy", *asked]) == 0
    suite = ElementTree.parse(models / "out.xml").getroot()
    assert suite.attrib["failures"] == "0"


def test_sarif_has_what_its_readers_ask_for():
    checkup = broken()
    log = json.loads(to_sarif(checkup, uri="models.py", line=3))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (one,) = log["runs"]
    rules = [rule["id"] for rule in one["tool"]["driver"]["rules"]]
    assert rules == sorted(set(rules))
    assert set(rules) <= set(FINDING_KINDS)
    assert one["results"]
    for result in one["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        assert result["locations"][0]["logicalLocations"]
    levels = {result["level"] for result in one["results"]}
    assert ("error" in levels) is not checkup.healthy


def test_a_finding_keeps_its_fingerprint_when_lines_move():
    prints = [
        [
            r["partialFingerprints"]
            for r in json.loads(to_sarif(broken(), uri="m.py", line=n))["runs"][0]["results"]
        ]
        for n in (1, 99)
    ]
    assert prints[0] == prints[1]
    assert len({tuple(p.values()) for p in prints[0]}) == len(prints[0])


def test_junit_is_xml_whatever_a_name_holds():
    checkup = broken()
    suite = ElementTree.fromstring(to_junit(checkup))
    cases = {case.attrib["name"]: case for case in suite}
    assert set(cases) == set(FINDING_KINDS)
    failed = {name for name, case in cases.items() if case.find("failure") is not None}
    assert len(failed) == int(suite.attrib["failures"])
    assert failed == {f.kind for f in checkup.findings if f.severity == "error"} | {
        c.kind for f in checkup.findings for c in f.consequences if c.severity == "error"
    }
