"""What a check costs beside one training step, in time and memory, on models of real size.

    python benchmarks/check_cost.py [--repeats 3]

A training step is forward, backward and plain SGD. Both run in the same process in turn; the ratio
is of the least times. Memory is the process's largest resident set, each in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl


class Bottleneck(nn.Module):
    """The block of a ResNet-50."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (width, width, out))
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or channels != out:
            self.skip = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Three convolutions and the skip."""
        h = functional.relu(self.norms[0](self.conv1(x)))
        h = functional.relu(self.norms[1](self.conv2(h)))
        return functional.relu(self.norms[2](self.conv3(h)) + self.skip(x))


def resnet50() -> nn.Module:
    """25.6 million parameters."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for index, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            layers.append(Bottleneck(channels, width, 2 if index and not block else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attention and a feed-forward layer."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """GPT-2 small: 124 million parameters with tied embeddings."""

    def __init__(self, vocabulary: int = 50257, width: int = 768, layers: int = 12) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(1024, width)
        self.blocks = nn.Sequential(*(Block(width, 12) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, 0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, one row per position."""
        h = self.tokens(x) + self.places.weight[: x.shape[1]]
        return self.head(self.norm(self.blocks(h))).flatten(0, 1)


def case(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A model, its batch and its target."""
    torch.manual_seed(0)
    if name == "ResNet-50":
        return resnet50(), torch.randn(4, 3, 160, 160), torch.randint(1000, (4,))
    tokens = torch.randint(50257, (2, 128))
    return Gpt(), tokens, tokens.flatten()


def step(model: nn.Module, batch: Tensor, target: Tensor) -> None:
    """One training step."""
    loss = functional.cross_entropy(model(batch), target)
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(parameter.grad, alpha=1e-4)
            parameter.grad = None


def seconds(function, repeats: int) -> float:
    """The least of several times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(name: str, what: str, repeats: int) -> tuple[float, float]:
    """Seconds and largest resident set in GiB, in this process."""
    model, batch, target = case(name)
    run = {
        "step": lambda: step(model, batch, target),
        "check": lambda: fl.check(model, batch, target=target),
    }[what]
    run()
    least = seconds(run, repeats)
    return least, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "WHAT"))
    options = parser.parse_args()
    if options.one:
        print(*measure(*options.one, options.repeats))
        return
    table = Table("model", "step, s", "check, s", "ratio", "step, GiB", "check, GiB", "ratio")
    for name in ("ResNet-50", "GPT-2 small"):
        found = {}
        for what in ("step", "check"):
            command = [sys.executable, __file__, "--one", name, what]
            command += ["--repeats", str(options.repeats)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[what] = [float(number) for number in done.stdout.split()]
        (t0, m0), (t1, m1) = found["step"], found["check"]
        table.add_row(
            name,
            f"{t0:.2f}",
            f"{t1:.2f}",
            f"{t1 / t0:.2f}",
            f"{m0:.2f}",
            f"{m1:.2f}",
            f"{m1 / m0:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
