"""Networks on sets, graphs and fields of a table, written plainly."""

# ruff: noqa: D102  (every model has one method, forward)

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo import data
from zoo.specimen import Specimen, plain

WIDTH = 64


class DeepSets(nn.Module):
    """φ on each point, a mean, ρ on the set."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(3, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.rho = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, data.CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.rho(self.phi(x).mean(dim=1))


class PointNet(nn.Module):
    """Shared 1×1 convolutions with BatchNorm and a maximum over the points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(3, 32, 1), nn.Conv1d(32, 64, 1)
        self.norm1, self.norm2 = nn.BatchNorm1d(32), nn.BatchNorm1d(64)
        self.head = nn.Linear(64, data.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm1(self.conv1(x.transpose(1, 2))))
        return self.head(functional.relu(self.norm2(self.conv2(x))).amax(dim=2))


class GraphConvolution(nn.Module):
    """Kipf & Welling: D^-½ A D^-½ X W, without weights of torch's own modules."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        sizes = (8, *(WIDTH,) * depth)
        self.weights = nn.ParameterList(
            nn.Parameter(nn.init.xavier_uniform_(torch.empty(a, b)))
            for a, b in itertools.pairwise(sizes)
        )
        self.head = nn.Linear(WIDTH, data.CLASSES)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        degree = adjacency.sum(dim=2).rsqrt()
        mixing = degree[:, :, None] * adjacency * degree[:, None, :]
        for weight in self.weights:
            x = functional.relu(mixing @ (x @ weight))
        return self.head(x.mean(dim=1))


class MessagePassing(nn.Module):
    """Messages from a small network per edge, states updated by a GRU cell."""

    def __init__(self, rounds: int = 3) -> None:
        super().__init__()
        self.rounds = rounds
        self.enter = nn.Linear(8, 32)
        self.message = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32))
        self.update = nn.GRUCell(32, 32)
        self.head = nn.Linear(32, data.CLASSES)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        state = self.enter(x)
        batch, nodes, width = state.shape
        for _ in range(self.rounds):
            here = state[:, :, None].expand(-1, -1, nodes, -1)
            there = state[:, None].expand(-1, nodes, -1, -1)
            sent = self.message(torch.cat([here, there], dim=-1))
            heard = (adjacency[..., None] * sent).sum(dim=2) / adjacency.sum(dim=2)[..., None]
            state = self.update(heard.reshape(-1, width), state.reshape(-1, width))
            state = state.reshape(batch, nodes, width)
        return self.head(state.mean(dim=1))


class WideAndDeep(nn.Module):
    """Click prediction: embeddings of fields beside numbers, and one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(data.VOCABULARY, 8) for _ in range(4))
        self.deep = nn.Sequential(nn.Linear(32, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 32), nn.ReLU())
        self.wide, self.out = nn.Linear(32, 1), nn.Linear(32, 1)

    def forward(self, ids: Tensor) -> Tensor:
        fields = [table(ids[:, i]) for i, table in enumerate(self.embeddings)]
        x = torch.cat(fields, dim=1)
        return (self.wide(x) + self.out(self.deep(x))).squeeze(1)


def clicks(seed: int) -> Tensor:
    """One click in eight: imbalanced on purpose."""
    return (data.tokens(seed, 4).sum(dim=1) % 8 == 0).float()


SPECIMENS: tuple[Specimen, ...] = (
    plain("deep-sets", "score", DeepSets, data.points, family="graphs"),
    plain("pointnet", "calibrate", PointNet, data.points, family="graphs"),
    plain("graph-convolution", "score", GraphConvolution, data.graphs, family="graphs"),
    plain("message-passing", "calibrate", MessagePassing, data.graphs, family="graphs"),
    plain(
        "wide-and-deep",
        "score",
        WideAndDeep,
        lambda s: data.tokens(s, 4),
        lambda s: {"loss": "binary_cross_entropy", "target": clicks(s)},
        family="graphs",
    ),
)
