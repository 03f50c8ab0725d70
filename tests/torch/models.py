"""A small zoo of torch models: healthy ones, faulty ones, and ones that are hard to look at.

Each entry of a table makes a fresh `Specimen` from a seed. Healthy models train; faulty ones carry
one planted fault, whose finding and culprit stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

SAMPLES, FEATURES, CLASSES, WIDTH = 128, 32, 10, 64


@dataclass
class Specimen:
    model: nn.Module
    batch: Any
    options: dict[str, Any] = field(default_factory=dict)


def vectors(seed: int, features: int = FEATURES) -> Tensor:
    return torch.randn(SAMPLES, features, generator=torch.Generator().manual_seed(1000 + seed))


def labels(seed: int, classes: int = CLASSES) -> Tensor:
    generator = torch.Generator().manual_seed(2000 + seed)
    return torch.randint(classes, (SAMPLES,), generator=generator)


def images(seed: int, channels: int = 3, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(3000 + seed)
    return torch.randn(SAMPLES, channels, size, size, generator=generator)


def tokens(seed: int, vocabulary: int = 50, length: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(4000 + seed)
    return torch.randint(vocabulary, (SAMPLES, length), generator=generator)


def classified(model: nn.Module, seed: int, batch: Any = None) -> Specimen:
    batch = vectors(seed) if batch is None else batch
    return Specimen(model, batch, {"loss": "cross_entropy", "target": labels(seed)})


def mlp(
    depth: int, activation: Callable[[], nn.Module] = nn.ReLU, width: int = WIDTH
) -> nn.Sequential:
    """``depth`` hidden layers and a head; the head is the last module."""
    layers: list[nn.Module] = []
    before = FEATURES
    for _ in range(depth):
        layers += [nn.Linear(before, width), activation()]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, CLASSES))


def dense(model: nn.Module) -> list[nn.Linear]:
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def scaled(model: nn.Module, sigma_w: float, head: float = 1.0) -> nn.Module:
    """N(0, σ_w²/fan_in) in hidden layers, N(0, head²/fan_in) in the last one; biases zero."""
    *hidden, last = dense(model)
    for module, scale in (*((m, sigma_w) for m in hidden), (last, head)):
        nn.init.normal_(module.weight, std=scale / math.sqrt(module.in_features))
        nn.init.zeros_(module.bias)
    return model


HE = math.sqrt(2)


# Models with a character -------------------------------------------------------------------------


class FunctionalMLP(nn.Module):
    """`F.relu`, ``relu_`` and operators instead of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(FEATURES, WIDTH)
        self.fc2 = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.fc1(x))
        x = self.fc2(x).relu_()
        return self.head(x)


class ConvNet(nn.Module):
    """Convolutions with BatchNorm, dropout and pooling."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, stride=2, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.relu(self.bn2(self.conv2(x)))
        return self.head(self.dropout(x.mean(dim=(2, 3))))


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
        self.bn1 = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
        self.bn2 = nn.BatchNorm2d(channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(x + self.bn2(self.conv2(inner)))


class ResNet(nn.Module):
    def __init__(self, blocks: int = 3, norm: bool = True, zero_gamma: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(16, norm) for _ in range(blocks))
        self.head = nn.Linear(16, CLASSES)
        if zero_gamma:
            for block in self.blocks:
                nn.init.zeros_(block.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=(2, 3)))


class TransformerBlock(nn.Module):
    """A pre-norm block, written plainly."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        batch, length, width = y.shape

        def split(t: Tensor) -> Tensor:
            return t.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        q, k, v = split(self.q(y)), split(self.k(y)), split(self.v(y))
        attention = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(width // self.heads), dim=-1)
        mixed = (attention @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(mixed)
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """Embedding, pre-norm blocks, and a head that may be tied to the embedding."""

    def __init__(self, blocks: int = 2, width: int = 32, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, 4) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 50, bias=False)
        if tied:
            nn.init.normal_(self.embedding.weight, std=0.02)
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embedding(ids))))


