"""Models that grow: what was there keeps its values, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_transformers
import torch
import transformers
from torch import Tensor, nn

import firstlight as fl

VOCABULARY, PADDED = 61, 64


class Language(nn.Module):
    """Tokens in, logits out, with any number of layers."""

    def __init__(self, words: int, layers: int = 2, width: int = 16, *, tied: bool = False) -> None:
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.head = nn.Linear(width, words, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        y = self.tokens(tokens)
        for layer in self.layers:
            y = torch.relu(layer(y))
        return self.head(y)


def start(model: nn.Module, **how: object) -> dict[str, Tensor]:
    tokens = torch.randint(VOCABULARY, (8, 6), generator=torch.Generator().manual_seed(0))
    fl.initialize(model, tokens, seed=3, calibrate=False, **how)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("tied", [False, True])
def test_a_padded_vocabulary_keeps_its_rows(tied: bool) -> None:
    old = start(Language(VOCABULARY, tied=tied))
    new = start(Language(PADDED, tied=tied))
    assert old.keys() == new.keys()
    for name, values in old.items():
        assert torch.equal(new[name][: len(values)], values), name
    added = new["tokens.weight"][VOCABULARY:]
    assert len(added.unique()) == added.numel()


def test_added_layers_leave_the_others_alone() -> None:
    old = start(Language(VOCABULARY, layers=2), technique="he_normal")
    new = start(Language(VOCABULARY, layers=3), technique="he_normal")
    assert new.keys() - old.keys() == {"layers.2.weight", "layers.2.bias"}
    for name, values in old.items():
        assert torch.equal(new[name], values), name


def test_a_wider_layer_keeps_its_block_up_to_the_new_scale() -> None:
    # Four times the fan: half the standard deviation, an exact factor.
    old = start(Language(VOCABULARY, width=16), technique="he_normal")
    new = start(Language(VOCABULARY, width=64), technique="he_normal")
    for name in ("layers.0.weight", "layers.1.weight"):
        block = new[name][:16, :16]
        assert torch.allclose(2 * block, old[name], rtol=1e-6, atol=0), name


def test_a_padded_transformer_keeps_its_rows() -> None:
    small, large = tiny_transformers.build("Llama"), tiny_transformers.build("Llama")
    large.resize_token_embeddings(PADDED)
    fl.initialize(small, seed=3, calibrate=False)
    fl.initialize(large, seed=3, calibrate=False)
    grown = dict(large.named_parameters())
    for name, values in small.named_parameters():
        assert torch.equal(grown[name][: len(values)], values), name


def test_of_a_loaded_model_the_added_rows_alone_are_drawn(tmp_path: Path) -> None:
    tiny_transformers.build("Llama").save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    loaded = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.resize_token_embeddings(PADDED, mean_resizing=False)
    # The flag of a resized matrix tells nothing: it goes with the module, or is lost.
    tables = ["model.embed_tokens.weight", "lm_head.weight"]
    fl.initialize(model, seed=3, calibrate=False, only=[f"{t}[{VOCABULARY}:]" for t in tables])
    for name, values in model.named_parameters():
        assert torch.equal(values[: len(loaded[name])], loaded[name]), name
        if name in tables:  # on the scale of the rows that were loaded
            added = values[VOCABULARY:].detach()
            ratio = float(added.std() / loaded[name].std())
            assert abs(ratio - 1) < 4 / (2 * added.numel()) ** 0.5, name
