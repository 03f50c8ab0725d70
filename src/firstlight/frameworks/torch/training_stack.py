"""Many networks of one architecture as one: stacked parameters and one forward pass for all."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from firstlight.frameworks.torch.training_chain import chain_of


class Drops(TorchFunctionMode):
    """Dropout of every network from its own seed: the masks that it would draw alone.

    Args:
        seeds: of each network. Networks with equal seeds share their masks, as they would alone.
        device: of the networks.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        super().__init__()
        distinct = list(dict.fromkeys(seeds))
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in distinct]
        self.owners = torch.tensor([distinct.index(seed) for seed in seeds], device=device)
        self.which: Tensor | None = None
        """Under `vmap` the owner of the network at hand; None if all come stacked."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace `torch.nn.functional.dropout` only."""
        if func is functional.dropout:
            return self._drop(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _drop(
        self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return x
        shape = x.shape[1:] if self.which is None else x.shape
        masks = torch.stack(
            [
                torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - p, generator=g)
                for g in self._generators
            ]
        )
        if p < 1:
            masks.div_(1 - p)
        owner = self.owners if self.which is None else self.which.view(1)
        mask = masks.index_select(0, owner)
        mask = mask if self.which is None else mask.squeeze(0)
        return x.mul_(mask) if inplace else x * mask


class Stack:
    """n networks as one.

    Args:
        models: at least one, alike but for the values of their parameters and buffers; they are
            left as they are.
        frozen: parameters that are not trained, beside those that need no gradient.

    `flat` holds what is trained, (n, P): a row is one network. `parameters` are views into it.
    """

    def __init__(self, models: Sequence[nn.Module], frozen: Sequence[str] = ()) -> None:
        self._base = copy.deepcopy(models[0])
        self._trained = {
            name: parameter.shape
            for name, parameter in self._base.named_parameters()
            if parameter.requires_grad and name not in frozen
        }
        tensors = [dict(model.named_parameters()) for model in models]
        self.flat = torch.stack(
            [
                torch.cat([own[name].detach().reshape(-1) for name in self._trained])
                for own in tensors
            ]
        )
        self.constants = {
            name: torch.stack([own[name].detach() for own in tensors])
            for name in tensors[0]
            if name not in self._trained
        }
        buffers = [dict(model.named_buffers()) for model in models]
        self.constants.update(
            {name: torch.stack([own[name].detach() for own in buffers]) for name in buffers[0]}
        )
        self._chain = chain_of(self._base)
        self._mapped = vmap(self._one)
        self._mapped_drops = vmap(
            # What is drawn here is `Drops`'s own: masks for all networks at once.
            self._one_dropping,
            in_dims=(0, 0, None),
            randomness="same",
        )
        self._view()

    def __len__(self) -> int:
        return len(self.flat)

    def _view(self) -> None:
        views = self.split(self.flat)
        self.parameters = {name: view.detach().requires_grad_() for name, view in views.items()}

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """The parts of rows of trained numbers, by name and in shape."""
        sizes = [shape.numel() for shape in self._trained.values()]
        parts = flat.split(sizes, dim=1)
        return {
            name: part.unflatten(1, shape) if shape else part.squeeze(1)
            for part, (name, shape) in zip(parts, self._trained.items(), strict=True)
        }

    def keep(self, rows: Tensor) -> None:
        """Go on with these networks only."""
        self.flat = self.flat[rows]
        self.constants = {name: value[rows] for name, value in self.constants.items()}
        self._view()

    def outputs(
        self,
        inputs: Tensor,
        *,
        training: bool,
        drops: Drops | None = None,
        rows: Tensor | None = None,
    ) -> Any:
        """What each network, or each of those ``rows``, makes of its own batch.

        Inputs and outputs have a leading axis of networks.
        """
        tensors = {**self.parameters, **self.constants}
        if rows is not None:
            tensors = {name: tensor[rows] for name, tensor in tensors.items()}
        if self._base.training != training:
            self._base.train(training)
        if self._chain is not None:
            if drops is None:
                return self._chain(tensors, inputs)
            with drops:
                return self._chain(tensors, inputs)
        with _without_fused_attention():
            if drops is None:
                return self._mapped(tensors, inputs)
            with drops:
                return self._mapped_drops((tensors, drops.owners), inputs, drops)

    def gradients(self, losses: Tensor) -> Tensor:
        """Of each network's loss with respect to its own parameters, (n, P)."""
        found = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        return torch.cat([gradient.reshape(len(self), -1) for gradient in found], dim=1)

    def _one(self, tensors: dict[str, Tensor], inputs: Tensor) -> Any:
        return functional_call(self._base, tensors, (inputs,))

    def _one_dropping(
        self, own: tuple[dict[str, Tensor], Tensor], inputs: Tensor, drops: Drops
    ) -> Any:
        drops.which = own[1]
        try:
            return self._one(own[0], inputs)
        finally:
            drops.which = None


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """Fused attention has no batched form: `vmap` would refuse it or run it in a loop."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
