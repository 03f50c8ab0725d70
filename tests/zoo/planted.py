"""Faults planted in models, as more than one test wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn
from zoo import Specimen
from zoo.faults import Case, Fault

BESIDES = {"input", "target", "loss"}
"""Culprits that are no part of a model."""


def planted(fault: Fault, specimens: Iterable[Specimen]) -> Iterator[tuple[Case, nn.Module]]:
    """The cases where a fault applies, with the spoiled model; its culprits are known names."""
    for specimen in specimens:
        case = Case(fault=fault, specimen=specimen, seed=0)
        spoiled = case.plant()
        if spoiled is None:
            continue
        model, culprits = spoiled
        known = {name for name, _ in (*model.named_modules(), *model.named_parameters())}
        assert set(culprits) <= known | BESIDES, f"{specimen.name}: {culprits}"
        yield case, model
