"""What `import firstlight` costs beyond numpy, and which modules it loads.

    python benchmarks/import_time.py [--runs 15]

Each run is a new interpreter; the two imports take turns, and medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

CODE = "import time; t = time.perf_counter(); import {}; print(1e3 * (time.perf_counter() - t))"


def milliseconds(modules: str) -> float:
    """One import in a new interpreter."""
    command = [sys.executable, "-c", CODE.format(modules)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    pairs = [
        (milliseconds("numpy"), milliseconds("numpy, firstlight")) for _ in range(options.runs)
    ]
    alone, both = (statistics.median(column) for column in zip(*pairs, strict=True))
    beyond = both - alone
    print(f"numpy {alone:.1f} ms, with firstlight {both:.1f} ms, beyond numpy {beyond:.1f} ms")


if __name__ == "__main__":
    main()
