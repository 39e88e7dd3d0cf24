from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import dreams
import pytest
import pytorch_lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

from worldmodels.callback.held import held
from worldmodels.core.errors import ConfigError
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.stage.behaviour import (
    ReplayCritic,
    SlowCritic,
    actor_loss,
    choose_starts,
    critic_loss,
    imagine,
    replay_loss,
)
from worldmodels.stage.dreamer import Dreamer
from worldmodels.stage.freeze import freeze
from worldmodels.stage.model_loss import ModelLoss
from worldmodels.stage.optim import Optim
from worldmodels.stage.stage import Stage
from worldmodels.stage.world_model import WorldModel

PARTS = ("encoder", "rssm", "decoder", "heads")
OPTIMS = [
    Optim(lr=1e-2, weight_decay=0.1),
    Optim("laprop", lr=1e-2, weight_decay=0.1, agc=0.3, clip=None, eps=1e-20, warmup=5),
]
DECAYS = pytest.mark.parametrize("optim", OPTIMS, ids=lambda optim: optim.kind)


def update(stage: Stage, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """What a Trainer does with one batch."""
    torch.manual_seed(seed)
    optimizer.zero_grad()
    stage.training_step(dreams.batch(), 0)["loss"].backward()
    stage.configure_gradient_clipping(optimizer)
    optimizer.step()
    stage.after_update()


def fit(stage: Stage, updates: int, callback: L.Callback | None = None) -> None:
    trainer = L.Trainer(
        max_steps=updates, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", callbacks=[callback] if callback else [],
    )  # fmt: skip
    trainer.fit(stage, DataLoader([dreams.batch()] * updates, batch_size=None, collate_fn=lambda batch: batch))


def weights(stage: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in stage.state_dict().items()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Parts of the model, and networks beside it, of which a tensor changed."""
    changed = {name.removeprefix("model.") for name in before if not torch.equal(before[name], after[name])}
    return {name.partition(".")[0] for name in changed}


def test_each_loss_reaches_only_its_own_parameters():
    stage = dreams.dreamer()
    losses, _ = stage.losses(dreams.batch())
    owners = {"actor": "actor", "critic": "critic"}
    for name, loss in losses.items():
        stage.zero_grad()
        loss.backward(retain_graph=True)
        touched = {
            part for part, module in stage.named_children() if any(p.grad is not None for p in module.parameters())
        }
        assert touched == {owners.get(name, "model")}, name


@pytest.mark.parametrize("target", [False, True])
@pytest.mark.parametrize("contdisc", [None, 0.95])
def test_losses_have_the_options_of_the_stage(contdisc: float | None, target: bool):
    """What continuation learned of the discount is not discounted again in dreams; real steps know nothing of it.

    Nor does the probability that the model tells.
    """
    plan, slow = replace(dreams.PLAN, starts=5), SlowCritic(target=target, reg=0.5)
    stage = dreams.dreamer(
        imagination=plan, slow_critic=slow, loss=ModelLoss(contdisc=contdisc), repval=ReplayCritic(0.3)
    )
    torch.manual_seed(3)
    losses, _ = stage.losses(dreams.batch())
    torch.manual_seed(3)
    learned = stage.look(dreams.batch())
    feature = learned.beliefs.feature
    said = torch.sigmoid(stage.model.heads.cont(feature))
    torch.testing.assert_close(stage.model.cont(feature), (said / (contdisc or 1)).clamp(max=1))
    starts = choose_starts(learned, 5)
    dreamt = imagine(stage.mind, starts, plan, fading=0.9 / (contdisc or 1), slow_target=target)
    real = replay_loss(stage.mind, learned, starts, dreamt, discount=0.9, lam=plan.lam, slow=slow, grad=True)
    expected = {
        "actor": actor_loss(stage.actor, dreamt, plan, stage.normaliser.scale)[0],
        "critic": critic_loss(stage.mind, dreamt, slow),
        "repval": 0.3 * real,
    }
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, msg=name)


@pytest.mark.parametrize("name", ["reward", "cont", "kl", "actor", "type", "a.b"])
def test_an_observation_is_learned_whatever_it_is_called(name: str):
    """Gymnasium's environments choose the names of a Dict; some tell the last reward in it."""
    spec = EnvSpec("named", {**dreams.SPEC.obs, name: ArraySpec((2,), "float32")}, 3)
    batch = dreams.batch()
    batch = replace(batch, obs={**batch.obs, name: torch.full((2, 7, 2), 3.0)})
    stage = dreams.dreamer(spec)
    losses, _ = stage.losses(batch)
    plain, _ = dreams.dreamer().losses(dreams.batch())
    (own,) = losses.keys() - plain.keys()
    assert own.removeprefix("obs/") == name
    decoder, beliefs = stage.model.decoder, stage.look(batch).beliefs
    losses[own].backward()
    assert any(p.grad is not None for p in decoder.heads.parameters())
    assert decoder(beliefs.feature).keys() == spec.obs.keys()


@pytest.mark.parametrize("way", ["reinforce", "dynamics"])
def test_nothing_that_learns_goes_without_a_gradient_in_half_precision(way):
    """Weights that autocast first meets without gradients, in the dream, must still learn afterwards."""
    stage = dreams.dreamer(imagination=replace(dreams.PLAN, actor_grad=way), repval=ReplayCritic(0.3))
    with torch.autocast("cpu", torch.bfloat16):
        losses, _ = stage.losses(dreams.batch())
    torch.stack(list(losses.values())).sum().backward()
    for group in stage.groups():
        for name, parameter in group.params.named_parameters():
            assert parameter.grad is not None, (group.name, name)
            assert parameter.grad.isfinite().all(), (group.name, name)


@pytest.mark.parametrize("way", ["dynamics", "both"])
def test_in_half_precision_too_dynamics_teaches_the_actor_alone(way):
    """What autocast keeps of the weights that the model learned with must not be found by the dream."""
    stage = dreams.dreamer(imagination=replace(dreams.PLAN, actor_grad=way))
    with torch.autocast("cpu", torch.bfloat16):
        losses, _ = stage.losses(dreams.batch())
    losses["actor"].backward()
    assert all(p.grad is None for part in (stage.model, stage.critic) for p in part.parameters())


def test_the_slow_critic_follows_after_each_update():
    stage = dreams.dreamer()
    before = [p.clone() for p in stage.slow_critic.module.parameters()]
    with torch.no_grad():
        for p in stage.critic.parameters():
            p.add_(1.0)
    goal = [p.clone() for p in stage.critic.parameters()]
    stage.after_update()
    for old, new, aim in zip(before, stage.slow_critic.module.parameters(), goal, strict=True):
        torch.testing.assert_close(new, old + 0.02 * (aim - old))


def test_a_slow_critic_can_be_a_copy_of_every_third_update():
    stage = dreams.dreamer(slow_critic=SlowCritic(rate=1.0, every=3))
    before = weights(stage.slow_critic.module)
    for due in (False, False, True):
        stage.after_update()
        slow, fast = weights(stage.slow_critic.module), weights(stage.critic)
        assert all(torch.equal(slow[name], (fast if due else before)[name]) for name in slow)


def test_one_optimizer_with_three_groups_equals_three_optimizers():
    """Each loss alone, into an Adam of its own, with its own rate, clip and eps: the same weights after 8 updates."""
    rates, clips = {"model": 3e-3, "actor": 1e-3, "critic": 2e-3}, {"model": 5.0, "actor": 0.02, "critic": 0.5}
    together, apart = (dreams.dreamer(optim=Optim(lr=rates, clip=clips, eps=1e-5)) for _ in range(2))
    start, one = dict(weights(together)), together.configure_optimizers()
    three = {name: torch.optim.Adam(getattr(apart, name).parameters(), rates[name], eps=1e-5) for name in rates}
    for number in range(8):
        update(together, one, number)
        torch.manual_seed(number)
        losses, _ = apart.losses(dreams.batch())
        for name, optimizer in three.items():
            mine = [loss for key, loss in losses.items() if (key if key in rates else "model") == name]
            optimizer.zero_grad()
            torch.stack(mine).sum().backward()
            nn.utils.clip_grad_norm_(getattr(apart, name).parameters(), clips[name])
            optimizer.step()
        apart.after_update()
    for (name, ours), theirs in zip(together.named_parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
        assert not torch.equal(ours, start[name]), name


def test_continuous_actions_train_too():
    losses, _ = dreams.dreamer(dreams.NUMBERS).losses(dreams.batch(dreams.NUMBERS))
    assert all(torch.isfinite(loss) for loss in losses.values())


SUBSETS = [(OPTIMS[1], some) for n in (1, 2, 3, 4) for some in combinations(PARTS, n)]


@pytest.mark.parametrize(("optim", "names"), [*SUBSETS, *((OPTIMS[0], (part,)) for part in PARTS)])
def test_frozen_parts_keep_every_bit_and_all_others_learn(optim: Optim, names: tuple[str, ...]):
    """Whatever else is frozen, and in spite of weight decay, momentum and the critic's gradient into the model."""
    stage = dreams.dreamer(optim=optim, freeze=names, repval=ReplayCritic(0.3))
    optimizer, before = stage.configure_optimizers(), weights(stage)
    for number in range(2):
        update(stage, optimizer, number)
    assert moved(before, weights(stage)) - {"normaliser"} == {*PARTS, "actor", "critic", "slow_critic"} - {*names}


def test_a_part_of_a_part_can_be_frozen():
    stage = dreams.dreamer(freeze=["heads.reward"])
    optimizer, before = stage.configure_optimizers(), weights(stage.model.heads)
    update(stage, optimizer, 0)
    changed = {name for name, value in weights(stage.model.heads).items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("cont")}


def test_an_unknown_part_is_told_with_those_that_there_are():
    with pytest.raises(ConfigError, match="no part 'rsm'") as told:
        freeze(dreams.model(), ["rssm", "rsm"])
    assert "encoder, rssm, decoder, heads" in told.value.expected
    with pytest.raises(ConfigError, match=r"no part 'heads\.rewrd'"):
        freeze(dreams.model(), ["heads.rewrd"])


def test_a_stage_of_which_all_is_frozen_says_so():
    stage = WorldModel(dreams.SPEC, dreams.model, freeze=PARTS)
    with pytest.raises(ConfigError, match="nothing is left for WorldModel to learn"):
        stage.configure_optimizers()


class Diary(L.Callback):
    """The weights after each update."""

    def __init__(self) -> None:
        self.pages: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.pages.append(weights(pl_module))


@DECAYS
@pytest.mark.parametrize("updates", [0, 2])
def test_after_model_updates_the_world_model_keeps_every_bit_and_the_actor_learns_on(updates: int, optim: Optim):
    stage = dreams.dreamer(optim=optim, model_updates=updates, repval=ReplayCritic(0.3))
    diary, pages = Diary(), [weights(stage)]
    fit(stage, 5, diary)
    pages += diary.pages
    for number, (before, after) in enumerate(pairwise(pages)):
        expected = {"actor", "critic", "slow_critic"} | ({*PARTS} if number < updates else set())
        assert moved(before, after) - {"normaliser"} == expected, number


def test_a_world_model_that_learns_no_more_costs_nothing_but_its_beliefs():
    stage = dreams.dreamer(model_updates=0, loss=ModelLoss(iwae_samples=3))
    stage.model.decoder.forward = None  # would fail
    losses, _ = stage.losses(dreams.batch())
    assert losses.keys() == {"actor", "critic"}


def test_losses_are_those_of_training_wherever_they_are_asked_for():
    """Also without gradients, as held-out windows are judged."""
    stage: Dreamer = dreams.dreamer()
    stage.eval()
    found = []
    for context in (torch.enable_grad(), torch.no_grad()):
        with context:
            torch.manual_seed(0)
            losses, _ = stage.losses(dreams.batch())
            found.append({name: float(loss.detach()) for name, loss in losses.items()})
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("how", ["tanh", "sign"])
def test_clipped_rewards_are_what_model_and_critics_learn_of_and_are_judged_by(how: str):
    """As if the world gave such rewards; the batch that the store handed out is left alone."""
    batch, parts = dreams.batch(), {"repval": ReplayCritic(0.3)}
    small = replace(batch, reward=getattr(torch, how)(batch.reward))
    ours, theirs = dreams.dreamer(loss=ModelLoss(clip_rewards=how), **parts), dreams.dreamer(**parts)
    found = []
    for stage, given in ((ours, batch), (theirs, small), (theirs, batch)):
        torch.manual_seed(3)
        losses, metrics = stage.losses(given)
        found.append({**losses, **metrics})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[1])
    assert all(not torch.equal(found[0][name], found[2][name]) for name in ("reward", "repval"))
    judged = held(ours, [batch])
    assert judged == held(theirs, [small])
    assert judged["nll/reward/closed"] != held(theirs, [batch])["nll/reward/closed"]
    assert torch.equal(batch.reward, dreams.batch().reward)
