"""All of a model and its surroundings that looking must leave as it was."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


def bits(tensor: Tensor) -> bytes:
    """The values; NaN equals itself and -0.0 differs from 0.0."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def picture(model: nn.Module, batch: Any) -> list[Any]:
    """Values, gradients, flags, hooks, modes, the batch and the random states."""
    taken: list[Any] = [random.getstate(), repr(np.random.get_state(legacy=False))]
    taken.append(torch.get_rng_state().numpy().tobytes())
    taken.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
    taken.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
    taken.append(torch.overrides._get_current_function_mode_stack())
    taken.extend(
        (name, list(hooks))
        for name, hooks in vars(torch_modules).items()
        if name.startswith("_global") and isinstance(hooks, dict)
    )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        taken.append((name, id(tensor), bits(tensor), tensor.requires_grad, tensor.grad))
    for name, module in model.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        taken.append((name, module.training, hooks, sorted(vars(module))))
    fed = batch.values() if isinstance(batch, dict) else batch
    tensors = [batch] if isinstance(batch, Tensor) else [t for t in fed if isinstance(t, Tensor)]
    return [*taken, *map(bits, tensors)]
