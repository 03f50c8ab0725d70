"""jax.nn.initializers' functions over laws and addresses: names and arguments as there."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

from firstlight.errors import BadInputError
from firstlight.frameworks.jax.addressed import Address, Addressed
from firstlight.frameworks.jax.kernel_axes import Axes, KernelAxes
from firstlight.initializers.cut_normal import cut_normal
from firstlight.initializers.registry import technique
from firstlight.initializers.technique import Technique
from firstlight.initializers.variance_scaling import centred, fan_for
from firstlight.records.law import Law, Normal, TruncatedNormal, Uniform
from firstlight.records.network import Fans, Layout


class At(TypedDict, total=False):
    """What every initializer takes besides JAX's arguments, by keyword.

    Args:
        seed: integer in [0, 2⁶⁴), instead of the key's words.
        name: of the parameter.
        namespace: keeps models with equal names apart.
        groups: of a convolution (``feature_group_count``).
        stride: of a transposed convolution, or for ``fan_out``.
        transposed: whether the kernel belongs to a transposed convolution.
    """

    seed: int | None
    name: str | None
    namespace: str
    groups: int
    stride: int | Sequence[int]
    transposed: bool


_DEFAULTS: At = {
    "seed": None,
    "name": None,
    "namespace": "",
    "groups": 1,
    "stride": (),
    "transposed": False,
}


def initializer(
    what: str,
    rule: Callable[..., Law],
    options: dict[str, Any],
    *,
    in_axis: Axes | None = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
    at: At,
) -> Addressed:
    """An `Addressed` from the arguments of a factory."""
    unknown = [key for key in at if key not in _DEFAULTS]
    if unknown:
        raise BadInputError(f"{what}: no argument '{unknown[0]}'; see help({what})")
    return Addressed(
        what=what,
        rule=rule,
        options=tuple(options.items()),
        axes=KernelAxes(
            in_axis=in_axis,
            out_axis=out_axis,
            batch_axis=batch_axis,
            groups=at.get("groups", 1),
            stride=at.get("stride", ()),
            transposed=at.get("transposed", False),
        ),
        dtype=dtype,
        address=Address(
            seed=at.get("seed"), name=at.get("name"), namespace=at.get("namespace", "")
        ),
    )


def _uniform(_layout: Layout, _fans: Fans | None, *, scale: float) -> Uniform:
    return Uniform(low=min(0.0, scale), high=max(0.0, scale))


def uniform(scale: Any = 1e-2, dtype: Any = None, **at: Unpack[At]) -> Addressed:
    """U(0, scale), as in JAX: all of one sign; `random_uniform` is around zero.

    >>> import jax
    >>> uniform(2.0)(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    return initializer("uniform", _uniform, {"scale": float(scale)}, dtype=dtype, at=at)


def _normal(_layout: Layout, _fans: Fans | None, *, stddev: float) -> Normal:
    return Normal(std=abs(stddev))


def normal(stddev: Any = 1e-2, dtype: Any = None, **at: Unpack[At]) -> Addressed:
    """N(0, stddev²)."""
    return initializer("normal", _normal, {"stddev": float(stddev)}, dtype=dtype, at=at)


def _truncated(
    _layout: Layout,
    _fans: Fans | None,
    *,
    stddev: float,
    lower: float,
    upper: float,
    corrected: bool,
) -> Law:
    if corrected:
        return TruncatedNormal(std=stddev, low_sigma=lower, high_sigma=upper)
    return cut_normal(0.0, stddev, lower * stddev, upper * stddev, where="truncated_normal")


def truncated_normal(
    stddev: Any = 1e-2,
    dtype: Any = None,
    lower: Any = -2.0,
    upper: Any = 2.0,
    *,
    corrected: bool = False,
    **at: Unpack[At],
) -> Addressed:
    """N(0, stddev²) cut at ``lower`` and ``upper`` σ; the std left is 0.88 · stddev, as in JAX.

    Args:
        stddev: before the cut.
        dtype: default of the arrays.
        lower: in σ.
        upper: in σ.
        corrected: ``stddev`` holds *after* the cut, as in the technique of this name.
        **at: as in `At`.
    """
    options = {
        "stddev": float(stddev),
        "lower": float(lower),
        "upper": float(upper),
        "corrected": corrected,
    }
    return initializer("truncated_normal", _truncated, options, dtype=dtype, at=at)


_MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
_DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")


def _scaled(
    _layout: Layout, fans: Fans | None, *, scale: float, mode: str, distribution: str
) -> Law:
    if fans is None:
        raise BadInputError(
            "can't compute the fans of a 1-dimensional array; it needs 2 axes, or in_axis="
        )
    if mode == "fan_geo_avg":
        fan = math.sqrt(fan_for(fans, "fan_in") * fan_for(fans, "fan_out"))
    else:
        fan = fan_for(fans, mode)
    return centred(distribution, math.sqrt(scale / fan))


def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
    **at: Unpack[At],
) -> Addressed:
    """Variance scale/fan, realised: truncated normals are widened, as in JAX.

    Args:
        scale: > 0.
        mode: ``fan_in``, ``fan_out``, ``fan_avg`` or ``fan_geo_avg``.
        distribution: ``truncated_normal``, ``normal`` or ``uniform``.
        in_axis: axis or axes of the inputs.
        out_axis: axis or axes of the outputs.
        batch_axis: axis or axes of independent matrices.
        dtype: default of the arrays.
        **at: as in `At`; ``groups``, ``stride`` and ``transposed`` give the effective fans.

    Raises:
        BadInputError: another mode or distribution, or a scale that is not positive.
    """
    for word, value, allowed in (
        ("mode", mode, _MODES),
        ("distribution", distribution, _DISTRIBUTIONS),
    ):
        if value not in allowed:
            raise BadInputError(
                f"variance_scaling: invalid {word} {value!r}; use one of {', '.join(allowed)}"
            )
    if not float(scale) > 0:
        raise BadInputError(f"variance_scaling: scale must be positive, got {scale}; use zeros")
    options = {"scale": float(scale), "mode": mode, "distribution": distribution}
    axes = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    return initializer("variance_scaling", _scaled, options, **axes, dtype=dtype, at=at)


