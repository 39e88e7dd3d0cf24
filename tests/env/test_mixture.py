"""Several games side by side: each is what it is alone, and says which it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("minatar", reason="the extra 'minatar' is not installed")

from worldmodels.core.errors import ConfigError
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.data.demand import demand_shares
from worldmodels.data.driver import Driver
from worldmodels.data.recorder import Recorder
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout
from worldmodels.data.sampler import Uniform
from worldmodels.data.store import EpisodeStore
from worldmodels.env.dummy import Dummy
from worldmodels.env.gymnasium import Gymnasium
from worldmodels.env.minatar import MinAtar
from worldmodels.env.minigrid import MiniGrid
from worldmodels.env.mixture import Mixture
from worldmodels.policy.scripted import Random

GAMES = ("asterix", "breakout", "freeway")
BASE = MinAtar(unify="pad", actions="full", views=("planes",), time_limit=40)
MIXED = Mixture(BASE, GAMES)


def moves(steps: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(6, size=(steps, width))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_lane_lives_what_its_game_would_live_alone(workers):
    env, seeds = MIXED.make(6, workers), [11, 12, 13, 14, 15, 16]
    alone = [replace(BASE, game=GAMES[lane % 3]).make(1) for lane in range(6)]
    try:
        first = env.reset(seeds)
        for lane, (one, seed) in enumerate(zip(alone, seeds, strict=True)):
            np.testing.assert_array_equal(first["grid"][lane], one.reset([seed])["grid"][0])
        for move in moves(120, 6):
            step = env.step(move)
            assert step.extras["env_id"].tolist() == step.obs["env_id"].tolist() == [0, 1, 2, 0, 1, 2]
            for lane, one in enumerate(alone):
                its = one.step(move[lane : lane + 1])
                for ours, theirs in ((step.obs, its.obs), (step.arrived, its.arrived)):
                    for name in ("grid", "planes"):
                        np.testing.assert_array_equal(ours[name][lane], theirs[name][0])
                assert step.reward[lane] == its.reward[0]
                assert (step.terminated[lane], step.truncated[lane]) == (its.terminated[0], its.truncated[0])
    finally:
        env.close()


def test_the_spec_names_the_worlds_and_survives_json():
    spec = MIXED.spec()
    assert spec.worlds == ("minatar/asterix", "minatar/breakout", "minatar/freeway")
    assert EnvSpec.from_json(spec.to_json()) == spec
    old = {key: value for key, value in BASE.spec().to_json().items() if key not in ("views", "worlds")}
    assert EnvSpec.from_json(old) == replace(BASE.spec(), views={})


def test_an_interrupted_driver_shows_the_views_of_the_moment_in_which_it_stopped():
    class Watcher(Random):
        """Acts by what the views alone show."""

        def act(self, obs, first, memory, *, explore, rng):
            return (obs["planes"].sum((1, 2, 3)) + obs["env_id"] + rng.numpy.integers(6, size=3)) % 6, memory, {}

    def driver() -> Driver:
        env = MIXED.make(3)
        return Driver(env, Watcher(env.spec), Rng(0), piece=16)

    def lived(one: Driver, steps: int) -> list[np.ndarray]:
        blocks = [*(block for _ in range(steps) for block in one.step()), *one.flush()]
        return [np.concatenate([block.arrays[name] for block in blocks], 1) for name in ("obs.grid", "action")]

    whole, half = driver(), driver()
    lived(whole, 37)
    lived(half, 37)
    again = driver()
    again.restore(half.snapshot())
    for one, other in zip(lived(whole, 50), lived(again, 50), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """600 steps of each game, in many episodes."""
    env = Mixture(replace(BASE, time_limit=15), GAMES).make(6)
    with EpisodeStore.create(tmp_path_factory.mktemp("mixed") / "s", env.spec) as made:
        driver = Driver(env, Random(env.spec), Rng(0), piece=10)
        Recorder(driver, made).record(steps=1800)
        yield made


def test_every_world_has_as_many_steps_and_episodes_are_told_apart(store):
    labels = store.labels()
    for number, label in zip(store.episodes.number.tolist(), labels.tolist(), strict=True):
        assert set(store[number].extras["env_id"].tolist()) == {label}
    assert [int(store.episodes.length[labels == label].sum()) for label in range(3)] == [600] * 3


def test_labels_grow_with_the_store_and_begin_anew_with_it(tmp_path):
    env = MIXED.make(3)
    with EpisodeStore.create(tmp_path / "s", env.spec) as made:
        recorder = Recorder(Driver(env, Random(env.spec), Rng(0), piece=10), made)
        recorder.record(steps=90)
        early, cursor = made.labels().copy(), made.snapshot()
        recorder.record(steps=600)
        assert len(made.labels()) == len(made) > len(early)
        assert made.labels()[: len(early)].tolist() == early.tolist()
        made.restore(cursor)
        assert made.labels().tolist() == early.tolist()


def test_windows_run_over_the_ends_of_episodes_of_one_world_only_unless_asked(store):
    rng = Rng(0)
    batch = Uniform(40, 200, cross=True).sample(store, rng)
    worlds = [set(row[mask].tolist()) for row, mask in zip(batch.extras["env_id"], batch.mask, strict=True)]
    assert all(len(world) == 1 for world in worlds)
    assert set.union(*worlds) == {0, 1, 2}
    assert (batch.first.sum(1) > 1).all(), "windows of 40 steps run over several episodes of at most 15"
    mixed = Uniform(40, 200, cross=True, mix=True).sample(store, Rng(0))
    assert any(len(set(row[mask].tolist())) > 1 for row, mask in zip(mixed.extras["env_id"], mixed.mask, strict=True))


def test_worlds_are_equally_likely_where_that_is_asked_for(store):
    """Whole windows of ten steps fit more often into the long episodes of freeway than into those of breakout."""
    labels = dict(zip(store.episodes.number.tolist(), store.labels().tolist(), strict=True))
    length = dict(zip(store.episodes.number.tolist(), store.episodes.length.tolist(), strict=True))

    def drawn(**how) -> list[tuple[int, int]]:
        rng, sampler = Rng(0), Uniform(10, 500, **how)
        return [tuple(key) for _ in range(18) for key in sampler.keys(store, rng).tolist()]

    plain, even = (np.bincount([labels[number] for number, _ in drawn(balance=on)]) for on in (False, True))
    assert plain[2] > 1.4 * plain[1]
    assert np.abs(even - 3000).max() < 4 * (9000 * 2 / 9) ** 0.5
    starts = [key for key in drawn(balance=True) if labels[key[0]] == 1]
    fits = {(n, t) for n in labels if labels[n] == 1 for t in range(length[n] - 9)}
    counts = Counter(starts)
    assert set(counts) == fits
    expected = len(starts) / len(fits)
    assert sum((counts[key] - expected) ** 2 / expected for key in fits) < len(fits) + 5 * (2 * len(fits)) ** 0.5
    half = np.array([number for number in labels if labels[number] != 0])
    assert {labels[number] for number, _ in drawn(balance=True, among=half)} == {1, 2}


def test_a_window_goes_on_in_the_next_episode_of_its_world(store):
    """Against a naive walk over the episodes in the order in which they began."""
    episodes, labels = store.episodes, store.labels()
    key = np.array([[int(number), 0] for number in episodes.number[:30]])
    batch = store.windows(key, 40, cross=True)
    for row, place in enumerate(range(30)):
        same = [int(n) for n in episodes.number[labels == labels[place]]]
        at, frames = same.index(int(episodes.number[place])), []
        while len(frames) < 41:
            frames += list(store[same[at % len(same)]].obs["grid"])
            at += 1
        np.testing.assert_array_equal(batch.obs["grid"][row].numpy(), np.array(frames[:41]))


@pytest.mark.parametrize(
    ("base", "games", "told"),
    [
        (MinAtar(actions="full"), ("asterix", "freeway"), r"asterix and freeway .*\n.*obs\['grid'\].* \(10, 10, 7\)"),
        (MinAtar(unify="pad"), ("breakout", "freeway"), "noop, left, right here, noop, up, down there"),
        (Dummy(), ("corridor", "dot"), "corridor and dot can not be mixed"),
        (
            MiniGrid(privileged=True),
            ("MiniGrid-Empty-5x5-v0", "MiniGrid-Empty-8x8-v0"),
            r"extra \w+: .* in one, .* in the other\n(.|\n)*set env\.base\.privileged=false",
        ),
    ],
)
def test_games_that_differ_are_refused_with_what_differs(base, games, told):
    with pytest.raises(ConfigError, match=told):
        Mixture(base, games, "id" if isinstance(base, MiniGrid) else "game").spec()


@pytest.mark.parametrize(
    ("base", "games", "do"),
    [
        (MinAtar(), ("asterix", "freeway"), "set env.base.unify=pad env.base.actions=full, or leave out a game"),
        (MinAtar(unify="pad"), ("asterix", "freeway"), "set env.base.actions=full, or leave out a game"),
        (Gymnasium(), ("Acrobot-v1", "MountainCar-v0"), "set env.base.observation=pixels, or leave out a game"),
        (Gymnasium(), ("CartPole-v1", "Pendulum-v1"), "no option of Gymnasium makes their actions the same"),
        (Dummy(), ("corridor", "dot"), "no option of Dummy makes their observations and actions the same"),
    ],
)
def test_what_makes_games_alike_is_told_or_that_nothing_does(base, games, do):
    vary = "id" if isinstance(base, Gymnasium) else "game"
    with pytest.raises(ConfigError) as refused:
        Mixture(base, games, vary).spec()
    assert do in refused.value.do
    assert ("choose env.games that are alike" in refused.value.do) == ("no option" in do)


def test_games_are_alike_with_the_options_that_are_told():
    grids = Mixture(MinAtar(unify="pad", actions="full"), ("asterix", "freeway")).spec()
    assert (len(grids.worlds), grids.obs["grid"].shape, grids.action_size) == (2, (10, 10, 10), 6)
    pictures = Mixture(Gymnasium(observation="pixels"), ("Acrobot-v1", "MountainCar-v0"), "id").spec()
    assert (len(pictures.worlds), [array.kind for array in pictures.obs.values()]) == (2, ["image"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"games": ("asterix", "pong")}, r"game='pong'\n  expected: one of asterix, breakout"),
        ({"games": ()}, "at least one game"),
        ({"games": ("asterix", "asterix")}, "none twice"),
        ({"games": ("asterix",), "vary": "id"}, "one of its options game, sticky"),
    ],
)
def test_wrong_mixtures_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        Mixture(BASE, **options)


def test_lanes_that_can_not_be_shared_out_equally_are_refused_with_widths_that_can():
    with pytest.raises(ConfigError, match="set width=15 or 18"):
        demand_shares(MIXED.spec(), 16)
    for plan in (Replay(Uniform(4, 4), width=16), Rollout(width=16, steps=8, passes=1, minibatches=1)):
        with pytest.raises(ConfigError, match=r"set data\.width=15 or 18"):
            plan.spec(MIXED)
    demand_shares(MIXED.spec(), 15)
    demand_shares(BASE.spec(), 16)
