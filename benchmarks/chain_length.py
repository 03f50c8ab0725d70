"""Two ways to run a chain whose odd part bends: the critical gain at a small length, or rule 4's.

    python benchmarks/chain_length.py [--depth 100] [--seeds 3] [activation ...]

Critical: gain 1/psi'(0), second moment 1/depth on entry. Rule 4: the forward gain at the largest
length whose backward growth over the depth is at most 3. Training as in chains.py.
"""

from __future__ import annotations

import argparse

from chains import RATES, chain, digits, ratios
from rich.console import Console
from rich.table import Table

import firstlight as fl
from firstlight.planning import chains as rule
from firstlight.theory.activations import activation
from firstlight.theory.odd_part import odd_part


def critical(reference, depth: int) -> rule.Operating:
    """The critical gain, entered at second moment 1/depth."""
    odd = odd_part(activation(reference))
    return rule.Operating(
        gain=1 / odd.slope, length=1 / depth, mirrored=not odd.is_odd, exact=False
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("activations", nargs="*", default=["sigmoid", "tanh", "mish"])
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data = digits()
    table = Table("activation", "start", "forward", "delta²", "accuracy")
    own = rule.operating
    for name in options.activations:
        for what, operating in (("critical, 1/L", critical), ("rule 4", own)):
            rule.operating = operating
            model = chain(name, options.depth)
            fl.plan(model, data[0][:256]).apply(model, seed=0)
            forward, delta = ratios(model, data[0][:256])
            race = fl.race(
                lambda name=name: chain(name, options.depth),
                data,
                techniques=("plan",),
                seeds=options.seeds,
                steps=60,
                learning_rates=RATES,
                search_seeds=1,
            )
            accuracy = f"{race['plan'].mean:.1%}"
            table.add_row(name, what, f"{forward:.2g}", f"{delta:.2g}", accuracy)
    rule.operating = own
    Console().print(table)


if __name__ == "__main__":
    main()
