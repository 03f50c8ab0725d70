"""The parameters of a PyTorch model: names, ties, kinds, axis roles, effective fans.

What an axis does is read from the module that owns the tensor, never guessed from the rank: a
transposed convolution stores inputs first, MultiheadAttention stores three matrices as one. Each
reader below knows one family of modules and checks the stored shape against the module's own
numbers, so that a subclass or wrapper that stores something else (flattened shards) is reported
as ``other`` instead of being read wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from firstlight.errors import BadInputError, near_names
from firstlight.frameworks.torch.foreign import Foreign
from firstlight.frameworks.torch.sharding import class_of
from firstlight.laws.addresses import canonical_name
from firstlight.records.network import Fans, Layout, Parameter
from firstlight.theory.fans import fans

Kind = Literal[
    "weight", "recurrent", "bias", "norm-scale", "norm-shift", "embedding", "magnitude", "other"
]


@dataclass(frozen=True, kw_only=True)
class _Use:
    """What a module makes of one of its tensors."""

    kind: Kind
    layout: Layout
    fans: Fans | None = None
    padding_index: int | None = None


Reader = Callable[[Any, str, tuple[int, ...]], _Use | None]
"""(module, local name, stored shape) to a use, or None if this is not what the family stores."""


def _layout(shape: tuple[int, ...], roles: tuple[str, ...], view: tuple[int, ...] = ()) -> Layout:
    return Layout(shape=shape, view=view or shape, roles=roles)


def _weight(layout: Layout, kind: Kind = "weight") -> _Use:
    return _Use(kind=kind, layout=layout, fans=fans(layout))


def _vector(shape: tuple[int, ...], kind: Kind) -> _Use:
    return _Use(kind=kind, layout=_layout(shape, ("out",) * len(shape)))


def _stacked_bias(shape: tuple[int, ...], role: str, stacks: int) -> _Use:
    view = (stacks, shape[0] // stacks)
    return _Use(kind="bias", layout=_layout(shape, (role, "out"), view))


def _linear(module: nn.Linear, name: str, shape: tuple[int, ...]) -> _Use | None:
    if name == "weight" and shape == (module.out_features, module.in_features):
        return _weight(_layout(shape, ("out", "in")))
    return _vector(shape, "bias") if name == "bias" and len(shape) == 1 else None


def _bilinear(module: nn.Bilinear, name: str, shape: tuple[int, ...]) -> _Use | None:
    ones, twos = module.in1_features, module.in2_features
    if name == "weight" and shape == (module.out_features, ones, twos):
        # Each output sums in1 · in2 products. The gradient of an element of the first input sums
        # out · in2 of them, of the second out · in1; their mean over all input elements is given.
        backward = 2 * module.out_features * ones * twos / (ones + twos)
        layout = _layout(shape, ("out", "in"), (shape[0], ones * twos))
        return _Use(kind="weight", layout=layout, fans=Fans(forward=ones * twos, backward=backward))
    return _vector(shape, "bias") if name == "bias" and len(shape) == 1 else None


def _convolution(module: _ConvNd, name: str, shape: tuple[int, ...]) -> _Use | None:
    if name == "bias" and shape == (module.out_channels,):
        return _vector(shape, "bias")
    groups, kernel = module.groups, tuple(module.kernel_size)
    transposed = isinstance(module, _ConvTransposeNd)
    # Storage: (out, in/groups, kernel …), transposed (in, out/groups, kernel …).
    first, second = module.out_channels, module.in_channels
    names: tuple[str, ...] = ("out", "in")
    if transposed:
        first, second, names = second, first, ("in", "out")
    if name != "weight" or shape != (first, second // groups, *kernel):
        return None
    roles = names + ("kernel",) * len(kernel)
    view = shape
    if groups > 1:
        roles, view = ("group", *roles), (groups, first // groups, *shape[1:])
    layout = _layout(shape, roles, view)
    spread = fans(layout, stride=tuple(module.stride), transposed=transposed)
    return _Use(kind="weight", layout=layout, fans=spread)


def _embedding(
    module: nn.Embedding | nn.EmbeddingBag, name: str, shape: tuple[int, ...]
) -> _Use | None:
    if name != "weight" or shape != (module.num_embeddings, module.embedding_dim):
        return None
    layout = _layout(shape, ("index", "out"))
    padding = module.padding_idx
    return _Use(kind="embedding", layout=layout, fans=fans(layout), padding_index=padding)


def _attention(module: nn.MultiheadAttention, name: str, shape: tuple[int, ...]) -> _Use | None:
    width = module.embed_dim
    if name == "in_proj_weight" and shape == (3 * width, width):
        return _weight(_layout(shape, ("qkv", "out", "in"), (3, width, width)))
    if name == "in_proj_bias" and shape == (3 * width,):
        return _stacked_bias(shape, "qkv", 3)
    inputs = {"q_proj_weight": width, "k_proj_weight": module.kdim, "v_proj_weight": module.vdim}
    if name in inputs and shape == (width, inputs[name]):
        return _weight(_layout(shape, ("out", "in")))
    return None


def _recurrent(
    module: nn.RNNBase | nn.RNNCellBase, name: str, shape: tuple[int, ...]
) -> _Use | None:
    # Gates in torch's order: LSTM input, forget, cell, output; GRU reset, update, new.
    hidden = module.hidden_size
    by_cell = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3, nn.RNN: 1, nn.RNNCell: 1}
    gates = next((n for cls, n in by_cell.items() if isinstance(module, cls)), 0)
    if name.startswith("weight_hr_") and shape == (module.proj_size, hidden):
        return _weight(_layout(shape, ("out", "in")))
    if not gates or not shape or shape[0] != gates * hidden:
        return None
    if name.startswith(("bias_ih", "bias_hh")) and len(shape) == 1:
        return _stacked_bias(shape, "gate", gates)
    if name.startswith(("weight_ih", "weight_hh")) and len(shape) == 2:
        layout = _layout(shape, ("gate", "out", "in"), (gates, hidden, shape[1]))
        return _weight(layout, "recurrent" if name.startswith("weight_hh") else "weight")
    return None


def _norm(_module: nn.Module, name: str, shape: tuple[int, ...]) -> _Use | None:
    kinds: dict[str, Kind] = {"weight": "norm-scale", "bias": "norm-shift"}
    return _vector(shape, kinds[name]) if name in kinds else None


def _conv1d_of_transformers(module: Any, name: str, shape: tuple[int, ...]) -> _Use | None:
    # GPT-2's dense layer is called Conv1D and stores (in, out); `nf` is its number of outputs.
    if name == "weight" and len(shape) == 2 and shape[1] == getattr(module, "nf", None):
        return _weight(_layout(shape, ("in", "out")))
    return _vector(shape, "bias") if name == "bias" and len(shape) == 1 else None


def _unknown(_module: nn.Module, name: str, shape: tuple[int, ...]) -> _Use:
    if len(shape) == 1:
        return _vector(shape, "bias" if name == "bias" else "other")
    # Without an owner that says so, no axis is an input: no fans, no matrix laws.
    roles = ("index", *("out",) * (len(shape) - 1)) if shape else ()
    return _Use(kind="other", layout=_layout(shape, roles))


_READERS: tuple[tuple[tuple[type[nn.Module], ...], Reader], ...] = (
    ((nn.Linear,), _linear),
    ((nn.Bilinear,), _bilinear),
    ((_ConvNd,), _convolution),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    ((nn.MultiheadAttention,), _attention),
    ((nn.RNNBase, nn.RNNCellBase), _recurrent),
    ((_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm), _norm),
)


_MAGNITUDE = {"original0": "original1"}
"""In torch's weight norm W = g · v / ‖v‖, the scale g and the direction v."""


