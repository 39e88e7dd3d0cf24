"""What lines read: fitted to some episodes, judged on others, and chance stays chance."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodels.analysis.linear import judged, pearson, readout, reduce, split
from worldmodels.analysis.reading import read, shuffled
from worldmodels.analysis.variables import Variables

EPISODE = np.repeat(np.arange(30), 20)


def features(p: int = 8, seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((len(EPISODE), p)), rng


def test_episodes_are_held_out_whole_and_about_as_many_as_asked():
    lengths = np.arange(1, 41)
    episode = np.repeat(np.arange(40), lengths)
    sides = split(episode, 0.25, np.random.default_rng(0))
    held, fit, inner = (set(episode[side].tolist()) for side in (sides.held, sides.fit, sides.inner))
    assert not held & fit
    assert inner < fit
    assert held | fit == set(range(40))
    assert 0.25 <= sides.held.mean() < 0.25 + 41 / len(episode)


def test_a_sum_of_features_is_read_exactly_and_noise_is_not():
    x, rng = features()
    y = np.stack([x @ np.arange(8.0) + 5, rng.standard_normal(len(x))], 1)
    sides = split(EPISODE, 0.3, rng)
    told = readout(x, y, sides)
    assert told[sides.held, 0] == pytest.approx(y[sides.held, 0], abs=0.02)
    assert judged(told[:, 0], y[:, 0], sides, rng).value > 0.9999
    assert abs(judged(told[:, 1], y[:, 1], sides, rng).value) < 0.25


def test_how_much_to_regularise_is_chosen_where_it_was_not_fitted():
    """As many features as moments, all but one of them noise: fitted freely, they would fit anything."""
    rng = np.random.default_rng(1)
    episode = np.repeat(np.arange(30), 4)
    x = rng.standard_normal((len(episode), 90))
    y = x[:, :1] + rng.standard_normal((len(episode), 1))
    sides = split(episode, 0.3, rng)
    told = readout(x, y, sides)
    error = np.square(told - y)[sides.held].mean()
    free = x @ np.linalg.lstsq(x[sides.fit], y[sides.fit], rcond=None)[0]
    assert error < 1.2 * y[sides.held].var() < 0.5 * np.square(free - y)[sides.held].mean()


def test_what_is_not_defined_is_neither_fitted_nor_judged():
    x, rng = features()
    y = (x[:, 0] * 2)[:, None].copy()
    hidden = rng.random(len(x)) < 0.5
    y[hidden] = np.nan
    sides = split(EPISODE, 0.3, rng)
    told = readout(x, y, sides)
    assert not np.isnan(told).any()
    assert told[sides.held & hidden, 0] == pytest.approx(2 * x[sides.held & hidden, 0], abs=0.02)
    nowhere = readout(x, np.full_like(y, np.nan), sides)
    assert np.isnan(nowhere).all()


def test_a_correlation_is_pearsons_on_held_out_moments():
    x, rng = features(3)
    y = np.stack([x[:, 0] + 0.5 * rng.standard_normal(len(x)), np.full(len(x), 2.0)], 1)
    sides = split(EPISODE, 0.5, rng)
    found = judged(x[:, 0], y[:, 0], sides, rng)
    assert found.value == pytest.approx(np.corrcoef(x[sides.held, 0], y[sides.held, 0])[0, 1])
    assert found.low < found.value < found.high
    assert np.isnan(judged(x[:, 0], y[:, 1], sides, rng).value)
    y[::3, 0] = np.nan
    known = ~np.isnan(y[:, 0])
    assert pearson(x, y)[2, 0] == pytest.approx(np.corrcoef(x[known, 2], y[known, 0])[0, 1])
    assert pearson(x, y)[1, 1] == 0


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Correlated within episodes, where an interval over moments would be far too narrow."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        episode = np.repeat(np.arange(60), 8)
        a, b = rng.standard_normal((2, 60))
        x = a[episode] + 0.2 * rng.standard_normal(len(episode))
        y = 0.6 * a[episode] + 0.8 * b[episode] + 0.2 * rng.standard_normal(len(episode))
        found = judged(x, y, split(episode, 0.9, rng), rng)
        covered += found.low <= 0.6 / 1.04 <= found.high
    assert 88 <= covered <= 99


def test_the_interval_is_wider_where_episodes_agree_within_themselves():
    """Moments of an episode are alike, so as many moments of fewer episodes tell less."""
    rng = np.random.default_rng(0)
    level, other = rng.standard_normal((2, 30))
    slow = level[EPISODE] + 0.01 * rng.standard_normal(len(EPISODE))
    answer = level[EPISODE] + other[EPISODE]
    sides = split(EPISODE, 0.7, rng)
    found = judged(slow, answer, sides, rng)
    fast, noisy = (rng.standard_normal(len(EPISODE)) for _ in range(2))
    quick = judged(fast, fast + noisy, sides, rng)
    assert found.high - found.low > 2 * (quick.high - quick.low)


def test_few_components_span_what_an_svd_finds():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)) @ rng.standard_normal((5, 80)) * 10 + 0.01 * rng.standard_normal((300, 80)) + 4
    fit = np.arange(300) < 200
    inside = reduce(x, fit, 5, rng)
    centred = x - x[fit].mean(0)
    true = np.linalg.svd(centred[fit], full_matrices=False)
    assert inside.shape == (300, 5)
    assert np.square(inside[fit]).sum(0) == pytest.approx(np.square(true[1][:5]), rel=1e-6)
    assert np.abs(inside) == pytest.approx(np.abs(centred @ true[2][:5].T), abs=1e-3)


def test_a_planted_feature_is_named_and_one_that_only_fitted_by_chance_is_not_believed():
    x, rng = features(40)
    speed = rng.standard_normal(len(x))
    y = Variables(("place", "chance"), np.stack([-3 * x[:, 17] + 0.1 * rng.standard_normal(len(x)), speed], 1))
    sides = split(EPISODE, 0.3, rng)
    found = read(x, y, sides, 512, rng)
    assert found.feature[0] == 17
    assert found.single[0].value > 0.99
    assert found.single[1].value < 0.2
    assert found.canonical[0] > 0.99
    assert abs(found.loadings[0, 0]) > 0.99
    assert abs(found.loadings[1, 0]) < 0.3
    moved = read(x, shuffled(y, rng), sides, 512, rng)
    assert abs(moved.readout[0].value) < 0.25


def test_a_shift_keeps_every_value_and_moves_it_far():
    y = Variables(("t",), np.arange(100.0)[:, None])
    for seed in range(20):
        values = shuffled(y, np.random.default_rng(seed)).values[:, 0]
        assert sorted(values) == list(range(100))
        assert 10 <= values[0] <= 90


def test_what_is_seen_on_held_out_episodes_alone_takes_nothing_from_the_rest():
    x, rng = features()
    sides = split(EPISODE, 0.3, rng)
    rare = np.where(sides.held, rng.standard_normal(len(x)), np.nan)
    found = read(x, Variables(("sum", "rare"), np.stack([x @ np.arange(8.0), rare], 1)), sides, 8, rng)
    assert found.canonical[0] > 0.999
    assert np.isnan(found.readout[1].value)
