"""Speech and sound: waves and spectrograms."""

from __future__ import annotations

from zoo import data
from zoo.configs.batches import Row, recording, spectrogram_class, speech_to_text, transcription
from zoo.configs.sizes import BART, IDS, PICTURE, SPEECH

ROWS: tuple[Row, ...] = (
    (
        "wav2vec2-ctc",
        "calibrate",
        "Wav2Vec2ForCTC",
        {**SPEECH, "ctc_loss_reduction": "mean"},
        transcription,
    ),
    ("wav2vec2-class", "calibrate", "Wav2Vec2ForSequenceClassification", SPEECH, recording),
    ("hubert", "calibrate", "HubertForSequenceClassification", SPEECH, recording),
    ("wavlm", "calibrate", "WavLMForSequenceClassification", SPEECH, recording),
    (
        "sew",
        "score",
        "SEWForSequenceClassification",
        {**SPEECH, "squeeze_factor": 2},
        recording,
    ),
    (
        "data2vec-audio",
        "score",
        "Data2VecAudioForSequenceClassification",
        {**SPEECH, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 7},
        recording,
    ),
    (
        "whisper",
        "score",
        "WhisperForConditionalGeneration",
        {
            **BART,
            "num_mel_bins": 80,
            "max_source_positions": 16,
            "max_target_positions": 16,
        },
        speech_to_text,
    ),
    (
        "speech2text",
        "score",
        "Speech2TextForConditionalGeneration",
        {
            **BART,
            "input_feat_per_channel": 32,
            "max_source_positions": 64,
            "max_target_positions": 16,
            "conv_channels": 32,
        },
        lambda seed: {
            "input_features": data.spectrograms(seed, 32).transpose(1, 2),
            "labels": data.tokens(seed, 6),
        },
    ),
    (
        "ast",
        "score",
        "ASTForAudioClassification",
        {
            **{k: v for k, v in PICTURE.items() if k != "image_size"},
            "num_mel_bins": 32,
            "max_length": 32,
            "frequency_stride": 8,
            "time_stride": 8,
        },
        spectrogram_class,
    ),
    (
        "wav2vec2-conformer",
        "score",
        "Wav2Vec2ConformerForSequenceClassification",
        {**SPEECH, "position_embeddings_type": "rotary"},
        recording,
    ),
    (
        "moonshine",
        "score",
        "MoonshineForConditionalGeneration",
        {
            **IDS,
            "hidden_size": 48,
            "intermediate_size": 96,
            "encoder_num_hidden_layers": 2,
            "decoder_num_hidden_layers": 2,
            "encoder_num_attention_heads": 4,
            "decoder_num_attention_heads": 4,
            "max_position_embeddings": 64,
            "decoder_start_token_id": 0,
        },
        lambda seed: {"input_values": data.waves(seed, 4000), "labels": data.tokens(seed, 6)},
    ),
)
