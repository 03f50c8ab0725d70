"""Silent failures: each is named where it is, and nothing is named where it is not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.records.plan import Audit, AuditEntry

# transformers warns of its own future.
pytestmark = pytest.mark.filterwarnings("ignore")


def kinds(entry: AuditEntry) -> set[str]:
    return {remark.kind for remark in entry.remarks}


def said(audit: Audit) -> dict[str, set[str]]:
    return {entry.name: kinds(entry) for entry in audit if entry.remarks}


def text(entry: AuditEntry, kind: str) -> str:
    return next(remark.text for remark in entry.remarks if remark.kind == kind)


def gpt2(**changes: object) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 200, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(**{**sizes, **changes}))


def test_a_models_own_code_says_what_it_meant() -> None:
    audit = fl.audit(gpt2())
    assert all(entry.agrees for entry in audit) and said(audit) == {}
    entry = audit["transformer.h.1.mlp.c_proj.weight"]
    assert entry.laws[0].words == "N(0, 0.02²/6): 0.02/√(2 · 3 layers)"
    assert entry.intended == f"GPT2Model._init_weights, {entry.laws[0].words}"


def test_depth_scaling_that_never_matched() -> None:
    model = gpt2()
    for name, parameter in model.named_parameters():
        if name.endswith("c_proj.weight"):
            nn.init.normal_(parameter, std=0.02)
    audit = fl.audit(model)
    named = {
        f"transformer.h.{i}.{part}.c_proj.weight" for i in range(3) for part in ("attn", "mlp")
    }
    assert set(said(audit)) == named
    entry = audit["transformer.h.0.attn.c_proj.weight"]
    assert kinds(entry) == {"rule-never-ran", "no-depth-scaling"} and entry.agrees is False
    assert "over the 3 blocks of transformer.h" in text(entry, "no-depth-scaling")
    assert "would draw N(0, 0.02²/6)" in text(entry, "rule-never-ran")


def test_a_rule_that_never_ran_names_both_laws() -> None:
    model = gpt2()
    weight = model.transformer.h[1].attn.c_attn.weight  # type: ignore[union-attr,index]
    nn.init.uniform_(weight, -1 / 8, 1 / 8)  # 1/√64
    entry = fl.audit(model)["transformer.h.1.attn.c_attn.weight"]
    assert entry.agrees is False
    assert text(entry, "rule-never-ran") == (
        "GPT2Model._init_weights would draw N(0, 0.02²) here; the tensor has U(±1/√fan_in): the"
        " rule never ran, or another followed it"
    )


class Careful(nn.Module):
    """Calls its ``_init_weights`` as nanoGPT does, and scales some weights afterwards."""

    def __init__(self, *, applied: bool = True) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 64)
        if applied:
            self.apply(self._init_weights)
            nn.init.normal_(self.b.weight, std=0.004)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 64)


class Nested(nn.Module):
    """The rule of an outer module overrides that of an inner one, as transformers' do."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, Attention):
            module.out.weight.data.normal_(std=0.002)


def test_of_several_rules_the_last_counts() -> None:
    model = Nested()
    assert fl.audit(model)["attention.out.weight"].agrees
    nn.init.normal_(model.attention.out.weight, std=0.02)
    assert not fl.audit(model)["attention.out.weight"].agrees


def test_what_follows_a_rule_is_no_fault() -> None:
    audit = fl.audit(Careful())
    assert audit["a.weight"].agrees and audit["a.bias"].agrees and audit["b.bias"].agrees
    assert audit["b.weight"].agrees is None
    assert "another rule followed" in text(audit["b.weight"], "rule-never-ran")


def test_a_rule_that_nobody_called_is_a_fault() -> None:
    audit = fl.audit(Careful(applied=False))
    assert all(entry.agrees is False for entry in audit)
    assert text(audit["a.weight"], "rule-never-ran") == (
        "Careful._init_weights would draw N(0, 0.02²) here; the tensor still has U(±1/√fan_in),"
        " the framework's default: the rule never ran"
    )


class Slopes(nn.Module):
    """A module of one's own, with a ``reset_parameters`` as torch's have."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(40, 80))
        self.decay = nn.Parameter(torch.empty(40))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight, gain=2.0)
        with torch.no_grad():
            self.decay.copy_(torch.linspace(0, 1, 40))


def test_reset_parameters_is_asked_too() -> None:
    model = nn.Sequential(Slopes(), Slopes())
    audit = fl.audit(model)
    assert all(entry.agrees for entry in audit)
    assert audit["0.weight"].intended is not None  # kind other: no matrix, so no orthogonal law
    assert audit["0.decay"].intended == "Slopes.reset_parameters, fixed numbers"
    assert said(audit) == {}  # equal by design, so no clones
    nn.init.constant_(model[1].decay, 0.5)
    assert fl.audit(model)["1.decay"].agrees is False


class Torn(nn.Module):
    """Rules that fail, write to the model itself, draw from every generator, or fill in part."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.gates = nn.LSTM(8, 8)
        real = self.inner.weight
        self._reach = lambda: real

    def reset_parameters(self) -> None:
        random.random(), np.random.rand(), torch.rand(3)
        with torch.no_grad():
            self.gates.bias_ih_l0[8:16] = 1.0  # the forget gate
            self._reach().fill_(7.0)


