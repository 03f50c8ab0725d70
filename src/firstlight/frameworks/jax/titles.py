"""Names of operations: the path of the weight, or of the nearest one before, and the function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from firstlight.frameworks.jax.flow import Flow
from firstlight.frameworks.jax.found import Found
from firstlight.records.network import Parameter

_SPEAKING = frozenset({"weighted", "norm", "embedding"})
_WEIGHTS = frozenset({"weight", "recurrent", "embedding"})
_PLAIN = frozenset({"kernel", "weight", "embedding", "w", "scale"})


class Titles:
    """Gives unique names, in the order of execution."""

    def __init__(self, flow: Flow, parameters: Sequence[Parameter]) -> None:
        self._flow = flow
        self._counts: Counter[str] = Counter()
        self._paths: list[str] = []
        """For each operation the path that those after it are named by."""
        owners = (p.name.rpartition(".")[0] for p in parameters if p.kind in _WEIGHTS)
        self._weights = Counter(owners)
        self._modules = {path for p in parameters for path in _prefixes(p.name.rpartition(".")[0])}

    def name(self, found: Found, inputs: Sequence[int]) -> str:
        """The name of the next operation."""
        scope = self._scope(found)
        before = max((self._paths[i] for i in inputs), key=self._depth, default="")
        if found.kind in _SPEAKING and found.parameters:
            base = self._owner(found.parameters[0])
            path = base
        else:
            path = scope or before
            base = f"{path}.{found.function}".lstrip(".")
        self._paths.append(path)
        self._counts[base] += 1
        count = self._counts[base]
        return base if count == 1 else f"{base}#{count}"

    def _depth(self, path: str) -> int:
        """The latest path that was given: a sum is named by the branch, not by the stream."""
        return len(self._paths) - self._paths[::-1].index(path) if path else -1

    def _owner(self, name: str) -> str:
        path, _, local = name.rpartition(".")
        if not path:
            return name
        if self._weights[path] > 1 and local not in _PLAIN:
            return f"{path}.{local.removeprefix('weight_').removesuffix('_weight')}"
        return path

    def _scope(self, found: Found) -> str:
        """The innermost module of the name stack that owns parameters."""
        step = self._flow.step(found.result)
        parts = [p for s in (step.scope if step is not None else ()) for p in s.split(".")]
        for start in range(len(parts)):
            for end in range(len(parts), start, -1):
                path = ".".join(parts[start:end])
                if path in self._modules:
                    return path
        return ""


def _prefixes(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
