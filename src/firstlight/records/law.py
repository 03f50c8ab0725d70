"""Laws as exact data: what a weight is drawn from; their numbers are rounded to nine digits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight.errors import BadInputError
from firstlight.records.exact import Exact
from firstlight.records.patterned import Hadamard, Mimetic, PaddedIdentity, Sinusoidal

_LEAST_MASS = 1e-7
"""Of a cut normal; Φ at the bounds has nine digits, of which less would leave nothing."""


@dataclass(frozen=True, kw_only=True)
class Constant(Exact):
    """Every element equals ``value``."""

    value: float

    def __str__(self) -> str:
        return {0.0: "zeros", 1.0: "ones"}.get(self.value, f"constant {self.value:.4g}")


@dataclass(frozen=True, kw_only=True)
class Normal(Exact):
    """Independent normal elements: N(mean, std²)."""

    mean: float = 0.0
    std: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.std < 0:
            self._refuse("std", "zero or positive")

    def __str__(self) -> str:
        return f"N({self.mean:.4g}, {self.std:.4g}²)"


@dataclass(frozen=True, kw_only=True)
class Uniform(Exact):
    """Independent uniform elements between ``low`` and ``high``."""

    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.high < self.low:
            self._refuse("high", f"at least low = {self.low:g}")

    def __str__(self) -> str:
        if self.low == -self.high:
            return f"U(±{self.high:.4g})"
        return f"U({self.low:.4g}, {self.high:.4g})"


@dataclass(frozen=True, kw_only=True)
class TruncatedNormal(Exact):
    """Normal elements cut at bounds that are given in σ *of the parent* normal.

    ``mean`` and ``std`` are the *realised* ones, after the cut. (torch's ``trunc_normal_`` takes
    the parent's std and absolute bounds; Keras and this law correct the std.)
    """

    mean: float = 0.0
    std: float
    low_sigma: float = -2.0
    high_sigma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.std < 0:
            self._refuse("std", "zero or positive")
        if not -6.0 <= self.low_sigma <= 6.0:
            self._refuse("low_sigma", "between -6 and 6")
        if not self.low_sigma < self.high_sigma <= 6.0:
            self._refuse("high_sigma", f"above low_sigma = {self.low_sigma:g} and at most 6")
        below, above = (math.erf(x / math.sqrt(2)) for x in (self.low_sigma, self.high_sigma))
        if (above - below) / 2 < _LEAST_MASS:
            self._refuse(
                "high_sigma",
                f"so far above low_sigma = {self.low_sigma:g} that the cut keeps at least"
                f" {_LEAST_MASS:g} of the normal; a narrower one is a uniform",
            )

    def __str__(self) -> str:
        if self.low_sigma == -self.high_sigma:
            cut = f"±{self.high_sigma:.3g}σ"
        else:
            cut = f"{self.low_sigma:.3g}σ…{self.high_sigma:.3g}σ"
        return f"N({self.mean:.4g}, {self.std:.4g}²) cut at {cut}"


@dataclass(frozen=True, kw_only=True)
class Orthogonal(Exact):
    """``gain`` times a uniformly random isometry (orthonormal rows or columns)."""

    gain: float = 1.0

    def __str__(self) -> str:
        return f"orthogonal × {self.gain:.4g}"


@dataclass(frozen=True, kw_only=True)
class DeltaOrthogonal(Exact):
    """An orthogonal matrix at the kernel's centre, zeros around it (Xiao et al. 2018)."""

    gain: float = 1.0

    def __str__(self) -> str:
        return f"delta-orthogonal × {self.gain:.4g}"


@dataclass(frozen=True, kw_only=True)
class Mirrored(Exact):
    """``gain · [[O, −O], [−O, O]]`` with O an isometry: the looks-linear start.

    ``outputs`` mirrors the rows, ``inputs`` the columns; the first weight of a chain mirrors only
    its outputs, the head only its inputs. Odd sizes crop the last twin. Kernels take the delta
    form. (Balduzzi et al. 2017; Burkholz & Dubatovka 2019.)
    """

    gain: float = 1.0
    inputs: bool = True
    outputs: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.inputs or self.outputs):
            raise BadInputError(
                "Mirrored: set inputs, outputs or both; with neither, use Orthogonal"
            )

    def __str__(self) -> str:
        side = {(True, True): "", (True, False): " (inputs)", (False, True): " (outputs)"}
        return f"mirrored{side[self.inputs, self.outputs]} × {self.gain:.4g}"


