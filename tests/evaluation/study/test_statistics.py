"""Aggregates and intervals against rliable, the package of Agarwal et al. (2021), and against what must hold."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodels.evaluation.study.statistics import Estimate, aggregate, band, improvement, iqm, median

# Runs by environments.
X = np.array([[1.2, 10.0, -3.0], [0.8, 14.0, -1.0], [1.9, 9.0, -2.0], [1.1, 11.5, -2.5], [3.0, 30.0, 0.5]])
Y = np.array([[1.0, 10.0, -4.0], [0.7, 9.0, -1.5], [1.1, 8.0, -2.0], [0.9, 13.0, -3.5]])

# Made with rliable 1.2.0, arch 7.2.0, scipy 1.17.1 and numpy 2.4.6 after np.random.seed(0), on these arrays in this
# order: get_interval_estimates({"a": X}, f, reps=50000), then of Y, then of X[:, :1], where f returns aggregate_mean,
# aggregate_median and aggregate_iqm; then get_interval_estimates({"a": [X, Y]}, probability_of_improvement, reps=5000),
# and of [Y, X]. Value, low, high.
GOLDEN = {
    "X": {"mean": (4.966667, 3.213333, 7.58), "median": (1.6, 1.0, 2.34), "iqm": (2.944444, 2.366667, 3.777778)},
    "Y": {"mean": (2.725, 2.083333, 3.458333), "median": (0.925, 0.775, 1.05), "iqm": (1.7, 1.383333, 2.033333)},
    "X0": {"mean": (1.6, 1.0, 2.34), "iqm": (1.4, 0.9, 2.633333)},
    "X>Y": (0.766667, 0.55, 0.933333),
    "Y>X": (0.233333, 0.075, 0.433542),
}


def columns(scores: np.ndarray) -> list[np.ndarray]:
    return list(scores.T)


def near(found: Estimate | None, golden: tuple[float, float, float]) -> None:
    """The value exactly; ends of intervals up to what two runs of 10,000 resamples differ by."""
    assert found is not None
    assert found.value == pytest.approx(golden[0], abs=1e-6)
    width = golden[2] - golden[1]
    assert found.low == pytest.approx(golden[1], abs=0.06 * width)
    assert found.high == pytest.approx(golden[2], abs=0.06 * width)


@pytest.mark.parametrize(("name", "scores"), [("X", X), ("Y", Y), ("X0", X[:, :1])])
def test_aggregates_are_those_of_rliable(name: str, scores: np.ndarray) -> None:
    found = aggregate(columns(scores))
    for kind, golden in GOLDEN[name].items():
        near(found[kind], golden)


@pytest.mark.parametrize(("name", "ours", "others"), [("X>Y", X, Y), ("Y>X", Y, X)])
def test_probability_of_improvement_is_that_of_rliable(name: str, ours: np.ndarray, others: np.ndarray) -> None:
    near(improvement(columns(ours), columns(others)), GOLDEN[name])


def test_median_of_one_environment_is_over_its_runs() -> None:
    assert median([np.array([1.0, 2.0, 9.0])]) == 2


def test_iqm_of_fewer_than_four_runs_is_their_mean() -> None:
    assert iqm([np.array([1.0, 2.0, 9.0])]) == 4
    assert iqm([np.array([1.0, 2.0, 3.0, 90.0])]) == 2.5


def test_one_run_has_a_value_and_no_interval() -> None:
    found = aggregate([np.array([3.0])])["mean"]
    assert found == Estimate(3.0)
    assert not found.known


def test_an_environment_with_one_run_takes_the_interval_from_all() -> None:
    assert not aggregate([np.array([3.0]), np.array([1.0, 2.0])])["iqm"].known


def test_one_run_against_others_says_nothing() -> None:
    assert improvement([np.array([3.0])], [np.array([1.0, 2.0])]) is None
    assert improvement([], []) is None


def test_ties_count_half() -> None:
    same = [np.array([1.0, 1.0])]
    found = improvement(same, same)
    assert found == Estimate(0.5, 0.5, 0.5)


def test_environments_may_have_different_numbers_of_runs() -> None:
    found = aggregate([np.array([0.0, 2.0]), np.array([10.0, 10.0, 10.0, 10.0])])["mean"]
    assert found.value == 5.5
    assert (found.low, found.high) == (5.0, 6.0)


def test_the_same_runs_give_the_same_interval() -> None:
    assert aggregate(columns(X)) == aggregate(columns(X))


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        found = aggregate([rng.normal(size=30)], resamples=500)["mean"]
        assert found.low is not None
        assert found.high is not None
        hits += found.low < 0 < found.high
    assert 0.90 < hits / 300 < 0.98


def test_a_band_is_the_interval_of_the_mean_at_every_point() -> None:
    values = X[:, :2]
    found = band(values, resamples=20_000)
    assert found is not None
    expected = [aggregate([column])["mean"] for column in values.T]
    for at, each in enumerate(expected):
        assert each.low is not None
        assert each.high is not None
        assert found[0][at] == pytest.approx(each.low, rel=0.05)
        assert found[1][at] == pytest.approx(each.high, rel=0.05)
    assert band(values[:1]) is None
