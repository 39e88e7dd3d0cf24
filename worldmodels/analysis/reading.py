"""What features tell of variables: each by lines, each by one feature, and all together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from worldmodels.analysis import cca
from worldmodels.analysis.linear import Correlation, Scale, Sides, judged, pearson, readout, reduce
from worldmodels.analysis.variables import Variables


@dataclass(frozen=True)
class Reading:
    """Of one set of features; all correlations are on held-out episodes.

    readout: of each variable with its ridge regression. single: of each with the one feature that goes with it most
    where it was fitted, turned so that it was positive there; `feature` is its number. typical: the mean over all
    features of how much each goes with each variable, without sign. canonical: of the pairs of directions, strongest
    first; `loadings` correlate each variable with the features' side of each pair.
    """

    readout: tuple[Correlation, ...]
    single: tuple[Correlation, ...]
    feature: Int[np.ndarray, " V"]
    typical: Float[np.ndarray, " V"]
    canonical: Float[np.ndarray, " K"]
    loadings: Float[np.ndarray, "V K"]


def read(
    x: Float[np.ndarray, "n p"], found: Variables, sides: Sides, components: int, rng: np.random.Generator
) -> Reading:
    y = found.values
    scaled = Scale.of(x[sides.fit].astype(np.float64))(x)
    inside = reduce(scaled, sides.fit, components, rng)
    told = readout(inside, y, sides)
    fitted = pearson(scaled[sides.fit], y[sides.fit])
    best = np.abs(fitted).argmax(0)
    turned = np.sign(fitted[best, np.arange(len(best))])
    whole = np.where(np.isnan(y), _means(y[sides.fit]), y)
    pairs = cca.chosen(inside, whole, sides)
    held = sides.held
    variates = pairs.variates(inside[held], whole[held])[0]
    return Reading(
        tuple(judged(told[:, at], y[:, at], sides, rng) for at in range(y.shape[1])),
        tuple(judged(scaled[:, best[at]] * turned[at], y[:, at], sides, rng) for at in range(y.shape[1])),
        best,
        np.abs(pearson(scaled[held], y[held])).mean(0),
        pairs.correlations(inside[held], whole[held]),
        pearson(variates, y[held]).T,
    )


def _means(y: Float[np.ndarray, "n V"]) -> Float[np.ndarray, " V"]:
    """Of each column where it is defined; 0 where it never is: what is seen on held-out episodes alone fits nothing."""
    known = ~np.isnan(y)
    return np.where(known, y, 0).sum(0) / np.maximum(known.sum(0), 1)


def shuffled(found: Variables, rng: np.random.Generator) -> Variables:
    """The variables of other moments: shifted in a circle by a tenth to nine tenths of all.

    Unlike a permutation this keeps how slowly each of them changes, and so how well chance can do.
    """
    n = len(found.values)
    return replace(found, values=np.roll(found.values, int(rng.integers(n // 10, n - n // 10)), 0))
