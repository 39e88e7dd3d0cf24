"""MinAtar: the original's dynamics, its options, and exact snapshots."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest
import torch

pytest.importorskip("minatar", reason="the extra 'minatar' is not installed")

from worldmodels.core.errors import ConfigError, MissingExtraError
from worldmodels.env.minatar import ACTIONS, GAMES, MinAtar, _engine

LEFT, RIGHT = 1, 2  # breakout's minimal actions: noop, left, right


def play(world, moves, seed=None):
    """Grids, rewards and ends of steps that run over ends of episodes."""
    grids = [] if seed is None else [world.reset(seed)["grid"]]
    rest = []
    for move in moves:
        obs, reward, terminated, truncated, _ = world.step(move)
        grids.append(obs["grid"])
        rest.append((reward, terminated, truncated))
        if terminated or truncated:
            grids.append(world.reset()["grid"])
    return np.array(grids), rest


def moves_for(world, steps, seed=0):
    return np.random.default_rng(seed).integers(world.spec.action_size, size=steps).tolist()


def paddle(grid) -> int:
    return int(grid[9, :, 0].argmax())


@pytest.mark.parametrize("game", GAMES)
def test_first_episode_is_the_one_that_minatar_plays_with_this_seed(game):
    world, original = MinAtar(game, actions="full").world(), _engine(game).Env(ramping=True)
    random = original.random = np.random.RandomState(7)
    original.reset()
    np.testing.assert_array_equal(world.reset(7)["grid"], original.state())
    last, terminated = 0, False
    for move in moves_for(world, 400):
        last = last if random.rand() < 0.1 else move
        expected, over = original.act(last)
        obs, reward, terminated, truncated, _ = world.step(move)
        np.testing.assert_array_equal(obs["grid"], original.state())
        assert (reward, terminated, truncated) == (float(expected), over, False)
        if terminated:
            break
    assert terminated or game == "freeway"  # freeway ends after 2500 steps only


@pytest.mark.parametrize("game", GAMES)
def test_snapshot_restored_into_another_world_goes_on_exactly_as_before(game):
    world, other = MinAtar(game).world(), MinAtar(game).world()
    moves = moves_for(world, 600)
    play(world, moves[:237], seed=3)
    file = io.BytesIO()
    torch.save(world.snapshot(), file)
    grids, rest = play(world, moves[237:])
    other.reset(99)
    other.restore(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    again, same = play(other, moves[237:])
    np.testing.assert_array_equal(grids, again)
    assert rest == same


def test_snapshot_does_not_change_when_the_world_goes_on():
    world = MinAtar("seaquest").world()
    moves = moves_for(world, 200)
    play(world, moves, seed=3)
    state = world.snapshot()
    grids, _ = play(world, moves)
    world.restore(state)
    np.testing.assert_array_equal(grids, play(world, moves)[0])


def test_sticky_actions_come_as_often_as_asked_for():
    world, sticky = MinAtar("breakout", sticky=0.2).world(), 0.2
    place, wrong, total = paddle(world.reset(0)["grid"]), 0, 0
    for t in range(20_000):
        asked = (LEFT, RIGHT)[t % 2]
        obs, _, terminated, *_ = world.step(asked)
        moved = paddle(obs["grid"]) - place
        if 0 < place < 9 and moved != 0:
            wrong, total = wrong + (moved != (-1, 1)[t % 2]), total + 1
        place = paddle(obs["grid"] if not terminated else world.reset()["grid"])
    # Asked for left and right in turn, a repeated action is seen as wrong unless the one before was itself repeated.
    expected = sticky / (1 + sticky)
    assert abs(wrong / total - expected) < 4 * (expected / total) ** 0.5


def test_without_sticky_actions_every_action_is_taken():
    world = MinAtar("breakout", sticky=0.0).world()
    place = paddle(world.reset(0)["grid"])
    for t in range(500):
        obs, _, terminated, *_ = world.step((LEFT, RIGHT)[t % 2])
        assert paddle(obs["grid"]) - place == (-1, 1)[t % 2]
        place = paddle(world.reset()["grid"] if terminated else obs["grid"])
        if terminated and t % 2 == 0:
            world.step(LEFT)  # keep to the middle
            place -= 1


def test_sticky_action_does_not_outlive_its_episode():
    world = MinAtar("breakout", sticky=0.5).world()
    seen = set()
    world.reset(0)
    for _ in range(60):
        while not world.step(LEFT)[2]:
            pass
        start = paddle(world.reset()["grid"])
        seen.add(paddle(world.step(RIGHT)[0]["grid"]) - start)
    assert seen == {0, 1}  # noop or right; -1 would be the last episode's left


def test_action_sets_are_minimal_or_all_six():
    sizes = {game: MinAtar(game).spec().action_size for game in GAMES}
    assert sizes == {"asterix": 5, "breakout": 3, "freeway": 3, "seaquest": 6, "space_invaders": 4}
    assert MinAtar("breakout").spec().action_names == ("noop", "left", "right")
    assert MinAtar("space_invaders").spec().action_names == ("noop", "left", "right", "fire")
    assert {MinAtar(game, actions="full").spec().action_names for game in GAMES} == {ACTIONS}


@pytest.mark.parametrize("game", GAMES)
def test_planes_are_boolean_and_as_declared(game):
    channels = {"asterix": 4, "breakout": 4, "freeway": 7, "seaquest": 10, "space_invaders": 6}[game]
    spec = MinAtar(game).spec().obs["grid"]
    assert (spec.shape, spec.dtype, spec.kind) == ((10, 10, channels), "bool", "planes")


def test_ramping_makes_the_game_harder_and_can_be_turned_off():
    def hardest(ramping):
        world, levels = MinAtar("asterix", ramping=ramping, time_limit=None).world(), []
        world.reset(5)
        for move in moves_for(world, 3000):
            if world.step(move)[2]:
                world.reset()
            levels.append(world._game.difficulty_ramp())
        return max(levels)

    assert hardest(ramping=True) > 0
    assert hardest(ramping=False) == 0


def test_time_limit_truncates_and_the_next_episode_begins():
    env = MinAtar("freeway", time_limit=5).make(2)
    env.reset([1, 2])
    for t in range(1, 21):
        step = env.step(np.ones(2, np.int64))
        assert step.truncated.tolist() == [t % 5 == 0] * 2
        assert not step.terminated.any()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"game": "pong"}, "asterix, breakout, freeway, seaquest, space_invaders"),
        ({"actions": "all"}, "minimal or full"),
        ({"sticky": 1.5}, "probability"),
        ({"time_limit": 0}, "at least 1 step"),
    ],
)
def test_bad_options_are_refused_with_what_would_do(options, told):
    with pytest.raises(ConfigError, match=told):
        MinAtar(**options)


def test_missing_package_names_the_extra(monkeypatch):
    _engine.cache_clear()
    monkeypatch.setattr("worldmodels.env.minatar.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\.\[minatar\]"):
        MinAtar().world()
    assert importlib.util.find_spec("minatar") is not None