def next_token(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


class LSTMClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class TiedEmbedding(nn.Module):
    """A bag of words whose head is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32, padding_idx=0)
        self.fc = nn.Linear(32, 32)
        self.head = nn.Linear(32, 50, bias=False)
        nn.init.normal_(self.embedding.weight, std=32**-0.5)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.fc(self.embedding(ids).sum(dim=1))))


class LoRALinear(nn.Module):
    """A frozen base with a trainable low-rank addition: y = W x + B A x, B = 0 at the start."""

    def __init__(self, inputs: int, outputs: int, rank: int = 4) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


def lora() -> nn.Sequential:
    layers = [LoRALinear(FEATURES, WIDTH), nn.ReLU(), LoRALinear(WIDTH, WIDTH), nn.ReLU()]
    model = nn.Sequential(*layers, LoRALinear(WIDTH, CLASSES))
    for layer in (model[0], model[2]):
        nn.init.kaiming_normal_(layer.base.weight)
    return model


class CalledTwice(nn.Module):
    """One linear layer and one activation, each used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, WIDTH)
        self.shared = nn.Linear(WIDTH, WIDTH)
        self.act = nn.ReLU()
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = self.act(self.shared(x))
        return self.head(self.shared(x))


class InPlaceOnInput(nn.Module):
    """Overwrites its own input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).mul_(2)
        return self.fc(x.relu_())


class DictOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.body(x)
        found = {"logits": logits, "hidden": x}
        return found if y is None else {"loss": functional.cross_entropy(logits, y), **found}


class TupleOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(1)
        self.side = nn.Linear(FEATURES, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, None]]:
        return self.body(x), (self.side(x), None)


class Remembering(nn.Module):
    """Counts its calls, caches tensors, and keeps lists and a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.calls = 0
        self.history: list[float] = [1.0]
        self.nested: dict[str, Any] = {"seen": [], "state": torch.zeros(3)}
        self.cache = torch.zeros(WIDTH)
        self.register_buffer("moved", torch.zeros(2))
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.history.append(float(x.detach().mean()))
        self.nested["seen"].append(self.calls)
        self.nested["state"].add_(1)
        hidden = functional.relu(self.fc1(x))
        self.cache += hidden.detach().mean(dim=0)
        self.last = hidden
        self.moved = self.moved + 1
        return self.fc2(hidden + 0.01 * torch.randn(WIDTH, generator=self.generator))


class SwitchesModes(nn.Module):
    """Changes flags, modes, hooks and parameters of its own while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.bn = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        self.bn.eval()
        self.fc1.bias.requires_grad_(False)
        self.fc1.register_forward_hook(lambda module, args, output: None)
        with torch.no_grad():
            self.fc2.weight.clamp_(-0.05, 0.05)
        self.fc1.weight.data = self.fc1.weight.data / self.fc1.weight.data.norm()
        return self.fc2(functional.relu(self.bn(self.fc1(x))))


class Hiding(nn.Module):
    """Keeps a normalisation in a list and one in a tuple, where torch does not find them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.hidden: list[Any] = [nn.BatchNorm1d(WIDTH)]
        self.more = ({"norm": nn.BatchNorm1d(WIDTH)},)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.more[0]["norm"](self.hidden[0](self.fc1(x)).relu()))


class MaxNormEmbedding(nn.Module):
    """`max_norm` renormalises rows of the table inside forward."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16, max_norm=1.0)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc(self.embedding(ids.clone()).mean(dim=1))


class Raises(nn.Module):
    """Raises after BatchNorm has moved its statistics and the random state has advanced."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.fc1, self.bn = nn.Linear(FEATURES, WIDTH), nn.BatchNorm1d(WIDTH)
        self.fc2 = nn.Linear(WIDTH, CLASSES)
        self.error = error or RuntimeError("half-way,\nover two lines")

    def forward(self, x: Tensor) -> Tensor:
        self.calls = 1
        x.mul_(2)
        functional.dropout(self.bn(self.fc1(x)), 0.5)
        torch.set_grad_enabled(False)
        torch.set_autocast_enabled("cpu", True)
        torch.set_autocast_dtype("cpu", torch.float16)
        torch.set_autocast_cache_enabled(False)
        torch.set_default_dtype(torch.float64)
        raise self.error


