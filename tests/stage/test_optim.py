from __future__ import annotations

import dreams
import pytest
import pytorch_lightning as L
import torch
from torch.utils.data import DataLoader

from worldmodels.core.errors import ConfigError
from worldmodels.nn.laprop import LaProp, clip_adaptive_
from worldmodels.stage.optim import Optim

ALL = ("model", "actor", "critic")


def test_a_number_is_for_all_groups_and_a_mapping_has_one_for_each():
    stage = dreams.dreamer(optim=Optim(lr={"model": 1.0, "actor": 2.0, "critic": 3.0}, clip=4.0, weight_decay=0.5))
    groups = stage.configure_optimizers().param_groups
    assert [group["name"] for group in groups] == list(ALL)
    assert [group["lr"] for group in groups] == [1.0, 2.0, 3.0]
    assert {group["clip"] for group in groups} == {4.0}
    assert {group["weight_decay"] for group in groups} == {0.5}


def test_a_group_without_a_number_is_an_error():
    with pytest.raises(ConfigError, match=r"stage.optim.lr for model, actor"):
        dreams.dreamer(optim=Optim(lr={"model": 1.0, "actor": 2.0})).configure_optimizers()


@pytest.mark.parametrize("option", ["lr", "clip", "weight_decay"])
def test_a_number_for_a_group_that_is_none_is_an_error(option):
    numbers = {"model": 1.0, "actor": 2.0, "critic": 3.0}
    dreams.dreamer(optim=Optim(**{option: {**numbers, "probe": 1.0}})).configure_optimizers()
    with pytest.raises(ConfigError, match=rf"stage\.optim\.{option} for actr"):
        dreams.dreamer(optim=Optim(**{option: {**numbers, "actr": 1.0}})).configure_optimizers()


def test_rates_rise_over_the_warmup_and_a_resumed_run_goes_on_rising(tmp_path):
    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    optim, rates = Optim(lr={"model": 1.0, "actor": 0.5, "critic": 0.1}, warmup=4), []
    loader = DataLoader([dreams.batch()] * 6, batch_size=None, collate_fn=lambda batch: batch)
    for updates, path in ((2, None), (6, tmp_path / "last.ckpt")):
        stage = dreams.dreamer(optim=optim)
        trainer = L.Trainer(
            max_steps=updates, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, accelerator="cpu", callbacks=[Watch()],
        )  # fmt: skip
        trainer.fit(stage, loader, ckpt_path=path, weights_only=True)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    expected = [min(1.0, (n + 1) / 4) for n in range(6)]
    assert rates == [pytest.approx([share, 0.5 * share, 0.1 * share]) for share in expected]


def test_clipping_by_the_size_of_each_tensor_comes_before_that_of_a_group():
    stage = dreams.dreamer(optim=Optim(agc=0.01, clip={"model": 0.05, "actor": 1e9, "critic": 1e9}))
    optimizer = stage.configure_optimizers()
    stage.training_step(dreams.batch(), 0)["loss"].backward()
    expected = {}
    for name in ALL:
        module = getattr(stage, name)
        copied = [p.detach().clone() for p in module.parameters()]
        for copy, p in zip(copied, module.parameters(), strict=True):
            copy.grad = p.grad.clone()
        clip_adaptive_(copied, 0.01)
        if name == "model":
            torch.nn.utils.clip_grad_norm_(copied, 0.05)
        expected[name] = [copy.grad for copy in copied]
    stage.configure_gradient_clipping(optimizer)
    for name in ALL:
        for p, grad in zip(getattr(stage, name).parameters(), expected[name], strict=True):
            torch.testing.assert_close(p.grad, grad)
    assert sum(p.grad.norm() ** 2 for p in stage.model.parameters()) ** 0.5 < 0.051


def test_laprop_moves_all_groups():
    stage = dreams.dreamer(optim=Optim("laprop", lr=4e-5, clip=None, agc=0.3, eps=1e-20, betas=[0.8, 0.99]))
    optimizer = stage.configure_optimizers()
    assert isinstance(optimizer, LaProp)
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.99)}
    before = [p.clone() for p in stage.parameters() if p.requires_grad]
    stage.training_step(dreams.batch(), 0)["loss"].backward()
    stage.configure_gradient_clipping(optimizer)
    optimizer.step()
    after = [p for p in stage.parameters() if p.requires_grad]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("staircase", "expected"),
    [(False, [1.0, 0.1 ** (1 / 3), 0.1 ** (2 / 3), 0.1, 0.1 ** (4 / 3)]), (True, [1.0, 1.0, 1.0, 0.1, 0.1])],
)
def test_rates_fall_by_the_factor_in_as_many_updates(staircase, expected):
    optim = Optim(lr=2.0, decay=0.1, decay_updates=3, staircase=staircase)
    layer = torch.nn.Linear(1, 1)
    optimizer = optim.make([{"params": list(layer.parameters()), "lr": 2.0}], fused=False)
    found = []
    for update in range(5):
        optim.schedule(optimizer, update)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([2.0 * share for share in expected])


def test_plain_descent_with_momentum_moves_as_written_down():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = Optim(kind="sgd", momentum=0.5, eps=1e-4).make(
        [{"params": [weight], "lr": 0.1, "weight_decay": 0.0, "eps": 1e-4}], fused=True
    )
    speed, expected = 0.0, 1.0
    for gradient in (1.0, -2.0, 3.0):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        speed = 0.5 * speed + gradient
        expected -= 0.1 * speed
    assert weight.item() == pytest.approx(expected)


def test_a_rate_that_decays_to_nothing_is_refused():
    with pytest.raises(ConfigError, match="decay=0"):
        Optim(decay=0.0)
