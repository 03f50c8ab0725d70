"""What the axes of a result count, followed through reshapes and permutations."""

from __future__ import annotations

BATCH, POSITION, UNIT, KEY = "batch", "position", "unit", "key"


def spatial(shape: tuple[int, ...], unit_axis: int | None, count: int) -> tuple[int, ...]:
    """The sizes of the axes that a kernel moves along, channels first or last.

    Args:
        shape: of what goes into or comes out of a convolution or pooling.
        unit_axis: of the channels; the last axis where they come last.
        count: how many axes the kernel has.

    >>> spatial((8, 3, 32, 24), 1, 2), spatial((8, 32, 24, 3), 3, 2)
    ((32, 24), (32, 24))
    """
    last = unit_axis is not None and unit_axis == len(shape) - 1 and len(shape) > count
    return shape[-count - 1 : -1] if last else shape[-count:]


def merged(labels: tuple[str, ...], sizes: tuple[int, ...]) -> str:
    """What an axis counts that several were flattened into."""
    kept = {label for label, size in zip(labels, sizes, strict=True) if size > 1} or set(labels)
    if len(kept) == 1:
        return next(iter(kept))
    if BATCH in kept:
        return BATCH
    return UNIT if UNIT in kept else POSITION


def reshaped(axes: tuple[str, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[str, ...]:
    """The axes after a reshape: those of equal extent stay, others split or flow together.

    >>> reshaped(("batch", "position", "unit"), (8, 5, 12), (8, 5, 3, 4))
    ('batch', 'position', 'unit', 'unit')
    >>> reshaped(("batch", "unit", "position"), (8, 3, 4), (8, 12))
    ('batch', 'unit')
    """
    if len(axes) != len(old):
        return ()
    found: list[str] = []
    i = j = 0
    while j < len(new):
        first_i, first_j = i, j
        left, right = 1, 1
        while True:
            if left <= right and i < len(old) and (left < right or i == first_i):
                left *= old[i]
                i += 1
            elif j < len(new) and (right < left or j == first_j):
                right *= new[j]
                j += 1
            else:
                break
            if left == right and i > first_i and j > first_j:
                break
        group = axes[first_i:i]
        label = merged(group, old[first_i:i]) if group else UNIT
        same = len(group) == j - first_j
        found += list(group) if same else [label] * (j - first_j)
        if i == first_i and j == first_j:
            return ()
    return tuple(found)


def ordered(axes: tuple[str, ...], order: tuple[float, ...]) -> tuple[str, ...]:
    """The axes of a permuted or indexed result; −1 is a new axis."""
    if any(int(a) >= len(axes) for a in order):
        return ()
    return tuple(UNIT if a < 0 else axes[int(a)] for a in order)
