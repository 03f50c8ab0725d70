"""How far the zoo's healthy models stay from each limit of the checkup.

    python benchmarks/margins.py [--part calibrate] [--seeds 1]

For each limit: the three healthy models that come nearest to it, and the limits themselves. Limits
are set on the part that calibrates; the part that scores shows whether they hold elsewhere.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import track
from rich.table import Table
from zoo import SPECIMENS

from firstlight.records.checkup import Observation
from firstlight.verdicts import limits
from firstlight.verdicts.view import View, is_norm_scale, rms_ratio


def _factor(ratio: float) -> float:
    """A ratio as the factor by which it is off, whichever way."""
    return math.inf if ratio == 0 else max(ratio, 1 / ratio)


def forward(view: View) -> Iterator[float]:
    for profile in view.profiles:
        rows = [r.second_moment.value for r in profile if r.second_moment]
        yield from (_factor(rms_ratio(value, rows[0])) for value in rows[1:])


def backward(view: View) -> Iterator[float]:
    for profile in view.profiles:
        rows = [r.delta_square_per_sample.value for r in profile if r.delta_square_per_sample]
        if len(rows) > 1:
            yield _factor(rms_ratio(rows[0], rows[-1]))


def collapse(view: View) -> Iterator[float]:
    for profile in view.profiles:
        shares = [
            r.sample_spread / r.second_moment.value
            for r in profile
            if r.sample_spread and r.second_moment and r.second_moment.value
        ]
        if len(shares) > 1:
            yield shares[0] / shares[-1]


def dead(view: View) -> Iterator[float]:
    rows = (r for r in view.observation.readings if r.operation not in view.graph.steering)
    yield from (r.dead_fraction for r in rows if r.dead_fraction is not None)


def saturated(view: View) -> Iterator[float]:
    operations = view.graph.operations
    for reading in view.observation.readings:
        if reading.saturated_fraction and not view.graph.is_self_gate(
            operations[reading.operation]
        ):
            yield reading.saturated_fraction


def loss(view: View) -> Iterator[float]:
    seen: Observation = view.observation
    if seen.loss is not None and seen.undecided_loss and seen.classes:
        yield seen.loss / seen.undecided_loss


def cosine(view: View) -> Iterator[float]:
    yield from (p.unit_cosine for p in view.observation.parameters if p.unit_cosine is not None)


def rank(view: View) -> Iterator[float]:
    rows = view.observation.parameters
    yield from (1 / p.rank_share for p in rows if p.rank_share and not p.constant)


def norm_scale(view: View) -> Iterator[float]:
    for reading in view.observation.parameters:
        parameter = view.observation.network.parameter(reading.name)
        if is_norm_scale(parameter) and reading.value_rms and not reading.constant:
            yield _factor(reading.value_rms)


def embedding(view: View) -> Iterator[float]:
    for reading in view.observation.parameters:
        if view.observation.network.parameter(reading.name).kind == "embedding":
            yield reading.value_rms


def excess(view: View) -> Iterator[float]:
    if view.sigmas.excess is not None:
        yield view.sigmas.excess


def peers(view: View) -> Iterator[float]:
    yield from (_factor(ratio) for _, ratio in view.sigmas.ratios)


MEASURES: dict[str, tuple[Callable[[View], Iterator[float]], float, float]] = {
    "forward RMS, factor": (forward, limits.PROFILE_WARNING, limits.PROFILE_ERROR),
    "‖δ‖ back, factor": (backward, limits.PROFILE_WARNING, limits.PROFILE_ERROR),
    "samples' share lost, factor": (collapse, math.inf, 1 / limits.COLLAPSE_ERROR),
    "dead units": (dead, limits.DEAD_WARNING, limits.DEAD_ERROR),
    "saturated values": (saturated, limits.SATURATED_WARNING, limits.SATURATED_ERROR),
    "loss over ln K": (loss, limits.LOSS_WARNING, limits.LOSS_ERROR),
    "mean cosine of units": (cosine, limits.PARALLEL_WARNING, limits.PARALLEL_ERROR),
    "rank missing, factor": (rank, 1 / limits.RANK_WARNING, 1 / limits.RANK_ERROR),
    "norm scale, factor": (norm_scale, limits.NORM_SCALE, math.inf),
    "embedding RMS": (embedding, limits.EMBEDDING_RMS, math.inf),
    "median σ_w² over what keeps": (excess, math.inf, limits.EXCESS),
    "σ_w² over its median, factor": (peers, limits.OUTLIER, math.inf),
}
"""Measurement, limit of a warning, limit of an error; larger is worse."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("calibrate", "score"), default="calibrate")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    console = Console(width=150)
    chosen = [s for s in SPECIMENS if s.split == options.part and not s.missing]
    found: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    for specimen in track(chosen, "checking", console=console, transient=True):
        for seed in range(options.seeds):
            view = View(specimen.checkup(specimen.model(seed), seed).observation)
            for name, (measure, _, _) in MEASURES.items():
                worst = max(measure(view), default=None)
                if worst is not None:
                    before = found[name].get(specimen.name, worst)
                    found[name][specimen.name] = max(before, worst)
    title = f"{len(chosen)} healthy models, part: {options.part}, {options.seeds} seeds"
    table = Table("measured", "warning", "error", "models", "nearest to it", title=title)
    for name, (_, warning, error) in MEASURES.items():
        rows = sorted(found[name].items(), key=lambda row: -row[1])
        nearest = ", ".join(f"{model} {value:.3g}" for model, value in rows[:3])
        words = ("–" if math.isinf(limit) else f"{limit:.3g}" for limit in (warning, error))
        table.add_row(name, *words, str(len(rows)), nearest)
    console.print(table)


if __name__ == "__main__":
    main()
