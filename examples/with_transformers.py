"""transformers' Trainer: models that begin initialized, and a watched training."""

import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from firstlight.integrations.transformers import FirstlightCallback, model_init

SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 32, "vocab_size": 64, "n_positions": 16}


def build() -> GPT2LMHeadModel:
    """Your model; here a small one."""
    return GPT2LMHeadModel(GPT2Config(**SIZES, bos_token_id=0, eos_token_id=0))


if __name__ == "__main__":
    tokens = torch.randint(64, (64, 16), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": row, "labels": row} for row in tokens]
    callback = FirstlightCallback(every=4)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=8, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True
        )
        init = model_init(build, {"input_ids": tokens, "labels": tokens}, seed=0)
        Trainer(model_init=init, args=arguments, train_dataset=rows, callbacks=[callback]).train()
    print(callback.watched)
