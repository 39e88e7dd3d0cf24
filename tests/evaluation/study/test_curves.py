"""Several runs on one grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from worldmodels.evaluation.study import curves
from worldmodels.evaluation.study.run import read


def line(*points: tuple[float, float]) -> curves.Line:
    x, y = np.array(points, float).T
    return x, y


def test_a_curve_is_the_mean_where_all_runs_have_values() -> None:
    found = curves.together([line((0, 0), (10, 10)), line((2, 4), (8, 16))])
    assert found is not None
    assert (found.x[0], found.x[-1]) == (2, 8)
    assert found.middle[0] == pytest.approx((2 + 4) / 2)
    assert found.middle[-1] == pytest.approx((8 + 16) / 2)


def test_nothing_is_made_up_beyond_the_end_of_a_run() -> None:
    assert curves.together([line((0, 0), (1, 1)), line((2, 0), (3, 1))]) is None
    assert curves.together([]) is None


def test_one_run_has_no_band() -> None:
    found = curves.together([line((0, 0), (1, 1))])
    assert found is not None
    assert found.low is None


def test_runs_with_the_same_moments_keep_them() -> None:
    found = curves.together([line((0, 0), (3, 1), (9, 2)), line((0, 2), (3, 3), (9, 4))])
    assert found is not None
    assert found.x.tolist() == [0, 3, 9]
    assert found.middle.tolist() == [1, 2, 3]


def test_the_final_evaluation_takes_the_place_of_the_one_at_the_same_update(make: Any) -> None:
    folder = make("a", 0, 5.0)
    x, y = curves.evaluated(read(folder, "study"), "env_steps")
    assert x.tolist() == [200, 400, 600, 800, 1000]
    assert y[-1] == 5.0


def test_evaluations_have_the_times_of_their_updates(make: Any) -> None:
    x, _ = curves.evaluated(read(make("a"), "study"), "minutes")
    assert x.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_training_returns_have_times_too(make: Any) -> None:
    x, y = curves.trained(read(make("a", 0, 10.0), "study"), "minutes")
    assert (x[0], x[-1]) == pytest.approx((0.1, 1.0))
    assert y[-1] == 10.0


def test_losses_on_held_out_windows_are_added_up(make: Any) -> None:
    folder = make("a", 0, None, config={"env": None}, state="killed")
    (folder / "evaluation.jsonl").unlink()
    text = "env_steps,updates,seconds,held/loss/grid,held/loss/kl\n0,1,1,,\n0,2,2,3,1\n0,3,3,2,1\n"
    (folder / "metrics.csv").write_text(text)
    run = read(folder, "study")
    x, y = curves.held_out(run, "env_steps")
    assert (x.tolist(), y.tolist()) == ([2, 3], [4, 3])
    assert run.score == 3
