"""Time, end to end: world, driver, store, windows. Every reward tells to which action and observations it belongs."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from worldmodels.core.rng import Rng
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.driver import Driver
from worldmodels.data.recorder import Recorder
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout, gather
from worldmodels.data.sampler import Prioritised, Uniform
from worldmodels.data.store import EpisodeStore
from worldmodels.env.dummy import Dummy
from worldmodels.env.recipe import Recipe
from worldmodels.policy.scripted import Random

ACTIONS = 100


class Ledger:
    """Observes (episode, step). The reward of a step is made of the step it leaves, its action, and the episode."""

    spec = EnvSpec("ledger", {"place": ArraySpec((2,), "int64")}, ACTIONS, extras={"arrived": ArraySpec((), "int64")})
    resumable = True

    def __init__(self) -> None:
        self.random, self.episode, self.at, self.end = np.random.default_rng(), 0, 0, 0

    def reset(self, seed=None):
        if seed is not None:
            self.random, self.episode = np.random.default_rng(seed), int(seed) % 997 * 1000
        self.episode, self.at, self.end = self.episode + 1, 0, int(self.random.integers(1, 15))
        return self._obs()

    def step(self, action):
        reward = (self.episode % 100) * 10_000 + self.at * 100 + action
        self.at += 1
        died = self.at == self.end and self.end % 2 == 0
        return self._obs(), float(reward), died, self.at == self.end and not died, {"arrived": np.int64(self.at)}

    def snapshot(self):
        return {"state": freeze((self.random, self.episode, self.at, self.end))}

    def restore(self, state):
        self.random, self.episode, self.at, self.end = thaw(state["state"])

    def close(self):
        pass

    def _obs(self):
        return {"place": np.array([self.episode, self.at])}


class Ledgers(Recipe):
    def world(self):
        return Ledger()


class Echo(Random):
    """Tells which step it saw when it acted."""

    extras = {"seen": ArraySpec((2,), "int64")}  # noqa: RUF012

    def act(self, obs, first, memory, *, explore, rng):
        action, memory, _ = super().act(obs, first, memory, explore=explore, rng=rng)
        assert (first == (obs["place"][:, 1] == 0)).all()
        return action, memory, {"seen": obs["place"].copy()}


class Nobody:
    """Learns nothing, and acts by echo."""

    def policy(self):
        return Echo(Ledger.spec)

    def prepare(self, rollout):
        return rollout

    def feedback(self):
        return None

    def beliefs(self):
        return {}


def check(batch) -> None:
    """Every rule of `Batch`, read off the numbers."""
    episode, step = batch.obs["place"].unbind(-1)
    real = batch.mask
    expected = (episode[:, :-1] % 100) * 10_000 + step[:, :-1] * 100 + batch.action
    assert torch.equal(batch.reward[real], expected[real].float())
    assert torch.equal(batch.extras["seen"][real], batch.obs["place"][:, :-1][real])
    assert torch.equal(batch.extras["arrived"][real], step[:, 1:][real])
    assert torch.equal(step[:, 1:][real], step[:, :-1][real] + 1)
    assert torch.equal(episode[:, 1:][real], episode[:, :-1][real])
    opens = (step == 0) & torch.cat([torch.ones(len(step), 1, dtype=torch.bool), step[:, 1:] != step[:, :-1]], 1)
    assert torch.equal(batch.first, opens & (episode > 0))  # padding of a rollout shows nothing
    over = batch.terminated | batch.truncated
    assert not (over & ~real).any()
    for name in ("action", "reward"):
        assert not getattr(batch, name)[~real].any()
    ended = over[:, :-1]
    assert not batch.mask[:, 1:][ended].any()  # after an end there is a step that was never taken
    if batch.terminated.any():
        assert (step[:, 1:][batch.terminated] % 2 == 0).all()
    if batch.truncated.any():
        assert (step[:, 1:][batch.truncated] % 2 == 1).all()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    env = Ledgers().make(4)
    driver = Driver(env, Echo(env.spec), Rng(1), piece=5)
    store = EpisodeStore.create(tmp_path_factory.mktemp("ledger") / "x", env.spec, extras=driver.extras)
    Recorder(driver, store).record(steps=2000)
    yield store
    store.close()


@pytest.mark.parametrize("make", [Uniform, partial(Uniform, capacity=700), Prioritised])
@pytest.mark.parametrize("how", [{}, {"pad": True}, {"cross": True}])
def test_windows_keep_every_reward_with_its_action_and_observations(store, make, how):
    sampler, rng = make(length=6, batch=64, **how), Rng(0)
    batches = [sampler.sample(store, rng) for _ in range(5)]
    for batch in batches:
        check(batch)
    padded = any((~batch.mask).any() for batch in batches)
    assert padded == bool(how)
    assert any(batch.truncated.any() for batch in batches)
    assert any(batch.terminated.any() for batch in batches)


def test_crossing_windows_go_on_with_a_first_observation(store):
    batch = Uniform(length=20, batch=64, cross=True).sample(store, Rng(0))
    check(batch)
    after_dummy = batch.first[:, 1:][~batch.mask]
    assert after_dummy.all()
    assert batch.first[:, 1:].any(1).all()  # no episode has 20 steps


def test_whole_episodes_come_back_as_they_were_lived(store):
    for number in store.episodes.number.tolist():
        episode = store[number]
        np.testing.assert_array_equal(episode.obs["place"][:, 1], np.arange(len(episode) + 1))
        np.testing.assert_array_equal(episode.extras["seen"], episode.obs["place"][:-1])
        np.testing.assert_array_equal(episode.reward % 100, episode.action)


def test_replay_and_rollout_hand_out_aligned_batches(tmp_path):
    replay = Replay(Uniform(4, 16, cross=True), 3, piece=4, warmup=60, steps_per_update=9.0, updates=30)
    stream = replay.stream(Ledgers(), Nobody(), tmp_path, Rng(0))
    for batch in stream:
        seen = batch.extras["seen"]
        taken = batch.mask & (seen != 0).any(-1)  # what the warm-up did tells nothing
        assert torch.equal(seen[taken], batch.obs["place"][:, :-1][taken])
        extras = {**batch.extras, "seen": torch.where(batch.mask[..., None], batch.obs["place"][:, :-1], 0)}
        check(type(batch)(**{**vars(batch), "extras": extras}))
    stream.close()
    rollout = Rollout(3, steps=24, passes=1, minibatches=6).stream(Ledgers(), Nobody(), tmp_path, Rng(0))
    lived = rollout.live()
    assert lived.first[:, 0].all()
    check(lived)
    check(gather(lived, lived.mask.nonzero()))
    assert int(lived.mask.sum()) == 72
    again = rollout.live()
    starts = again.obs["place"][:, 0, 1]
    assert torch.equal(again.first[:, 0], starts == 0)
    rollout.close()


def test_the_dot_is_rewarded_for_its_own_column(tmp_path):
    recipe = Dummy(game="dot", zoom=0, time_limit=9)
    env = recipe.make(4)
    with EpisodeStore.create(tmp_path / "x", env.spec) as store:
        Recorder(Driver(env, Random(env.spec), Rng(0), piece=4), store).record(steps=2000)
        batch = Uniform(length=7, batch=64, cross=True).sample(store, Rng(0))
    column = batch.obs["grid"][..., 0].any(2).float().argmax(-1)  # (B, T + 1)
    assert torch.equal(batch.reward[batch.mask] == 1, (column[:, :-1] == batch.action)[batch.mask])
    assert 0.05 < batch.reward[batch.mask].mean() < 0.25
