"""Laws as exact data: what a weight is drawn from.

Every number in a law is rounded to nine significant decimal digits when the law is made. The
functions that compute scales (exp, log, erf …) differ in their last bits between processors; nine
digits are the same everywhere, and a float32 needs no more to be told from its neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from firstlight.errors import BadInputError


def nine_digits(value: float) -> float:
    """Round to nine significant decimal digits.

    >>> nine_digits(1 / 3)
    0.333333333
    """
    return float(f"{value:.9g}")


class _Exact:
    """Rounds each float field to nine digits and refuses what is not finite."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not math.isfinite(value):
                raise BadInputError(
                    f"{type(self).__name__}: {field.name} must be a finite number, got {value}"
                )
            object.__setattr__(self, field.name, nine_digits(float(value)))

    def _refuse(self, field: str, allowed: str) -> None:
        value = getattr(self, field)
        raise BadInputError(f"{type(self).__name__}: {field} must be {allowed}, got {value:g}")


@dataclass(frozen=True, kw_only=True)
class Constant(_Exact):
    """Every element equals ``value``."""

    value: float

    def __str__(self) -> str:
        return {0.0: "zeros", 1.0: "ones"}.get(self.value, f"constant {self.value:.4g}")


@dataclass(frozen=True, kw_only=True)
class Normal(_Exact):
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
class Uniform(_Exact):
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
class TruncatedNormal(_Exact):
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

    def __str__(self) -> str:
        if self.low_sigma == -self.high_sigma:
            cut = f"±{self.high_sigma:.3g}σ"
        else:
            cut = f"{self.low_sigma:.3g}σ…{self.high_sigma:.3g}σ"
        return f"N({self.mean:.4g}, {self.std:.4g}²) cut at {cut}"


@dataclass(frozen=True, kw_only=True)
class Orthogonal(_Exact):
    """``gain`` times a uniformly random isometry (orthonormal rows or columns)."""

    gain: float = 1.0

    def __str__(self) -> str:
        return f"orthogonal × {self.gain:.4g}"


@dataclass(frozen=True, kw_only=True)
class DeltaOrthogonal(_Exact):
    """An orthogonal matrix at the kernel's centre, zeros around it (Xiao et al. 2018)."""

    gain: float = 1.0

    def __str__(self) -> str:
        return f"delta-orthogonal × {self.gain:.4g}"


@dataclass(frozen=True, kw_only=True)
class Mirrored(_Exact):
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
class Identity(_Exact):
    """``gain`` times the (partial) identity; on kernels at the centre (Dirac)."""

    gain: float = 1.0

    def __str__(self) -> str:
        return f"identity × {self.gain:.4g}"


@dataclass(frozen=True, kw_only=True)
class Sparse(_Exact):
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
class Listed:
    """Every element given, in storage order: what was measured and follows no formula.

    Args:
        values: as many as the tensor has elements, each rounded to nine digits.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        for value in self.values:
            if not math.isfinite(value):
                raise BadInputError(f"Listed: values must be finite numbers, got {value}")
        object.__setattr__(self, "values", tuple(nine_digits(float(v)) for v in self.values))

    def __str__(self) -> str:
        return f"{len(self.values)} listed values"


Law = (
    Constant
    | Normal
    | Uniform
    | TruncatedNormal
    | Orthogonal
    | DeltaOrthogonal
    | Mirrored
    | Identity
    | Sparse
    | Listed
)

ELEMENTWISE = (Constant, Normal, Uniform, TruncatedNormal)
"""Laws whose elements can be drawn one by one; the others need whole rows or the whole matrix."""
