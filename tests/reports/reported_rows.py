"""The rows of the table of users' reports: the thread's model, its symptom, cause and cure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import reported_layers as layers
import reported_networks as networks
import reported_symptoms as symptoms
import torch
from reported_networks import he, images, labels, mlp, normal, started, vectors
from reported_symptoms import Given
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Report:
    """A row of the table.

    Args:
        name: its number and threads.
        sick: the thread's model.
        cured: the same, mended as the thread mends it.
        symptom: asserts what the user saw.
        kinds: of these must be the leading finding.
        culprit: the name that it must give.
        words: expressions that its evidence and cause must hold, names in backticks aside.
    """

    name: str
    sick: Callable[[], Given]
    cured: Callable[[], Given]
    symptom: Callable[[Given], None]
    kinds: tuple[str, ...]
    culprit: str
    words: tuple[str, ...]


VANISHING = ("forward-vanishing", "backward-vanishing")
EXPLODING = ("forward-exploding", "backward-exploding")
UNREACHED = ("unreachable", "no-gradient")


def classify(model: nn.Module, batch: Tensor, classes: int = 10) -> Given:
    return Given(model, batch, {"target": labels(len(batch), classes)})


def tell_apart(model: nn.Module, batch: Tensor) -> Given:
    """Two classes, by binary cross-entropy of a probability."""
    target = labels(len(batch), 2).float()
    return Given(model, batch, {"target": target, "loss": functional.binary_cross_entropy})


def _t5(std: float | None) -> Given:
    """Its head is not tied; transformers draws it with standard deviation 1."""
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    config = T5Config(vocab_size=256, tie_word_embeddings=False, decoder_start_token_id=0, **sizes)
    model = T5ForConditionalGeneration(config)
    if std is not None:
        nn.init.normal_(model.lm_head.weight, std=std)
    ids = torch.randint(2, 256, (2, 16, 12))
    return Given(model, {"input_ids": ids[0], "labels": ids[1]}, {})


def _mismatched(filled: bool) -> Given:
    """The head of a checkpoint with other classes is built anew; random bits stand for memory."""
    model = started(mlp(2), he)
    bits = torch.randint(-(2**31), 2**31 - 1, model[-1].weight.shape).to(torch.int32)
    if not filled:
        model[-1].weight.data = bits.view(torch.float32)
        assert model[-1].weight.nan_to_num(0.0, 0.0, 0.0).abs().max() > 1e36
    return classify(model, vectors())


def _w_o(filled: bool) -> Given:
    with networks.unfilled_memory():
        model = layers.Attention(filled)
    return classify(model, torch.randn(64, 8, 64))


def _from_meta(norms: bool) -> Given:
    """An initializer that knows `nn.Linear` only."""
    with torch.device("meta"):
        model = layers.RmsNormed()
    with networks.unfilled_memory():
        model.to_empty(device="cpu")
    started(model, he)
    for norm in model.norms if norms else ():
        norm.reset_parameters()
    return classify(model, vectors())


def _resnet(last: Callable[[Tensor], object]) -> Given:
    model = started(networks.deep_resnet(60), he)
    for block in model.modules():
        if isinstance(block, networks.Bottleneck):
            last(block.conv3.weight)
    return classify(model, images(8, samples=32))


def _fcn(filled: bool) -> Given:
    model = layers.FullyConvolutional(21, filled)
    return Given(model, images(16), {"target": torch.randint(21, (64, 16, 16))})


def _vgg16_on_pixels(scale: float) -> Given:
    """As MXNet's example does it: the mean is taken off the bytes, their scale stays."""
    return classify(started(networks.vgg16(), he), scale * images())


def _capsules(std: float) -> Given:
    pictures = images(28)[:, :1].contiguous()
    options = {"target": labels(64), "loss": layers.margin_loss}
    return Given(layers.CapsuleNetwork(std), pictures, options)


def _crf(filled: bool) -> Given:
    with networks.unfilled_memory():
        model = layers.ConditionalRandomField(filled=filled)
    batch = (torch.randn(32, 7, 16), torch.randint(5, (32, 7)))
    return Given(model, batch, {"step": lambda model, batch: model(*batch)})


def _three_adapters(activation: type[nn.Module]) -> Given:
    first, second = layers.LoraLinear(64, 512), layers.LoraLinear(512, 256)
    end = (layers.LoraLinear(256, 1), nn.Sigmoid(), nn.Flatten(0))
    return tell_apart(nn.Sequential(first, activation(), second, activation(), *end), vectors())


def _xor(start: Callable[[Tensor], Tensor]) -> Given:
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(64, 1)
    model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid())
    given = tell_apart(started(nn.Sequential(*model, nn.Flatten(0)), start), corners)
    target = (corners[:, 0] != corners[:, 1]).float()
    return Given(given.model, corners, {**given.options, "target": target})


