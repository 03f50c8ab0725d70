"""The published test vectors: each table row of docs/addresses.md, recomputed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from firstlight.laws import quantile
from firstlight.laws.addresses import stream_key
from firstlight.laws.draw import draw
from firstlight.laws.philox import words
from firstlight.records.law import Linked, Normal, TruncatedNormal, Uniform
from firstlight.records.patterned import Hadamard, Mimetic, PaddedIdentity, Sinusoidal

PAGE = Path(__file__).parents[2] / "docs" / "addresses.md"
LAWS = {
    str(law): law
    for law in (
        Normal(std=0.02),
        Uniform(low=-0.125, high=0.125),
        TruncatedNormal(std=0.02),
        Normal(mean=1, std=0.5),
    )
}

_QK = {"alpha": 0.7, "beta": 0.7, "heads": 2, "pair": "attn.q_proj.weight"}
_VO = {"alpha": 0.4, "beta": -0.4, "pair": "attn.v_proj.weight"}
MATRICES = {
    str(law): law
    for law in (
        Hadamard(),
        PaddedIdentity(noise=1e-6),
        Sinusoidal(std=0.5),
        *(
            Linked(before="fc1.weight", after="fc2.weight", inputs=both, outputs=both)
            for both in (False, True)
        ),
        *(Mimetic(part=part, **_QK) for part in ("query", "key")),
        *(Mimetic(part=part, **_VO) for part in ("value", "output")),
    )
}


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return cells[2:]


def _empty(cell: str) -> str:
    return "" if cell == "–" else cell


@pytest.mark.parametrize("row", _rows("## 3. Key"), ids=lambda row: row[1] + row[3])
def test_keys(row):
    seed, name, namespace, stack, stream, key = row
    found = stream_key(
        int(seed), name, namespace=_empty(namespace), stack=_empty(stack), stream=stream
    )
    assert " ".join(f"{word:08x}" for word in found) == key.replace("`", "")


def test_words():
    rows = _rows("## 4. Bits")
    table = words(stream_key(0, "fc1.weight"), range(2), range(6))
    assert len(rows) == 2
    for row in rows:
        assert [f"{word:08x}" for word in table[int(row[0])]] == row[1:]


def test_coefficients():
    rows = [row for row in _rows("## 5. From a word") if re.fullmatch(r"\d", row[0])]
    assert len(rows) == len(quantile._NUMERATOR)
    for row in rows:
        k = int(row[0])
        assert float.fromhex(row[1]) == quantile._NUMERATOR[k]
        if row[2] != "–":
            assert float.fromhex(row[2]) == quantile._DENOMINATOR[k]


def test_quantiles():
    rows = [row for row in _rows("## 5. From a word") if re.fullmatch(r"[0-9a-f]{8}", row[0])]
    assert len(rows) == 6
    for word, fraction, z, _ in rows:
        u = quantile.signed_fraction(np.array([int(word, 16)], np.uint32))
        assert float(u[0]) == float.fromhex(fraction)
        assert float(quantile.normal_quantile(u)[0]) == float.fromhex(z)


@pytest.mark.parametrize("row", _rows("## 6. From a quantile"), ids=lambda row: row[0])
def test_values(row):
    values = draw(LAWS[row[0]], (2, 3), name="fc1.weight", seed=0)
    bits = " ".join(f"{word:08x}" for word in values.view(np.uint32).ravel())
    assert bits == row[1].replace("`", "")


def test_every_law_of_the_tables_is_there():
    assert {row[0] for row in _rows("## 6. From a quantile")} == set(LAWS)
    assert {row[0] for row in _rows("## 7. Laws of whole")} == set(MATRICES)


@pytest.mark.parametrize("row", _rows("## 7. Laws of whole"), ids=lambda row: row[0])
def test_matrices(row):
    shape = tuple(int(size) for size in row[1].strip("()").split(","))
    values = draw(MATRICES[row[0]], shape, name="fc1.weight", seed=0).ravel()
    cells = row[2].replace("`", "").split()
    if all(re.fullmatch(r"[0-9a-f]{8}", cell) for cell in cells):
        assert [f"{word:08x}" for word in values.view(np.uint32)] == cells
    else:
        assert np.allclose(values, [float(cell) for cell in cells], rtol=0, atol=1e-6)
