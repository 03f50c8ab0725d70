"""Names and errors that try to become markup: in the browser, where it would count."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.reporting.files import save
from firstlight.reporting.page import to_fragment

from . import samples
from .browser import needs_browser, show

pytestmark = [pytest.mark.browser, needs_browser]

ATTACKS = (
    "<script>window.broken=1</script>",
    '"><img src=x onerror=window.broken=1>',
    "</script><script>window.broken=1</script>",
    "</style><svg onload=window.broken=1>",
    "${window.broken=1}",
    "{{window.broken=1}}",
    "javascript:window.broken=1",
    "'-window.broken=1-'",
    "<!--<script>",
    "datum['constructor']",
)


class Hostile(nn.Module):
    """A chain whose modules are named by somebody who means no good."""

    def __init__(self) -> None:
        super().__init__()
        self.order = [name.replace(".", "\u2024") for name in ATTACKS]
        for name in self.order:
            self.add_module(name, nn.Linear(8, 8))

    def forward(self, x):
        for name in self.order:
            x = torch.relu(getattr(self, name)(x))
        return x


@pytest.fixture(scope="module")
def record():
    torch.manual_seed(0)
    Hostile.__name__ = ATTACKS[2]
    done = fl.initialize(Hostile(), torch.randn(16, 8), target=torch.randint(8, (16,)), seed=0)
    raised = " ".join(ATTACKS)
    observation = dataclasses.replace(done.before.observation, raised=raised, device=raised)
    return dataclasses.replace(
        done, before=dataclasses.replace(done.before, observation=observation)
    )


def harmless(driver):
    """Nothing ran, nothing was made, nothing leads anywhere."""
    driver.execute_async_script("setTimeout(arguments[0], 100)")
    assert driver.execute_script("return window.broken") is None
    assert driver.execute_script("return document.images.length") == 0
    links = "return [...document.links].map(a => a.getAttribute('href'))"
    assert driver.execute_script(links) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_shows_hostile_names_as_text(theme, record, driver, tmp_path):
    save(record, tmp_path / "hostile.html")
    show(driver, tmp_path / "hostile.html", 1280, theme)
    harmless(driver)
    assert driver.get_log("browser") == []
    text = driver.execute_script("return document.body.textContent")
    for attack in ATTACKS:
        assert attack.replace(".", "\u2024") in text


def test_a_fragment_is_as_harmless_where_no_policy_protects_it(record, driver, tmp_path):
    path = tmp_path / "notebook.html"
    page = f"<!DOCTYPE html><meta charset=utf-8><body>{to_fragment(record)}</body>"
    path.write_text(page, encoding="utf-8")
    driver.get(path.as_uri())
    harmless(driver)


def test_a_frame_shows_hostile_names_as_text(record, driver, tmp_path):
    path = tmp_path / "frame.html"
    frame = record.interactive()._repr_html_()
    page = f"<!DOCTYPE html><meta charset=utf-8><body>{frame}</body>"
    path.write_text(page, encoding="utf-8")
    driver.get(path.as_uri())
    harmless(driver)
    assert driver.execute_script("return document.body.children.length") == 1
    driver.switch_to.frame(0)
    harmless(driver)
    text = driver.execute_script("return document.body.textContent")
    assert all(attack.replace(".", "\u2024") in text for attack in ATTACKS)
    driver.switch_to.default_content()
    assert driver.get_log("browser") == []


def test_choosing_a_hostile_layer_shows_its_name(record, driver, tmp_path):
    save(record, tmp_path / "hostile.html")
    show(driver, tmp_path / "hostile.html")
    named = "return document.querySelector('.fl-layer-name').textContent"
    for index, attack in enumerate(ATTACKS):
        driver.execute_script(
            "const s = document.querySelector('.fl-choice select');"
            "s.value = arguments[0]; s.dispatchEvent(new Event('change'))",
            str(index),
        )
        assert driver.execute_script(named) == attack.replace(".", "\u2024")
    harmless(driver)
    assert driver.get_log("browser") == []


def test_hostile_files_stay_text(driver, tmp_path):
    files = dataclasses.replace(
        samples.streamed(), folder=ATTACKS[1], files=ATTACKS, left_out=ATTACKS, namespace=ATTACKS[0]
    )
    entries = tuple(
        dataclasses.replace(entry, name=attack)
        for entry, attack in zip(samples.compared(), ATTACKS, strict=False)
    )
    tensors = dataclasses.replace(samples.compared(), path=ATTACKS[2], entries=entries)
    save((files, tensors), tmp_path / "files.html")
    show(driver, tmp_path / "files.html")
    harmless(driver)
    text = driver.execute_script("return document.body.textContent")
    assert all(attack in text for attack in ATTACKS)
    assert driver.get_log("browser") == []


def test_an_attack_that_succeeds_is_seen(driver, tmp_path):
    path = tmp_path / "open.html"
    path.write_text(f"<!DOCTYPE html><body>{ATTACKS[1]}</body>")
    driver.get(path.as_uri())
    with pytest.raises(AssertionError):
        harmless(driver)
