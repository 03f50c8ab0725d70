"""Ten architectures of transformers, each small enough to be planned in a second."""

from __future__ import annotations

from typing import Any

import transformers
from torch import nn

_SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
}
_IDS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SHARED = {"num_key_value_heads": 2}

CONFIGS: dict[str, Any] = {
    "GPT-2": lambda: transformers.GPT2Config(
        vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=32, **_IDS
    ),
    "BERT": lambda: transformers.BertConfig(**_SIZES, **_IDS),
    "Llama": lambda: transformers.LlamaConfig(**_SIZES, **_SHARED, **_IDS),
    "Mistral": lambda: transformers.MistralConfig(**_SIZES, **_SHARED, **_IDS),
    "Qwen2": lambda: transformers.Qwen2Config(**_SIZES, **_SHARED, **_IDS),
    "Gemma": lambda: transformers.GemmaConfig(**_SIZES, **_SHARED, **_IDS, head_dim=8),
    "GPT-NeoX": lambda: transformers.GPTNeoXConfig(**_SIZES, **_IDS),
    "OPT": lambda: transformers.OPTConfig(
        vocab_size=61,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=32,
        word_embed_proj_dim=32,
        **_IDS,
    ),
    "T5": lambda: transformers.T5Config(
        vocab_size=61,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    ),
    "ViT": lambda: transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=16,
        patch_size=8,
    ),
}

_KINDS = {
    "BERT": "AutoModelForMaskedLM",
    "T5": "AutoModelForSeq2SeqLM",
    "ViT": "AutoModelForImageClassification",
}


def build(name: str) -> nn.Module:
    """A model from its config, with transformers' own start."""
    kind = getattr(transformers, _KINDS.get(name, "AutoModelForCausalLM"))
    model: nn.Module = kind.from_config(CONFIGS[name]())
    return model
