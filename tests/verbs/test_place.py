"""A network's place in the phase diagram: measured, told, and shown on its page."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.cli.app import run
from firstlight.verdicts.place import place_of

MODELS = """
import torch
from torch import nn

def chain():
    torch.manual_seed(0)
    rows = [part for _ in range(10) for part in (nn.Linear(32, 32), nn.Tanh())]
    return nn.Sequential(*rows, nn.Linear(32, 4))

class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.norm = chain(), nn.LayerNorm(4)
    def forward(self, x):
        return self.norm(self.net(x))
"""


def chain(sigma_w2, sigma_b2, activation=nn.Tanh, depth=10, width=128):
    torch.manual_seed(0)
    rows = []
    for _ in range(depth):
        layer = nn.Linear(width, width)
        nn.init.normal_(layer.weight, std=(sigma_w2 / width) ** 0.5)
        nn.init.normal_(layer.bias, std=sigma_b2**0.5)
        rows += [layer, activation()]
    return nn.Sequential(*rows, nn.Linear(width, 4))


def look(model, width=128):
    return fl.check(model, torch.randn(64, width, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("sigma_w2", "sigma_b2"), [(1.0, 0.05), (2.5, 0.05), (4.0, 0.3)])
def test_the_place_is_the_one_that_was_drawn(sigma_w2, sigma_b2):
    said = fl.predict(look(chain(sigma_w2, sigma_b2)))
    assert (said.activation, said.depth, said.width) == ("tanh", 10, 128)
    # The mean square of 128² normal values is within √(2/128²) = 1.1 % (one σ), of 128 within 12 %;
    # medians of ten are closer.
    assert said.sigma_w2 == pytest.approx(sigma_w2, rel=0.02)
    assert said.sigma_b2 == pytest.approx(sigma_b2, rel=0.25)
    assert (said.chi > 1) is (sigma_w2 > 2)


def test_what_has_no_place_is_one_line():
    bare = fl.check(nn.Linear(8, 2), torch.randn(64, 8))
    assert place_of(bare.observation) is None
    with pytest.raises(fl.BadInputError, match="has no hidden weight behind an activation"):
        fl.predict(bare)
    with pytest.raises(fl.BadInputError, match="a Checkup has a start of its own"):
        fl.predict(look(chain(1.0, 0.0)), technique="he_normal")


def test_the_page_of_a_plain_chain_shows_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    for name, shown in (("chain", True), ("Normed", False)):
        run(["check", f"models.py:{name}", "--input", "64x32", "--html", "page.html", "--quiet"])
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert ("as measured, the median of the hidden layers" in page) is shown
    assert not capsys.readouterr().err
