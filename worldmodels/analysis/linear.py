"""What straight lines can read from features: ridge regression and single features, judged on held-out episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # in units of a standardised feature's variance
RESAMPLES = 500
COVERAGE = 0.95
FLAT = 1e-9  # a standard deviation below which a column says nothing


@dataclass(frozen=True)
class Sides:
    """Which of n moments are fitted to, which are held out, and which episode each belongs to."""

    held: Bool[np.ndarray, " n"]
    inner: Bool[np.ndarray, " n"]  # of those to fit to, held out once more, to choose how much to regularise
    episode: Int[np.ndarray, " n"]

    @property
    def fit(self) -> Bool[np.ndarray, " n"]:
        return ~self.held


@dataclass(frozen=True)
class Scale:
    """Takes columns to mean 0 and variance 1; those that never change to 0."""

    mean: Float[np.ndarray, " p"]
    spread: Float[np.ndarray, " p"]

    @staticmethod
    def of(x: Float[np.ndarray, "n p"]) -> Scale:
        spread = x.std(0)
        return Scale(x.mean(0), np.where(spread > FLAT, spread, np.inf))

    def __call__(self, x: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n p"]:
        return (x - self.mean) / self.spread


@dataclass(frozen=True)
class Correlation:
    """Of two columns on held-out episodes, with the 95 % interval of resampled episodes; nan where one is constant."""

    value: float
    low: float
    high: float


def split(episode: Int[np.ndarray, " n"], held_out: float, rng: np.random.Generator) -> Sides:
    """Whole episodes held out, and about as large a share of the rest once more; at least one on either side."""
    names = rng.permutation(np.unique(episode))
    held = _share(names, episode, held_out)
    rest = names[~np.isin(names, held)]
    inner = _share(rest, episode, held_out)
    return Sides(np.isin(episode, held), np.isin(episode, inner), episode)


def _share(names: Int[np.ndarray, " e"], episode: Int[np.ndarray, " n"], share: float) -> Int[np.ndarray, " h"]:
    """The first of these episodes that make up that share of their moments, but neither none nor all."""
    lengths = np.array([np.count_nonzero(episode == name) for name in names])
    enough = int(np.searchsorted(lengths.cumsum(), share * lengths.sum())) + 1
    return names[: min(max(1, enough), len(names) - 1)]


def reduce(
    x: Float[np.ndarray, "n p"], fit: Bool[np.ndarray, " n"], most: int, rng: np.random.Generator
) -> Float[np.ndarray, "n k"]:
    """Centred columns; if there are more than `most`, their first principal components instead.

    The subspace is found by randomised power iteration: Halko et al. (2011), algorithm 4.4.
    """
    x = x - x[fit].mean(0)
    if x.shape[1] <= most:
        return x
    basis = np.linalg.qr(x[fit].T @ rng.standard_normal((int(fit.sum()), most + 10)))[0]
    for _ in range(4):
        basis = np.linalg.qr(x[fit].T @ (x[fit] @ basis))[0]
    inside = x[fit] @ basis
    turn = np.linalg.eigh(inside.T @ inside)[1][:, ::-1][:, :most]
    return x @ (basis @ turn)


def readout(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"], sides: Sides) -> Float[np.ndarray, "n q"]:
    """Ridge regression of each column of y, fitted where it is defined, told everywhere; nan where too little is known.

    How much to regularise is chosen for each column on the inner held-out episodes.
    """
    told = np.full(y.shape, np.nan)
    for columns in _alike(~np.isnan(y)):
        known, target = ~np.isnan(y[:, columns[0]]), y[:, columns]
        trial = known & sides.inner
        small, large = known & sides.fit & ~sides.inner, known & sides.fit
        if min(small.sum(), trial.sum()) < 2:
            continue
        tried = _ridge(x[small], target[small], x[trial])
        best = np.square(tried - target[trial]).mean(1).argmin(0)
        told[:, columns] = np.take_along_axis(_ridge(x[large], target[large], x), best[None, None], 0)[0]
    return told


def _ridge(
    x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"], asked: Float[np.ndarray, "m p"]
) -> Float[np.ndarray, "ridges m q"]:
    """Fitted to x and y, told of `asked`, for each of RIDGES."""
    middle, mean = x.mean(0), y.mean(0)
    inside = x - middle
    square, cross = inside.T @ inside / len(x), inside.T @ (y - mean) / len(x)
    same = np.eye(x.shape[1])
    return np.stack([(asked - middle) @ np.linalg.solve(square + ridge * same, cross) + mean for ridge in RIDGES])


def _alike(known: Bool[np.ndarray, "n q"]) -> list[Int[np.ndarray, " c"]]:
    """Columns that are defined at the same moments, together."""
    groups: dict[bytes, list[int]] = {}
    for column in range(known.shape[1]):
        groups.setdefault(np.packbits(known[:, column]).tobytes(), []).append(column)
    return [np.array(columns) for columns in groups.values()]


def pearson(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"]) -> Float[np.ndarray, "p q"]:
    """Correlation of each column of x with each of y where that is defined; 0 for a column that never changes."""
    out = np.zeros((x.shape[1], y.shape[1]))
    for columns in _alike(~np.isnan(y)):
        known = ~np.isnan(y[:, columns[0]])
        if known.sum() > 1:
            a, b = Scale.of(x[known])(x[known]), Scale.of(y[known][:, columns])(y[known][:, columns])
            out[:, columns] = a.T @ b / known.sum()
    return out


def judged(
    told: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], sides: Sides, rng: np.random.Generator
) -> Correlation:
    """Correlation on the held-out moments where both are defined, with an interval over held-out episodes."""
    rows = sides.held & ~np.isnan(told) & ~np.isnan(y)
    sums = _sums(told[rows], y[rows], sides.episode[rows])
    if not len(sums):
        return Correlation(np.nan, np.nan, np.nan)
    value = float(_correlation(sums.sum(0)[None])[0])
    if len(sums) < 2 or np.isnan(value):
        return Correlation(value, np.nan, np.nan)
    drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
    resampled = _correlation(sums[drawn].sum(1))
    low, high = np.nanquantile(resampled, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Correlation(value, float(low), float(high))


def _sums(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], episode: Int[np.ndarray, " n"]) -> np.ndarray:
    """Per episode: how many, and the sums of a, b, a a, b b, a b. Centred first, against cancellation."""
    a, b = (each - each.mean() if len(each) else each for each in (a, b))
    parts: Sequence[np.ndarray] = (np.ones_like(a), a, b, a * a, b * b, a * b)
    names, place = np.unique(episode, return_inverse=True)
    return np.stack([np.bincount(place, part, len(names)) for part in parts], 1) if len(names) else np.zeros((0, 6))


def _correlation(sums: Float[np.ndarray, "m 6"]) -> Float[np.ndarray, " m"]:
    count, a, b, aa, bb, ab = sums.T
    spread = np.sqrt(np.maximum(aa - a * a / count, 0) * np.maximum(bb - b * b / count, 0))
    scale = np.sqrt(aa * bb)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-12 * np.maximum(scale, 1e-300), (ab - a * b / count) / spread, np.nan)
