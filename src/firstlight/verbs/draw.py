"""Draw one tensor of a named technique, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.initializers.registry import technique as find_technique
from firstlight.laws.draw import draw as draw_law
from firstlight.records.network import plain_layout
from firstlight.theory.fans import fans


def _is_broken(text: str) -> bool:
    """Whether a string holds half characters, which no file or key can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def draw(
    technique: str,
    shape: tuple[int, ...],
    *,
    name: str,
    seed: int,
    namespace: str = "",
    **options: Any,
) -> NDArray[np.float32]:
    """The values of one weight: a pure function of (technique, shape, seed, name).

    Args:
        technique: a name of the registry, ``he_normal``.
        shape: (out, in, kernel …), each at least 1.
        name: of the parameter; another name gives other numbers.
        seed: integer in [0, 2⁶⁴).
        namespace: keeps models with equal names apart.
        **options: of the technique, ``slope=0.2``.

    Returns:
        float32 of that shape.

    Raises:
        BadInputError: unknown technique or option, or a shape that it cannot fill.

    Example:
        >>> import firstlight as fl
        >>> weights = fl.draw("he_normal", shape=(256, 128), name="fc1.weight", seed=0)
        >>> weights.shape, bool(abs(weights.std() - (2 / 128) ** 0.5) < 1e-3)
        ((256, 128), True)
    """
    sizes = shape if isinstance(shape, tuple | list) else ()
    if not sizes or any(not isinstance(n, int) or n < 1 for n in sizes):
        raise BadInputError(f"draw: shape must be positive integers (out, in, …), got {shape!r}")
    for text, what in ((name, "name"), (namespace, "namespace")):
        if not isinstance(text, str) or (not text.isascii() and _is_broken(text)):
            raise BadInputError(f"draw: {what} must be text, got {text!r}")
    layout = plain_layout(tuple(shape))
    law = find_technique(technique).law_for(layout, fans(layout), **options)
    return draw_law(law, layout, name=name, seed=seed, namespace=namespace)