def test_looking_does_not_touch_whatever_the_rules_do() -> None:
    model = Torn()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    audit = fl.audit(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate()
    assert states[2] == repr(np.random.get_state())
    assert any("writes to the model itself" in remark for remark in audit.remarks)


class Forgetful(nn.Module):
    """Sets the forget gate's bias after torch has drawn it."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 16)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.lstm.bias_ih_l0[16:32] = 1.0


class Normed(nn.Module):
    """A rule that reads one parameter to fill another."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.weight = nn.Parameter(torch.ones(40, 1)), nn.Parameter(torch.ones(40, 400))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, 3.0)
        nn.init.normal_(self.weight)
        with torch.no_grad():
            self.weight.copy_(self.weight * self.scale / 3)


def test_a_rule_may_read_what_it_does_not_fill() -> None:
    audit = fl.audit(Normed())
    assert audit.remarks == () and audit["weight"].agrees and audit["scale"].agrees
    assert audit["weight"].intended == "Normed.reset_parameters, N(0, 1)"


def test_a_part_that_a_rule_fills_leaves_the_whole_unknown() -> None:
    audit = fl.audit(Forgetful())
    assert audit["lstm.bias_ih_l0"].agrees is None and audit["lstm.bias_ih_l0"].intended is None
    assert audit["lstm.bias_hh_l0"].agrees and audit["lstm.weight_ih_l0"].agrees


def test_a_model_that_cannot_be_copied_is_audited_all_the_same() -> None:
    import threading

    model = Slopes()
    model.lock = threading.Lock()
    audit = fl.audit(model)
    assert audit["weight"].laws and audit["weight"].intended is None
    assert "What Slopes means could not be found out: it raised TypeError" in audit.remarks[0]
    model = nn.Sequential(nn.Linear(4, 4))
    model.lock = threading.Lock()
    assert fl.audit(model).remarks == ()  # it has no rules, so nothing is copied


def test_sparse_buffers_and_compiled_models() -> None:
    model = gpt2()
    model.register_buffer("graph", torch.eye(3).to_sparse())
    assert all(entry.agrees for entry in fl.audit(model))
    compiled = fl.audit(torch.compile(Careful(), backend="eager"))
    assert compiled["a.weight"].agrees


def test_cloned_encoder_layers() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    audit = fl.audit(nn.TransformerEncoder(layer, 2))
    cloned = {name for name, found in said(audit).items() if "cloned" in found}
    # Norms, and the biases that attention zeroes, are equal in every model.
    weights = ("self_attn.in_proj_weight", "self_attn.out_proj.weight")
    linear = [f"linear{n}.{part}" for n in (1, 2) for part in ("weight", "bias")]
    assert cloned == {f"layers.1.{name}" for name in (*weights, *linear)}
    assert "to layers.0.linear1.weight" in text(audit["layers.1.linear1.weight"], "cloned")


def test_attention_packed_and_separate() -> None:
    packed = fl.audit(nn.MultiheadAttention(48, 4))
    assert said(packed) == {"in_proj_weight": {"packed-fans"}} and packed["in_proj_weight"].agrees
    separate = nn.MultiheadAttention(48, 4)
    for part in separate.in_proj_weight.chunk(3):
        nn.init.xavier_uniform_(part)
    entry = fl.audit(separate)["in_proj_weight"]
    assert entry.laws[0].technique == "glorot_uniform" and entry.remarks == ()
    assert entry.agrees is False  # torch's default is the packed law


def test_depthwise_fan_out() -> None:
    layer = nn.Conv2d(64, 64, 3, groups=64)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    entry = fl.audit(layer)["weight"]
    assert entry.laws[0].words == "N(0, 2/fan_out), stored fans"
    assert "all 64 groups: the variance is 64 times smaller" in text(entry, "stored-fans")
    nn.init.normal_(layer.weight, std=math.sqrt(2 / 9))  # one group's own fan_out
    assert fl.audit(layer)["weight"].remarks == ()


def test_transposed_convolutions_exchange_their_fans() -> None:
    layer = nn.ConvTranspose2d(96, 32, 4, stride=2)
    nn.init.kaiming_normal_(layer.weight)  # mode fan_in
    assert fl.audit(layer)["weight"].laws[0].words == "N(0, 2/fan_out)"
    nn.init.xavier_normal_(layer.weight)
    assert "stride" in text(fl.audit(layer)["weight"], "stored-fans")


def test_padding_rows_overwritten() -> None:
    embedding = nn.Embedding(50, 16, padding_idx=3)
    assert fl.audit(embedding)["weight"].remarks == ()
    nn.init.normal_(embedding.weight)
    entry = fl.audit(embedding)["weight"]
    assert text(entry, "padding-row").startswith("row 3 is padding") and entry.agrees is False


def test_untied_weights() -> None:
    model = gpt2()
    assert said(fl.audit(model)) == {}
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    audit = fl.audit(model)
    assert said(audit) == {"lm_head.weight": {"untied", "cloned"}}
    assert "tie_word_embeddings=True" in text(audit["lm_head.weight"], "untied")
    assert "transformer.wte.weight" in text(audit["lm_head.weight"], "untied")
    assert "untied" not in str(said(fl.audit(gpt2(tie_word_embeddings=False))))


class Vision(nn.Module):
    def __init__(self, bound: float) -> None:
        super().__init__()
        self.linear, self.bound = nn.Linear(96, 64), bound
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.linear.weight, std=0.02, a=-self.bound, b=self.bound)
        nn.init.zeros_(self.linear.bias)