class Conv1D(nn.Module):
    """GPT-2's dense layer as in transformers: (in, out) storage, `addmm`."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.randn(nx, nf) / math.sqrt(nx))
        self.bias = nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return flat.view(*x.size()[:-1], self.nf)


def hooked() -> nn.Module:
    """Hooks of every kind on modules and on a parameter."""
    model = mlp(2)
    model[0].register_forward_hook(lambda module, args, output: None)
    model[0].register_forward_pre_hook(lambda module, args: None)
    model[2].register_full_backward_hook(lambda module, gi, go: None)
    model[2].register_full_backward_pre_hook(lambda module, go: None)
    model[0].weight.register_hook(lambda gradient: None)
    return model


def frozen_parts() -> nn.Module:
    """A frozen first layer with gradients left over, and a frozen BatchNorm that stays in eval."""
    model = nn.Sequential(
        nn.Linear(FEATURES, WIDTH),
        nn.BatchNorm1d(WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.BatchNorm1d(WIDTH),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(WIDTH, CLASSES),
    )
    model(vectors(7)).sum().backward()
    model.zero_grad(set_to_none=True)
    model[3](torch.ones(4, WIDTH)).sum().backward()  # a gradient is present on one layer only
    model[0].requires_grad_(False)
    model[1].requires_grad_(False)
    model[1].eval()
    return model


def own_backward(model: nn.Module, batch: Any) -> Tensor:
    """A step that zeroes gradients, calls backward and clips, as in a training loop."""
    model.zero_grad()
    loss = functional.cross_entropy(model(batch), labels(0))
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return loss


def accumulating(model: nn.Module, batch: Any) -> Tensor:
    """A step that clears half of the gradients in place and drops the others."""
    loss = functional.cross_entropy(model(batch), labels(0))
    for index, parameter in enumerate(model.parameters()):
        if index % 2:
            parameter.grad = None
        elif parameter.grad is not None:
            parameter.grad.zero_()
    return loss


def with_gradients() -> nn.Module:
    model = mlp(2)
    model(vectors(1)).square().mean().backward()
    return model


def _tricky() -> dict[str, Callable[[], Specimen]]:
    def plain(make: Callable[[], nn.Module]) -> Callable[[], Specimen]:
        return lambda: classified(make(), 0)

    def in_eval() -> Specimen:
        model = ConvNet(0.5)
        model.eval()
        return classified(model, 0, images(0))

    return {
        "batchnorm and dropout": lambda: classified(ConvNet(0.5), 0, images(0)),
        "in eval mode": in_eval,
        "frozen parts": plain(frozen_parts),
        "hooks": plain(hooked),
        "tied weights": lambda: Specimen(Transformer(tied=True), tokens(0)),
        "functional and in-place": plain(FunctionalMLP),
        "module called twice": plain(CalledTwice),
        "writes into its input": plain(InPlaceOnInput),
        "dict output": lambda: Specimen(DictOutput(), {"x": vectors(0), "y": labels(0)}),
        "tuple output": lambda: Specimen(TupleOutput(), (vectors(0),)),
        "remembers": plain(Remembering),
        "switches modes": plain(SwitchesModes),
        "hides modules": plain(Hiding),
        "max_norm embedding": lambda: classified(MaxNormEmbedding(), 0, tokens(0)),
        "zero gamma": lambda: classified(ResNet(zero_gamma=True), 0, images(0)),
        "lora": plain(lora),
        "weight norm": plain(lambda: parametrizations.weight_norm(nn.Linear(FEATURES, CLASSES))),
        "spectral norm": plain(
            lambda: parametrizations.spectral_norm(nn.Linear(FEATURES, CLASSES))
        ),
        "lstm": lambda: classified(LSTMClassifier(), 0, torch.randn(SAMPLES, 5, 16)),
        "step with its own backward": lambda: Specimen(mlp(2), vectors(0), {"step": own_backward}),
        "gradients at hand": lambda: Specimen(with_gradients(), vectors(0), {"step": accumulating}),
        "nan weights": plain(with_nan),
    }


# Healthy -----------------------------------------------------------------------------------------


def _glorot(model: nn.Module) -> nn.Module:
    for module in dense(model):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)
    return model


def _zero_head(seed: int) -> Specimen:
    model = scaled(mlp(4), HE)
    nn.init.zeros_(dense(model)[-1].weight)
    return classified(model, seed)


def _language(seed: int, **options: Any) -> Specimen:
    ids = tokens(seed)
    return Specimen(Transformer(**options), ids, {"loss": next_token, "target": ids.roll(-1, 1)})


def _dropout_mlp(seed: int) -> Specimen:
    model = nn.Sequential(
        nn.Dropout(0.2),
        nn.Linear(FEATURES, WIDTH),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(WIDTH, CLASSES),
    )
    return classified(scaled(model, HE), seed)


def _lstm(seed: int) -> Specimen:
    series = torch.randn(SAMPLES, 5, 16, generator=torch.Generator().manual_seed(seed))
    return classified(LSTMClassifier(), seed, series)


def _bag(seed: int) -> Specimen:
    target = labels(seed, 50)
    return Specimen(TiedEmbedding(), tokens(seed), {"loss": "cross_entropy", "target": target})


HEALTHY: dict[str, Callable[[int], Specimen]] = {
    "He, 3 ReLU layers": lambda seed: classified(scaled(mlp(3), HE), seed),
    "He, 20 ReLU layers": lambda seed: classified(scaled(mlp(20, width=128), HE), seed),
    "torch's default, 2 layers": lambda seed: classified(mlp(2), seed),
    "Glorot, 6 tanh layers": lambda seed: classified(_glorot(mlp(6, nn.Tanh)), seed),
    "LoRA, B = 0": lambda seed: classified(lora(), seed),
    "zero-gamma residual": lambda seed: classified(ResNet(zero_gamma=True), seed, images(seed)),
    "residual, BatchNorm": lambda seed: classified(ResNet(), seed, images(seed)),
    "zero head": _zero_head,
    "BatchNorm CNN": lambda seed: classified(ConvNet(), seed, images(seed)),
    "pre-norm transformer": _language,
    "pre-norm transformer, tied": lambda seed: _language(seed, tied=True),
    "LSTM classifier": _lstm,
    "tied bag of words": _bag,
    "dropout MLP": _dropout_mlp,
    "functional MLP": lambda seed: classified(FunctionalMLP(), seed),
    "module called twice": lambda seed: classified(CalledTwice(), seed),
}


# Faulty ------------------------------------------------------------------------------------------


def _filled(value: float) -> nn.Module:
    model = mlp(3)
    for module in dense(model):
        nn.init.constant_(module.weight, value)
        nn.init.zeros_(module.bias)
    return model


def _duplicated() -> nn.Module:
    """The second half of layer 2's units copies the first half, in and out."""
    model = scaled(mlp(3), HE)
    with torch.no_grad():
        half = WIDTH // 2
        model[2].weight[half:] = model[2].weight[:half]
        model[4].weight[:, half:] = model[4].weight[:, :half]
    return model


