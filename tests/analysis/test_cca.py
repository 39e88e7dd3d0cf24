"""Canonical correlations against cases where they are known, and against another derivation."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodels.analysis.cca import chosen, fit
from worldmodels.analysis.linear import split


def known(rho: list[float], n: int = 400, p: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of columns whose sample canonical correlations are exactly rho, mixed and shifted."""
    rng = np.random.default_rng(seed)
    q = len(rho)
    basis = np.linalg.qr(np.concatenate([np.ones((n, 1)), rng.standard_normal((n, p + q))], 1))[0][:, 1:]
    u, w = basis[:, :p], basis[:, p:]
    v = u[:, :q] * rho + w * np.sqrt(1 - np.square(rho))
    return u @ rng.standard_normal((p, p)) + 3, v @ rng.standard_normal((q, q)) * 5 - 1


def test_correlations_that_were_built_in_are_found():
    rho = [0.95, 0.6, 0.1]
    x, y = known(rho)
    found = fit(x, y)
    assert found.strength == pytest.approx(rho, abs=1e-7)
    assert found.correlations(x, y) == pytest.approx(rho, abs=1e-7)
    a, b = found.variates(x, y)
    assert a.T @ a / len(a) == pytest.approx(np.eye(3), abs=1e-7)
    assert a.T @ b / len(a) == pytest.approx(np.diag(rho), abs=1e-7)


def test_they_are_the_roots_of_hotellings_eigenvalues():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 5))
    y = np.concatenate([x[:, :2] @ rng.standard_normal((2, 2)), rng.standard_normal((300, 2))], 1)
    y += 0.7 * rng.standard_normal(y.shape)
    cov = np.cov(np.concatenate([x, y], 1), rowvar=False)
    xx, xy, yy = cov[:5, :5], cov[:5, 5:], cov[5:, 5:]
    value = np.linalg.eigvals(np.linalg.inv(yy) @ xy.T @ np.linalg.inv(xx) @ xy)
    assert fit(x, y).strength == pytest.approx(np.sqrt(np.sort(value.real)[::-1]), abs=1e-8)


def test_columns_that_never_change_or_come_twice_make_no_difference():
    x, y = known([0.8, 0.3])
    more = np.concatenate([x, np.full((len(x), 1), 7.0), x[:, :1]], 1)
    found = fit(more, y)
    assert found.strength == pytest.approx([0.8, 0.3], abs=1e-6)


def test_chance_is_strong_where_it_was_fitted_and_nothing_where_it_is_held_out():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((240, 60)), rng.standard_normal((240, 3))
    sides = split(np.repeat(np.arange(24), 10), 0.5, rng)
    alone = fit(x[sides.fit], y[sides.fit])
    assert alone.strength[0] > 0.7
    assert np.abs(alone.correlations(x[sides.held], y[sides.held])).max() < 0.3
    regular = chosen(x, y, sides)
    assert regular.strength[0] < alone.strength[0]


def test_the_ridge_is_the_one_that_holds_best():
    """With many features and few moments, a heavy ridge finds what a light one loses in noise."""
    rng = np.random.default_rng(3)
    cause = rng.standard_normal((150, 1))
    x = np.concatenate([cause + 0.5 * rng.standard_normal((150, 1)) for _ in range(90)], 1)
    y = cause + 0.1 * rng.standard_normal((150, 1))
    sides = split(np.repeat(np.arange(30), 5), 0.3, rng)
    found = chosen(x, y, sides)
    light = fit(x[sides.fit], y[sides.fit], 1e-4)
    held = sides.held
    assert found.ridge > 1e-2
    assert found.correlations(x[held], y[held])[0] > light.correlations(x[held], y[held])[0]
