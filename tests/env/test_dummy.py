"""The dummy worlds: their best returns, how they end, and what their rewards give away."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.env.dummy import Dummy

DOTS = [Dummy("dot"), Dummy("dot", zoom=0), Dummy("dot", zoom=4, size=5)]


def column(obs, cells: int) -> int:
    """Where the dot is."""
    (picture,) = obs.values()
    return int(picture.any(axis=(0, 2)).argmax()) * cells // picture.shape[1]


def episode(recipe, policy, seed=0):
    """Observations, actions and rewards, and how it ended; the policy sees all observations so far."""
    world = recipe.world()
    seen, actions, rewards = [world.reset(seed)], [], []
    while True:
        actions.append(policy(seen))
        obs, reward, terminated, truncated, _ = world.step(actions[-1])
        seen.append(obs)
        rewards.append(reward)
        if terminated or truncated:
            return seen, actions, rewards, (terminated, truncated)


def right(_):
    return 1


def full_speed(_):
    return np.array([3.0], np.float32)


def remember(seen):
    return int(seen[0]["vector"].argmax())


@pytest.mark.parametrize(
    ("recipe", "policy", "ending"),
    [
        (Dummy("corridor"), right, (True, False)),
        (Dummy("corridor", size=4), right, (True, False)),
        (Dummy("corridor", continuous=True), full_speed, (True, False)),
        (Dummy("bandit"), remember, (True, False)),
        (Dummy("bandit", size=5, delay=0), remember, (True, False)),
        *[(dot, lambda seen, dot=dot: column(seen[-1], dot.cells), (False, True)) for dot in DOTS],
    ],
)
def test_the_known_best_policy_earns_the_stated_return(recipe, policy, ending):
    for seed in range(5):
        *_, rewards, ended = episode(recipe, policy, seed)
        assert sum(rewards) == pytest.approx(recipe.optimal_return)
        assert ended == ending


@pytest.mark.parametrize("game", ["corridor", "bandit", "dot"])
def test_random_play_earns_less(game):
    recipe, rng = Dummy(game), np.random.default_rng(0)
    size = recipe.spec().action_size
    returns = [sum(episode(recipe, lambda _: int(rng.integers(size)), seed)[2]) for seed in range(100)]
    assert np.mean(returns) < recipe.optimal_return - 0.3
    assert max(returns) <= recipe.optimal_return + 1e-9


def test_an_answer_without_memory_is_right_as_often_as_chance():
    returns = [sum(episode(Dummy("bandit", size=2), lambda _: 1, seed)[2]) for seed in range(400)]
    assert abs(np.mean(returns) - 0.5) < 0.1


def test_the_bandit_shows_its_cue_once_and_asks_after_the_delay():
    seen, *_ = episode(Dummy("bandit", size=3, delay=2), right, seed=1)
    vectors = [obs["vector"].tolist() for obs in seen]
    assert sum(vectors[0][:3]) == 1
    assert vectors[1:] == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


def test_the_corridor_ends_both_ways():
    rng = np.random.default_rng(0)
    endings = {episode(Dummy("corridor"), lambda _: int(rng.integers(2)), seed)[3] for seed in range(50)}
    assert endings == {(True, False), (False, True)}


@pytest.mark.parametrize("recipe", DOTS, ids=["image", "planes", "zoomed"])
def test_a_shift_in_time_shows_in_the_dots_rewards(recipe):
    rng = np.random.default_rng(0)
    seen, actions, rewards, _ = episode(recipe, lambda _: int(rng.integers(recipe.cells)), seed=2)
    columns = [column(obs, recipe.cells) for obs in seen]
    # Wherever the dot stands twice in a row, a shifted frame would go unnoticed: it never does.
    assert all(a != b for a, b in pairwise(columns))
    assert rewards == [float(a == c) for a, c in zip(actions, columns, strict=False)]
    assert rewards != [float(a == c) for a, c in zip(actions, columns[1:], strict=False)]


def test_same_seed_same_episode():
    rng = np.random.default_rng(0)
    plan = rng.integers(8, size=64).tolist()

    def starts(seed):
        return [column(obs, 8) for obs in episode(Dummy("dot"), lambda seen: plan[len(seen)], seed)[0]]

    assert starts(4) == starts(4)
    assert len({tuple(starts(seed)) for seed in range(20)}) > 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"game": "chess"}, "corridor, bandit, dot"),
        ({"size": 1}, "at least 2"),
        ({"delay": -1}, "0 or more"),
        ({"game": "bandit", "continuous": True}, "corridor"),
        ({"game": "dot", "time_limit": None}, "number of steps"),
    ],
)
def test_bad_options_are_refused_with_what_would_do(options, told):
    with pytest.raises(ConfigError, match=told):
        Dummy(**options)
