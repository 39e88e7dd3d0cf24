"""The driver: pieces, numbers, extras, and going on from a snapshot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from worldmodels.core.belief import Belief
from worldmodels.core.errors import ConfigError, ResumeError, SpecError
from worldmodels.core.experience import join
from worldmodels.core.rng import Rng
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.driver import Driver
from worldmodels.data.memory import pack, unpack
from worldmodels.env.minatar import MinAtar
from worldmodels.env.vector import SerialEnv
from worldmodels.policy.scripted import Constant, Random


class Clock:
    """Shows (step, episode of this world); ends at a random time, by a death or by a clock."""

    spec = EnvSpec("clock", {"clock": ArraySpec((2,), "float32")}, 3, extras={"half": ArraySpec((), "float32")})

    def __init__(self, resumable: bool = True) -> None:
        self.resumable = resumable
        self.step_, self.episode, self.end, self.random = 0, -1, 0, np.random.default_rng()

    def reset(self, seed=None):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.step_, self.episode, self.end = 0, self.episode + 1, int(self.random.integers(1, 12))
        return self._obs()

    def step(self, action):
        self.step_ += 1
        over = self.step_ == self.end
        return self._obs(), float(self.step_), over and self.end % 2 == 0, over and self.end % 2 == 1, {
            "half": np.float32(self.step_ / 2)
        }  # fmt: skip

    def snapshot(self):
        return {"state": freeze((self.step_, self.episode, self.end, self.random))}

    def restore(self, state):
        self.step_, self.episode, self.end, self.random = thaw(state["state"])

    def close(self):
        pass

    def _obs(self):
        return {"clock": np.array([self.step_, self.episode], np.float32)}


@dataclass(frozen=True)
class Mind(Belief):
    sum: Tensor


class Remembering:
    """Its action and what it tells depend on all it saw in this episode, on its generator, and on nothing else."""

    def initial(self, width):
        return Mind(torch.zeros(width)), np.zeros(width, np.int64)

    def act(self, obs, first, memory, *, explore, rng):
        mind, count = memory
        count = np.where(first, 0, count) + 1
        mind = mind.map(lambda x: torch.where(torch.from_numpy(first), 0, x) + torch.from_numpy(obs["clock"][:, 0]))
        action = (mind.sum.long().numpy() + rng.numpy.integers(3, size=len(count))) % 3
        return action, (mind, count), {"sum": mind.sum.numpy(), "pair": np.stack([count, count], 1).astype(np.int16)}


def clocks(width: int = 3, resumable: bool = True) -> SerialEnv:
    return SerialEnv(lambda _: Clock(resumable), width)


def drive(driver: Driver, steps: int):
    return [piece for _ in range(steps) for piece in lived(driver.step())]


def lived(blocks):
    return [piece for block in blocks for piece in block.pieces()]


def whole(pieces):
    """Episodes by number, from their pieces."""
    episodes = {}
    for piece in pieces:
        episodes.setdefault(piece.number, []).append(piece)
    return {number: join(parts) for number, parts in episodes.items()}


@pytest.mark.parametrize("piece", [1, 2, 5, 64])
def test_pieces_make_up_every_step_of_every_episode_whatever_their_length(piece):
    driver = Driver(clocks(), Random(Clock.spec), Rng(0), piece=piece)
    pieces = drive(driver, 40) + lived(driver.flush())
    assert sum(len(p) for p in pieces) == driver.steps == 120
    assert all(len(p) <= piece for p in pieces)
    for episode in whole(pieces).values():
        np.testing.assert_array_equal(episode.obs["clock"][:, 0], np.arange(len(episode) + 1))
        assert len(set(episode.obs["clock"][:, 1])) == 1  # all of one episode, its final observation too
        np.testing.assert_array_equal(episode.reward, np.arange(1, len(episode) + 1))
        np.testing.assert_array_equal(episode.extras["half"], episode.reward / 2)
        if episode.ended:
            assert episode.terminated == (len(episode) % 2 == 0)
            assert episode.truncated != episode.terminated
    finished = {(float(e.reward.sum()), len(e)) for e in whole(pieces).values() if e.ended}
    assert finished == set(driver.drain())
    assert driver.drain() == []


def test_pieces_are_handed_out_by_lane_and_numbered_in_the_order_of_their_beginning():
    driver = Driver(clocks(), Random(Clock.spec), Rng(0), piece=4)
    owner, begun = {}, []
    for _ in range(50):
        for block in driver.step():
            for lane, pieces in enumerate(block.lanes()):
                for piece in pieces:
                    assert owner.setdefault(piece.number, lane) == lane
                    begun += [piece.number] if piece.start == 0 else []
    assert sorted(begun) == list(range(len(begun)))
    assert driver.next_number == driver.episodes + 3


def test_a_flush_loses_nothing_and_the_episodes_go_on():
    env = [Driver(clocks(), Random(Clock.spec), Rng(0), piece=64) for _ in range(2)]
    plain = drive(env[0], 30) + lived(env[0].flush())
    flushed = []
    for _ in range(30):
        flushed += drive(env[1], 1) + lived(env[1].flush())
    for number, episode in whole(plain).items():
        np.testing.assert_array_equal(episode.obs["clock"], whole(flushed)[number].obs["clock"])
        np.testing.assert_array_equal(episode.action, whole(flushed)[number].action)


@pytest.mark.parametrize("stop", [0, 1, 7, 16, 23])
def test_a_restored_driver_does_what_the_first_one_would_have_done(stop, tmp_path):
    first = Driver(clocks(), Remembering(), Rng(0), piece=5)
    drive(first, stop)
    torch.save(first.snapshot(), tmp_path / "x.pt")
    second = Driver(clocks(), Remembering(), Rng(99), piece=5)
    second.restore(torch.load(tmp_path / "x.pt", weights_only=True))
    one, two = (drive(driver, 25) + lived(driver.flush()) for driver in (first, second))
    assert [(p.number, p.start, len(p)) for p in one] == [(p.number, p.start, len(p)) for p in two]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.obs["clock"], b.obs["clock"])
        np.testing.assert_array_equal(a.action, b.action)
        for name in ("half", "sum", "pair"):
            np.testing.assert_array_equal(a.extras[name], b.extras[name])
    assert first.drain() == second.drain()
    assert (first.steps, first.episodes) == (second.steps, second.episodes)
    assert first.resume == "exact"


def test_where_the_world_can_not_be_saved_open_episodes_are_truncated_and_new_ones_begin():
    first = Driver(clocks(resumable=False), Random(Clock.spec), Rng(0), piece=50)
    kept = drive(first, 9)
    second = Driver(clocks(resumable=False), Random(Clock.spec), Rng(0), piece=50)
    second.restore(first.snapshot())
    assert second.resume == "episode"
    pieces = kept + drive(second, 20) + lived(second.flush())
    episodes = whole(pieces)
    assert sum(len(e) for e in episodes.values()) == second.steps == 87
    for piece in pieces:  # nothing continues over the break
        np.testing.assert_array_equal(piece.obs["clock"][:, 0], np.arange(len(piece) + 1))
    open_then = {number for number in episodes if number not in {p.number for p in kept} and number < first.next_number}
    assert any(episodes[number].truncated for number in open_then)
    assert sorted(episodes) == list(range(second.next_number))[: len(episodes)]


def test_a_snapshot_of_another_width_is_refused():
    driver = Driver(clocks(), Random(Clock.spec), Rng(0))
    driver.step()
    with pytest.raises(ResumeError, match=r"data\.width=3"):
        Driver(clocks(2), Random(Clock.spec), Rng(0)).restore(driver.snapshot())


def test_real_worlds_go_on_exactly(tmp_path):
    recipe = MinAtar(game="asterix")
    drivers = [Driver(recipe.make(4), Random(recipe.spec()), Rng(5), piece=8) for _ in range(2)]
    drive(drivers[0], 30)
    torch.save(drivers[0].snapshot(), tmp_path / "x.pt")
    drivers[1].restore(torch.load(tmp_path / "x.pt", weights_only=True))
    for a, b in zip(drive(drivers[0], 40), drive(drivers[1], 40), strict=True):
        np.testing.assert_array_equal(a.obs["grid"], b.obs["grid"])
        np.testing.assert_array_equal(a.reward, b.reward)
        assert (a.number, a.start, a.terminated) == (b.number, b.start, b.terminated)


def test_begin_never_repeats_the_randomness_of_another_number():
    actions = []
    for number in (0, 10, 10):
        driver = Driver(clocks(), Random(Clock.spec), Rng(0), piece=4)
        driver.begin(number)
        pieces = drive(driver, 20)
        assert min(p.number for p in pieces) == number
        actions.append(np.concatenate([p.action for p in pieces]).tolist())
    assert actions[1] == actions[2] != actions[0]


def test_another_policy_takes_over_and_tells_nothing_that_was_not_declared():
    driver = Driver(clocks(), Remembering(), Rng(0), piece=4)
    assert driver.extras == {
        "half": ArraySpec((), "float32"), "sum": ArraySpec((), "float32"), "pair": ArraySpec((2,), "int16")
    }  # fmt: skip
    driver.switch(Constant(Clock.spec, 2))
    pieces = drive(driver, 12)
    assert all((p.action == 2).all() and (p.extras["pair"] == 0).all() for p in pieces)
    with pytest.raises(SpecError, match="pair, sum"):
        Driver(clocks(), Random(Clock.spec), Rng(0)).switch(Remembering())


def test_actions_of_another_dtype_are_refused():
    class Float(Random):
        def act(self, obs, first, memory, *, explore, rng):
            return np.zeros(len(first), np.float32), memory, {}

    with pytest.raises(SpecError, match=r"action is vector float32 \(3,\)"):
        Driver(clocks(), Float(Clock.spec), Rng(0)).step()


def test_memories_of_any_make_come_back():
    memory = {"mind": (Mind(torch.rand(2)), [np.arange(3), None]), "n": 3}
    template = {"mind": (Mind(torch.zeros(2)), [np.zeros(3), None]), "n": 0}
    back = unpack(template, pack(memory))
    assert torch.equal(back["mind"][0].sum, memory["mind"][0].sum)
    assert isinstance(back["mind"][0], Mind)
    np.testing.assert_array_equal(back["mind"][1][0], np.arange(3))
    assert back["mind"][1][1] is None
    assert back["n"] == 3


@pytest.mark.parametrize("action", [3, -1, 0.5, (0, 1)])
def test_a_constant_action_that_the_env_lacks_is_refused(action):
    with pytest.raises(ConfigError, match=r"0\.\.2"):
        Constant(Clock.spec, action)


def test_random_actions_cover_the_choices_evenly_and_continuous_ones_the_range():
    wide = np.ones(3000, bool)
    choices, _, _ = Random(Clock.spec).act({}, wide, None, explore=True, rng=Rng(0))
    assert np.bincount(choices, minlength=3).min() > 900
    spec = EnvSpec("c", {"x": ArraySpec((1,), "float32")}, 2, discrete=False)
    numbers, _, _ = Random(spec).act({}, wide, None, explore=True, rng=Rng(0))
    assert numbers.shape == (3000, 2)
    assert numbers.dtype == np.float32
    assert -1 <= numbers.min() < -0.99
    assert 0.99 < numbers.max() <= 1
    assert abs(numbers.mean()) < 0.05
