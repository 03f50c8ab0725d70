"""How numbers get into a torch tensor: what its axes are, which address they have, one write."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypedDict, TypeVar, cast

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_variadic

from firstlight.errors import BadInputError
from firstlight.frameworks.torch.memory import has_memory, own_memory
from firstlight.frameworks.torch.sharding import (
    fill_sharded,
    is_sharded,
    processes,
    put_whole,
)
from firstlight.initializers.registry import technique
from firstlight.initializers.technique import Technique
from firstlight.laws.complex_values import draw_complex
from firstlight.laws.draw import draw
from firstlight.records.law import Constant, Identity, Law, Listed, Stacked
from firstlight.records.network import Fans, Layout, plain_layout
from firstlight.records.patterned import Hadamard, PaddedIdentity, Sinusoidal
from firstlight.theory.fans import fans

F = TypeVar("F", bound=Callable[..., Tensor])

PACKS = {"qkv": ("qkv", 3), "lstm": ("gate", 4), "gru": ("gate", 3)}
"""What ``packed`` may be called: name and number of the matrices in a tensor's first axis."""

_FIXED = (Constant, Listed, Identity, Hadamard, Sinusoidal)


class Placed(TypedDict, total=False):
    """What every initializer takes besides its own arguments, by keyword.

    Args:
        name: of the parameter, for its address.
        seed: integer in [0, 2⁶⁴), needs a name; without it a seed is drawn from ``generator`` or
            from torch's default generator.
        namespace: keeps models with equal names apart.
        layout: the tensor's axes, instead of what is below.
        transposed: whether the tensor is stored (in, out/groups, kernel …).
        stride: of a transposed convolution or for ``fan_out``, one number or one for each axis.
        packed: matrices in the first axis: a number, or one of `PACKS`.
    """

    name: str | None
    seed: int | None
    namespace: str
    layout: Layout | None
    transposed: bool
    stride: int | tuple[int, ...]
    packed: int | str


class Where(Placed, total=False):
    """The same and ``groups``, the number of groups of a convolution."""

    groups: int


WHERE_DEFAULTS: Where = {
    "name": None,
    "seed": None,
    "namespace": "",
    "layout": None,
    "groups": 1,
    "transposed": False,
    "stride": 1,
    "packed": 1,
}


