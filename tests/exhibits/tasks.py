"""Tasks for worker processes, which import them by name."""

from __future__ import annotations

import os
import signal


def task(name: str) -> object:
    """What its name says: its own threads, a failure, a sudden death, or its process."""
    if name == "threads":
        import torch

        return torch.get_num_threads()
    if name == "raises":
        raise ValueError("no\nway")
    if name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()
