"""Laws with a fixed pattern: Hadamard, padded identity, sine waves, and mimetic pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from firstlight.errors import BadInputError
from firstlight.records.exact import Exact

Part = Literal["query", "key", "value", "output"]
PARTS: tuple[Part, ...] = ("query", "key", "value", "output")


@dataclass(frozen=True, kw_only=True)
class Hadamard(Exact):
    """``gain/√p`` times the upper left corner of Sylvester's Hadamard matrix of order p.

    p is the smallest power of two that holds rows and columns. On kernels at the centre. With
    p rows the columns are orthonormal. (Zhao, Schäfer & Anandkumar 2022, for layers that widen.)
    """

    gain: float = 1.0

    def __str__(self) -> str:
        return f"Hadamard × {self.gain:.4g}"


@dataclass(frozen=True, kw_only=True)
class PaddedIdentity(Exact):
    """``gain`` where row ≡ column modulo the shorter side, plus N(0, noise²) everywhere.

    The columns are (in, kernel) flattened, so that a kernel spreads its ones over its taps.
    (Pan et al. 2025.)
    """

    gain: float = 1.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise < 0:
            self._refuse("noise", "zero or positive")

    def __str__(self) -> str:
        noise = f" + N(0, {self.noise:.4g}²)" if self.noise else ""
        return f"padded identity × {self.gain:.4g}{noise}"


@dataclass(frozen=True, kw_only=True)
class Sinusoidal(Exact):
    """Each row a sine wave over the n ≥ 3 columns, of mean zero and mean square ``std``².

    W[i, j] = √2 · std · sin(2π·f·j/n + π·(i + ½)/(F·S)), f = 1 + i mod F, where F = ⌊(n − 1)/2⌋
    frequencies lie below Nyquist's and S = ⌈rows/F⌉ rows share one. Up to 2F rows are orthogonal.
    """

    std: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.std < 0:
            self._refuse("std", "zero or positive")

    def __str__(self) -> str:
        return f"sine rows, std {self.std:.4g}"


@dataclass(frozen=True, kw_only=True)
class Mimetic(Exact):
    """One factor of a pair of attention weights whose product is αZ + βI (Trockman & Kolter 2023).

    With A = αZ + βI, Z[i, j] ~ N(0, 1/width), and its singular value decomposition A = U·S·Vᵀ:

    - ``query``: rows of each head √S·Uᵀ, cut to the largest singular values; ``key``: √S·Vᵀ. Each
      head has a Z of its own, and W_Qᵀ·W_K is the best approximation of A at the rank of the head.
    - ``value``: √S·Vᵀ and ``output``: U·√S, of all heads together, so that W_O·W_V = A (here β is
      negative).

    Args:
        part: which weight of the attention this is.
        alpha: of the noise.
        beta: of the identity, with its sign.
        heads: number of attention heads; queries and keys only.
        pair: the name from which both factors draw Z; empty for the weight's own name, as packed
            weights have it.
        gain: multiplies this factor.
    """

    part: Part
    alpha: float
    beta: float
    heads: int = 1
    pair: str = ""
    gain: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "heads", int(self.heads))
        if self.part not in PARTS:
            raise BadInputError(
                f"Mimetic: part must be one of {', '.join(PARTS)}, got {self.part!r}"
            )
        if self.heads < 1:
            self._refuse("heads", "at least 1")
        if self.alpha == 0 and self.beta == 0:
            raise BadInputError(
                "Mimetic: alpha and beta must not both be 0; use Constant for zeros"
            )

    def __str__(self) -> str:
        scale = "" if self.gain == 1 else f" × {self.gain:.4g}"
        sign = "−" if self.beta < 0 else "+"
        product = f"{self.alpha:.4g}Z {sign} {abs(self.beta):.4g}I"
        return f"mimetic {self.part} of {product}{scale}"
