"""`check` and `initialize` on the architectures of `keras.applications`, without their weights.

    KERAS_BACKEND=torch python benchmarks/keras_applications.py [--only VGG16 ...] [--size 96]

Each model is looked at as Keras starts it, then initialized, on small coloured patches of random
pictures. The columns: error findings before and after; how far the weighted operations' second
moments are from their targets (the farthest, and the share within [1/4, 4]); the largest ratio of
the RMS of δ at the residual additions (at weighted operations where there are none); the loss over
that of an undecided model; seconds. The bars are those of the plan: no error, [1/4, 4] and a factor
of 100 for δ, 5 % for the loss.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
from keras import applications
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import firstlight as fl
from firstlight.records.checkup import Checkup
from firstlight.records.plan import Receipt

CLASSES = 10

# Family, and whether the model scales pixels from 0 … 255 itself. NASNet does not run on torch.
FAMILIES: dict[str, bool] = {
    "VGG16": False,
    "ResNet50": False,
    "ResNet50V2": False,
    "MobileNet": False,
    "MobileNetV2": False,
    "MobileNetV3Small": True,
    "DenseNet121": False,
    "EfficientNetB0": True,
    "EfficientNetV2B0": True,
    "InceptionV3": False,
    "InceptionResNetV2": False,
    "Xception": False,
    "ConvNeXtTiny": True,
}


def pictures(samples: int, size: int, *, pixels: bool) -> NDArray[np.float32]:
    """Blurred random patches with a little noise, standardised or as pixels of 0 … 255."""
    generator = np.random.default_rng(0)
    coarse = generator.standard_normal((samples, 6, 6, 3))
    places = np.linspace(0, 5 - 1e-6, size)
    low, share = places.astype(int), places % 1
    rows = coarse[:, low] * (1 - share[:, None, None]) + coarse[:, low + 1] * share[:, None, None]
    smooth = rows[:, :, low] * (1 - share[:, None]) + rows[:, :, low + 1] * share[:, None]
    noisy = smooth + 0.2 * generator.standard_normal(smooth.shape)
    standard = (noisy - noisy.mean()) / noisy.std()
    return (np.clip(128 + 60 * standard, 0, 255) if pixels else standard).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was seen of one family."""

    name: str
    parameters: int
    errors_before: tuple[str, ...]
    errors_after: tuple[str, ...]
    farthest: float
    within: float
    delta: float
    loss: float
    seconds: tuple[float, float]


def errors(checkup: Checkup) -> tuple[str, ...]:
    """The kinds of the error findings, and where the first of each is."""
    return tuple(f"{f.kind} at {f.where[0]}" for f in checkup.findings if f.severity == "error")


def ratios(receipt: Receipt) -> Iterator[float]:
    """Second moment over target of each weight's first operation, where it has a target."""
    assert receipt.after is not None
    targets = {e.name: e.target for e in receipt.plan if e.target is not None}
    for operation in receipt.after.network.weighted():
        reading = receipt.after.observation.reading(operation.index)
        name = next((n for n in operation.parameters if n in targets), None)
        if name is not None and reading is not None and reading.second_moment is not None:
            yield reading.second_moment.value / targets.pop(name)


def delta_ratio(checkup: Checkup) -> float:
    """Largest over smallest RMS of δ, at residual additions or else at weighted operations."""
    additions = [op for op in checkup.network.operations if op.kind == "add"]
    chosen = additions if len(additions) > 1 else list(checkup.network.weighted())
    found = (checkup.observation.reading(op.index) for op in chosen)
    squares = [r.delta_square_per_sample.value for r in found if r and r.delta_square_per_sample]
    if not squares or min(squares) <= 0:
        return math.inf
    return math.sqrt(max(squares) / min(squares))


def look(name: str, samples: int, size: int) -> Row:
    """One family, before and after."""
    keras.utils.set_random_seed(0)
    build = getattr(applications, name)
    shape = (size, size, 3)
    model = build(weights=None, input_shape=shape, classes=CLASSES)
    batch = pictures(samples, size, pixels=FAMILIES[name])
    target = np.arange(samples) % CLASSES
    start = time.perf_counter()
    before = fl.check(model, batch, target=target)
    middle = time.perf_counter()
    receipt = fl.initialize(model, batch, target=target, seed=0)
    end = time.perf_counter()
    after = receipt.after
    assert after is not None
    found = list(ratios(receipt))
    seen = after.observation
    return Row(
        name=name,
        parameters=model.count_params(),
        errors_before=errors(before),
        errors_after=errors(after),
        farthest=max(found, key=lambda r: abs(math.log(r or 1e-30)), default=math.nan),
        within=sum(0.25 <= r <= 4 for r in found) / max(1, len(found)),
        delta=delta_ratio(after),
        loss=(seen.loss or math.nan) / (seen.undecided_loss or math.nan),
        seconds=(middle - start, end - middle),
    )


def shown(rows: list[Row]) -> Table:
    """The table."""
    table = Table(title=f"keras.applications on {keras.backend.backend()}, {CLASSES} classes")
    for column in (
        *("family", "million", "errors before", "errors after", "farthest from target"),
        *("within [1/4, 4]", "RMS δ ratio", "loss / undecided", "check s", "initialize s"),
    ):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row.name,
            f"{row.parameters / 1e6:.1f}",
            ", ".join(row.errors_before) or "none",
            ", ".join(row.errors_after) or "none",
            f"{row.farthest:.2f}",
            f"{row.within:.0%}",
            f"{row.delta:.1f}",
            f"{row.loss:.3f}",
            *(f"{s:.1f}" for s in row.seconds),
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--samples", type=int, default=16)
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.only:
        rows.append(look(name, options.samples, options.size))
        print(rows[-1], flush=True)
    Console(width=160).print(shown(rows))


if __name__ == "__main__":
    main()