def _dead() -> nn.Module:
    model = scaled(mlp(3), HE)
    nn.init.constant_(model[2].bias, -10.0)
    return model


def _big_head() -> nn.Module:
    model = scaled(mlp(3), HE)
    with torch.no_grad():
        model[-1].weight.mul_(100)
    return model


def with_nan() -> nn.Module:
    model = mlp(3)
    with torch.no_grad():
        model[2].weight[3, 4] = math.nan
    return model


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = scaled(mlp(2), HE)
        self.forgotten = nn.Linear(FEATURES, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = scaled(mlp(2), HE)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).detach()


def _lora_both_zero() -> nn.Module:
    model = lora()
    for layer in (model[0], model[2], model[4]):
        nn.init.zeros_(layer.a)
    return model


@dataclass(frozen=True)
class Fault:
    """A model with one planted fault, and the leading finding that it must give."""

    make: Callable[[], nn.Module]
    kind: str
    where: str
    severity: str = "error"
    cause: str = ""


FAULTS: dict[str, Fault] = {
    "all zeros": Fault(lambda: _filled(0.0), "symmetric-units", "0", cause="zero weights"),
    "constant": Fault(lambda: _filled(0.01), "symmetric-units", "0", cause="constant weights"),
    "half duplicated": Fault(
        _duplicated, "symmetric-units", "2", "warning", cause="same weights in and out"
    ),
    "bias -10": Fault(_dead, "dead-units", "3", cause="mean -"),
    "saturated tanh": Fault(
        lambda: scaled(mlp(4, nn.Tanh), 20.0), "saturated-units", "1", cause="too large"
    ),
    "20 ReLU, torch's default": Fault(
        lambda: mlp(20, width=128), "backward-vanishing", "0", cause="σ_w² = 2 would keep it"
    ),
    "20 ReLU, twice He": Fault(
        lambda: scaled(mlp(20, width=128), 2 * HE),
        "backward-exploding",
        "0",
        cause="σ_w² = 2 would keep it",
    ),
    "5 sigmoids": Fault(
        lambda: scaled(mlp(5, nn.Sigmoid, width=128), 1.0), "backward-vanishing", "0"
    ),
    "head × 100": Fault(_big_head, "loss-at-start", "6", cause="logits"),
    "NaN weight": Fault(with_nan, "non-finite", "2.weight"),
    "unused": Fault(Unused, "unreachable", "forgotten.weight", "warning"),
    "detached": Fault(Detached, "unreachable", "body.0.weight", cause="detach"),
    "LoRA, A = B = 0": Fault(_lora_both_zero, "no-gradient", "0.a", cause="A and B"),
}

TRICKY: dict[str, Callable[[], Specimen]] = _tricky()
