"""Each learner solves a tiny world whose best return is known, in well under a minute on one core."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as L
import torch
from typecheck import unwatched

from worldmodels.core.rng import Rng
from worldmodels.data.consecutive import Consecutive
from worldmodels.data.module import Data
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout
from worldmodels.data.sampler import Prioritised, Uniform
from worldmodels.env.dummy import Dummy
from worldmodels.evaluation.play import play
from worldmodels.model.muzero import MuZero as LatentModel
from worldmodels.model.prefix import ValuePrefix
from worldmodels.model.recurrence import Recurrence
from worldmodels.model.rssm import RSSM
from worldmodels.model.vector import Flat, VectorDynamics, VectorRepresentation
from worldmodels.nn.action import ActionHead
from worldmodels.nn.decoder import Decoder
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.heads import BinaryHead, NormalHead, TransformedHead, TwoHotHead
from worldmodels.nn.mlp import MLP
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.plan import TreePlanner
from worldmodels.planner.puct import Puct
from worldmodels.stage.behaviour import Imagination, ReplayCritic, SlowCritic
from worldmodels.stage.consistency import NCE, Buffered, Cosine
from worldmodels.stage.dqn import DQN
from worldmodels.stage.dreamer import Dreamer
from worldmodels.stage.model_loss import ModelLoss
from worldmodels.stage.muzero import MuZero
from worldmodels.stage.optim import Optim
from worldmodels.stage.ppo import PPO
from worldmodels.stage.stage import Stage

NET: dict[str, Any] = {"encoder": {"units": 32, "depth": 8, "multipliers": [1]}, "units": 32}


class Watch(L.Callback):
    """The first updates are checked for shapes; the hundreds that follow do the same."""

    def __init__(self, later: ExitStack) -> None:
        self.later = later

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step == 4:
            self.later.enter_context(unwatched())


def learn(stage: Stage, plan: Any, world: Dummy, folder: Path, updates: int) -> float:
    """Train, then the mean return of 20 episodes without exploration."""
    data = Data(plan, world, folder, Rng(0, "data"))
    with ExitStack() as later:
        trainer = L.Trainer(
            max_steps=updates, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, accelerator="cpu", num_sanity_val_steps=0, callbacks=[Watch(later)],
        )  # fmt: skip
        trainer.fit(stage, data)
    data.close()
    env = world.make(10)
    stage.eval()
    summary = play(env, stage.policy(), episodes=20, rng=Rng(1), limit=100)
    env.close()
    return sum(summary.returns) / len(summary.returns)


def dqn(world: Dummy, n_step: int) -> tuple[DQN, Replay]:
    torch.manual_seed(0)
    epsilon = {"steps": 3000, "end": 0.1}
    stage = DQN(world.spec(), net=NET, target={"every": 50}, epsilon=epsilon, n_step=n_step, discount=0.95, lr=3e-3)
    sampler = Uniform(length=n_step, batch=32, pad=True)
    return stage, Replay(sampler, width=8, warmup=200, steps_per_update=8.0, piece=8, updates=100)


@pytest.mark.parametrize("n_step", [1, 3])
def test_dqn_walks_the_corridor_the_shortest_way(tmp_path, n_step):
    world = Dummy("corridor")
    stage, plan = dqn(world, n_step)
    assert learn(stage, plan, world, tmp_path, 800) == pytest.approx(world.optimal_return)


def test_dqn_learns_from_windows_drawn_by_surprise(tmp_path):
    world = Dummy("corridor")
    stage, plan = dqn(world, 3)
    drawn = replace(plan, sampler=Prioritised(length=3, batch=32, pad=True))
    assert learn(stage, drawn, world, tmp_path, 800) == pytest.approx(world.optimal_return)


def test_dqn_names_the_column_of_the_moving_dot(tmp_path):
    world = Dummy("dot", size=5, zoom=0)
    stage, plan = dqn(world, 1)
    assert learn(stage, plan, world, tmp_path, 600) > 0.95 * world.optimal_return


def test_ppo_walks_the_corridor_the_shortest_way(tmp_path):
    world = Dummy("corridor")
    torch.manual_seed(0)
    stage = PPO(world.spec(), net=NET, lr=3e-3, discount=0.95)
    plan = Rollout(width=8, steps=32, passes=4, minibatches=2)
    assert learn(stage, plan, world, tmp_path, 8 * 30) == pytest.approx(world.optimal_return)


def test_ppo_walks_the_corridor_with_continuous_steps(tmp_path):
    world = Dummy("corridor", continuous=True)
    torch.manual_seed(0)
    stage = PPO(world.spec(), net={**NET, "shared": False, "activation": "tanh"}, lr=3e-3, discount=0.95)
    plan = Rollout(width=8, steps=32, passes=4, minibatches=2)
    assert learn(stage, plan, world, tmp_path, 8 * 40) > 0.9 * world.optimal_return


def test_ppo_names_the_column_of_the_moving_dot(tmp_path):
    world = Dummy("dot", size=5, zoom=0)
    torch.manual_seed(0)
    stage = PPO(world.spec(), net=NET, lr=3e-3, discount=0.5, kl_stop=0.1)
    plan = Rollout(width=8, steps=32, passes=4, minibatches=2)
    assert learn(stage, plan, world, tmp_path, 8 * 40) > 0.95 * world.optimal_return


def dreamer(world: Dummy, rate: float, imagination: Imagination, **options: Any) -> tuple[Dreamer, Replay]:
    torch.manual_seed(0)
    number = options.pop("number", partial(TwoHotHead, bins=21, limit=3.0))
    model = partial(
        RSSM,
        encoder=partial(Encoder, units=32, grid="mlp"),
        recurrence=partial(Recurrence, deter=32, stoch=4, classes=8, hidden=32, gru="dv2"),
        decoder=partial(Decoder, units=32, grid="mlp"),
        reward=partial(number, units=32, layers=1),
        cont=partial(BinaryHead, units=32),
        norm="layer",
    )
    stage = Dreamer(
        world.spec(),
        model,
        partial(ActionHead, units=32, layers=1, norm="layer"),
        partial(number, units=32, layers=1, norm="layer"),
        imagination=imagination,
        **{"optim": Optim(lr={"model": 3e-3, "actor": rate, "critic": rate}, eps=1e-5), **options},
    )
    sampler = Uniform(length=8, batch=16, cross=True)
    return stage, Replay(sampler, width=8, warmup=400, steps_per_update=8.0, piece=8, updates=100)


def test_dreamer_walks_the_corridor_the_shortest_way(tmp_path):
    world = Dummy("corridor")
    stage, plan = dreamer(world, 1e-3, Imagination(horizon=5, starts=64, discount=0.9, entropy=1e-2))
    assert learn(stage, plan, world, tmp_path, 300) == pytest.approx(world.optimal_return)


def test_dreamer_names_the_column_of_the_moving_dot(tmp_path):
    """What to do depends on what is seen now and pays on arrival: a shift in time anywhere shows."""
    world = Dummy("dot", size=3, zoom=0, time_limit=16)
    stage, plan = dreamer(world, 3e-3, Imagination(horizon=3, starts=64, discount=0.5, entropy=1e-2))
    assert learn(stage, plan, world, tmp_path, 300) > 0.9 * world.optimal_return


def test_dreamer_walks_the_corridor_by_the_gradient_through_its_dreams(tmp_path):
    world = Dummy("corridor", size=5, continuous=True)
    dreams = Imagination(horizon=4, starts=64, discount=0.9, entropy=1e-2, actor_grad="dynamics")
    stage, plan = dreamer(world, 3e-3, dreams)
    assert learn(stage, plan, world, tmp_path, 80) > 0.9 * world.optimal_return


def muzero(
    world: Dummy, planner: TreePlanner, consistency: Any = None, prefix: Any = None, **options: Any
) -> tuple[MuZero, Replay]:
    torch.manual_seed(0)
    head = partial(TransformedHead, units=32, bins=21, limit=3.0)
    model = partial(
        LatentModel,
        representation=partial(VectorRepresentation, encoder=partial(Encoder, units=32, grid="mlp"), size=32),
        dynamics=partial(VectorDynamics, units=32),
        neck=Flat,
        reward=head,
        value=head,
        prior=partial(MLP, width=32, depth=1),
        prefix=prefix,
    )
    optim = Optim(lr=3e-3, clip=5.0, eps=1e-5)
    options = {"unroll": 3, "n_step": 3, "discount": 0.9, **options}
    stage = MuZero(world.spec(), model, planner, consistency, optim=optim, **options)
    sampler = Uniform(length=7, batch=32, pad=True)
    return stage, Replay(sampler, width=8, warmup=200, steps_per_update=8.0, piece=8, updates=100)


def test_muzero_walks_the_corridor_the_shortest_way(tmp_path):
    world = Dummy("corridor")
    stage, plan = muzero(world, Gumbel(simulations=4), Cosine)
    assert learn(stage, plan, world, tmp_path, 250) == pytest.approx(world.optimal_return)


def test_a_value_prefix_walks_the_corridor_too(tmp_path):
    """As EfficientZero does: by pUCT and by how the sum of rewards grows; looked at by a slow copy, as SPR does."""
    world = Dummy("corridor")
    planner, spr = Puct(simulations=6), partial(Cosine, target={"rate": 0.05})
    stage, plan = muzero(world, planner, spr, partial(ValuePrefix, units=16, horizon=2))
    assert learn(stage, plan, world, tmp_path, 300) == pytest.approx(world.optimal_return)


@pytest.mark.parametrize("queue", [False, True])
def test_muzero_names_the_column_of_the_moving_dot(tmp_path, queue):
    """Only what is seen now tells what to do, and it pays on arrival: a shift in time anywhere shows."""
    world = Dummy("dot", size=3, zoom=0, time_limit=16)
    nce = partial(NCE, encoder=partial(VectorRepresentation, encoder=Encoder))
    stage, plan = muzero(world, Gumbel(simulations=4), partial(Buffered, queue=256) if queue else nce, discount=0.5)
    assert learn(stage, plan, world, tmp_path, 600) > 0.9 * world.optimal_return


BLINK = Dummy("dot", size=2, zoom=0, time_limit=16)  # the column changes at every step


def test_dreamer_in_its_second_form_names_the_column(tmp_path):
    """Balanced KL, squared errors, a hard copy of the critic, the discount in the continuation, carried beliefs."""
    stage, plan = dreamer(
        BLINK,
        3e-3,
        Imagination(horizon=2, starts="all", discount=0.5, entropy=1e-2, return_norm=False),
        number=NormalHead,
        loss=ModelLoss(free_bits=0.0, kl_balance=0.8, kl_weight=0.1, contdisc=0.5),
        slow_critic=SlowCritic(rate=1.0, every=20, target=True, reg=0.0),
    )
    carried = replace(plan, sampler=Consecutive(length=8, batch=16, cross=True, reset_interval=50))
    assert learn(stage, carried, BLINK, tmp_path, 120) > 0.9 * BLINK.optimal_return


def test_dreamer_in_its_third_form_names_the_column(tmp_path):
    """LaProp at one rate, dreams from all moments, a critic that learns from the replay, too, and kept beliefs."""
    stage, plan = dreamer(
        BLINK,
        1e-2,
        Imagination(horizon=2, starts="all", discount=0.5, entropy=1e-2),
        optim=Optim("laprop", lr=1e-2, clip=None, agc=0.3, eps=1e-20, warmup=20),
        loss=ModelLoss(contdisc=0.5),
        repval=ReplayCritic(0.3),
    )
    assert learn(stage, replace(plan, replay_context=1), BLINK, tmp_path, 120) > 0.9 * BLINK.optimal_return