@dataclass(frozen=True, kw_only=True)
class Linked(Exact):
    """``gain`` times a partial isometry Q_after · I · Q_beforeᵀ between two named bases.

    Independent isometries project at random where widths change; neighbours that share the basis
    of the boundary between them hand on the same directions. A basis is a uniformly random
    orthogonal matrix, keyed by a name: that of the weight in front of the boundary. None stands for
    a basis of the weight's own. Sizes are those of the halves where a side is mirrored; a unit
    without a twin reads the sum of all pairs and is read by none at the start. Kernels take the
    delta form.

    Args:
        gain: scale.
        before: name of the basis of the inputs, or None.
        after: name of the basis of the outputs, or None.
        inputs: whether the columns are mirrored.
        outputs: whether the rows are mirrored.
        positions: consecutive columns that belong to one input unit (behind a flattening).
    """

    gain: float = 1.0
    before: str | None = None
    after: str | None = None
    inputs: bool = False
    outputs: bool = False
    positions: int = 1

    def __post_init__(self) -> None:
        positions = self.positions
        super().__post_init__()
        if positions < 1 or positions != int(positions):
            self._refuse("positions", "a whole number, at least 1")
        object.__setattr__(self, "positions", int(positions))

    def __str__(self) -> str:
        mirrored = {(True, True): " mirrored", (True, False): " mirrored (inputs)"}
        mirrored |= {(False, True): " mirrored (outputs)", (False, False): ""}
        return f"linked{mirrored[self.inputs, self.outputs]} × {self.gain:.4g}"


@dataclass(frozen=True, kw_only=True)
class Identity(Exact):
    """``gain`` times the (partial) identity; on kernels at the centre (Dirac)."""

    gain: float = 1.0

    def __str__(self) -> str:
        return f"identity × {self.gain:.4g}"


@dataclass(frozen=True, kw_only=True)
class Sparse(Exact):
    """Normal elements, of which each unit keeps (1 − zero_fraction) · fan_in (Martens 2010)."""

    std: float
    zero_fraction: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.std < 0:
            self._refuse("std", "zero or positive")
        if not 0 <= self.zero_fraction < 1:
            self._refuse("zero_fraction", "at least 0 and below 1")

    def __str__(self) -> str:
        return f"sparse ({self.zero_fraction:.0%} zeros), N(0, {self.std:.4g}²)"


@dataclass(frozen=True, kw_only=True)
class Listed(Exact):
    """Each element given, in logical order: a bias from measurements or from class priors."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        super().__post_init__()

    def __str__(self) -> str:
        if not self.values:
            return "no numbers"
        return f"{len(self.values)} given, {min(self.values):.4g} … {max(self.values):.4g}"


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """A law for each stacked matrix (gate, group, packed q/k/v), in storage order.

    A vector of gate biases takes one constant for each gate: an LSTM's forget bias of 1 is
    ``Stacked(laws=tuple(Constant(value=v) for v in (0, 1, 0, 0)))``.
    """

    laws: tuple[Law, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "laws", tuple(self.laws))
        if not self.laws:
            raise BadInputError("Stacked: needs at least one law, got none")
        for law in self.laws:
            if isinstance(law, Listed | Stacked):
                raise BadInputError(
                    f"Stacked: takes laws of one matrix each, got {type(law).__name__};"
                    " Listed takes the numbers of all stacked vectors"
                )

    def __str__(self) -> str:
        return "stacked: " + "; ".join(str(law) for law in self.laws)


Law = (
    Constant
    | Normal
    | Uniform
    | TruncatedNormal
    | Orthogonal
    | DeltaOrthogonal
    | Mirrored
    | Linked
    | Identity
    | Sparse
    | Hadamard
    | PaddedIdentity
    | Sinusoidal
    | Mimetic
    | Listed
    | Stacked
)

ELEMENTWISE = (Constant, Normal, Uniform, TruncatedNormal)
"""Laws whose elements can be drawn one by one; the others need whole rows or the whole matrix."""
