"""Silent failures that show only beside other parameters: clones, missing depth scaling, ties."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from firstlight.records.law import Normal, TruncatedNormal
from firstlight.records.network import Network, Parameter
from firstlight.records.plan import AuditEntry, AuditRemark

_OUTPUTS = frozenset(
    ("c_proj", "o_proj", "out_proj", "down_proj", "fc2", "wo", "w2", "proj", "dense_4h_to_h")
)
"""What the last weight of a residual branch is called (GPT-2, Llama, torch, OPT, timm, NeoX)."""

_SIGMAS = 5.0
"""Standard errors within which two measured standard deviations count as one."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Where a parameter stands in a stack of equal blocks.

    Args:
        stack: the name before the number, ``transformer.h``.
        index: the number.
        rest: the name after it.
        blocks: how many equal ones there are.
    """

    stack: str
    index: int
    rest: str
    blocks: int


def blocks_of(network: Network) -> dict[str, Block]:
    """The parameters that stand in a stack of two or more equal blocks.

    Blocks are equal if their parameters have the same names after the number, and the same shapes.
    A parameter in nested stacks belongs to the outermost.
    """
    stacks: dict[str, dict[int, dict[str, Parameter]]] = defaultdict(lambda: defaultdict(dict))
    for parameter in network.parameters:
        for found in re.finditer(r"(?:^|\.)(\d+)\.", parameter.name):
            stack, rest = parameter.name[: found.start()], parameter.name[found.end() :]
            stacks[stack][int(found.group(1))][rest] = parameter
    result: dict[str, Block] = {}
    for stack in sorted(stacks, key=len, reverse=True):
        alike: dict[frozenset[tuple[str, tuple[int, ...]]], list[int]] = defaultdict(list)
        for index, held in stacks[stack].items():
            alike[frozenset((rest, p.layout.shape) for rest, p in held.items())].append(index)
        for indices in alike.values():
            for index in indices if len(indices) > 1 else ():
                for rest, parameter in stacks[stack][index].items():
                    result[parameter.name] = Block(
                        stack=stack, index=index, rest=rest, blocks=len(indices)
                    )
    return result


def _fixed_std(entry: AuditEntry) -> float | None:
    """The std of an entry whose law does not depend on its fans."""
    if len(entry.layout.shape) != 2 or not entry.laws:
        return None
    best = entry.laws[0]
    fixed = best.technique in (None, "random_normal", "truncated_normal")
    if not fixed or "/" in best.words or not isinstance(best.law, Normal | TruncatedNormal):
        return None
    return entry.std


def depth_remarks(
    entries: Iterable[AuditEntry], blocks: Mapping[str, Block]
) -> Iterator[tuple[str, AuditRemark]]:
    """Last weights of residual branches that are as large as their siblings, by name."""
    inside: dict[tuple[str, int], list[AuditEntry]] = defaultdict(list)
    for entry in entries:
        block = blocks.get(entry.name)
        if block is not None and _fixed_std(entry) is not None:
            inside[block.stack, block.index].append(entry)
    for (stack, _), held in inside.items():
        ends = [e for e in held if e.name.removesuffix(".weight").rpartition(".")[2] in _OUTPUTS]
        others = [e for e in held if e not in ends]
        for entry in ends:
            if others and all(_same_std(entry, other) for other in others):
                n = blocks[entry.name].blocks
                yield (
                    entry.name,
                    AuditRemark(
                        kind="no-depth-scaling",
                        text=f"same std as its siblings: no depth scaling over the {n} blocks of"
                        f" {stack} (pre-norm residual streams divide it by √(2 · {n}) here)",
                    ),
                )


def _same_std(a: AuditEntry, b: AuditEntry) -> bool:
    sizes = (math.prod(e.layout.shape) for e in (a, b))
    error = math.sqrt(sum(1 / (2 * n) for n in sizes))
    return abs(a.std / b.std - 1) < _SIGMAS * error


def clone_remarks(
    entries: Sequence[AuditEntry], digests: Mapping[str, str]
) -> Iterator[tuple[str, AuditRemark]]:
    """Parameters that hold the very values of an earlier one, though they are another tensor.

    Args:
        entries: all of the network.
        digests: of the values of those that are random, by name.
    """
    first: dict[str, str] = {}
    for entry in entries:
        digest = digests.get(entry.name)
        if digest is None:
            continue
        original = first.setdefault(digest, entry.name)
        if original != entry.name:
            yield (
                entry.name,
                AuditRemark(
                    kind="cloned",
                    text=f"equal, value for value, to {original}: a copy, not a draw of its own",
                ),
            )


def tie_remarks(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, AuditRemark]]:
    """Heads that the config ties to an embedding, and that are a tensor of their own."""
    for embedding, head in pairs:
        yield (
            head,
            AuditRemark(
                kind="untied",
                text=f"the config says tie_word_embeddings=True, but this and {embedding} are two"
                " tensors: they will drift apart",
            ),
        )
