"""The starts that are set beside Firstlight's, each as its authors mean it."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.frameworks.torch import batches

Start = Callable[[nn.Module, Any, int], None]
"""Changes a model in place; knows one batch, and a seed."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` after so many seconds of the processor, however busy the machine is.

    For the main thread of a POSIX system.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {seconds} s of the processor")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def own(_model: nn.Module, _batch: Any, _seed: int) -> None:
    """The model's own start: nothing is done."""


def _everywhere(law: Callable[[Tensor], Any]) -> Start:
    def start(model: nn.Module, _batch: Any, seed: int) -> None:
        torch.manual_seed(seed)
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            if parameter.dim() > 1:
                law(parameter)
            elif name.rpartition(".")[2].startswith("bias"):
                nn.init.zeros_(parameter)

    return start


class Fed(nn.Module):
    """A model that takes its batch as one argument, whatever it is."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Any:
        """Hand the batch on as keywords, positions or the one argument."""
        return batches.call(self.model, batch)


def lsuv(model: nn.Module, batch: Any, seed: int) -> None:
    """`lsuv_with_singlebatch` with its defaults, orthonormal first; any kind of batch."""
    torch.manual_seed(seed)
    import_module("lsuv").lsuv_with_singlebatch(Fed(model), batch, verbose=False)


def anyinit(model: nn.Module, batch: Any, seed: int) -> None:
    """`initialize` with its defaults, on the batch where it is a tensor: it takes no keywords."""
    spec = batch if isinstance(batch, Tensor) else None
    import_module("anyinit").initialize(model, input_spec=spec, seed=seed)


RIVALS: dict[str, Start] = {
    "own": own,
    "anyinit": anyinit,
    "lsuv": lsuv,
    "he": _everywhere(nn.init.kaiming_normal_),
    "glorot": _everywhere(nn.init.xavier_normal_),
}
"""He and Glorot: the normal law on each trainable tensor with two axes or more, zero biases."""


def started(start: Start, model: nn.Module, batch: Any, seed: int, seconds: int) -> nn.Module:
    """The model after a start, with torch's generator put back; raises what the start raises."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), limited(seconds):
        warnings.simplefilter("ignore")
        start(model, batch, seed)
    return model