def _reparametrized(module: nn.Module, name: str) -> tuple[str, str] | None:
    """The weight behind a tensor of torch's old weight and spectral norms, and which norm it is."""
    if name.endswith(("_g", "_v")) and hasattr(module, f"{name[:-2]}_g"):
        return name[:-2], "weight_norm"
    if name.endswith("_orig") and hasattr(module, f"{name[:-5]}_u"):
        return name[:-5], "spectral_norm"
    return None


def _parametrization(module: nn.Module, name: str) -> str | None:
    """By what a weight is made from this tensor: ``weight_norm``, ``spectral_norm`` or a class."""
    if isinstance(module, ParametrizationList):
        if len(module) != 1:
            return "several"
        kind = type(module[0]).__name__.strip("_")
        return {"WeightNorm": "weight_norm", "SpectralNorm": "spectral_norm"}.get(kind, kind)
    found = _reparametrized(module, name)
    return None if found is None else found[1]


def _read_behind(owner: nn.Module, weight: str, held: tuple[str, Tensor], made_by: str) -> _Use:
    """What one tensor of a parametrization is, by the weight that is made from it."""
    local, tensor = held
    shape = tuple(tensor.shape)
    if made_by == "weight_norm" and (local in _MAGNITUDE or local.endswith("_g")):
        return _Use(kind="magnitude", layout=_layout(shape, ("out",) * len(shape)))
    if made_by in ("weight_norm", "spectral_norm"):
        return _read(owner, weight, tensor)
    return _unknown(owner, local, shape)


def _read(module: nn.Module, name: str, tensor: Tensor) -> _Use:
    shape = tuple(tensor.shape)
    old = _reparametrized(module, name)
    if old is not None:
        return _read_behind(module, old[0], (name, tensor), old[1])
    reader = next((read for classes, read in _READERS if isinstance(module, classes)), None)
    if reader is None and any(cls.__name__ == "Conv1D" for cls in type(module).__mro__):
        reader = _conv1d_of_transformers
    use = reader(module, name, shape) if reader and prod(shape) else None
    return use or _unknown(module, name, shape)


