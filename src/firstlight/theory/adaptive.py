"""Kinks and derivatives of functions never seen before.

The function is sampled at the Gauss-Legendre nodes of panels, and a panel is halved as long as its
Legendre coefficients do not decay. What remains around a kink is a nest of ever smaller panels,
whose innermost one brackets the kink; splitting there leaves only smooth pieces, which are
differentiated as polynomials.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.theory.activations import Activation
from firstlight.theory.formulas import Array
from firstlight.theory.quadrature import NODES, NODES_PER_PANEL, REACH, WEIGHTS, finite, panel_rule

_PANELS = 60
# Where a panel's last coefficients fall below this share of the function's size, it is resolved.
# The later values are for noisy functions; float32 inside gives noise of 6e-8.
_TOLERANCES = (1e-12, 1e-9, 3e-6)
# More open panels than this at once mean noise or a staircase, not a handful of kinks.
_MOST_OPEN = 600
_SMALLEST_PANEL = 1e-11  # relative to the whole range
_ROUNDING = 1e-14  # of a coefficient, relative to the values
_POLE = 1e6  # values this much larger than elsewhere, on a panel that stays unresolved
_TAIL = 4  # how many of the highest coefficients are looked at

_K = np.arange(NODES_PER_PANEL)
_TO_COEFFICIENTS = (_K[:, None] + 0.5) * WEIGHTS * legendre.legvander(NODES, len(_K) - 1).T
_AT_LEFT_END = (-1.0) ** _K


class _Panels(NamedTuple):
    """Panels in order, with Legendre coefficients of shape (24, panels)."""

    edges: Array
    coefficients: Array
    resolved: NDArray[np.bool_]


def settled(act: Activation, scale: float = 1.0) -> Activation:
    """The activation with its kinks and derivative filled in for arguments up to 13·scale.

    Args:
        act: an activation, whose kinks, derivative or both may be unknown.
        scale: standard deviation of the argument, √q.

    Returns:
        `act` itself if both are known; else a copy whose kinks also hold the edges at which a
        quadrature had better split, and whose derivative is zero within 1e-10 of a jump.

    Raises:
        BadInputError: the function is not finite, not elementwise, random, or too rough.
    """
    if act.kinks is not None and act.derivative is not None:
        return act
    reach = REACH * max(scale, 1.0)
    # A kink on an edge would be missed: hence no edges at round numbers, and two different grids.
    first = np.linspace(-1.01371 * reach, 1.00713 * reach, _PANELS + 1)
    second = np.linspace(-1.00417 * reach, 1.01879 * reach, _PANELS + 1)
    _check_elementwise(act, first)
    known = np.array(act.kinks or ())
    known = known[np.abs(known) < reach]
    for tolerance in _TOLERANCES:
        nests = _bisect(act, np.union1d(first, known), tolerance, _SMALLEST_PANEL * reach)
        if nests is None:
            continue
        brackets = np.union1d(_innermost(nests.edges, first[1] - first[0]), known)
        panels = _bisect(act, np.union1d(second, brackets), tolerance, 4 * _SMALLEST_PANEL * reach)
        if panels is not None:
            _check_poles(act, panels, first)
            kinks = np.union1d(np.setdiff1d(panels.edges, second), known)
            return replace(
                act,
                kinks=tuple(kinks.tolist()),
                derivative=act.derivative or _derivative(panels),
            )
    raise BadInputError(
        f"activation {act.name!r}: too rough to integrate (more than {_MOST_OPEN // 2} kinks, or"
        f" noise above {_TOLERANCES[-1]:g}); compute it in float64, or give an Activation with its"
        " derivative and kinks"
    )


def _check_elementwise(act: Activation, grid: Array) -> None:
    """Refuse functions of the whole array (softmax) and random ones (dropout)."""
    whole = finite(act.function(grid), grid, f"activation {act.name!r}")
    some = np.arange(grid.size)[::-3]
    alone = act.function(grid[some])
    if np.max(np.abs(whole[some] - alone)) > 1e-4 * np.max(np.abs(whole)):
        raise BadInputError(
            f"activation {act.name!r}: not a fixed elementwise function (the same x gave other"
            " values in another array); give one value per element, without randomness"
        )


def _check_poles(act: Activation, panels: _Panels, grid: Array) -> None:
    """Refuse 1/x and its like, whose expectation does not exist."""
    middle = 0.5 * (panels.edges[1:] + panels.edges[:-1])[~panels.resolved]
    high = np.abs(act.function(middle)) > _POLE * np.max(np.abs(act.function(grid)))
    if high.any():
        raise BadInputError(
            f"activation {act.name!r}: grows without bound near x = {middle[high][0]:.6g}, so that"
            " it has no moments; give a function without poles"
        )


def _expand(act: Activation, edges: Array) -> tuple[Array, Array, Array]:
    """Legendre coefficients of φ on panels (rows of edges), their errors, and max |φ| in each."""
    x, _ = panel_rule(edges)
    values = finite(act.function(x), x, f"activation {act.name!r}")
    ends = finite(act.function(edges), edges, f"activation {act.name!r}")
    coefficients = _TO_COEFFICIENTS @ values.T
    tail = np.abs(coefficients[-_TAIL:]).max(axis=0)
    # Kinks between the last node and the edge leave no trace in the nodes, but at the edge.
    left = np.abs(_AT_LEFT_END @ coefficients - ends[:, 0])
    right = np.abs(coefficients.sum(axis=0) - ends[:, 1])
    error = np.maximum(tail, np.maximum(left, right))
    size = np.abs(values).max(axis=1)
    # Differentiation would amplify what is only noise.
    coefficients[np.abs(coefficients) <= 2 * tail + _ROUNDING * size] = 0.0
    return coefficients, error, size


def _bisect(act: Activation, start: Array, tolerance: float, smallest: float) -> _Panels | None:
    """Halve panels until all are resolved or tiny; None if there are too many of them."""
    # How large φ usually is, within five standard deviations; even, to leave out x = 0.
    center = act.function(np.linspace(0.4 * start[0], 0.4 * start[-1], 96))
    usual = float(np.sqrt(np.mean(center**2)))
    open_ = np.stack([start[:-1], start[1:]], axis=1)
    done: list[tuple[Array, Array, NDArray[np.bool_]]] = []
    while open_.size:
        if len(open_) > max(_MOST_OPEN, start.size):
            return None
        coefficients, error, size = _expand(act, open_)
        resolved = error <= tolerance * (size + usual)
        closed = resolved | (np.diff(open_)[:, 0] <= smallest)
        done.append((open_[closed], coefficients[:, closed], resolved[closed]))
        left, right = open_[~closed].T
        middle = 0.5 * (left + right)
        open_ = np.stack([np.r_[left, middle], np.r_[middle, right]], axis=1)
    panels = np.concatenate([d[0] for d in done])
    order = np.argsort(panels[:, 0])
    return _Panels(
        np.append(panels[order, 0], panels[order[-1], 1]),
        np.concatenate([d[1] for d in done], axis=1)[:, order],
        np.concatenate([d[2] for d in done])[order],
    )


def _innermost(edges: Array, coarse: float) -> Array:
    """Both ends of each run of panels much narrower than the grid and than its neighbours."""
    width = np.diff(edges)
    changes = np.abs(np.log2(width[1:] / width[:-1])) > 0.3  # halving is exact to rounding
    starts = np.flatnonzero(np.r_[True, changes])
    stops = np.r_[starts[1:], width.size]
    level = width[starts]
    beside = np.minimum(np.r_[np.inf, level[:-1]], np.r_[level[1:], np.inf])
    deep = (level < coarse / 32) & (level < beside)
    ends: Array = np.concatenate([edges[starts[deep]], edges[stops[deep]]])
    return ends


def _derivative(panels: _Panels) -> Callable[[Array], Array]:
    """φ′ as a piecewise polynomial; zero on panels that stayed unresolved (jumps)."""
    edges = panels.edges
    slopes: Array = legendre.legder(panels.coefficients) * (2 / np.diff(edges))
    slopes[:, ~panels.resolved] = 0.0

    def derivative(x: Array) -> Array:
        flat = x.ravel()
        result = np.empty_like(flat)
        for begin in range(0, flat.size, 65536):  # the gathered coefficients are 23 times as many
            part = flat[begin : begin + 65536]
            panel = np.clip(np.searchsorted(edges, part, side="right") - 1, 0, edges.size - 2)
            left, right = edges[panel], edges[panel + 1]
            local = (2 * part - left - right) / (right - left)
            result[begin : begin + 65536] = legendre.legval(local, slopes[:, panel], tensor=False)
        return result.reshape(x.shape)

    return derivative