def _digits(start: Callable[[Tensor], Tensor]) -> Given:
    return classify(started(mlp(3, width=256, inputs=784), start), torch.rand(256, 784))


def _dead(bias: float) -> Given:
    model = started(mlp(3), he)
    nn.init.constant_(model[2].bias, bias)
    return classify(model, vectors())


def _sigmoid_unit(start: Callable[[Tensor], Tensor]) -> Given:
    """One probability from 128 ReLU units."""
    body = started(nn.Sequential(nn.Linear(64, 128), nn.ReLU()), he)
    head = started(nn.Linear(128, 1), start)
    return tell_apart(nn.Sequential(*body, head, nn.Sigmoid(), nn.Flatten(0)), vectors())


def _zero(weight: Tensor) -> Tensor:
    return nn.init.zeros_(weight)


def _keep(weight: Tensor) -> Tensor:
    return weight


def fan_out(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")


REPORTS = (
    Report(
        name="1: pytorch #72253, #86274, #120396",
        sick=lambda: classify(layers.Encoder(redrawn=False), torch.randn(64, 8, 64)),
        cured=lambda: classify(layers.Encoder(redrawn=True), torch.randn(64, 8, 64)),
        symptom=symptoms.layers_are_equal,
        kinds=("cloned-layers",),
        culprit="encoder.layers.1",
        words=("deepcopy", "TransformerEncoder"),
    ),
    Report(
        name="3: pytorch #15314, #6950, #1667",
        sick=lambda: classify(mlp(20), vectors()),
        cured=lambda: classify(started(mlp(20), he), vectors()),
        symptom=symptoms.stays_at_chance,
        kinds=VANISHING,
        culprit="0",
        words=("σ_w² = variance × fan_in = 0.33", "σ_w² = 2 would keep it"),
    ),
    Report(
        name="4: pytorch #23854, timm #84",
        sick=lambda: classify(started(networks.separable(), fan_out), images()),
        cured=lambda: classify(started(networks.separable(), he), images()),
        symptom=symptoms.depthwise_fades,
        kinds=VANISHING,
        culprit="depthwise",
        words=("fan_in", "would keep it"),
    ),
    Report(
        name="5: transformers PR #26441, #16749",
        sick=lambda: _t5(None),
        cured=lambda: _t5(64**-0.5),
        symptom=partial(symptoms.loss_is_large, classes=256),
        kinds=("loss-at-start",),
        culprit="lm_head",
        words=("ln 256", "logits have standard deviation"),
    ),
    Report(
        name="6: transformers #30953, PR #28073",
        sick=lambda: _mismatched(filled=False),
        cured=lambda: _mismatched(filled=True),
        symptom=symptoms.is_nan,
        kinds=("non-finite",),
        culprit="4.weight",
        words=("memory",),
    ),
    Report(
        name="7: TransformerLens #902",
        sick=lambda: _w_o(filled=False),
        cured=lambda: _w_o(filled=True),
        symptom=symptoms.is_nan,
        kinds=("non-finite",),
        culprit="W_O",
        words=("memory that was never filled",),
    ),
    Report(
        name="8: llm-foundry PR #1745, transformers PR #45050",
        sick=lambda: _from_meta(norms=False),
        cured=lambda: _from_meta(norms=True),
        symptom=symptoms.is_nan,
        kinds=("non-finite",),
        culprit="norms.0.weight",
        words=("memory that was never filled",),
    ),
    Report(
        name="9: detectron2 #755, #558",
        sick=lambda: _resnet(_keep),
        cured=lambda: _resnet(_zero),
        symptom=symptoms.nan_after_a_step,
        kinds=EXPLODING,
        culprit="61",
        words=("branch|skip|residual|addition",),
    ),
    Report(
        name="10: litgpt #1229, relora #18, cosmos-predict2.5 PR #15",
        sick=lambda: classify(layers.adapted(both_zero=True), vectors()),
        cured=lambda: classify(layers.adapted(both_zero=False), vectors()),
        symptom=symptoms.adapters_stay,
        kinds=UNREACHED,
        culprit="0.lora_a",
        words=("LoRA", "zero"),
    ),
    Report(
        name="11: ControlNet #510",
        sick=lambda: classify(layers.ControlNet(2), images(16)),
        cured=lambda: classify(layers.ControlNet(1), images(16)),
        symptom=symptoms.copy_stays,
        kinds=UNREACHED,
        culprit="zero.0",
        words=("two zero layers in a row",),
    ),
    Report(
        name="12: fbcunn #75, tensorflow/models #991, imagenet-multiGPU #2",
        sick=lambda: classify(networks.googlenet(1000), images(), 1000),
        cured=lambda: classify(started(networks.googlenet(1000), he), images(), 1000),
        symptom=partial(symptoms.stays_at_chance, classes=1000),
        kinds=VANISHING,
        culprit="0",
        words=("σ_w²", "would keep it"),
    ),
    Report(
        name="13: pytorch-cifar #28",
        sick=lambda: classify(networks.vgg16(), images()),
        cured=lambda: classify(started(networks.vgg16(), he), images()),
        symptom=symptoms.stays_at_chance,
        kinds=VANISHING,
        culprit="0",
        words=("σ_w² = variance × fan_in = 0.3", "would keep it"),
    ),
    Report(
        name="14: mxnet #9866",
        sick=lambda: _vgg16_on_pixels(64.0),
        cured=lambda: _vgg16_on_pixels(1.0),
        symptom=symptoms.diverges_at_a_hundredth,
        kinds=("input-scale",),
        culprit="input",
        words=("root mean square of 64", "raw pixels"),
    ),
    Report(
        name="15: longjon/caffe #3",
        sick=lambda: _fcn(filled=False),
        cured=lambda: _fcn(filled=True),
        symptom=symptoms.outputs_are_zero,
        kinds=UNREACHED,
        culprit="upscore.weight",
        words=("two zero layers in a row",),
    ),
    Report(
        name="16: handson-ml PR #176",
        sick=lambda: _capsules(0.01),
        cured=lambda: _capsules(0.1),
        symptom=symptoms.capsules_are_short,
        kinds=VANISHING,
        culprit="transform",
        words=("most of it happens at one place",),
    ),
    Report(
        name="18: pytorch-crf #1, cirkit #279",
        sick=lambda: _crf(filled=False),
        cured=lambda: _crf(filled=True),
        symptom=symptoms.is_nan,
        kinds=("non-finite",),
        culprit="transitions",
        words=("memory that was never filled",),
    ),
    Report(
        name="19: microsoft/LoRA #167",
        sick=lambda: _three_adapters(nn.Sigmoid),
        cured=lambda: _three_adapters(nn.ReLU),
        symptom=symptoms.only_the_last_layer_learns,
        kinds=("backward-vanishing",),
        culprit="0",
        words=("sigmoid",),
    ),
    Report(
        name="20: SO 42516484, 36127436, 55006469, 35961434, 48027263, 45997645",
        sick=lambda: _xor(_zero),
        cured=lambda: _xor(normal(1.0)),
        symptom=symptoms.answers_one_half,
        kinds=("symmetric-units",),
        culprit="0.weight",
        words=("zero weights", "identical"),
    ),
    Report(
        name="21: SO 40147568, 43489697, 43564627, 56541683, 38321024",
        sick=lambda: _digits(normal(1.0)),
        cured=lambda: _digits(he),
        symptom=symptoms.predicts_few_classes,
        kinds=EXPLODING,
        culprit="4",
        words=("σ_w² = variance × fan_in = 25", "σ_w² = 2 would keep it"),
    ),
    Report(
        name="22: SO 46639430, 54688502, 52783615, 49891163",
        sick=lambda: _dead(-10.0),
        cured=lambda: _dead(0.0),
        symptom=symptoms.first_layers_get_nothing,
        kinds=("dead-units",),
        culprit="2",
        words=("negative for every input",),
    ),
    Report(
        name="23: SO 39817949",
        sick=lambda: _sigmoid_unit(nn.init.uniform_),
        cured=lambda: _sigmoid_unit(nn.init.xavier_normal_),
        symptom=symptoms.answers_the_same,
        kinds=("saturated-units",),
        culprit="3",
        words=("the weights before it are too large",),
    ),
    Report(
        name="24: SO 47822099",
        sick=lambda: classify(started(mlp(6), normal(0.01)), vectors()),
        cured=lambda: classify(started(mlp(6), he), vectors()),
        symptom=symptoms.gradient_fades,
        kinds=VANISHING,
        culprit="0",
        words=("σ_w² = variance × fan_in = 0.01", "σ_w² = 2 would keep it"),
    ),
    Report(
        name="24: SO 50209981",
        sick=lambda: classify(mlp(8, nn.Sigmoid), vectors()),
        cured=lambda: classify(started(mlp(8), he), vectors()),
        symptom=symptoms.gradient_fades,
        kinds=("backward-vanishing",),
        culprit="0",
        words=("behind sigmoid each layer multiplies ‖δ‖²",),
    ),
    Report(
        name="25: SO 36565430, 53848232, 52024026",
        sick=lambda: classify(started(mlp(50, width=100), normal(1.0)), vectors()),
        cured=lambda: classify(started(mlp(50, width=100), he), vectors()),
        symptom=symptoms.nan_with_more_layers,
        kinds=EXPLODING,
        culprit="0",
        words=("σ_w²", "would keep it"),
    ),
)
