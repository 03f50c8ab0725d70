"""A dozen architectures of a few units each, as factories: with values, or on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Two convolutions beside the signal."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.last = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.last(self.second(torch.relu(self.norm(self.first(x))))))


class ZeroGamma(Residual):
    """Its constructor sets the last norm of the branch to zero."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        nn.init.zeros_(self.last.weight)


class Recurrent(nn.Module):
    """Tokens through two layers of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 12, num_layers=2, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embed(tokens))[0][:, -1])  # type: ignore[no-any-return]


class Tied(nn.Module):
    """A head that shares its weight with the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16, padding_idx=0)
        self.inner = nn.Linear(16, 16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.relu(self.inner(self.embed(tokens))))  # type: ignore[no-any-return]


class Scaled(nn.Module):
    """A branch behind a number that its constructor chose, which keeps nothing of its argument."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate * self.inner(x)


class Gated(Scaled):
    """The same, by a constructor that can be run again."""

    def __init__(self) -> None:
        super().__init__(8)


def resnet(block: type[Residual] = Residual) -> nn.Module:
    """A stem, two residual blocks, a head."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), block(8), block(8)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    )


def _deep() -> nn.Module:
    layers = [layer for _ in range(12) for layer in (nn.Linear(32, 32), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(32, 3))


def _cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(16, 10),
    )


def _encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.Sequential(
        nn.Linear(8, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    )


_NO_ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
_WIDTHS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_TEXT: dict[str, Any] = {"vocab_size": 100, **_WIDTHS, **_NO_ENDS}
_GROUPED = {**_TEXT, "num_key_value_heads": 2}

_CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
        | {"bos_token_id": None, "eos_token_id": None},
    ),
    "bert": ("BertForMaskedLM", "BertConfig", _TEXT),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _GROUPED),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**_GROUPED, "head_dim": 8}),
    "neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _TEXT),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": 100, "d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8}
        | {"decoder_start_token_id": 0},
    ),
    "vit": (
        "ViTForImageClassification",
        "ViTConfig",
        _WIDTHS | {"image_size": 16, "patch_size": 4},
    ),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**_GROUPED, "num_local_experts": 4}),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    ),
}


def _of_transformers(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        model, config, numbers = _CONFIGS[name]
        made: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**numbers))
        return made

    return build


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 10)),
    "deep": _deep,
    "prelu": lambda: nn.Sequential(
        nn.Linear(20, 64), nn.PReLU(), nn.LayerNorm(64), nn.Linear(64, 10)
    ),
    "gated": lambda: nn.Sequential(nn.Linear(8, 8), Gated(), nn.Linear(8, 3)),
    "cnn": _cnn,
    "resnet": resnet,
    "lstm": Recurrent,
    "tied": Tied,
    "encoder": _encoder,
    **{name: _of_transformers(name) for name in _CONFIGS},
}


def on_meta(name: str) -> nn.Module:
    """A model without values."""
    with torch.device("meta"):
        return MODELS[name]()


def with_values(name: str) -> nn.Module:
    """The same with values."""
    torch.manual_seed(0)
    return MODELS[name]()
