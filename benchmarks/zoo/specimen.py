"""One architecture of the zoo: how it is built, what it is fed, how it is checked."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.frameworks.torch import batches
from firstlight.records.checkup import Checkup
from zoo import data

Split = Literal["calibrate", "score"]
"""Limits may be set by looking at the first part; figures that are published come from the second.

Relatives stand on one side: the Llama kin is scored, the GPT kin calibrates.
"""

Family = Literal[
    "text", "vision", "audio", "other", "dense", "convolutional", "attention", "recurrent", "graphs"
]
"""The first four are built from transformers configs, the others are written plainly."""


def no_keywords(_seed: int) -> dict[str, Any]:
    """For models that compute their own loss."""
    return {}


def class_labels(seed: int) -> dict[str, Any]:
    """The target of classification."""
    return {"target": data.labels(seed)}


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A model with a sensible start.

    Args:
        name: unique in the zoo.
        family: see `Family`.
        build: a fresh model; random numbers come from torch's global generator.
        batch: what the model is called with, by seed: other samples of always the same task.
        check: further keywords for `firstlight.check`, by the same seed.
        split: see `Split`.
        needs: a package that must be installed.
        remark: what about its start is not the model's own code, or is unusual, and why.
    """

    name: str
    family: Family
    build: Callable[[], nn.Module]
    batch: Callable[[int], Any]
    split: Split
    check: Callable[[int], dict[str, Any]] = no_keywords
    needs: str = ""
    remark: str = ""

    @property
    def missing(self) -> str:
        """Why it cannot be built here; empty if it can."""
        if self.needs and find_spec(self.needs) is None:
            return f"{self.name}: needs the package {self.needs}, which is not installed"
        return ""

    def model(self, seed: int) -> nn.Module:
        """The model, as `torch.manual_seed(seed)` starts it; the global generator is put back."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            return self.build()

    def checkup(self, model: nn.Module, seed: int) -> Checkup:
        """`firstlight.check` on this specimen's data."""
        return fl.check(model, self.batch(seed), **self.check(seed))

    def loss(self, model: nn.Module, seed: int) -> Tensor | None:
        """The loss that a training would lower; None if the specimen has none."""
        batch, options = self.batch(seed), self.check(seed)
        if "step" in options:
            loss: Tensor = options["step"](model, batch)
            return loss
        output = batches.call(model, batch)
        if "target" not in options:
            return batches.own_loss(output)
        head, target = batches.output_tensor(output), options["target"]
        function = batches.resolve_loss(options.get("loss")) or batches.inferred_loss(head, target)
        return function(head, target)


def plain(
    name: str,
    split: Split,
    build: Callable[[], nn.Module],
    batch: Callable[[int], Any] = data.vectors,
    check: Callable[[int], dict[str, Any]] = class_labels,
    *,
    family: Family = "dense",
    remark: str = "",
) -> Specimen:
    """A specimen that is written plainly; it classifies vectors unless something else is said."""
    return Specimen(
        name=name, family=family, split=split, build=build, batch=batch, check=check, remark=remark
    )
