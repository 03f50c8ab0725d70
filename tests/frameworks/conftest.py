"""Keras decides its backend when it is first imported; the suite is run once for each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path.append(str(Path(__file__).parents[1] / "zoo"))  # for `pictures`

# Doctests are looked for in every module, by importing it; these want a framework each.
collect_ignore_glob = ["networks_*.py"]
