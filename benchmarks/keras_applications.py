"""`check` and `initialize` on the architectures of `keras.applications`, without their weights.

    KERAS_BACKEND=torch python benchmarks/keras_applications.py [--only VGG16 ...] [--size 96]

Each model is looked at as Keras starts it, then initialized, on small coloured patches of random
pictures. The columns: error and warning findings before and after; how far the weighted operations'
second moments are from their targets (the farthest, and the share within [1/4, 4]); the largest
over the smallest RMS of δ at the residual additions of a stream (at weights of the profile where
there are none), and the same of ‖δ‖ per sample, which is blind to shapes; the loss over that of an
undecided model; seconds. The bars are those of the plan: no error, [1/4, 4] and a factor of 100 for
the RMS of δ, 5 % for the loss.

VGG's own start is no sensible one, and has its error rightly: Glorot's law behind ReLU loses half
of the signal in each of 13 layers. MobileNet and InceptionV3 have batch norms in a row without a
way around: no start changes what that makes of ‖δ‖ (`norm_depth.py`). NASNet is refused by Keras on
torch; its row says so.
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
from firstlight.verdicts.view import View

CLASSES, LONG = 10, 120

# One model per family, and whether it scales pixels from 0 … 255 itself.
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
    "NASNetMobile": False,
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
    before: tuple[str, ...]
    after: tuple[str, ...]
    farthest: float
    within: float
    delta: float
    delta_norm: float
    loss: float
    seconds: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A family that could not be looked at, and why."""

    name: str
    reason: str


def alarms(checkup: Checkup) -> tuple[str, ...]:
    """Severity, kind and first culprit of what is more than a note."""
    return tuple(
        f"{f.severity}: {f.kind} at {f.where[0]}" for f in checkup.findings if f.severity != "note"
    )


def ratios(receipt: Receipt) -> Iterator[float]:
    """Second moment over target of each weight's first operation, where it has a target."""
    assert receipt.after is not None
    targets = {e.name: e.target for e in receipt.plan if e.target is not None}
    for operation in receipt.after.network.weighted():
        reading = receipt.after.observation.reading(operation.index)
        name = next((n for n in operation.parameters if n in targets), None)
        if name is not None and reading is not None and reading.second_moment is not None:
            yield reading.second_moment.value / targets.pop(name)


def delta_ratios(checkup: Checkup) -> tuple[float, float]:
    """Largest over smallest RMS of δ, and of ‖δ‖ per sample, along the worst profile."""
    worst = [0.0, 0.0]
    for profile in View(checkup.observation).profiles:
        for place, seen in enumerate(
            (
                [r.delta_mean_square.value for r in profile if r.delta_mean_square],
                [r.delta_square_per_sample.value for r in profile if r.delta_square_per_sample],
            )
        ):
            if seen:
                ratio = math.sqrt(max(seen) / min(seen)) if min(seen) > 0 else math.inf
                worst[place] = max(worst[place], ratio)
    return (worst[0] or math.inf, worst[1] or math.inf)


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
    delta, delta_norm = delta_ratios(after)
    seen = after.observation
    return Row(
        name=name,
        parameters=model.count_params(),
        before=alarms(before),
        after=alarms(after),
        farthest=max(found, key=lambda r: abs(math.log(r or 1e-30)), default=math.nan),
        within=sum(0.25 <= r <= 4 for r in found) / max(1, len(found)),
        delta=delta,
        delta_norm=delta_norm,
        loss=(seen.loss or math.nan) / (seen.undecided_loss or math.nan),
        seconds=(middle - start, end - middle),
    )


def shown(rows: list[Row | Refused]) -> Table:
    """The table."""
    table = Table(title=f"keras.applications on {keras.backend.backend()}, {CLASSES} classes")
    for column in (
        *("family", "million", "before", "after", "farthest from target"),
        *(
            "within [1/4, 4]",
            "RMS δ ratio",
            "‖δ‖ ratio",
            "loss / undecided",
            "check s",
            "initialize s",
        ),
    ):
        table.add_column(column)
    for row in rows:
        if isinstance(row, Refused):
            table.add_row(row.name, "", f"refused: {row.reason}")
            continue
        table.add_row(
            row.name,
            f"{row.parameters / 1e6:.1f}",
            ", ".join(row.before) or "none",
            ", ".join(row.after) or "none",
            f"{row.farthest:.2f}",
            f"{row.within:.0%}",
            f"{row.delta:.1f}",
            f"{row.delta_norm:.1f}",
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
    rows: list[Row | Refused] = []
    for name in options.only:
        try:
            rows.append(look(name, options.samples, options.size))
        except Exception as error:  # what Keras refuses is a row, not the end of the table
            rows.append(Refused(name=name, reason=f"{type(error).__name__}: {error}"[:LONG]))
        print(rows[-1], flush=True)
    Console(width=160).print(shown(rows))


if __name__ == "__main__":
    main()
