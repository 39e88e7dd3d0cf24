"""Procgen: exact lanes and snapshots, how episodes end, and options. Frames are never compared across builds."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import torch

pytest.importorskip("procgen", reason="the extra 'procgen' is not installed")

from worldmodels.core.errors import ConfigError, ResumeError
from worldmodels.env.procgen import GAMES, TIMEOUTS, Procgen

NOOP = 4


def moves_for(steps, width, seed=0):
    return np.random.default_rng(seed).integers(15, size=(steps, width))


def flat(step) -> list[np.ndarray]:
    groups = [step.obs, step.arrived, step.extras]
    return [a for g in groups for a in g.values()] + [step.reward, step.terminated, step.truncated]


def assert_same(left, right, lanes=slice(None)) -> None:
    for a, b in zip(flat(left), flat(right), strict=True):
        np.testing.assert_array_equal(a[lanes], b)


@pytest.mark.parametrize("recipe", [Procgen("coinrun"), Procgen("caveflyer", mode="hard", levels=3)])
def test_a_lane_depends_on_its_seed_alone(recipe):
    wide, narrow = recipe.make(6), recipe.make(2, workers=1)
    first, same = wide.reset([3, 1, 4, 15, 9, 2]), narrow.reset([9, 1])
    np.testing.assert_array_equal(first["image"][[4, 1]], same["image"])
    for action in moves_for(150, 6):
        assert_same(wide.step(action), narrow.step(action[[4, 1]]), [4, 1])
    wide.reset([3, 1, 4, 15, 9, 2])
    np.testing.assert_array_equal(first["image"], wide.reset([3, 1, 4, 15, 9, 2])["image"])


@pytest.mark.parametrize("game", ["coinrun", "maze", "starpilot"])
def test_snapshot_restored_into_another_env_goes_on_exactly_as_before(game):
    env, other = Procgen(game).make(4), Procgen(game).make(4)
    env.reset([1, 2, 3, 4])
    moves = moves_for(600, 4)
    for action in moves[:97]:
        env.step(action)
    file = io.BytesIO()
    torch.save(env.snapshot(), file)
    other.restore(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    ends = 0
    for action in moves[97:]:
        step = env.step(action)
        assert_same(step, other.step(action))
        ends += int(step.terminated.sum() + step.truncated.sum())
    assert ends > 0
    with pytest.raises(ResumeError, match="width=4"):
        Procgen(game).make(2).restore(env.snapshot())


def test_arrived_is_the_frame_before_where_an_episode_ended_and_obs_elsewhere():
    env = Procgen("starpilot").make(4)
    before = env.reset([1, 2, 3, 4])["image"]
    ends = 0
    for action in moves_for(300, 4):
        step = env.step(action)
        ended = step.terminated | step.truncated
        assert (step.arrived is step.obs) == (not ended.any())
        np.testing.assert_array_equal(step.arrived["image"][ended], before[ended])
        np.testing.assert_array_equal(step.arrived["image"][~ended], step.obs["image"][~ended])
        assert (step.obs["image"][ended] != before[ended]).any(axis=(1, 2, 3)).all()
        before, ends = step.obs["image"], ends + ended.sum()
    assert ends > 3


def test_the_engines_step_limit_truncates_and_a_completed_level_terminates():
    env = Procgen("maze").make(2)
    env.reset([1, 2])
    for t in range(1, 1001):
        step = env.step(np.full(2, NOOP))
        assert step.truncated.tolist() == [t % TIMEOUTS["maze"] == 0] * 2
        assert not step.terminated.any()
    env = Procgen("maze").make(16)
    env.reset(range(16))
    completed = 0
    for action in moves_for(400, 16):
        step = env.step(action)
        complete = step.extras["prev_level_complete"]
        np.testing.assert_array_equal(complete, step.reward > 0)
        np.testing.assert_array_equal(complete, step.terminated)
        completed += complete.sum()
    assert completed > 3


@pytest.mark.parametrize("game", GAMES)
def test_step_limits_are_those_in_the_engines_state(game):
    engine = Procgen(game).engine(1)
    (state,) = engine.get_state()
    engine.close()
    assert timeout_in(state) == TIMEOUTS[game]


def timeout_in(state: bytes) -> int:
    """Follows the order in which the engine writes its state: version, name, 17 numbers, two generators, 4 numbers."""
    place = 4

    def skip_string(place):
        return place + 4 + struct.unpack_from("<i", state, place)[0]

    place = skip_string(place) + 17 * 4
    for _ in range(2):
        place = skip_string(place + 4)
    return struct.unpack_from("<i", state, place + 4 * 4)[0]


def test_level_seed_names_the_level_in_which_the_step_was_taken():
    env = Procgen("starpilot", levels=2, start_level=10).make(3)
    env.reset([1, 2, 3])
    levels, ends = [], []
    for action in moves_for(500, 3):
        step = env.step(action)
        levels.append(step.extras["level_seed"])
        ends.append(step.terminated | step.truncated)
    assert set(np.unique(levels)) == {10, 11}
    changed = np.array(levels)[1:] != np.array(levels)[:-1]
    assert changed.sum() > 3
    assert not (changed & ~np.array(ends)[:-1]).any()


def test_a_single_world_plays_what_a_lane_plays_and_can_be_left_in_the_middle():
    recipe = Procgen("starpilot")
    env, world = recipe.make(1), recipe.world()
    np.testing.assert_array_equal(env.reset([8])["image"][0], world.reset(8)["image"])
    for action in moves_for(200, 1):
        step = env.step(action)
        obs, reward, terminated, truncated, extras = world.step(action[0])
        np.testing.assert_array_equal(step.arrived["image"][0], obs["image"])
        assert (reward, terminated, truncated) == (step.reward[0], step.terminated[0], step.truncated[0])
        assert extras["level_seed"] == step.extras["level_seed"][0]
        if terminated or truncated:
            np.testing.assert_array_equal(step.obs["image"][0], world.reset()["image"])
    before = obs["image"]
    assert (world.reset()["image"] != before).any()


def test_exploration_is_one_level_for_all():
    env = Procgen("coinrun", mode="exploration").make(3)
    first = env.reset([1, 2, 3])["image"]
    assert (first == first[:1]).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"game": "pong"}, "bigfish, bossfight"),
        ({"mode": "medium"}, "easy, hard"),
        ({"game": "bigfish", "mode": "memory"}, "caveflyer, dodgeball"),
        ({"mode": "exploration", "levels": 5}, "one fixed level"),
        ({"levels": -1}, "0 or more"),
    ],
)
def test_bad_options_are_refused_with_what_would_do(options, told):
    with pytest.raises(ConfigError, match=told):
        Procgen(**options)