def test_truncation_that_truncates_nothing() -> None:
    idle, cut = fl.audit(Vision(2.0)), fl.audit(Vision(0.04))
    assert said(idle) == {"linear.weight": {"idle-truncation"}} and idle["linear.weight"].agrees
    assert "about 100 σ away" in text(idle["linear.weight"], "idle-truncation")
    assert said(cut) == {} and cut["linear.weight"].agrees
    assert cut["linear.weight"].laws[0].words == "N(0, 0.02²) cut at ±2σ"


def _nan(weight: torch.Tensor) -> None:
    weight[2, 3:5] = math.nan


def _huge(weight: torch.Tensor) -> None:
    weight[1] = 1.3e37


def _tiny(weight: torch.Tensor) -> None:
    weight.copy_(torch.arange(weight.numel(), dtype=torch.int32).view(torch.float32).view(8, 32))


BROKEN: dict[str, tuple[Callable[[torch.Tensor], object], str, str]] = {
    "nan": (_nan, "non-finite", "2 of 256 values are NaN"),
    "huge": (_huge, "unfilled-memory", "values up to 1.3e+37"),
    "integers read as floats": (_tiny, "unfilled-memory", "of the values are below 1.2e-38"),
    "constant": (lambda w: w.fill_(0.01), "constant", "all 256 values are 0.01"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_memory_that_no_law_explains(name: str) -> None:
    spoil, kind, words = BROKEN[name]
    layer = nn.Linear(32, 8)
    assert said(fl.audit(layer)) == {}
    with torch.no_grad():
        spoil(layer.weight)
    entry = fl.audit(layer)["weight"]
    assert kind in kinds(entry) and words in text(entry, kind) and entry.agrees is False


def test_orthogonal_gates_are_known_however_they_were_drawn() -> None:
    lstm = nn.LSTM(16, 32)
    nn.init.orthogonal_(lstm.weight_hh_l0)
    assert fl.audit(lstm)["weight_hh_l0"].laws[0].words == "orthogonal × 1, all gates together"
    for gate in lstm.weight_hh_l0.chunk(4):
        nn.init.orthogonal_(gate)
    assert fl.audit(lstm)["weight_hh_l0"].laws[0].words == "orthogonal × 1"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_coarse_types_keep_their_structure(dtype: torch.dtype) -> None:
    layer = nn.Linear(64, 64)
    nn.init.orthogonal_(layer.weight)
    best = fl.audit(layer.to(dtype))["weight"].laws[0]
    assert best.technique == "orthogonal"
    assert best.law.gain == pytest.approx(1, abs=2e-3)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("law", "activation", "kept"),
    [
        (nn.init.xavier_normal_, nn.ReLU(), "0.50"),
        (nn.init.xavier_uniform_, nn.LeakyReLU(0.2), "0.52"),
        (nn.init.kaiming_normal_, nn.ReLU(), None),
        (nn.init.xavier_normal_, nn.Tanh(), None),
    ],
)
def test_glorot_behind_relu_is_noted_and_no_fault(law, activation, kept) -> None:
    layers = [nn.Linear(32, 64), activation, nn.Dropout(), nn.Linear(64, 64), activation]
    model = nn.Sequential(nn.Sequential(*layers, nn.Linear(64, 10)), nn.Linear(10, 64))
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            law(layer.weight)
    audit = fl.audit(model)
    noted = [entry.name for entry in audit if "glorot-for-relu" in kinds(entry)]
    # Not the head, whose 2/(64 + 10) is near 2/64, nor what no ReLU feeds.
    assert noted == ([] if kept is None else ["0.3.weight"])
    for name in noted:
        he = 2 / (1.04 * 64) if kept == "0.52" else 2 / 64
        told = text(audit[name], "glorot-for-relu")
        assert f"= {2 / 128:.3g} keeps {kept} of" in told and f"He's {he:.3g} all" in told
