from __future__ import annotations

import numpy as np
import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.core.protocols import Policy
from worldmodels.core.rng import Rng
from worldmodels.policy.greedy import Epsilon, Greedy

VALUES = torch.tensor([0.0, 3.0, 1.0])
OBS = {"vector": np.zeros((4000, 2), np.float32)}
FIRST = np.zeros(4000, bool)


def greedy(epsilon: Epsilon) -> Greedy:
    return Greedy(lambda obs: VALUES.expand(len(obs["vector"]), -1), epsilon)


def test_epsilon_falls_linearly_in_env_steps_and_then_stays():
    epsilon = Epsilon(1.0, 0.2, 100)
    assert epsilon.value == 1.0
    epsilon.advance(50)
    assert epsilon.value == pytest.approx(0.6)
    epsilon.advance(5000)
    assert epsilon.value == pytest.approx(0.2)


def test_an_exponential_epsilon_loses_the_same_factor_in_equal_steps():
    epsilon = Epsilon(0.9, 0.1, 100, "exponential")
    seen = []
    for _ in range(5):
        seen.append(epsilon.value)
        epsilon.advance(25)
    ratios = np.array(seen[1:]) / np.array(seen[:-1])
    np.testing.assert_allclose(ratios, (1 / 9) ** 0.25)


def test_the_share_of_random_actions_is_epsilon_and_every_lane_counts_as_a_step():
    epsilon = Epsilon(0.6, 0.0, 8000)
    policy = greedy(epsilon)
    assert isinstance(policy, Policy)
    action, _, _ = policy.act(OBS, FIRST, None, explore=True, rng=Rng(0))
    assert action.dtype == np.int64
    # A random action is the best one in a third of the cases.
    assert (action != 1).mean() == pytest.approx(0.6 * 2 / 3, abs=0.03)
    assert set(action.tolist()) == {0, 1, 2}
    assert epsilon.value == pytest.approx(0.3)


def test_without_exploration_the_best_action_is_taken_and_nothing_is_counted():
    epsilon = Epsilon(1.0, 0.5, 10)
    action, _, _ = greedy(epsilon).act(OBS, FIRST, None, explore=False, rng=Rng(0))
    assert (action == 1).all()
    assert epsilon.value == 1.0


def test_a_restored_agent_explores_as_much_as_the_saved_one():
    epsilon, again = Epsilon(1.0, 0.0, 100), Epsilon(1.0, 0.0, 100)
    epsilon.advance(75)
    again.load_state_dict(epsilon.state_dict())
    assert again.value == epsilon.value == 0.25


def test_the_random_numbers_drawn_do_not_depend_on_what_is_best():
    first, second = Rng(3), Rng(3)
    greedy(Epsilon(1.0, 1.0, 1)).act(OBS, FIRST, None, explore=True, rng=first)
    greedy(Epsilon(0.0, 0.0, 1)).act(OBS, FIRST, None, explore=True, rng=second)
    assert first.numpy.random() == second.numpy.random()


@pytest.mark.parametrize("wrong", [{"start": 1.5}, {"steps": 0}, {"end": 0.0, "kind": "exponential"}])
def test_schedules_that_can_not_work_are_refused(wrong):
    with pytest.raises(ConfigError, match="epsilon"):
        Epsilon(**wrong)
