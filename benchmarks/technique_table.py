"""What each technique gives, measured, and a page for each in the documentation.

    python benchmarks/technique_table.py [--pages docs/techniques] [--seeds 5]

1. The values that it draws for a dense weight of 256 × 128, a kernel of 64 × 32 × 3 × 3 and a
   vector of 256: mean, standard deviation, share of zeros, over all seeds.
2. Chains of 20 layers of width 128, zero biases, 256 samples of N(0, 1): the root mean square of
   the signal and of the gradient δ at one end over that at the other, as geometric means over
   seeds. 1 is even; beyond 100 or 1/100 `firstlight.check` calls it an error.

Without ``--pages`` it only prints.
"""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import firstlight as fl
from firstlight.initializers.technique import Technique
from firstlight.laws.draw import draw
from firstlight.records.network import Layout, plain_layout
from firstlight.theory.fans import fans

SHAPES = {
    "dense 256 × 128": (256, 128),
    "kernel 64 × 32 × 3 × 3": (64, 32, 3, 3),
    "kernel 64 × 32 × 16": (64, 32, 16),
    "vector of 256": (256,),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "ReLU": nn.ReLU,
    "tanh": nn.Tanh,
    "GELU": nn.GELU,
}
WIDTH, DEPTH, SAMPLES = 128, 20, 256

Row = tuple[str, ...]


EMBEDDING = Layout(shape=(1000, 64), view=(1000, 64), roles=("index", "out"))


def values(technique: Technique, seeds: int) -> list[Row]:
    """Mean, standard deviation and zeros of what is drawn, for the shapes that it can fill."""
    layouts = {what: plain_layout(shape) for what, shape in SHAPES.items()}
    rows = [
        row for what, layout in layouts.items() if (row := value(technique, what, layout, seeds))
    ]
    if rows or technique.needs_fans:
        return rows
    last = value(technique, "embedding 1000 × 64", EMBEDDING, seeds)
    return [last] if last else []


def value(technique: Technique, what: str, layout: Layout, seeds: int) -> Row | None:
    """One row, if the technique can draw this tensor."""
    told = {"fan_in": 128} if "fan_in" in technique.options else {}
    try:
        law = technique.law_for(layout, fans(layout), **told)
        drawn = [draw(law, layout, name="w", seed=seed).ravel() for seed in range(seeds)]
    except fl.FirstlightError:
        return None
    every = np.concatenate(drawn).astype(np.float64)
    zeros = float((every == 0).mean())
    return what, short(every.mean()), short(every.std()), f"{zeros:.0%}"


def short(value: float) -> str:
    """Three digits; rounding of a mean that is zero by law is zero."""
    return "0" if abs(value) < 1e-12 else f"{value:.3g}"


def chain(name: str, activation: Callable[[], nn.Module], seed: int) -> tuple[float, float] | None:
    """Ratios of the ends, forward and backward, of one chain; None if it cannot be drawn."""
    torch.manual_seed(seed)
    layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)]
    for number, layer in enumerate(layers):
        try:
            drawn = fl.draw(name, (WIDTH, WIDTH), name=f"{number}.weight", seed=seed)
        except fl.FirstlightError:
            return None
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(drawn))
    signal = torch.randn(SAMPLES, WIDTH, requires_grad=True)
    seen = []
    x = signal
    for layer in layers:
        x = layer(x)
        x.retain_grad()
        seen.append(x)
        x = activation()(x)
    (x * torch.randn_like(x)).sum().backward()
    forward = [float(z.detach().double().square().mean().sqrt()) for z in seen]
    backward = [float(z.grad.double().square().mean().sqrt()) for z in seen if z.grad is not None]
    ahead = forward[-1] / forward[0] if forward[0] else 0.0
    return ahead, backward[0] / backward[-1] if backward[-1] else 0.0


def chains(name: str, seeds: int) -> list[Row]:
    """One row for each activation."""
    rows = []
    for what, activation in ACTIVATIONS.items():
        found = [chain(name, activation, seed) for seed in range(seeds)]
        if any(one is None for one in found):
            return []
        ends = zip(*(one for one in found if one is not None), strict=True)
        rows.append((what, *(ratio(list(of)) for of in ends)))
    return rows