@dataclass(frozen=True, kw_only=True)
class _Owner:
    """One of the places at which a tensor is held."""

    raw: str
    module: nn.Module
    local: str
    parent: nn.Module | None = None
    """The module whose weight is made from this tensor, where a parametrization holds it."""

    def read(self, tensor: Tensor) -> _Use:
        """What the tensor is to its owner."""
        if self.parent is None:
            return _read(self.module, self.local, tensor)
        weight = self.raw.split(".")[-2]
        made_by = _parametrization(self.module, self.local) or ""
        return _read_behind(self.parent, weight, (self.local, tensor), made_by)


def _owners(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, list[_Owner]]]:
    """Each tensor once: its canonical name, itself, and its owners, the name-giving one first."""
    held: dict[int, tuple[nn.Parameter, list[_Owner]]] = {}
    modules = dict(model.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        parent = None
        if isinstance(module, ParametrizationList):
            parent = modules[path.rpartition("parametrizations.")[0].rstrip(".")]
        for local, tensor in module._parameters.items():
            if tensor is None:
                continue
            raw = f"{path}.{local}" if path else local
            if is_lazy(tensor):
                raise BadInputError(
                    f"{raw}: a lazy parameter without a shape yet; run the model once on a batch"
                )
            owner = _Owner(raw=raw, module=module, local=local, parent=parent)
            held.setdefault(id(tensor), (tensor, []))[1].append(owner)
    first: dict[str, int] = {}
    for _, owners in held.values():
        owners.sort(key=lambda owner: (canonical_name(owner.raw), owner.raw))
        name = canonical_name(owners[0].raw)
        first[name] = first.get(name, 0) + 1
    for tensor, owners in held.values():
        name = canonical_name(owners[0].raw)
        # Two tensors that only a wrapper's prefix tells apart keep their full names.
        yield (name if first[name] == 1 else owners[0].raw), tensor, owners


def describe_parameters(model: nn.Module) -> tuple[Parameter, ...]:
    """Every parameter of a model once, with its axes, fans and further names.

    Nothing is run and nothing is changed. A tied tensor takes the first of its names in sorted
    order; if an embedding shares it with a dense layer, it is an ``embedding`` (padding rows must
    stay zero) that carries the fans of the dense use.

    Args:
        model: any module, wrapped (DDP, FSDP, `torch.compile`, checkpointing) or not.

    Returns:
        One record per tensor, in the order in which the model holds them. Tensors of modules that
        are not known, and of parametrizations (weight norm, orthogonal), are of kind ``other``,
        without fans or input axis.

    Raises:
        BadInputError: a lazy parameter that has no shape yet.

    >>> [p.name for p in describe_parameters(nn.Sequential(nn.Linear(3, 2)))]
    ['0.weight', '0.bias']
    """
    if isinstance(model, Foreign):
        return model.described()
    return tuple(_describe(*each) for each in _owners(model))


def _chosen(tensor: nn.Parameter, owners: list[_Owner]) -> tuple[int, list[_Use]]:
    """Which of its uses tells what a tensor is, and all of them."""
    uses = [owner.read(tensor) for owner in owners]
    return next((i for i, use in enumerate(uses) if use.kind == "embedding"), 0), uses


def _describe(name: str, tensor: nn.Parameter, owners: list[_Owner]) -> Parameter:
    chosen, uses = _chosen(tensor, owners)
    use = uses[chosen]
    if use.kind == "embedding":
        dense = (u.fans for u in uses if u.kind == "weight" and u.fans is not None)
        use = replace(use, fans=next(dense, use.fans))
    ties = dict.fromkeys(canonical_name(owner.raw) for owner in owners)
    return Parameter(
        name=name,
        kind=use.kind,
        module=class_of(owners[chosen].parent or owners[chosen].module).__name__,
        layout=use.layout,
        fans=use.fans,
        dtype=str(tensor.dtype).removeprefix("torch."),
        trainable=tensor.requires_grad,
        ties=tuple(tie for tie in ties if tie != canonical_name(owners[0].raw)),
        padding_index=use.padding_index,
        parametrization=_parametrization(owners[chosen].module, owners[chosen].local),
        loaded=bool(getattr(tensor, "_is_hf_initialized", False)),
    )


def named_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The tensor behind each canonical name, in the order of `describe_parameters`."""
    if isinstance(model, Foreign):
        return model.tensors()
    return {name: tensor for name, tensor, _ in _owners(model)}


def vector_biases(model: nn.Module) -> frozenset[str]:
    """Canonical names of the biases with one axis."""
    if isinstance(model, Foreign):
        described = model.described()
        return frozenset(p.name for p in described if p.kind == "bias" and len(p.layout.shape) == 1)
    found = []
    for name, tensor, owners in _owners(model):
        if tensor.dim() == 1:
            chosen, uses = _chosen(tensor, owners)
            if uses[chosen].kind == "bias":
                found.append(name)
    return frozenset(found)


def module_of(model: nn.Module, name: str) -> nn.Module:
    """The module that owns the parameter of this canonical name (the first one of a tie).

    Raises:
        BadInputError: no such parameter; the message offers the nearest names.
    """
    owners = {canonical: held[0].module for canonical, _, held in _owners(model)}
    if name not in owners:
        raise BadInputError(f"model: no parameter '{name}'; {near_names(name, owners)}")
    return owners[name]
