"""Evaluation counts fairly and disturbs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from worldmodels.core.experience import Obs, Step
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.evaluation.play import Play, aside, play
from worldmodels.policy.scripted import Constant


class Uneven:
    """World n's episodes last `lengths[n]` steps and earn as much; length 0 never ends."""

    resumable = False

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths, self.width = np.array(lengths), len(lengths)
        self.spec = EnvSpec("uneven", {"vector": ArraySpec((1,), "float32")}, 2)

    def reset(self, seeds: Sequence[int]) -> Obs:
        self.at = np.zeros(self.width, int)
        return self._obs()

    def step(self, action: np.ndarray) -> Step:
        self.at += 1
        over = self.at == self.lengths
        arrived = self._obs()
        self.at[over] = 0
        return Step(self._obs(), arrived, np.ones(self.width, np.float32), over, np.zeros(self.width, bool))

    def _obs(self) -> dict[str, np.ndarray]:
        return {"vector": self.at[:, None].astype(np.float32)}

    def snapshot(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def test_short_episodes_are_not_counted_more_often() -> None:
    env = Uneven([2, 100])
    summary = play(env, Constant(env.spec, action=0), episodes=4, rng=Rng(0))
    assert sorted(summary.returns) == [2, 2, 100, 100]
    assert sorted(summary.lengths) == [2, 2, 100, 100]


def test_a_number_that_does_not_divide_is_played_exactly() -> None:
    env = Uneven([3, 3, 3])
    assert len(play(env, Constant(env.spec, action=0), episodes=7, rng=Rng(0)).returns) == 7


def test_an_endless_episode_is_cut_and_says_so() -> None:
    env = Uneven([5, 0])
    summary = play(env, Constant(env.spec, action=0), episodes=4, rng=Rng(0), limit=200)
    assert summary.cut == 1
    assert len(summary.returns) == 3
    assert max(summary.returns) >= 200


def test_the_summary_is_of_the_episodes() -> None:
    env = Uneven([2, 4])
    told = play(env, Constant(env.spec, action=0), episodes=2, rng=Rng(0)).to_json()
    assert (told["return_mean"], told["return_min"], told["return_max"]) == (3, 2, 4)
    assert told["return_std"] == pytest.approx(2**0.5)
    assert told["return_stderr"] == pytest.approx(1)


def test_an_evaluation_is_a_function_of_its_seed_and_name() -> None:
    from worldmodels.env.dummy import Dummy
    from worldmodels.policy.scripted import Random

    recipe, judge = Dummy("corridor"), Play(episodes=12, width=4, limit=100, seed=0)
    policy = Random(recipe.spec())
    assert judge(recipe, policy, "a", 1) == judge(recipe, policy, "a", 1)
    assert judge(recipe, policy, "a", 1) != judge(recipe, policy, "a", 2)


def test_aside_restores_modes_and_generators_and_makes_no_graph() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    module[1].eval()
    before = torch.get_rng_state()
    with aside(module):
        assert not module.training
        assert not module(torch.rand(3, 2)).requires_grad
    assert torch.equal(before, torch.get_rng_state())
    assert module.training
    assert module[0].training
    assert not module[1].training
