"""The demo: a 30-layer ReLU network on real images, from a start at chance to one that learns."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

import firstlight as fl
from firstlight.exhibits.mnist import Images, mnist
from firstlight.records.race import Race
from firstlight.reporting.files import save
from firstlight.reporting.story import Story
from firstlight.reporting.text import print_record

DEPTH, WIDTH = 30, 128
LEARNING_RATES = (0.003, 0.01, 0.03, 0.1)
_LOOKED_AT = 256


def build() -> nn.Sequential:
    """Thirty layers of 128 ReLU units and a head, at PyTorch's default start."""
    layers: list[nn.Module] = []
    width = 28 * 28
    for _ in range(DEPTH):
        layers += [nn.Linear(width, WIDTH), nn.ReLU()]
        width = WIDTH
    return nn.Sequential(*layers, nn.Linear(width, 10))


def tell(seeds: int, steps: int, console: Console) -> Story:
    """The whole journey, as a story.

    Args:
        seeds: scored trainings of each start.
        steps: steps of each training.
        console: shows the parts as they are done.
    """
    images = mnist()
    inputs, targets = (torch.from_numpy(a) for a in (images.inputs, images.targets))
    batch, labels = inputs[:_LOOKED_AT], targets[:_LOOKED_AT]
    torch.manual_seed(0)
    model = build()

    console.rule("1  check: is this network healthy at step zero?")
    before = fl.check(model, batch, target=labels)
    print_record(before, console)
    console.rule("2  plan and apply: which start should it have?")
    plan = fl.plan(model, batch, target=labels)
    print_record(plan, console)
    receipt = plan.apply(model, seed=0)
    console.rule("3  check again")
    after = fl.check(model, batch, target=labels)
    print_record(after, console)
    console.rule("4  race: does it matter?")
    race = _race(images, seeds, steps, console)
    print_record(race, console)
    return Story(
        title="First light: a 30-layer network on real images",
        lead=(
            f"{DEPTH} plain ReLU layers of {WIDTH} units, no normalization, no skips, on"
            f" {len(images.inputs):,} MNIST images. From PyTorch's default start it cannot learn;"
            " from Firstlight's it can. Same network, same data, same number of steps."
        ),
        before=before,
        plan=plan,
        receipt=receipt,
        after=after,
        race=race,
        notes=(
            f"Made by: firstlight demo --seeds {seeds} --steps {steps}",
            f"Data: 5,000 MNIST images, {len(images.held_out_inputs):,} of them held out",
            f"Each start was raced at the best of the learning rates"
            f" {', '.join(f'{rate:g}' for rate in LEARNING_RATES)}, searched on a seed of its own",
            f"firstlight {fl.__version__}, torch {torch.__version__.split('+')[0]},"
            f" numpy {np.__version__}, Python {platform.python_version()}",
        ),
    )


def _race(images: Images, seeds: int, steps: int, console: Console) -> Race:
    data: tuple[Any, ...] = (
        images.inputs,
        images.targets,
        images.held_out_inputs,
        images.held_out_targets,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("training", total=None)
        return fl.race(
            build,
            data,
            techniques=("default", "he_normal", "plan"),
            seeds=seeds,
            steps=steps,
            learning_rates=LEARNING_RATES,
            search_seeds=1,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def run_demo(out: Path, *, seeds: int, steps: int, console: Console) -> Story:
    """Tell the story in the terminal and write it as a page and as JSON.

    Args:
        out: folder for ``report.html`` and ``race.json``; made if it is missing.
        seeds: scored trainings of each start, at least 1.
        steps: steps of each training, at least 1.
        console: where to print.
    """
    out.mkdir(parents=True, exist_ok=True)
    story = tell(seeds, steps, console)
    save(story, out / "report.html")
    if story.race is not None:
        save(story.race, out / "race.json")
    console.print(f"\nThe whole story as a page: {out / 'report.html'}", soft_wrap=True)
    return story
