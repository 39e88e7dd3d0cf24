from __future__ import annotations

import numpy as np
import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.stage.dqn import DQN, QNetwork

SPEC = EnvSpec("v", {"vector": ArraySpec((3,), "float32")}, 4)


def agent(**options) -> DQN:
    torch.manual_seed(0)
    net = {"encoder": {"units": 8}, "units": 8}
    stage = DQN(SPEC, net=net, target={"every": 2}, epsilon={}, **options)
    for p in stage.target.parameters():
        p.add_(torch.randn_like(p) * 0.3)  # so that target and network disagree
    return stage


def windows(count: int = 200, length: int = 4) -> Batch:
    """Random windows: some end, some are cut off, some cross into another episode, some open with the row between."""
    rng = np.random.default_rng(0)
    shape = (count, length)
    terminated, truncated, mask = np.zeros(shape, bool), np.zeros(shape, bool), np.ones(shape, bool)
    first = np.zeros((count, length + 1), bool)
    for b in range(count):
        end = int(rng.integers(-1, length + 2))
        if 0 <= end < length:
            (terminated if rng.random() < 0.5 else truncated)[b, end] = True
        if -1 <= end < length - 1:
            mask[b, end + 1] = False  # from the final observation to the next first one
            first[b, end + 2] = True
    reward = rng.normal(size=shape).astype(np.float32) * mask
    return Batch(
        obs={"vector": torch.from_numpy(rng.normal(size=(count, length + 1, 3)).astype(np.float32))},
        action=torch.from_numpy(rng.integers(4, size=shape) * mask),
        reward=torch.from_numpy(reward),
        terminated=torch.from_numpy(terminated),
        truncated=torch.from_numpy(truncated),
        first=torch.from_numpy(first),
        mask=torch.from_numpy(mask),
    )


def naive_target(stage: DQN, batch: Batch, b: int) -> float:
    """One window, one step at a time, as one would explain it."""
    total, discount = 0.0, 1.0
    for t in range(stage.n_step):
        if not batch.mask[b, t]:
            raise AssertionError("a window that may be learned from never meets the row between two episodes")
        total += discount * float(batch.reward[b, t])
        discount *= stage.discount
        if batch.terminated[b, t]:
            return total
        if batch.truncated[b, t]:
            break
    obs = {"vector": batch.obs["vector"][b : b + 1, t + 1]}
    slow = stage.target(obs)[0]
    best = int((stage.net(obs)[0] if stage.double_q else slow).argmax())
    return total + discount * float(slow[best])


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("n_step", [1, 3, 4])
def test_targets_equal_a_loop_over_steps_with_ends_cuts_and_crossings(n_step, double):
    stage, batch = agent(n_step=n_step, double=double), windows()
    learn = batch.mask[:, 0]
    assert 20 < int((~learn).sum()) < 100
    expected = torch.tensor([naive_target(stage, batch, int(b)) for b in learn.nonzero()])
    torch.testing.assert_close(stage.returns(batch)[learn], expected)


def test_the_loss_is_the_weighted_huber_error_of_windows_that_open_with_a_step():
    stage, batch = agent(n_step=2), windows()
    weight = torch.rand(200)
    losses, _ = stage.losses(Batch(**{**vars(batch), "weight": weight}))
    total, count, surprise = 0.0, 0, torch.zeros(200)
    for b in batch.mask[:, 0].nonzero().flatten().tolist():
        q = stage.net({"vector": batch.obs["vector"][b, 0]})[int(batch.action[b, 0])]
        error = abs(float(q.detach()) - naive_target(stage, batch, b))
        total += float(weight[b]) * (0.5 * error**2 if error < 1 else error - 0.5)
        count, surprise[b] = count + 1, error
    assert float(losses["values"].detach()) == pytest.approx(total / count, rel=1e-5)
    torch.testing.assert_close(stage.feedback(), surprise, atol=1e-5, rtol=1e-4)


def test_new_windows_are_rated_as_those_that_were_learned_from_are():
    stage, batch = agent(n_step=2), windows()
    rated = stage.surprise_of(batch)
    stage.losses(batch)
    assert not rated.requires_grad
    torch.testing.assert_close(rated, stage.feedback())


def test_gradients_reach_the_network_and_not_the_target():
    stage = agent()
    losses, _ = stage.losses(windows())
    losses["values"].backward()
    assert all(p.grad is not None for p in stage.net.parameters())
    assert all(p.grad is None for p in stage.target.parameters())


def test_clipped_rewards_count_by_sign():
    stage, batch = agent(clip_reward=True), windows()
    louder = Batch(**{**vars(batch), "reward": batch.reward * 10})
    torch.testing.assert_close(stage.returns(batch), stage.returns(louder))
    assert not torch.equal(agent().returns(batch), agent().returns(louder))


def test_the_target_moves_in_after_update_as_often_as_asked():
    stage = agent()
    before = stage.target.module.advantage[0].weight.clone()
    stage.after_update()
    assert torch.equal(stage.target.module.advantage[0].weight, before)
    stage.after_update()
    assert torch.equal(stage.target.module.advantage[0].weight, stage.net.advantage[0].weight)


def test_dueling_advantages_do_not_shift_the_mean_value():
    net = QNetwork(SPEC, encoder={"units": 8}, units=8, dueling=True)
    obs = {"vector": torch.randn(5, 3)}
    torch.testing.assert_close(net(obs).mean(-1, keepdim=True), net.value(net.encoder(obs)))


def test_the_saved_agent_brings_back_target_and_exploration():
    stage, again = agent(), agent()
    stage.epsilon.advance(12_345)
    stage.after_update()
    again.load_state_dict(stage.state_dict())
    assert again.epsilon.value == stage.epsilon.value < 1
    again.after_update()
    assert torch.equal(again.target.module.advantage[0].weight, stage.net.advantage[0].weight)


def test_continuous_actions_and_short_windows_are_refused():
    with pytest.raises(ConfigError, match="continuous"):
        DQN(EnvSpec("c", SPEC.obs, 2, discrete=False), net={"encoder": {}}, target={}, epsilon={})
    with pytest.raises(ConfigError, match="windows of 4 steps for n_step=5"):
        agent(n_step=5).losses(windows())
