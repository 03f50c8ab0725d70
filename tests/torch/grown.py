"""The models that sentences of the grammar spell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from grammar import Case, Form, Sentence
from mapped import FUNCTIONS
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

WIDTH, LENGTH, SIZE, WORDS, CLASSES = 8, 5, 4, 11, 5


class Layer(nn.Module):
    """A module and how it is called."""

    def __init__(self, call: Callable[..., Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.call = call

    def forward(self, value: Tensor) -> Tensor:
        return self.call(self, value)


def _matrix() -> nn.Parameter:
    return nn.Parameter(torch.randn(WIDTH, WIDTH) / math.sqrt(WIDTH))


def _with_cell(layer: Any, series: Tensor) -> Tensor:
    state = series.new_zeros(len(series), WIDTH)
    states = []
    for step in range(series.shape[1]):
        state = layer.cell(series[:, step], state)
        states.append(state)
    return torch.stack(states, dim=1)


def _dot_attention(layer: Any, series: Tensor) -> Tensor:
    query, key, value = layer.qkv(series).chunk(3, dim=-1)
    return layer.out(functional.scaled_dot_product_attention(query, key, value))


def _squeeze(layer: Any, images: Tensor) -> Tensor:
    return images * layer.fc(images.mean(dim=(2, 3))).sigmoid()[:, :, None, None]


def _shuffle(layer: Any, images: Tensor) -> Tensor:
    return functional.pixel_shuffle(functional.pixel_unshuffle(layer.conv(images), 2), 2)


def _first(layer: Any, series: Tensor) -> Tensor:
    return layer.inner(series)[0]


def _conv(kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, kernel, padding="same", **options)


_MAKERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "no bias": lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH)),
    "bilinear": lambda: Layer(lambda m, v: m.fc(v, v), fc=nn.Bilinear(WIDTH, WIDTH, WIDTH)),
    "own matrix": lambda: Layer(lambda m, v: torch.einsum("bi,ij->bj", v, m.w), w=_matrix()),
    "attention": lambda: Layer(
        lambda m, v: m.inner(v, v, v, need_weights=False)[0],
        inner=nn.MultiheadAttention(WIDTH, 2, batch_first=True),
    ),
    "dot attention": lambda: Layer(
        _dot_attention, qkv=nn.Linear(WIDTH, 3 * WIDTH), out=nn.Linear(WIDTH, WIDTH)
    ),
    "lstm": lambda: Layer(_first, inner=nn.LSTM(WIDTH, WIDTH, batch_first=True)),
    "gru": lambda: Layer(_first, inner=nn.GRU(WIDTH, WIDTH, num_layers=2, batch_first=True)),
    "rnn": lambda: Layer(
        _first, inner=nn.RNN(WIDTH, WIDTH // 2, bidirectional=True, batch_first=True)
    ),
    "cell": lambda: Layer(_with_cell, cell=nn.GRUCell(WIDTH, WIDTH)),
    "positions": lambda: Layer(lambda m, v: v + m.p, p=nn.Parameter(torch.zeros(LENGTH, WIDTH))),
    "signal": lambda: Layer(
        lambda m, v: m.conv(v.transpose(1, 2)).transpose(1, 2),
        conv=nn.Conv1d(WIDTH, WIDTH, 3, padding=1),
    ),
    "encoder": lambda: nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, batch_first=True),
    "convolution": _conv,
    "one by one": lambda: _conv(1),
    "depthwise": lambda: _conv(groups=WIDTH),
    "dilated": lambda: _conv(dilation=2, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(WIDTH, WIDTH, 3, padding=1),
    "pool": lambda: nn.AvgPool2d(3, stride=1, padding=1),
    "largest": lambda: nn.MaxPool2d(3, stride=1, padding=1),
    "squeeze": lambda: Layer(_squeeze, fc=nn.Linear(WIDTH, WIDTH)),
    "shuffle": lambda: Layer(_shuffle, conv=_conv()),
}


def _norm(name: str, form: Form) -> nn.Module:
    if name == "batch":
        return nn.BatchNorm1d(WIDTH) if form == "vectors" else nn.BatchNorm2d(WIDTH)
    makers: dict[str, Callable[[], nn.Module]] = {
        "layer": lambda: nn.LayerNorm(WIDTH),
        "rms": lambda: nn.RMSNorm(WIDTH),
        "group": lambda: nn.GroupNorm(2, WIDTH),
        "instance": lambda: nn.InstanceNorm2d(WIDTH, affine=True, track_running_stats=True),
        "local": lambda: nn.LocalResponseNorm(3),
    }
    return makers[name]()


class Composite(nn.Module):
    """Bodies, and how their results are joined."""

    def __init__(self, kind: str, bodies: list[nn.Module], form: Form, times: int = 1) -> None:
        super().__init__()
        self.kind, self.times = kind, times
        self.bodies = nn.ModuleList(bodies)
        self.axis = 1 if form == "images" else -1
        if kind == "scaled residual":
            self.scale = nn.Parameter(torch.zeros(()))
        if kind == "concatenation":
            wide = 2 * WIDTH
            self.join = nn.Conv2d(wide, WIDTH, 1) if form == "images" else nn.Linear(wide, WIDTH)

    def forward(self, value: Tensor) -> Tensor:
        first, last = self.bodies[0], self.bodies[-1]
        match self.kind:
            case "residual":
                return value + first(value)
            case "scaled residual":
                return value + self.scale * first(value)
            case "sum":
                return first(value) + last(value)
            case "concatenation":
                return self.join(torch.cat([first(value), last(value)], dim=self.axis))
            case "gate":
                return value * first(value).sigmoid()
            case "choice":
                return first(value) if bool(value.detach().mean() > 0) else last(value)
            case "while":
                for _ in range(3):
                    value = first(value)
                    if float(value.detach().abs().mean()) < 0.5:
                        break
                return value
        for _ in range(self.times):  # a shared body
            value = first(value)
        return value


def _body(sentence: Sentence, form: Form) -> nn.Module:
    return nn.Sequential(*(_step(step, form) for step in sentence))


def _step(step: Sentence, form: Form) -> nn.Module:
    kind, *rest = step
    match kind:
        case "layer":
            return _MAKERS[rest[0]]()
        case "norm":
            return _norm(rest[0], form)
        case "function":
            function = FUNCTIONS[rest[0]]
            return Layer(lambda module, value: function(value))
        case "dropout":
            return nn.Dropout(rest[0])
    times = rest.pop() if kind == "repeat" else 1
    return Composite(kind, [_body(inner, form) for inner in rest], form, times)


@dataclass
class Answer:
    logits: Tensor
    notes: list[Tensor | None] = field(default_factory=list)


class Grown(nn.Module):
    """Embedding if need be, a body, an end and a head."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        form: Form = "series" if case.form == "tokens" else case.form
        if case.form == "tokens":
            self.embedding = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.body = _body(case.body, form)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.case = case

    def logits(self, value: Tensor) -> Tensor:
        if self.case.form == "tokens":
            value = self.embedding(value)
        value = self.body(value)
        axes = tuple(range(2, value.dim())) if self.case.form == "images" else (1,)
        return self.head(value if value.dim() == 2 else value.mean(dim=axes))

    def forward(self, value: Tensor, target: Tensor | None = None) -> Any:
        logits = self.logits(value)
        if target is not None:
            return {"loss": functional.cross_entropy(logits, target), "logits": logits}
        match self.case.answer:
            case "dict":
                return {"logits": logits, "in": value}
            case "tuple":
                return logits, (value, None)
            case "data class":
                return Answer(logits, [None, value])
            case "generator":
                return (part for part in (logits,))
        return logits


