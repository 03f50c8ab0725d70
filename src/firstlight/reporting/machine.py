"""Checkups for machines: SARIF 2.1.0 for code scanning, JUnit XML for test reports."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from xml.etree import ElementTree

from firstlight.records.checkup import FINDING_KINDS, Checkup, Finding

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "note": "note"}


def _sentence(finding: Finding) -> str:
    where = ", ".join(finding.where[:3]) + (" …" if len(finding.where) > 3 else "")
    return f"{where}: {finding.evidence}. {finding.cause}."


def to_sarif(checkup: Checkup, *, uri: str = "", line: int = 1) -> str:
    """A checkup as a SARIF log, which GitHub's code scanning and editors read.

    Rules are the kinds of finding, results the findings; the operation's name is a logical
    location, the factory's file the physical one.

    Args:
        checkup: what was found.
        uri: of the file that builds the model, relative to the repository's root; empty if none.
        line: of the factory in it, from 1.

    Returns:
        JSON.
    """
    kinds = sorted({finding.kind for finding in checkup.walk()})
    results = []
    for finding in checkup.walk():
        name = checkup.network.name
        location: dict[str, object] = {
            "logicalLocations": [
                {"fullyQualifiedName": f"{name}.{where}", "kind": "member"}
                for where in finding.where[:10]
            ]
        }
        if uri:
            location["physicalLocation"] = {
                "artifactLocation": {"uri": uri},
                "region": {"startLine": line},
            }
        print_ = "/".join((name, finding.kind, *finding.where[:1]))
        results.append(
            {
                "ruleId": finding.kind,
                "ruleIndex": kinds.index(finding.kind),
                "level": _LEVELS[finding.severity],
                "message": {"text": f"{_sentence(finding)} Cure: {finding.cure}"},
                "locations": [location],
                # So that a finding is the same one in the next run, whatever the line.
                "partialFingerprints": {
                    "firstlight/v1": hashlib.sha256(print_.encode()).hexdigest()[:32]
                },
            }
        )
    rules = [{"id": kind, "shortDescription": {"text": kind.replace("-", " ")}} for kind in kinds]
    driver = {"name": "Firstlight", "version": version("firstlight"), "rules": rules}
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, indent=1, ensure_ascii=False)


def to_junit(checkup: Checkup) -> str:
    """A checkup as a JUnit test suite: one case for each kind of finding, failed by its errors.

    Args:
        checkup: what was found; warnings and notes stand in the output of their case.

    Returns:
        XML.
    """
    by_kind: dict[str, list[Finding]] = {kind: [] for kind in FINDING_KINDS}
    for finding in checkup.walk():
        by_kind.setdefault(finding.kind, []).append(finding)
    failed = {k for k, of in by_kind.items() if any(f.severity == "error" for f in of)}
    suite = ElementTree.Element(
        "testsuite",
        name=f"firstlight.{_clean(checkup.network.name)}",
        tests=str(len(by_kind)),
        failures=str(len(failed)),
        errors="0",
    )
    for kind, findings in by_kind.items():
        case = ElementTree.SubElement(suite, "testcase", classname=suite.attrib["name"], name=kind)
        text = _clean("\n".join(f"{f.severity}: {_sentence(f)}\n{f.cure}" for f in findings))
        if kind in failed:
            first = next(f for f in findings if f.severity == "error")
            message = _clean(_sentence(first))
            ElementTree.SubElement(case, "failure", message=message, type=kind).text = text
        elif findings:
            ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return "".join(
        sign
        if sign in "\t\n"
        or " " <= sign < "\ud800"
        or "\ue000" <= sign < "\ufffe"
        or sign > "\uffff"
        else "�"
        for sign in text
    )
