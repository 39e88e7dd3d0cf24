"""Canonical correlation analysis: the directions of two sets of variables that go together most. Hotelling (1936)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from worldmodels.analysis.linear import RIDGES, Scale, Sides


@dataclass(frozen=True)
class Canonical:
    """Pairs of directions, the strongest first; each is uncorrelated with all others where it was fitted."""

    x_scale: Scale
    y_scale: Scale
    x_weights: Float[np.ndarray, "p k"]
    y_weights: Float[np.ndarray, "q k"]
    strength: Float[np.ndarray, " k"]  # regularised correlations where it was fitted
    ridge: float

    def variates(
        self, x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"]
    ) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        return self.x_scale(x) @ self.x_weights, self.y_scale(y) @ self.y_weights

    def correlations(self, x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"]) -> Float[np.ndarray, " k"]:
        """Of the pairs on any data; 0 where one of a pair does not change."""
        a, b = (Scale.of(each)(each) for each in self.variates(x, y))
        return (a * b).mean(0)


def fit(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"], ridge: float = 0.0) -> Canonical:
    """Both sides standardised, their covariances plus `ridge` on the diagonal (Vinod, 1976), then an SVD.

    Directions whose variance is not positive, such as those of constant columns, are left out.
    """
    x_scale, y_scale = Scale.of(x), Scale.of(y)
    a, b = x_scale(x), y_scale(y)
    x_root, y_root = _whitener(a, ridge), _whitener(b, ridge)
    left, strength, right = np.linalg.svd(x_root.T @ (a.T @ b / len(a)) @ y_root, full_matrices=False)
    return Canonical(x_scale, y_scale, x_root @ left, y_root @ right.T, strength, ridge)


def chosen(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"], sides: Sides) -> Canonical:
    """Fitted with the ridge whose correlations hold best, on average, on the inner held-out episodes."""
    small, trial = sides.fit & ~sides.inner, sides.inner
    # Sums, and not means: where nothing varies there are no pairs.
    score = [fit(x[small], y[small], ridge).correlations(x[trial], y[trial]).sum() for ridge in RIDGES]
    return fit(x[sides.fit], y[sides.fit], RIDGES[int(np.argmax(score))])


def _whitener(a: Float[np.ndarray, "n p"], ridge: float) -> Float[np.ndarray, "p r"]:
    """W with W' (cov + ridge) W = 1, over the directions that vary."""
    value, vector = np.linalg.eigh(a.T @ a / len(a))
    there = value > 1e-10 * max(value[-1], 1e-300)
    return vector[:, there] / np.sqrt(value[there] + ridge)