def _by_name(layout: Layout, fans: Fans | None, *, technique_name: str, **options: Any) -> Law:
    return technique(technique_name, **options).law_for(layout, fans)


def orthogonal(
    scale: Any = 1.0,
    column_axis: int = -1,
    dtype: Any = None,
    *,
    preserve: bool = False,
    **at: Unpack[At],
) -> Addressed:
    """Scale · Q, an isometry between ``column_axis`` and all the other axes.

    Args:
        scale: the gain.
        column_axis: axis of the outputs.
        dtype: default of the arrays; 16 bits work, which JAX's QR does not take.
        preserve: scale up where the layer widens, so that the second moment is kept.
        **at: as in `At`.
    """
    options = {"technique_name": "orthogonal", "gain": float(scale), "preserve": preserve}
    return initializer(
        "orthogonal", _by_name, options, in_axis=None, out_axis=column_axis, dtype=dtype, at=at
    )


def _delta(layout: Layout, fans: Fans | None, *, gain: float) -> Law:
    if len(layout.kernel) not in (1, 2, 3):
        raise BadInputError(f"needs a shape of 3, 4 or 5 axes, got {layout.shape}; use orthogonal")
    return technique("delta_orthogonal", gain=gain).law_for(layout, fans)


def delta_orthogonal(
    scale: Any = 1.0, column_axis: int = -1, dtype: Any = None, **at: Unpack[At]
) -> Addressed:
    """Scale · Q at the kernel's centre, zeros around it.

    The centre is index k // 2; JAX's is (k − 1) // 2, which differs for even kernels.
    """
    options = {"gain": float(scale)}
    return initializer(
        "delta_orthogonal", _delta, options, in_axis=None, out_axis=column_axis, dtype=dtype, at=at
    )


def technique_factory(
    name: str, *, module: str, public: str | None = None
) -> Callable[..., Addressed]:
    """A technique of the registry as a factory of initializers.

    Args:
        name: of the technique.
        module: the public module that it will be found in.
        public: its name there, where that is another.

    Returns:
        ``name(in_axis=-2, out_axis=-1, batch_axis=(), dtype=None, *, <options>, **at)``.
    """
    entry, called = technique(name), public or name

    def factory(
        in_axis: Axes = -2,
        out_axis: Axes = -1,
        batch_axis: Axes = (),
        dtype: Any = None,
        **options: Any,
    ) -> Addressed:
        at = At(**{key: options.pop(key) for key in _DEFAULTS if key in options})  # type: ignore[typeddict-item]
        entry.with_options(**options)  # what is wrong is said now, not in the model
        options = {"technique_name": name, **options}
        return initializer(
            called,
            _by_name,
            options,
            in_axis=in_axis,
            out_axis=out_axis,
            batch_axis=batch_axis,
            dtype=dtype,
            at=at,
        )

    factory.__name__ = factory.__qualname__ = called
    factory.__module__ = module
    factory.__doc__ = _document(entry)
    factory.__signature__ = _signature(entry)  # type: ignore[attr-defined]
    return factory


def _signature(entry: Technique) -> inspect.Signature:
    first = {"in_axis": -2, "out_axis": -1, "batch_axis": (), "dtype": None}
    rest = {**entry.options, **_DEFAULTS}
    either, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            *(inspect.Parameter(key, either, default=value) for key, value in first.items()),
            *(inspect.Parameter(key, keyword, default=value) for key, value in rest.items()),
        ],
        return_annotation="Addressed",
    )


def _document(entry: Technique) -> str:
    options = ", ".join(f"{key}={value!r}" for key, value in entry.options.items()) or "none"
    return f"""{entry.title}: {entry.formula}.

    Args:
        in_axis: axis or axes of the inputs.
        out_axis: axis or axes of the outputs.
        batch_axis: axis or axes of independent matrices.
        dtype: default of the arrays.
        **options: the technique's ({options}) and those of every initializer:
            seed, name, namespace, groups, stride, transposed.

    Returns:
        ``init(key, shape, dtype=None, out_sharding=None)``.

    Source: {entry.source}.

    {entry.differs}
    """
