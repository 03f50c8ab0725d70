"""The callbacks in real trainers: they begin, they watch, and they change nothing unasked."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import firstlight as fl
from firstlight.integrations.training import Care, first_batch, model_init

X = torch.randn(96, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(96) % 2
QUIET = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def net(std=None):
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )
    if std is not None:
        nn.init.constant_(made[0].weight, std)
    return made


def loader(**options):
    return DataLoader(TensorDataset(X, Y), batch_size=32, **options)


def test_a_first_batch_moves_no_random_state():
    generator = torch.Generator().manual_seed(3)
    for made in (loader(shuffle=True), loader(shuffle=True, generator=generator)):
        torch.manual_seed(1)
        state, own = torch.get_rng_state(), generator.get_state()
        first_batch(made, torch)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(generator.get_state(), own)


def test_a_model_init_gives_equal_models():
    init = model_init(net, X, seed=4)
    one, other = init(), init(None)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one[0].weight, net()[0].weight)


def test_of_several_processes_one_writes_and_warns(tmp_path):
    care = Care(report=tmp_path / "reports")
    sick = net(0.01)
    care.begin(sick, X, target=Y, primary=False)
    assert not care.start.healthy
    assert not (tmp_path / "reports").exists()
    with pytest.warns(fl.UnhealthyWarning, match="before its first step"):
        Care().begin(sick, X, target=Y)
    with pytest.raises(fl.UnhealthyError):
        Care(alarm="raise").begin(sick, X, target=Y, primary=False)


# --- Lightning -----------------------------------------------------------------------------------

pl = pytest.importorskip("pytorch_lightning")


class Module(pl.LightningModule):
    def __init__(self, std=None):
        super().__init__()
        self.net = net(std)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module, tmp_path, *callbacks, epochs=2, **options):
    torch.manual_seed(7)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=list(callbacks),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*num_workers.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*treespec.*", category=FutureWarning)
        trainer.fit(module, loader(shuffle=True), **options)
    return trainer


def test_lightning_looks_watches_and_touches_nothing(tmp_path):
    from firstlight.integrations.lightning import FirstlightCallback

    alone, seen = Module(), Module()
    fit(alone, tmp_path)
    callback = FirstlightCallback(every=2, report=tmp_path / "reports")
    trainer = fit(seen, tmp_path, callback)
    for a, b in zip(alone.parameters(), seen.parameters(), strict=True):
        assert torch.equal(a, b)
    assert callback.start.healthy
    assert [glance.step for glance in callback.watched] == [0, 2, 4]
    assert set(trainer.logged_metrics) == {"loss"}
    assert {p.name for p in (tmp_path / "reports").iterdir()} == {"start.html", "watched.html"}


def test_lightning_initializes_before_the_first_step(tmp_path):
    from firstlight.integrations.lightning import FirstlightCallback

    callback = FirstlightCallback(initialize=True, seed=3)
    module = Module(0.01)
    fit(module, tmp_path, callback, epochs=1)
    assert callback.start.after.healthy
    assert not callback.start.before.healthy


def test_lightning_refuses_a_sick_start(tmp_path):
    from firstlight.integrations.lightning import FirstlightCallback

    with pytest.raises(fl.UnhealthyError, match="before its first step: symmetric-units"):
        fit(Module(0.01), tmp_path, FirstlightCallback(alarm="raise"))
    with pytest.raises(fl.UnhealthyError, match="symmetric-units"):
        fit(Module(0.01), tmp_path, FirstlightCallback(batch=X, target=Y, alarm="raise"))


def test_lightning_by_hand_wants_a_batch(tmp_path):
    from firstlight.integrations.lightning import FirstlightCallback

    class ByHand(Module):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            raise AssertionError("a look must not train")

    with pytest.raises(fl.BadInputError, match="pass batch= and target="):
        fit(ByHand(), tmp_path, FirstlightCallback())


# --- transformers --------------------------------------------------------------------------------


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=2,
            n_head=2,
            n_embd=16,
            vocab_size=32,
            n_positions=16,
            bos_token_id=0,
            eos_token_id=1,
        )
    )


def tokens():
    ids = torch.randint(0, 32, (24, 12), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row} for row in ids]


def hf_train(tmp_path, model=None, callbacks=(), **options):
    from transformers import Trainer, TrainingArguments

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = TrainingArguments(
            output_dir=tmp_path / "out",
            max_steps=4,
            per_device_train_batch_size=8,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            seed=5,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=tokens(),
            callbacks=list(callbacks),
            **options,
        )
        trainer.train()
    return trainer


def test_transformers_looks_watches_and_touches_nothing(tmp_path):
    from firstlight.integrations.transformers import FirstlightCallback

    alone, seen = gpt2(), gpt2()
    hf_train(tmp_path, alone)
    callback = FirstlightCallback(every=2, alarm="none")
    hf_train(tmp_path, seen, [callback])
    for a, b in zip(alone.parameters(), seen.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [glance.step for glance in callback.watched] == [0, 2]
    assert callback.start.observation.loss == pytest.approx(3.4657, abs=0.3)


def test_transformers_models_begin_initialized(tmp_path):
    from firstlight.integrations.transformers import FirstlightCallback
    from firstlight.integrations.transformers import model_init as hf_model_init

    batch = {name: torch.stack([row[name] for row in tokens()]) for name in tokens()[0]}
    callback = FirstlightCallback()
    hf_train(tmp_path, callbacks=[callback], model_init=hf_model_init(gpt2, batch, seed=2))
    assert callback.start.healthy
    drawn = FirstlightCallback(initialize=True, alarm="none")
    hf_train(tmp_path, gpt2(), [drawn])
    assert drawn.start.after.healthy
