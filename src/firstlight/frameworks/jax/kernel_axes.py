"""What the axes of a JAX array are, from ``in_axis``, ``out_axis`` and ``batch_axis``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from firstlight.errors import BadInputError
from firstlight.records.network import Fans, Layout
from firstlight.theory.fans import fans

Axes = int | Sequence[int]


def _tuple(axes: Axes) -> tuple[int, ...]:
    return (axes,) if isinstance(axes, int) else tuple(axes)


@dataclass(frozen=True, kw_only=True)
class KernelAxes:
    """Which axes of an array are inputs, outputs and stacked matrices; the rest is the kernel.

    Args:
        in_axis: as in `jax.nn.initializers.variance_scaling`; None for the last axis that is no
            output.
        out_axis: likewise.
        batch_axis: independent matrices, each with a stream of its own.
        groups: groups of a convolution, inside the output axis (``feature_group_count``).
        stride: of a transposed convolution, or for the backward fan of any.
        transposed: whether the array belongs to a transposed convolution.
    """

    in_axis: Axes | None = -2
    out_axis: Axes = -1
    batch_axis: Axes = ()
    groups: int = 1
    stride: Axes = ()
    transposed: bool = False

    def __post_init__(self) -> None:
        for field in ("in_axis", "out_axis", "batch_axis", "stride"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, _tuple(getattr(self, field)))

    def roles(self, shape: tuple[int, ...]) -> list[str]:
        """One role for each axis; a vector has outputs only."""
        if len(shape) < 2 and self.in_axis in (None, (-2,)):
            return ["out"] * len(shape)
        inputs = self.in_axis
        if inputs is None:
            taken = {axis % len(shape) for axis in _tuple(self.out_axis)}
            inputs = max(set(range(len(shape))) - taken)
        roles = ["kernel"] * len(shape)
        named = {"in": inputs, "out": self.out_axis, "stack": self.batch_axis}
        for role, axes in named.items():
            for axis in _tuple(axes):
                if not -len(shape) <= axis < len(shape):
                    raise BadInputError(
                        f"shape: {role}_axis {axis} is not an axis of {shape}; give in_axis="
                    )
                if roles[axis] != "kernel":
                    if len(shape) == 2 and {roles[axis], role} == {"in", "out"}:
                        # Flax's embeddings: out_axis=0 beside in_axis=-2. Rows are looked up.
                        return ["index", "out"] if axis % 2 == 0 else ["out", "index"]
                    raise BadInputError(
                        f"shape: axis {axis} of {shape} is named twice; in_axis {self.in_axis},"
                        f" out_axis {self.out_axis} and batch_axis {self.batch_axis} must differ"
                    )
                roles[axis] = role
        return roles

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """The axes of an array of this shape.

        Neighbouring axes of one role count as one, so that (width, heads, features) has the same
        rows as (width, heads · features).

        Raises:
            BadInputError: axes that the shape does not have or that are named twice, or groups
                that do not divide the outputs.

        >>> KernelAxes(out_axis=(-2, -1), in_axis=0).layout((8, 2, 3)).view
        (8, 6)
        >>> KernelAxes(groups=2).layout((3, 3, 4, 6)).roles
        ('kernel', 'kernel', 'in', 'group', 'out')
        """
        view: list[int] = []
        roles: list[str] = []
        for size, role in zip(shape, self.roles(shape), strict=True):
            if roles and role == roles[-1] and role in ("in", "out"):
                view[-1] *= size
            else:
                view.append(size)
                roles.append(role)
        if self.groups != 1:
            if roles.count("out") != 1 or view[roles.index("out")] % self.groups:
                raise BadInputError(
                    f"shape: groups={self.groups} does not divide the outputs of {shape}"
                )
            at = roles.index("out")
            view[at : at + 1] = [self.groups, view[at] // self.groups]
            roles[at : at + 1] = ["group", "out"]
        return Layout(shape=shape, view=tuple(view), roles=tuple(roles))

    def fans(self, layout: Layout) -> Fans | None:
        """The effective fans, or None for a vector.

        Without groups and strides they are JAX's. JAX's odd case of one axis that is both, Flax's
        embeddings, is kept: both fans are the width, though a row that is looked up sums nothing.
        """
        if "index" in layout.roles and not self.groups > 1:
            return Fans(forward=float(layout.out), backward=float(layout.out))
        stride = _tuple(self.stride)
        if len(stride) == 1:
            stride *= len(layout.kernel)
        return fans(layout, stride=stride, transposed=self.transposed)
