"""What a search takes as the score of a run."""

from __future__ import annotations

import math

from worldmodels.launch.score import best, score


def test_a_run_that_acts_scores_its_mean_return() -> None:
    assert score({"return_mean": 3.5, "model": {"held/loss/kl": 9.0}}) == 3.5


def test_a_model_that_does_not_act_scores_minus_its_whole_held_out_loss() -> None:
    assert score({"model": {"held/loss/grid": 2.0, "held/loss/kl": 0.5, "ahead/mse/grid/open": 7.0}}) == -2.5


def test_a_run_without_either_scores_nothing() -> None:
    assert math.isnan(score({"updates": 3}))


def test_the_best_is_the_highest_unless_asked_for_the_lowest() -> None:
    assert best({"a": 1.0, "b": 2.0}) == "b"
    assert best({"a": 1.0, "b": 2.0}, maximize=False) == "a"
