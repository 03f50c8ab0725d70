"""What theory predicts of deep networks beside what simulated ones do.

    python benchmarks/predictions.py [--width 1000] [--seeds 3] [--depth 20] [part ...]

Length, chi (the factor of ‖delta‖² a layer, from end to end), and the correlation of two inputs
that enter with 0 and with 0.9, each as predicted and as the mean ± standard error over draws of
Gaussian weights (batch norm sees 256 samples). Then the depth scales of tanh, fitted alike to the
recursion and to the simulation; and every change that a refusal proposes, tried out.
Parts: profiles, scales, limits; all of them by default.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from rich.console import Console
from rich.table import Table
from simulated import simulate, spread

import firstlight as fl
from firstlight.records.prediction import Change
from firstlight.theory.depth_limit import WIDER, limit_of
from firstlight.theory.odd_part import odd_part

CASES = (
    ("relu", {}),
    ("tanh", {"sigma_w2": 2.5, "sigma_b2": 0.05}),
    ("tanh", {"sigma_w2": 1.3, "sigma_b2": 0.05}),
    ("gelu", {"sigma_w2": 2.19369990, "sigma_b2": 0.06719167}),
    ("elu", {}),
    ("softplus", {}),
    ("relu", {"technique": "torch_linear"}),
    ("relu", {"norm": "batch"}),
    ("tanh", {"norm": "batch"}),
    ("silu", {"norm": "batch"}),
    ("gelu", {"norm": "layer"}),
    ("relu", {"skip": True}),
    ("gelu", {"skip": 0.3}),
    ("relu", {"skip": True, "norm": "layer"}),
    ("relu", {"skip": True, "norm": "batch"}),
    ("relu", {"dropout": 0.1}),
    ("tanh", {"dropout": 0.1, "norm": "layer"}),
    ("gelu", {"dropout": 0.1, "skip": True, "norm": "layer"}),
)


def words(options: dict) -> str:
    return ", ".join(
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in options.items()
    )


def beside(predicted: float, found: np.ndarray) -> str:
    mean, error = spread(found)
    return f"{predicted:.4g} | {mean:.4g} ± {error:.1g}"


def profiles(width: int, seeds: int, depth: int) -> Table:
    table = Table(
        "network",
        "second moment",
        "chi",
        "c from 0",
        "c from .9",
        title=f"{depth} layers: predicted | simulated",
    )
    for name, options in CASES:
        said = fl.predict(name, depth=depth, width=width, **options)
        runs = [simulate(said, width=width, seed=seed) for seed in range(seeds)]
        path, last = said.profile, depth - 1
        rate = math.exp(math.log(path.delta_square[0]) / last)
        table.add_row(
            f"{name} {words(options)}",
            beside(path.second_moment[-1], np.array([r.second_moment[last] for r in runs])),
            beside(rate, np.array([r.delta_square_ratio ** (1 / last) for r in runs])),
            beside(path.unrelated[-1], np.array([r.unrelated[last] for r in runs])),
            beside(path.alike[-1], np.array([r.alike[last] for r in runs])),
        )
    return table


def scales(width: int, seeds: int) -> Table:
    """ξ_c and ξ_∇ from the slope of logarithms between layers 5 and 15, entered at q*."""
    table = Table(
        "tanh", "xi_c", "xi_c, fitted", "xi_gradient", title="Depth scales: predicted | simulated"
    )
    for sigma_w2, sigma_b2 in ((1.3, 0.05), (1.5, 0.1), (2.5, 0.05)):
        options = {"sigma_w2": sigma_w2, "sigma_b2": sigma_b2, "depth": 15, "width": width}
        length = fl.predict("tanh", **options).fixed_length
        said = fl.predict("tanh", length=length, **options)
        path, fitted, gradient = said.profile, [], []
        for seed in range(seeds):
            run = simulate(said, width=width, seed=seed, length=length)
            fitted.append(fit(run.unrelated, run.alike))
            gradient.append(-14 / math.log(run.delta_square_ratio))
        table.add_row(
            f"sigma_w2 {sigma_w2}, sigma_b2 {sigma_b2}",
            f"{said.xi_correlation:.4g}",
            beside(fit(np.array(path.unrelated), np.array(path.alike)), np.array(fitted)),
            beside(said.xi_gradient, np.array(gradient)),
        )
    return table


def fit(unrelated: np.ndarray, alike: np.ndarray) -> float:
    """Layers over which the difference of the pairs falls by e, from layers 5 to 15."""
    gap = np.abs(unrelated - alike)
    return -10 / math.log(gap[14] / gap[4])


def limits(width: int) -> Table:
    """Each change of a refusal: the ratio of ‖delta‖² end to end, as predicted and simulated."""
    table = Table(
        "chain", "change", "helps", "‖delta‖² ratio", title="Refusals: predicted | simulated"
    )
    for name, depth in (("softplus", 30), ("sigmoid", 30), ("selu", 120)):
        limit = limit_of(name, depth, width=width)
        run = simulate(fl.predict(name, depth=depth, width=width), width=width, seed=0)
        ratio = f"{limit.delta_square_ratio:.2g} | {run.delta_square_ratio:.2g}"
        table.add_row(f"{depth} layers of {name}", "none", "no", ratio)
        for change in limit.changes:
            ratio = tried(name, change, depth, width)
            found = f"{change.delta_square_ratio:.2g} | {ratio:.2g}"
            table.add_row("", change.what, "yes" if change.helps else "no", found)
    return table


def tried(name: str, change: Change, depth: int, width: int) -> float:
    """‖delta‖² end to end of the changed network."""
    options: dict = {"depth": depth, "width": width}
    if change.kind == "width":
        width *= WIDER
    elif change.kind == "norm":
        options["norm"] = change.what.split()[0]
    elif change.kind == "skip":
        options["skip"] = 1 / math.sqrt(depth)
    elif change.kind == "activation":
        name = change.what.split()[0]
    else:
        odd = odd_part(name)
        length = {1: 1.0, 2: 0.1 / depth**2, 3: 1 / depth}[odd.order]
        options |= {"sigma_w2": 1 / odd.slope**2, "length": length}
    said = fl.predict(name, **options)
    run = simulate(
        said,
        width=width,
        seed=1,
        length=options.get("length", 1.0),
        mirrored=change.kind == "start",
    )
    return run.delta_square_ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["profiles", "scales", "limits"])
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--depth", type=int, default=20)
    options = parser.parse_args()
    console = Console()
    if "profiles" in options.parts:
        console.print(profiles(options.width, options.seeds, options.depth))
    if "scales" in options.parts:
        console.print(scales(options.width, options.seeds))
    if "limits" in options.parts:
        console.print(limits(256))


if __name__ == "__main__":
    main()
