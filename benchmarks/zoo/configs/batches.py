"""What the transformers specimens are fed: keywords by seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo import data
from zoo.specimen import Split

Batch = dict[str, Any]
Row = tuple[str, Split, str, dict[str, Any], Callable[[int], Batch]]
"""Name, part of the zoo, model class, options of its config, what it is fed."""


def causal(seed: int) -> Batch:
    """Next-token prediction."""
    ids = data.tokens(seed)
    return {"input_ids": ids, "labels": ids}


def masked(seed: int) -> Batch:
    """A fifth of the tokens hidden."""
    ids = data.tokens(seed)
    hidden = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)) < 0.2
    return {"input_ids": ids.masked_fill(hidden, 2), "labels": ids.masked_fill(~hidden, -100)}


def sequence_to_sequence(seed: int) -> Batch:
    """The sentence backwards."""
    ids = data.tokens(seed)
    return {"input_ids": ids, "labels": ids.flip(1)}


def sentence(seed: int) -> Batch:
    """The class of a sentence: its first token modulo three."""
    ids = data.tokens(seed)
    return {"input_ids": ids, "labels": ids[:, 0] % 3}


def span(seed: int) -> Batch:
    """Question answering: where the commonest token stands, and the end."""
    ids = data.tokens(seed)
    return {
        "input_ids": ids,
        "start_positions": ids.argmin(dim=1),
        "end_positions": ids.argmax(dim=1),
    }


def pictures(size: int = 32, classes: bool = True) -> Callable[[int], Batch]:
    """Picture classification, or pictures alone."""

    def batch(seed: int) -> Batch:
        pixels = data.images(seed, size)
        return {"pixel_values": pixels, **({"labels": data.labels(seed)} if classes else {})}

    return batch


def segmentation(seed: int) -> Batch:
    """A class per pixel: the sign of two channels."""
    pixels = data.images(seed, 64)
    maps = (pixels[:, 0] > 0).long() + 2 * (pixels[:, 1] > 0).long()
    return {"pixel_values": pixels, "labels": maps}


def depth(seed: int) -> Batch:
    """A positive number per pixel."""
    pixels = data.images(seed, 64)
    return {"pixel_values": pixels, "labels": 1 + pixels[:, 0].sigmoid()}


def recording(seed: int) -> Batch:
    """Classification of a wave."""
    return {"input_values": data.waves(seed), "labels": data.labels(seed)}


def transcription(seed: int) -> Batch:
    """CTC on a wave: three symbols, the class and the two after it."""
    first = data.labels(seed)[:, None]
    return {"input_values": data.waves(seed), "labels": (first + torch.arange(3)) % 10 + 1}


def speech_to_text(seed: int) -> Batch:
    """A spectrogram to a sentence."""
    return {"input_features": data.spectrograms(seed), "labels": data.tokens(seed, 6)}


def spectrogram_class(seed: int) -> Batch:
    """A spectrogram's class, (frames, bins)."""
    values = data.spectrograms(seed, 32, 32).transpose(1, 2)
    return {"input_values": values, "labels": data.labels(seed)}


def waveform(seed: int) -> Batch:
    """A wave with a channel axis and no target."""
    return {"input_values": data.waves(seed, 640)[:, None]}


def pairs(seed: int) -> Batch:
    """Pictures and sentences, matched by a contrastive loss."""
    ids = data.tokens(seed)
    ids[:, -1] = data.VOCABULARY - 1
    return {"input_ids": ids, "pixel_values": data.images(seed), "return_loss": True}


def forecast(seed: int) -> Batch:
    """The rest of a series."""
    x = data.series(seed, 40, 3)
    return {"past_values": x[:, :32], "future_values": x[:, 32:]}


def trajectory(seed: int) -> Batch:
    """States, actions and rewards, without a target."""
    states: Tensor = data.series(seed, 6, 8)
    steps = torch.arange(6).repeat(len(states), 1)
    return {
        "states": states,
        "actions": states[..., :3].tanh(),
        "rewards": states[..., :1],
        "returns_to_go": states[..., :1].flip(1).cumsum(dim=1),
        "timesteps": steps,
        "attention_mask": torch.ones_like(steps),
    }