def overridable(function: F) -> F:
    """Let tensor subclasses and function modes see the call, as torch's own initializers do."""

    @wraps(function)
    def face(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        if has_torch_function_variadic(tensor):
            done: Tensor = handle_torch_function(face, (tensor,), tensor, *args, **options)
            return done
        return function(tensor, *args, **options)

    return cast(F, face)


def _pack(packed: int | str, what: str) -> tuple[str, int]:
    if isinstance(packed, str):
        if packed not in PACKS:
            raise BadInputError(
                f"{what}: packed must be a number or one of {', '.join(PACKS)}, got {packed!r}"
            )
        return PACKS[packed]
    return "stack", packed


def layout_of(shape: tuple[int, ...], where: Where, what: str) -> Layout:
    """The axes of a tensor as the caller describes it; (out, in, kernel …) if nothing is said.

    Args:
        shape: as stored.
        where: see `Placed`.
        what: the function's name, for errors.

    Raises:
        BadInputError: a layout of another shape, or groups or packs that do not divide the first
            axis.
    """
    given = where.get("layout")
    if given is not None:
        if given.shape != shape:
            raise BadInputError(f"{what}: layout is of shape {given.shape}, the tensor of {shape}")
        return given
    layout = plain_layout(shape)
    roles = layout.roles
    if where.get("transposed"):
        if len(shape) < 3:
            raise BadInputError(
                f"{what}: transposed is for kernels (in, out, kernel …), got shape {shape};"
                " leave it out"
            )
        roles = ("in", "out", *roles[2:])
    role, stacked = _pack(where.get("packed", 1), what)
    groups = where.get("groups", 1)
    if groups != 1 and stacked != 1:
        raise BadInputError(f"{what}: takes groups or packed, not both; use layout")
    if groups != 1:
        role, stacked = "group", groups
    if stacked == 1:
        return Layout(shape=shape, view=shape, roles=roles)
    if stacked < 1 or not shape or shape[0] % stacked:
        word = "groups" if groups != 1 else "packed"
        raise BadInputError(
            f"{what}: {word}={stacked} does not divide the first axis of shape {shape}"
        )
    view = (stacked, shape[0] // stacked, *shape[1:])
    return Layout(shape=shape, view=view, roles=(role, *roles))


def fans_of(layout: Layout, where: Where) -> Fans | None:
    """The effective fans, strides and transposition included."""
    stride = where.get("stride", 1)
    if isinstance(stride, int):
        stride = () if stride == 1 else (stride,) * len(layout.kernel)
    return fans(layout, stride=tuple(stride), transposed=bool(where.get("transposed")))


def fans_or_refuse(tensor: Tensor, where: Where, what: str) -> tuple[Layout, Fans]:
    """Axes and fans of a tensor that must have both; a `BadInputError` for vectors, as in torch."""
    shape = tuple(tensor.shape)
    layout = layout_of(shape, where, what)
    found = fans_of(layout, where)
    if found is None:
        raise BadInputError(
            f"{what}: fan_in and fan_out need 2 dimensions or more, got shape {shape}; use normal_,"
            " uniform_ or zeros_"
        )
    return layout, found


def _is_random(law: Law) -> bool:
    if isinstance(law, Stacked):
        return any(_is_random(one) for one in law.laws)
    if isinstance(law, PaddedIdentity):
        return law.noise != 0
    return not isinstance(law, _FIXED)


def _address(where: Where, generator: torch.Generator | None, what: str) -> tuple[str, int]:
    """Name and seed; drawing a seed moves the generator by one number."""
    name, seed = where.get("name"), where.get("seed")
    if seed is None:
        device = "cpu" if generator is None else generator.device
        drawn = torch.empty((), dtype=torch.int64, device=device).random_(generator=generator)
        return name or "", int(drawn)
    if generator is not None:
        raise BadInputError(f"{what}: takes seed or generator, not both")
    if name is None:
        raise BadInputError(
            f"{what}: seed={seed} without name= would start all tensors of one shape alike; give"
            " the parameter's name, or generator=torch.Generator().manual_seed(…)"
        )
    return name, seed


def _refuse_own_seeds(where: Where, generator: torch.Generator | None, what: str) -> None:
    """Refuse to let each of several processes draw a seed of its own for one tensor."""
    if where.get("seed") is None and generator is None and processes() > 1:
        raise BadInputError(
            f"{what}: {processes()} processes share this tensor and torch's random state may be"
            " another in each; give name= and seed=, or the same generator= everywhere"
        )


def _has_no_storage(tensor: Tensor) -> bool:
    if tensor.is_meta:
        return True
    # Looked up, not imported: whoever made a fake tensor has loaded its module.
    fake = getattr(torch, "_subclasses", None)
    return fake is not None and isinstance(tensor, fake.FakeTensor)


def _refuse_types(tensor: Tensor, law: Law, what: str) -> None:
    if tensor.layout is not torch.strided:
        raise BadInputError(f"{what}: needs a dense tensor, got {tensor.layout}; use to_dense()")
    if not (tensor.is_floating_point() or tensor.is_complex()) and _is_random(law):
        raise BadInputError(
            f"{what}: needs a floating-point or complex tensor, got {tensor.dtype}; use constant_"
        )


def fill(
    tensor: Tensor,
    law: Law,
    layout: Layout,
    *,
    what: str,
    generator: torch.Generator | None,
    where: Where,
) -> Tensor:
    """Write a draw of ``law`` into a tensor, whatever its type, device and strides.

    Args:
        tensor: changed in place, without a gradient; meta and fake tensors are left alone.
        law: what to draw from.
        layout: the tensor's axes.
        what: the function's name, for errors.
        generator: where a seed comes from if none is given.
        where: the address.

    Returns:
        The tensor.
    """
    if _has_no_storage(tensor) or tensor.numel() == 0:
        return tensor
    _refuse_types(tensor, law, what)
    if is_sharded(tensor) and _is_random(law):
        _refuse_own_seeds(where, generator, what)
    name, seed = _address(where, generator, what) if _is_random(law) else ("", 0)
    namespace = where.get("namespace", "")
    with torch.no_grad():
        if isinstance(law, Constant):
            return tensor.fill_(law.value)
        if is_sharded(tensor) and not tensor.is_complex():
            return fill_sharded(tensor, law, layout, name=name, seed=seed, namespace=namespace)
        if tensor.is_complex():
            parts = draw_complex(law, layout, name=name, seed=seed, namespace=namespace)
            whole = torch.from_numpy(parts)
            return put_whole(tensor, whole) if is_sharded(tensor) else tensor.copy_(whole)
        memory = _memory(tensor)
        if memory is not None:
            draw(law, layout, name=name, seed=seed, namespace=namespace, out=memory)
            torch.autograd.graph.increment_version(tensor)  # NumPy's writes are not counted
            return tensor
        # On another device: one tensor on the host, of the same type where the laws write it.
        dtype = tensor.dtype if tensor.dtype in _WRITABLE else torch.float32
        host = torch.empty(tensor.shape, dtype=dtype, device="cpu")
        memory = _memory(host)
        draw(law, layout, name=name, seed=seed, namespace=namespace, out=memory)
        return tensor.copy_(host)


_WRITABLE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def _memory(tensor: Tensor) -> NDArray[Any] | None:
    """The memory of a tensor as an array that laws can write to, or None if it has none such."""
    if tensor.device.type != "cpu" or tensor.dtype not in _WRITABLE:
        return None
    if any(
        step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)
    ):
        return None  # expanded: torch's own write refuses it, and says why
    try:
        if has_memory(tensor):
            return own_memory(tensor)
        plain = tensor.detach()
        bits = plain.view(torch.uint16) if tensor.dtype is torch.bfloat16 else plain
        memory: NDArray[Any] = bits.numpy()
    except (RuntimeError, TypeError):  # subclasses, vmap, negative views
        return None
    return memory


def warn_of_nothing(tensor: Tensor, *, depth: int = 0) -> bool:
    """Warn as torch does where there is nothing to fill, and say whether that is so.

    ``depth`` counts the functions between the caller and the public one.
    """
    if 0 not in tensor.shape:
        return False
    warnings.warn("Initializing zero-element tensors is a no-op", UserWarning, stacklevel=4 + depth)
    return True


def technique_function(name: str, *, module: str) -> Callable[..., Tensor]:
    """A technique of the registry as an in-place function.

    Args:
        name: of the technique.
        module: the public module that it will be found in.

    Returns:
        ``name_(tensor, generator=None, *, <the technique's options>, **where)``.
    """
    entry, what = technique(name), f"{name}_"

    def function(
        tensor: Tensor, generator: torch.Generator | None = None, **options: Any
    ) -> Tensor:
        where = Where(**{key: options.pop(key) for key in WHERE_DEFAULTS if key in options})  # type: ignore[typeddict-item]
        chosen = entry.with_options(**options)
        if warn_of_nothing(tensor):
            return tensor
        layout = layout_of(tuple(tensor.shape), where, what)
        law = chosen.law_for(layout, fans_of(layout, where))
        return fill(tensor, law, layout, what=what, generator=generator, where=where)

    function.__name__ = function.__qualname__ = what
    function.__module__ = module
    function.__doc__ = _document(entry)
    face = overridable(function)
    face.__signature__ = _signature(entry)  # type: ignore[attr-defined]
    return face


def _signature(entry: Technique) -> inspect.Signature:
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = {**entry.options, **WHERE_DEFAULTS}
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature(
        [
            inspect.Parameter("tensor", either, annotation="Tensor"),
            inspect.Parameter(
                "generator", either, default=None, annotation="torch.Generator | None"
            ),
            *(inspect.Parameter(key, keyword, default=value) for key, value in options.items()),
        ],
        return_annotation="Tensor",
    )


def _document(entry: Technique) -> str:
    options = ", ".join(f"{key}={value!r}" for key, value in entry.options.items()) or "none"
    return f"""{entry.title}: {entry.formula}, in place.

    Args:
        tensor: (out, in, kernel …) unless the keywords say otherwise.
        generator: where the seed comes from if none is given; torch's default one if None.
        **options: the technique's ({options}) and those of every initializer:
            name, seed, namespace, layout, groups, transposed, stride, packed.

    Returns:
        The tensor.

    Source: {entry.source}.

    {entry.differs}
    """