def _apply(law: Sentence, model: nn.Module) -> None:
    kind, *scale = law
    for parameter in model.parameters():
        if kind == "normal":
            nn.init.normal_(parameter, std=scale[0])
        elif kind == "uniform":
            nn.init.uniform_(parameter, 0.0, scale[0])
        elif kind == "constant":
            nn.init.constant_(parameter, scale[0])
        elif kind == "orthogonal" and parameter.dim() > 1:
            nn.init.orthogonal_(parameter)


def build(case: Case) -> tuple[Grown, Any, dict[str, Any]]:
    """The model, a batch for it, and the options of `check`."""
    torch.manual_seed(case.seed)
    model = Grown(case)
    _apply(case.law, model)
    if case.frozen:
        next(model.parameters()).requires_grad_(False)
    shapes = {"vectors": (WIDTH,), "series": (LENGTH, WIDTH), "images": (WIDTH, SIZE, SIZE)}
    batch: Any = (
        torch.randint(WORDS, (case.samples, LENGTH))
        if case.form == "tokens"
        else case.scale * torch.randn(case.samples, *shapes[case.form])
    )
    classes, values = torch.randint(CLASSES, (case.samples,)), torch.randn(case.samples, CLASSES)
    match case.loss:
        case "classes":
            return model, batch, {"loss": "cross_entropy", "target": classes}
        case "squares":
            return model, batch, {"target": values}
        case "own":
            return model, (batch, classes), {}
        case "step":
            return model, batch, {"step": lambda m, b: m.logits(b).logsumexp(dim=1).mean()}
    return model, batch, {}


def loss_of(case: Case, model: Grown, batch: Any, options: dict[str, Any]) -> Tensor | None:
    """What `check` differentiates, in plain torch; None where it takes a random direction."""
    match case.loss:
        case "classes":
            return functional.cross_entropy(model.logits(batch), options["target"])
        case "squares":
            return functional.mse_loss(model.logits(batch), options["target"])
        case "own":
            return model(*batch)["loss"]
        case "step":
            return options["step"](model, batch)
    return None
