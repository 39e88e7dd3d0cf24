"""k-means, and how well its clusters stand apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

MOST_STEPS = 100
MOST_PAIRED = 2000  # points whose distances to one another a silhouette takes


@dataclass(frozen=True)
class Clusters:
    """k centres, the cluster of each point, and inertia: the sum of squared distances to the own centre."""

    centre: Float[np.ndarray, "k p"]
    label: Int[np.ndarray, " n"]
    inertia: float


def kmeans(x: Float[np.ndarray, "n p"], k: int, rng: np.random.Generator, restarts: int = 4) -> Clusters:
    """The best of several runs of Lloyd's algorithm from k-means++ centres. Arthur & Vassilvitskii (2007)."""
    best = min((_lloyd(x, _begin(x, k, rng)) for _ in range(restarts)), key=lambda found: found.inertia)
    order = np.argsort(-np.bincount(best.label, minlength=k), kind="stable")  # the largest cluster first
    return Clusters(best.centre[order], np.argsort(order)[best.label], best.inertia)


def distances(x: Float[np.ndarray, "n p"], centre: Float[np.ndarray, "k p"]) -> Float[np.ndarray, "n k"]:
    """Squared, never below 0."""
    square = np.square(x).sum(1)[:, None] - 2 * x @ centre.T + np.square(centre).sum(1)
    return np.maximum(square, 0)


def silhouette(
    x: Float[np.ndarray, "n p"], label: Int[np.ndarray, " n"], rng: np.random.Generator, most: int = MOST_PAIRED
) -> float:
    """Mean over points (a sample, if there are many) of how much nearer the own cluster is than the next, in [-1, 1].

    (b - a) / max(a, b), with a the mean distance to the others of the own cluster and b that to the nearest other
    cluster; 0 for a point that is alone. Rousseeuw (1987). nan for a single cluster.
    """
    if len(x) > most:
        rows = rng.choice(len(x), most, replace=False)
        x, label = x[rows], label[rows]
    names, label = np.unique(label, return_inverse=True)
    if len(names) < 2:
        return float("nan")
    apart = np.sqrt(distances(x, x))
    np.fill_diagonal(apart, 0)  # rounding
    member = np.eye(len(names))[label]
    count = member.sum(0)
    total = apart @ member
    own = total[np.arange(len(x)), label] / np.maximum(count[label] - 1, 1)
    other = np.where(member > 0, np.inf, total / count).min(1)
    score = (other - own) / np.maximum(np.maximum(other, own), 1e-300)
    return float(np.where(count[label] > 1, score, 0).mean())


def explained(label: Int[np.ndarray, " n"], y: Float[np.ndarray, "n q"]) -> Float[np.ndarray, " q"]:
    """Share of each column's variance that lies between clusters (eta squared); nan for a constant one.

    Moments where a column is not defined do not count for it.
    """
    out = np.full(y.shape[1], np.nan)
    for column in range(y.shape[1]):
        known = ~np.isnan(y[:, column])
        value, where = y[known, column], label[known]
        if len(value) and (total := np.square(value - value.mean()).sum()) > 1e-12 * max(1.0, np.square(value).sum()):
            count = np.bincount(where)
            mean = np.bincount(where, value) / np.maximum(count, 1)
            out[column] = float((count * np.square(mean - value.mean())).sum() / total)
    return out


def _begin(x: Float[np.ndarray, "n p"], k: int, rng: np.random.Generator) -> Float[np.ndarray, "k p"]:
    centre = x[rng.integers(len(x))][None]
    near = distances(x, centre)[:, 0]
    for _ in range(1, k):
        total = near.sum()
        chance = near / total if total > 0 else np.full(len(x), 1 / len(x))
        centre = np.concatenate([centre, x[rng.choice(len(x), p=chance)][None]])
        near = np.minimum(near, distances(x, centre[-1:])[:, 0])
    return centre


def _lloyd(x: Float[np.ndarray, "n p"], centre: Float[np.ndarray, "k p"]) -> Clusters:
    label = np.full(len(x), -1)
    for _ in range(MOST_STEPS):
        apart = distances(x, centre)
        nearest = apart.argmin(1)
        if np.array_equal(nearest, label):
            break
        label = nearest
        count = np.bincount(label, minlength=len(centre))
        sums = np.zeros_like(centre)
        np.add.at(sums, label, x)
        kept = count > 0
        centre = np.where(kept[:, None], sums / np.maximum(count, 1)[:, None], centre)
        # A cluster that lost all its points begins anew at the point that is farthest from its centre.
        for empty in np.flatnonzero(~kept):
            centre[empty] = x[apart[np.arange(len(x)), label].argmax()]
    apart = distances(x, centre)
    label = apart.argmin(1)
    return Clusters(centre, label, float(apart[np.arange(len(x)), label].sum()))
