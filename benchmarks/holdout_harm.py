"""Train cases of the holdout, for the columns "hurts" of `planted_faults.py --part holdout`.

    python benchmarks/holdout_harm.py [--only REGEX] [--slowest 8] [--steps 200]

Only unseen operators whose loss can be compared with that of the specimen as it is: an operator
that changes the targets changes the task. Runs are kept as they come; see `zoo.training`.
"""

from __future__ import annotations

import argparse
import os
import re

import torch
from rich.console import Console
from zoo import holdout
from zoo.sweep import sweep
from zoo.training import STEPS

OTHER_TASK = {"sigmoid-before-logit-loss", "targets-times-1000"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="specimens that match this expression")
    parser.add_argument("--slowest", type=float, default=8, help="most milliseconds of a step")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_flush_denormal(True)
    specimens = [s for s in holdout.SPECIMENS if re.search(options.only, s.name)]
    faults = tuple(f for f in holdout.FAULTS if f.name not in OTHER_TASK)
    holdout.RESULTS.parent.mkdir(exist_ok=True)
    console = Console(width=120)
    sweep(holdout.RESULTS, specimens, faults, options.steps, options.slowest, console)


if __name__ == "__main__":
    main()
