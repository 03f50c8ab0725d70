"""On every specimen: nothing is touched when the model raises half-way, or Ctrl-C arrives.

Errors come from outside, so that the means does not touch the model: in forward from a global hook
at some module, in backward from the unpacking of some saved tensor.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from pictures import picture
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import register_module_forward_hook
from zoo import SPECIMENS, Specimen

import firstlight as fl
from firstlight.errors import ModelRaisedError

# transformers warns of its own future, and some of its models divide integers the old way.
pytestmark = pytest.mark.filterwarnings("ignore")


class _Fuse:
    """Raises at the given event, and says whether it did."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.left, self.error, self.burnt = at, error, False

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.burnt = True
            raise self.error


@contextmanager
def _in_forward(fuse: _Fuse) -> Iterator[None]:
    handle = register_module_forward_hook(fuse)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _in_backward(fuse: _Fuse) -> Iterator[None]:
    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        fuse()
        return tensor

    with saved_tensors_hooks(lambda tensor: tensor, unpack):
        yield


_PLACES = {"forward": _in_forward, "backward": _in_backward}
# Made anew each time: an error that is kept holds all the frames that it passed through.
_ERRORS: dict[str, Callable[[], BaseException]] = {
    "an error": lambda: RuntimeError("cut off"),
    "Ctrl-C": KeyboardInterrupt,
}


def _burn(
    specimen: Specimen, model: Any, before: list[Any], place: str, error: BaseException
) -> bool:
    """Check the specimen with an error at a random depth; nearer to the start if it is too deep."""
    dice = random.Random(zlib.crc32(f"{specimen.name} {place}".encode()))
    deepest = sum(1 for _ in model.modules())
    batch, options = specimen.batch(0), specimen.check(0)
    while deepest:
        fuse = _Fuse(dice.randint(1, deepest), error)
        with _PLACES[place](fuse):
            try:
                fl.check(model, batch, **options)
            except (ModelRaisedError, KeyboardInterrupt) as raised:
                assert fuse.burnt and error in (raised, raised.__cause__), raised
        assert picture(model, batch) == before
        if fuse.burnt:
            return True
        deepest //= 4
    return False


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda s: s.name)
def test_nothing_is_touched(specimen: Specimen) -> None:
    if specimen.missing:
        pytest.skip(specimen.missing)
    model = specimen.model(0).eval()  # so that the mode has to be put back too
    before = picture(model, specimen.batch(0))
    for place in _PLACES:
        for name, error in _ERRORS.items():
            assert _burn(specimen, model, before, place, error()), f"{name}, {place}: not reached"
