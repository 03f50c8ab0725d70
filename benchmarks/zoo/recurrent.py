"""Recurrent networks, written plainly."""

# ruff: noqa: D102  (every model has one method, forward)

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo import data
from zoo.specimen import Specimen, plain


class Recurrent(nn.Module):
    """An LSTM, GRU or RNN of torch; its last state is classified, or the mean of both directions.

    Read at the last place, the backward half of a bidirectional network has seen one step only, and
    its recurrent weight never receives a gradient: a bug that the checkup rightly reports.
    """

    def __init__(
        self, kind: type[nn.RNNBase], layers: int = 1, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.body = kind(8, 32, layers, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(64 if bidirectional else 32, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        states = self.body(x)[0]
        return self.head(states.mean(dim=1) if self.body.bidirectional else states[:, -1])


class UnrolledLSTM(nn.Module):
    """An LSTM written out: orthogonal recurrence, forget bias 1."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(8, 4 * width)
        self.recurrent = nn.Linear(width, 4 * width, bias=False)
        self.head = nn.Linear(width, data.CLASSES)
        for block in self.recurrent.weight.detach().chunk(4):
            nn.init.orthogonal_(block)
        nn.init.xavier_uniform_(self.input.weight)
        nn.init.zeros_(self.input.bias)
        nn.init.ones_(self.input.bias.detach()[width : 2 * width])

    def forward(self, x: Tensor) -> Tensor:
        state = memory = x.new_zeros(len(x), self.width)
        for t in range(x.shape[1]):
            gates = self.input(x[:, t]) + self.recurrent(state)
            i, f, g, o = gates.chunk(4, dim=1)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            state = o.sigmoid() * memory.tanh()
        return self.head(state)


class IdentityRNN(nn.Module):
    """Le et al. 2015: ReLU units, recurrence started at the identity."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(8, width)
        self.recurrent = nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, data.CLASSES)
        nn.init.normal_(self.input.weight, std=0.1)
        nn.init.zeros_(self.input.bias)
        nn.init.eye_(self.recurrent.weight)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.width)
        for t in range(x.shape[1]):
            state = functional.relu(self.input(x[:, t]) + self.recurrent(state))
        return self.head(state)


class CharacterModel(nn.Module):
    """Embedding, two GRU layers, dropout, and a head over the vocabulary."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, width)
        self.body = nn.GRU(width, width, 2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(width, data.VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.body(self.tokens(ids))[0])


class Seq2Seq(nn.Module):
    """Encoder and decoder LSTM with Luong's attention."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.tokens = nn.Embedding(data.VOCABULARY, width)
        self.encoder = nn.LSTM(width, width, batch_first=True)
        self.decoder = nn.LSTM(width, width, batch_first=True)
        self.score = nn.Linear(width, width, bias=False)
        self.mix, self.head = nn.Linear(2 * width, width), nn.Linear(width, data.VOCABULARY)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.tokens(source))
        x, _ = self.decoder(self.tokens(target), state)
        attention = (self.score(x) @ memory.transpose(1, 2)).softmax(dim=-1)
        return self.head(torch.tanh(self.mix(torch.cat([x, attention @ memory], dim=-1))))


class CTC(nn.Module):
    """Convolution, bidirectional GRU, log-probabilities for `ctc_loss`."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv1d(40, width, 3, padding=1)
        self.body = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv(x)).transpose(1, 2)
        return self.head(self.body(x)[0]).log_softmax(dim=-1)


def language(model: nn.Module, ids: Tensor) -> Tensor:
    """The next token's cross-entropy."""
    return functional.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:])


def reversal(model: nn.Module, ids: Tensor) -> Tensor:
    """The sentence backwards."""
    target = ids.flip(1)
    output = model(ids, target[:, :-1])
    return functional.cross_entropy(output.transpose(1, 2), target[:, 1:])


def transcription(model: nn.Module, x: Tensor) -> Tensor:
    """Three symbols per recording."""
    output = model(x).transpose(0, 1)
    loudest = x.mean(dim=2).argsort(dim=1)[:, -3:] % 11 + 1
    lengths = torch.full((len(x),), len(output))
    return functional.ctc_loss(output, loudest, lengths, torch.full((len(x),), 3))


SPECIMENS: tuple[Specimen, ...] = (
    plain("lstm", "calibrate", lambda: Recurrent(nn.LSTM), data.series, family="recurrent"),
    plain("gru-two-layers", "score", lambda: Recurrent(nn.GRU, 2), data.series, family="recurrent"),
    plain("rnn-tanh", "calibrate", lambda: Recurrent(nn.RNN), data.series, family="recurrent"),
    plain(
        "lstm-bidirectional",
        "score",
        lambda: Recurrent(nn.LSTM, bidirectional=True),
        data.series,
        family="recurrent",
    ),
    plain("lstm-unrolled", "score", UnrolledLSTM, data.series, family="recurrent"),
    plain("identity-rnn", "calibrate", IdentityRNN, data.series, family="recurrent"),
    plain(
        "character-gru",
        "score",
        CharacterModel,
        data.tokens,
        lambda _: {"step": language},
        family="recurrent",
    ),
    plain(
        "seq2seq",
        "calibrate",
        Seq2Seq,
        data.tokens,
        lambda _: {"step": reversal},
        family="recurrent",
    ),
    plain(
        "ctc-speech",
        "score",
        CTC,
        lambda s: data.spectrograms(s, 40),
        lambda _: {"step": transcription},
        family="recurrent",
    ),
)