def of_layers(technique: Technique, seeds: int) -> str:
    """What a technique gives that knows the parts of a layer: products, gates."""
    if "part" in technique.options:
        heads = np.array([attention(technique.name, seed) for seed in range(seeds)]).mean(0)
        told = ("mean of the diagonal", "deviation of the other elements")
        rows = [(what, short(float(value))) for what, value in zip(told, heads, strict=True)]
        return table(("W_Qᵀ·W_K of width 128, one head of four", "measured"), rows)
    layout = Layout(shape=(256,), view=(4, 64), roles=("gate", "out"))
    drawn = draw(technique.law_for(layout, None), layout, name="bias", seed=0).reshape(4, 64)
    rows = [
        (gate, short(float(values.mean())), short(float(values.min())), short(float(values.max())))
        for gate, values in zip(("input", "forget", "cell", "output"), drawn, strict=True)
    ]
    return table(("bias of an LSTM's gate", "mean", "lowest", "highest"), rows)


def attention(name: str, seed: int) -> tuple[float, float]:
    """Mean diagonal and deviation beside it of one head's W_Qᵀ·W_K."""
    query, key = (
        fl.draw(name, (128, 128), name=f"{part}.weight", seed=seed, part=part, heads=4, pair="a")
        for part in ("query", "key")
    )
    product = query[:32].T.astype(np.float64) @ key[:32]
    beside = product[~np.eye(128, dtype=bool)]
    return float(np.diag(product).mean()), float(beside.std())


def ratio(of: list[float]) -> str:
    """The geometric mean in words: of zeros nothing comes through."""
    if not all(math.isfinite(value) for value in of):
        return "overflows"
    if not all(value > 0 for value in of):
        return "nothing comes through"
    return f"{math.exp(float(np.log(of).mean())):.2g}"


def table(heads: Row, rows: list[Row]) -> str:
    """Markdown."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def filled(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


def sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")


def page(technique: Technique, seeds: int) -> str:
    """Formula, when and when not, and what was measured."""
    name = technique.name
    options = ", ".join(f"`{key}={value!r}`" for key, value in technique.options.items())
    parts = [f"# `{name}`: {technique.title}", "## Formula"]
    parts.append(f"```text\n{technique.formula}\n```")
    if technique.assumptions:
        parts.append(filled(f"It assumes: {technique.assumptions}"))
    parts.append(f"Options: {options}." if options else "It has no options.")
    if technique.aliases:
        parts.append("Also called " + ", ".join(f"`{alias}`" for alias in technique.aliases) + ".")
    parts.append("## When, and when not")
    if technique.defaults_of:
        parts.append(f"The start that these layers have unasked: {technique.defaults_of}.")
    if technique.suits:
        parts.append(filled(f"**Suits**: {sentence(technique.suits)}"))
    if technique.not_suits:
        parts.append(filled(f"**Not for**: {sentence(technique.not_suits)}"))
    if technique.differs:
        parts.append(filled(f"**Elsewhere**: {sentence(technique.differs)}"))
    parts.append("## Measured")
    drawn = values(technique, seeds)
    if drawn:
        parts.append(table(("tensor", "mean", "std", "zeros"), drawn))
    ends = chains(name, seeds)
    if ends:
        parts.append(
            f"Chains of {DEPTH} layers of width {WIDTH}, root mean squares, one end over the other"
            " (1 is even):"
        )
        parts.append(table(("activation", "signal, last / first", "δ, first / last"), ends))
    if not drawn and not ends:
        parts.append(of_layers(technique, seeds))
    parts.append(f"`python benchmarks/technique_table.py`, {seeds} seeds.")
    parts.append(f"Source: {sentence(technique.source)}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=Path, help="folder of the pages")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    names = []
    for technique in fl.techniques():
        text = page(technique, arguments.seeds)
        names.append(technique.name)
        if arguments.pages is None:
            print(text)
        else:
            arguments.pages.mkdir(parents=True, exist_ok=True)
            (arguments.pages / f"{technique.name}.md").write_text(text, encoding="utf-8")
    if arguments.pages is None:
        return
    rows = [(f"[`{t.name}`]({t.name}.md)", t.title) for t in fl.techniques()]
    index = [
        "# Techniques",
        filled(
            "Every named law of the registry, as `fl.draw(name, …)`, `fl.plan(model,"
            " technique=name)` and the drop-ins of each framework take it. One page for each:"
            " formula, when, when not, and what was measured."
        ),
        table(("name", "technique"), rows),
        "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```",
    ]
    (arguments.pages / "index.md").write_text("\n\n".join(index) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
