"""Pictures with text, series, decisions."""

from __future__ import annotations

from zoo import data
from zoo.configs.batches import Row, forecast, masked, pairs, trajectory
from zoo.configs.sizes import PICTURE, TEXT

ROWS: tuple[Row, ...] = (
    (
        "clip",
        "score",
        "CLIPModel",
        {
            "text_config": {**TEXT, "eos_token_id": data.VOCABULARY - 1, "projection_dim": 32},
            "vision_config": {**PICTURE, "projection_dim": 32},
            "projection_dim": 32,
        },
        pairs,
    ),
    (
        "patch-tst",
        "score",
        "PatchTSTForPrediction",
        {
            "num_input_channels": 3,
            "context_length": 32,
            "prediction_length": 8,
            "patch_length": 8,
            "patch_stride": 8,
            "d_model": 32,
            "ffn_dim": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "loss": "mse",
        },
        forecast,
    ),
    (
        "patch-ts-mixer",
        "calibrate",
        "PatchTSMixerForPrediction",
        {
            "num_input_channels": 3,
            "context_length": 32,
            "prediction_length": 8,
            "patch_length": 8,
            "patch_stride": 8,
            "d_model": 32,
            "num_layers": 2,
        },
        forecast,
    ),
    (
        "decision-transformer",
        "calibrate",
        "DecisionTransformerModel",
        {
            "state_dim": 8,
            "act_dim": 3,
            "hidden_size": 48,
            "n_layer": 3,
            "n_head": 4,
            "max_ep_len": 16,
            "n_positions": 64,
        },
        trajectory,
    ),
    (
        "perceiver",
        "score",
        "PerceiverForMaskedLM",
        {
            "vocab_size": data.VOCABULARY,
            "d_latents": 48,
            "d_model": 32,
            "num_latents": 8,
            "num_blocks": 1,
            "num_self_attends_per_block": 2,
            "num_self_attention_heads": 4,
            "num_cross_attention_heads": 4,
            "qk_channels": 32,
            "v_channels": 48,
            "max_position_embeddings": 16,
        },
        lambda seed: {"inputs" if k == "input_ids" else k: v for k, v in masked(seed).items()},
    ),
)
