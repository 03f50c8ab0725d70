"""What a check costs beside one training step, in time and memory, on models of real size.

    python benchmarks/check_cost.py [--repeats 3]

A training step is forward, backward and plain SGD. Both run in one process in turn, and the ratio
is of the least processor times, which other programs on the machine disturb least. Memory is the
largest resident set, of a process that does nothing else. The second table shows how both grow with
the depth of a narrow network, where what is done once a layer outweighs the arithmetic: a ratio
that rises in proportion to the depth would mean that a check takes the square of it.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import firstlight as fl

DEPTHS = (100, 1000, 4000)


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


def deep(layers: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network of so many layers of 32 units, started so that it does not vanish."""
    torch.manual_seed(0)
    hidden: list[nn.Module] = []
    for _ in range(layers):
        linear = nn.Linear(32, 32)
        nn.init.orthogonal_(linear.weight)
        nn.init.zeros_(linear.bias)
        hidden += [linear, nn.Tanh()]
    return nn.Sequential(*hidden, nn.Linear(32, 10)), torch.randn(128, 32), torch.arange(128) % 10


def seconds(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The least processor time of each, taken in turn."""
    least = dict.fromkeys(runs, math.inf)
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if turn:  # the first turn fills caches
                least[name] = min(least[name], time.process_time() - start)
    return least


def runs_of(model: nn.Module, batch: Tensor, target: Tensor) -> dict[str, Callable[[], object]]:
    """What is compared."""
    return {
        "step": lambda: step(model, batch, target),
        "check": lambda: fl.check(model, batch, target=target),
    }


def gibibytes(name: str, what: str) -> float:
    """Largest resident set of this process after a few runs of one kind."""
    run = runs_of(*case(name))[what]
    for _ in range(3):
        run()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_own_process(*arguments: str) -> list[float]:
    """What this script prints with these arguments."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def cost(repeats: int) -> Table:
    """Time and memory of both models."""
    table = Table("model", "step, s", "check, s", "ratio", "step, GiB", "check, GiB", "ratio")
    for name in ("ResNet-50", "GPT-2 small"):
        t0, t1 = in_own_process("--time", name, "--repeats", str(repeats))
        m0, m1 = (in_own_process("--memory", name, what)[0] for what in ("step", "check"))
        figures = (t0, t1, t1 / t0, m0, m1, m1 / m0)
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    return table


def growth(repeats: int) -> Table:
    """Time against depth."""
    table = Table("layers", "step, s", "check, s", "ratio", "check, ms per layer")
    for layers in DEPTHS:
        found = seconds(runs_of(*deep(layers)), repeats)
        t0, t1 = found["step"], found["check"]
        each = t1 / layers * 1e3
        table.add_row(f"{layers:,}", f"{t0:.3f}", f"{t1:.2f}", f"{t1 / t0:.1f}", f"{each:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--time", metavar="MODEL")
    parser.add_argument("--memory", nargs=2, metavar=("MODEL", "WHAT"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # processor time adds up over threads
    if options.time:
        print(*seconds(runs_of(*case(options.time)), options.repeats).values())
    elif options.memory:
        print(gibibytes(*options.memory))
    else:
        Console().print(cost(options.repeats), growth(options.repeats))


if __name__ == "__main__":
    main()
