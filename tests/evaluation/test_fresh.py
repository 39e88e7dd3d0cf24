"""Windows that nobody has learned from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.rng import Rng
from worldmodels.env.dummy import Dummy
from worldmodels.evaluation.fresh import fresh
from worldmodels.policy.scripted import Random

RECIPE = Dummy("corridor", time_limit=12)


def played(seed: int = 0, **more: int) -> Batch:
    return fresh(RECIPE, Random(RECIPE.spec()), Rng(seed, "fresh"), **{"windows": 6, "length": 5, "steps": 40, **more})


def test_a_window_lies_in_one_episode() -> None:
    batch = played()
    assert batch.mask.shape == (6, 5)
    over = (batch.terminated | batch.truncated)[:, :-1].cumsum(1) > 0
    assert not (over & batch.mask[:, 1:]).any(), "nothing follows an episode's end"
    assert not (batch.first[:, 1:-1] & batch.mask[:, 1:]).any()


def test_an_episode_shorter_than_a_window_is_padded() -> None:
    batch = played(windows=100, length=20)
    assert batch.mask.shape[1] <= 12, "no episode is longer"
    assert batch.mask.any(1).all()
    assert not batch.mask.all()
    assert (batch.mask.long().diff(dim=1) <= 0).all(), "the padding is at the end"
    assert not batch.action[~batch.mask].any()


def test_the_same_generator_plays_the_same_and_another_does_not() -> None:
    one, same, other = played(1), played(1), played(2)
    assert all(torch.equal(one.obs[name], same.obs[name]) for name in one.obs)
    assert torch.equal(one.action, same.action)
    assert not torch.equal(one.action, other.action)


def test_few_episodes_serve_many_windows() -> None:
    batch = played(windows=50, steps=3, width=2)
    assert batch.mask.shape == (50, 3), "as long as the longest one"
    assert batch.mask.any(1).all()


def test_the_policy_explores() -> None:
    class Asked(Random):
        explored: bool | None = None

        def act(self, obs, first, memory, *, explore, rng):  # type: ignore[no-untyped-def]
            self.explored = explore
            return super().act(obs, first, memory, explore=explore, rng=rng)

    policy = Asked(RECIPE.spec())
    fresh(RECIPE, policy, Rng(0), windows=1, length=2, steps=4)
    assert policy.explored is True


def test_nothing_played_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing was played"):
        played(steps=0)


def test_rewards_stand_where_they_were_earned() -> None:
    """In the corridor a reward is paid on arriving at the end: never on a masked step, and only with `terminated`."""
    batch = played(windows=40, steps=200, length=12)
    paid = batch.reward.numpy() > 0
    assert paid.any()
    assert np.array_equal(paid, (batch.terminated & batch.mask).numpy())
