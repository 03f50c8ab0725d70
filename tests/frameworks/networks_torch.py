"""The contract's networks in PyTorch; the other frameworks have the same by the same names."""

from __future__ import annotations

from collections.abc import Callable

import torch
from architectures import CLASSES, DEPTH, FEATURES, HEADS, LENGTH, VOCABULARY, WIDTH
from torch import Tensor, nn
from torch.nn import functional


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(FEATURES, WIDTH)
        self.fc2 = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        return self.head(x)


class Detached(MLP):
    """No gradient gets past the head."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        return self.head(x.detach())


class Chain(nn.Module):
    """Plain layers, without norm or skip."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        for i in range(DEPTH):
            self.add_module(f"fc{i}", nn.Linear(WIDTH if i else FEATURES, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(DEPTH):
            x = self.activation(self.get_submodule(f"fc{i}")(x))
        return self.head(x)


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding="same", bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding="same", bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 2)
        x = functional.relu(self.bn2(self.conv2(x)))
        return self.head(x.mean(dim=(2, 3)))


class ResidualBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(16, 16, 3, padding="same", bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding="same", bias=False)
        self.bn2 = nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(x + self.bn2(self.conv2(inner)))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding="same")
        self.block0 = ResidualBlock()
        self.block1 = ResidualBlock()
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = self.block1(self.block0(x))
        return self.head(x.mean(dim=(2, 3)))


class MobileBlock(nn.Module):
    """Expand, depthwise, project; the sum with the input."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(16, 48, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(48)
        self.depthwise = nn.Conv2d(48, 48, 3, padding="same", groups=48, bias=False)
        self.bn2 = nn.BatchNorm2d(48)
        self.project = nn.Conv2d(48, 16, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu6(self.bn1(self.expand(x)))
        inner = functional.relu6(self.bn2(self.depthwise(inner)))
        return x + self.bn3(self.project(inner))


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding="same", bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.block0 = MobileBlock()
        self.block1 = MobileBlock()
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.bn(self.stem(x)))
        x = self.block1(self.block0(x))
        return self.head(x.mean(dim=(2, 3)))


class UNet(nn.Module):
    """One step down, one up, and what was there joined again."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 16, 3, padding="same")
        self.middle = nn.Conv2d(16, 32, 3, padding="same")
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.join = nn.Conv2d(32, 16, 3, padding="same")
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        outer = functional.relu(self.down(x))
        inner = functional.relu(self.middle(functional.max_pool2d(outer, 2)))
        joined = torch.cat([outer, functional.relu(self.up(inner))], dim=1)
        return self.head(functional.relu(self.join(joined)))


class Attention(nn.Module):
    """Written plainly, so that it has the same weights everywhere."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.q = nn.Linear(WIDTH, WIDTH)
        self.k = nn.Linear(WIDTH, WIDTH)
        self.v = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        samples, length, _ = x.shape

        def heads(y: Tensor) -> Tensor:
            return y.reshape(samples, length, HEADS, WIDTH // HEADS).transpose(1, 2)

        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        scores = q @ k.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5
        if self.causal:
            seen = torch.ones(length, length, dtype=torch.bool).tril()
            scores = torch.where(seen, scores, -1e9)
        mixed = scores.softmax(dim=-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(samples, length, WIDTH))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = Attention(causal)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.fc2 = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 2, stride=2)
        self.positions = nn.Parameter(torch.randn(16, WIDTH) * 0.02)
        self.block0 = Block(causal=False)
        self.block1 = Block(causal=False)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        x = self.block1(self.block0(x))
        return self.head(self.norm(x).mean(dim=1))


class GPT(nn.Module):
    """Predicts the token after the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(LENGTH, WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.block0 = Block(causal=True)
        self.block1 = Block(causal=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        x = self.block1(self.block0(x))
        return self.head(self.norm(x)[:, -1])


class Encoder(nn.Module):
    """A pre-norm encoder around the framework's own attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.fc2 = nn.Linear(2 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        inner = self.norm1(x)
        x = x + self.attention(inner, inner, inner, need_weights=False)[0]
        x = x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x).mean(dim=1))


class MixerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.tokens1 = nn.Linear(16, 32)
        self.tokens2 = nn.Linear(32, 16)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.fc2 = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.norm1(x).transpose(1, 2)
        mixed = self.tokens2(functional.gelu(self.tokens1(mixed)))
        x = x + mixed.transpose(1, 2)
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 2, stride=2)
        self.block0 = MixerBlock()
        self.block1 = MixerBlock()
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.block1(self.block0(x))
        return self.head(self.norm(x).mean(dim=1))


class GatedBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.gate = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(x)
        return x + self.down(functional.silu(self.gate(inner)) * self.up(inner))


class GatedMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, WIDTH)
        self.block0 = GatedBlock()
        self.block1 = GatedBlock()
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block1(self.block0(self.embed(x)))
        return self.head(self.norm(x))


class LSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Bag(nn.Module):
    """The mean of the embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.fc = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.relu(self.fc(self.tokens(x).mean(dim=1))))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode1 = nn.Linear(FEATURES, 24)
        self.encode2 = nn.Linear(24, 8)
        self.decode1 = nn.Linear(8, 24)
        self.decode2 = nn.Linear(24, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encode2(torch.tanh(self.encode1(x)))
        return self.decode2(torch.tanh(self.decode1(code)))


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "mlp": MLP,
    "deep_relu": lambda: Chain(functional.relu),
    "deep_tanh": lambda: Chain(torch.tanh),
    "convnet": ConvNet,
    "resnet": ResNet,
    "mobilenet": MobileNet,
    "unet": UNet,
    "vit": ViT,
    "gpt": GPT,
    "encoder": Encoder,
    "mixer": Mixer,
    "gated_mlp": GatedMLP,
    "lstm": LSTM,
    "bag": Bag,
    "autoencoder": Autoencoder,
    "detached": Detached,
}
