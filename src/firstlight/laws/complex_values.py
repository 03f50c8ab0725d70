"""Complex weights: two real draws at addresses of their own, with E|w − mean|² = std².

Normal laws take independent real and imaginary parts. Uniform and truncated ones are isotropic, as
JAX has them (Trabelsi et al. 2018, arXiv:1705.09792): a modulus and an angle.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import NotDrawableError
from firstlight.laws.draw import draw
from firstlight.records.law import Constant, Law, Normal, TruncatedNormal, Uniform
from firstlight.records.network import Layout

Complex = NDArray[np.complex64]


def draw_complex(law: Law, layout: Layout, *, name: str, seed: int, namespace: str = "") -> Complex:
    """A whole complex tensor in storage order.

    ::

        normal              mean + std·(x + iy)/√2,  x, y standard normal
        uniform ±c          a disk, |w|² = 2·std²·u
        truncated at ±tσ    |w|² = std²·(−ln(1 − (1 − e^(−t²))·u))/v,
                            v = 1 − t²·e^(−t²)/(1 − e^(−t²)) the variance that the cut leaves

    Args:
        law: an elementwise law; uniform and truncated ones centred at zero.
        layout: the tensor's axes.
        name: the parameter's; the two draws add ``.real`` and ``.imag``, or ``.modulus`` and
            ``.angle``.
        seed: integer in [0, 2⁶⁴).
        namespace: keeps models with equal names apart.

    Returns:
        complex64 of ``layout.shape``. Angles go through the machine's sine: equal to 1e-6 of std
        between machines.

    Raises:
        NotDrawableError: any other law.

    JAX divides the truncated form by √0.9084 instead of √v = √0.9254 (t = 2): its realised std is
    0.9 % more than asked.

    >>> from firstlight.records.network import plain_layout
    >>> draw_complex(Normal(std=1), plain_layout((2, 3)), name="w", seed=0).dtype
    dtype('complex64')
    """
    if isinstance(law, Constant):
        return np.full(layout.shape, law.value, np.complex64)

    def part(of: Law, suffix: str) -> NDArray[np.float32]:
        return draw(of, layout, name=name + suffix, seed=seed, namespace=namespace)

    values: Complex
    if isinstance(law, Normal):
        std = law.std / math.sqrt(2)
        values = np.empty(layout.shape, np.complex64)
        values.real = part(Normal(mean=law.mean, std=std), ".real")
        values.imag = part(Normal(std=std), ".imag")
        return values
    squares: NDArray[np.float64]
    if isinstance(law, Uniform) and law.low == -law.high:
        squares = 2 / 3 * law.high**2 * _fraction(part)
    elif isinstance(law, TruncatedNormal) and law.mean == 0 and law.low_sigma == -law.high_sigma:
        rest = math.exp(-(law.high_sigma**2))
        left = 1 - law.high_sigma**2 * rest / (1 - rest)
        squares = law.std**2 / left * -np.log1p(-(1 - rest) * _fraction(part))
    else:
        raise NotDrawableError(
            f"{law}: complex tensors take constants, normal laws and those centred at zero, uniform"
            " or truncated; draw real and imaginary part one by one"
        )
    angle = part(Uniform(low=-math.pi, high=math.pi), ".angle").astype(np.float64)
    modulus = np.sqrt(squares)
    values = (modulus * np.cos(angle) + 1j * (modulus * np.sin(angle))).astype(np.complex64)
    return values


def _fraction(part: Callable[[Law, str], NDArray[np.float32]]) -> NDArray[np.float64]:
    drawn = part(Uniform(low=0, high=1), ".modulus")
    return drawn.astype(np.float64)
