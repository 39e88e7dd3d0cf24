"""Whether latents fall into groups, and what the groups have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from worldmodels.analysis.kmeans import Clusters, distances, explained, kmeans, silhouette
from worldmodels.analysis.linear import reduce
from worldmodels.analysis.moments import Moments
from worldmodels.core.spec import ArraySpec
from worldmodels.ops import picture

COMPONENTS = 50  # principal components that distances are taken in
EXAMPLES = 6
HEIGHT = 84  # pixels of a frame, at most, unless it has more


@dataclass(frozen=True)
class Groups:
    """Clusters of one set of features for one k.

    spread: inertia as a share of the variance. explained: eta squared of each variable.
    """

    clusters: Clusters
    spread: float
    silhouette: float
    explained: Float[np.ndarray, " V"]


def inside(x: Float[np.ndarray, "n p"], rng: np.random.Generator) -> Float[np.ndarray, "n c"]:
    """Where distances are taken: the features themselves, not standardised (rare classes of z would rule), reduced."""
    return reduce(x.astype(np.float64), np.ones(len(x), bool), COMPONENTS, rng)


def cloud(x: Float[np.ndarray, "n c"], rng: np.random.Generator) -> Float[np.ndarray, "n c"]:
    """One normal cloud with the same covariance: what k-means finds in it are no groups.

    The reference of a gap statistic: Tibshirani et al. (2001), sec. 4, with a normal in place of a box.
    """
    value, vector = np.linalg.eigh(np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]))
    return rng.standard_normal(x.shape) * np.sqrt(np.maximum(value, 0)) @ vector.T


def group(
    x: Float[np.ndarray, "n c"], y: Float[np.ndarray, "n V"], k: int, restarts: int, rng: np.random.Generator
) -> Groups:
    clusters = kmeans(x, k, rng, restarts)
    variance = float(np.square(x - x.mean(0)).sum())
    spread = clusters.inertia / max(variance, 1e-300)
    return Groups(clusters, spread, silhouette(x, clusters.label, rng), explained(clusters.label, y))


def sheet(
    moments: Moments, x: Float[np.ndarray, "n c"], clusters: Clusters, episode: Int[np.ndarray, " n"]
) -> UInt8[np.ndarray, "h w 3"]:
    """A row for each cluster: its share, its mean frame, and the frames nearest to its centre, each of another episode.

    Of symbols the most frequent stands for the mean.
    """
    name = max(moments.obs, key=lambda key: moments.obs[key].ndim)
    array, seen = moments.spec.obs[name], moments.obs[name]
    apart = distances(x, clusters.centre)
    rows: list[np.ndarray] = []
    for k in range(len(clusters.centre)):
        members = np.flatnonzero(clusters.label == k)
        if not len(members):
            continue
        near = members[np.argsort(apart[members, k], kind="stable")]
        _, fresh = np.unique(episode[near], return_index=True)
        near = near[np.sort(fresh)][:EXAMPLES]
        shown = np.stack([_mean(array, seen[members]), *_scaled(array, seen[near])])
        frames = picture.draw(array, shown)
        frames = picture.enlarge(frames, max(1, HEIGHT // frames.shape[-3]))
        blank = np.broadcast_to(picture.GROUND, (EXAMPLES + 1 - len(frames), *frames.shape[1:]))
        cells = [picture.pad(cell, right=10 * (at == 0)) for at, cell in enumerate(np.concatenate([frames, blank]))]
        words = picture.text(f"{k + 1}:  {len(members) / len(x):.1%}")
        label = picture.pad(words, right=max(0, 84 - words.shape[1]))
        rows.append(picture.beside([label, *cells], gap=4))
    titles = picture.beside(
        [picture.pad(picture.text("cluster"), right=40), picture.text("mean frame, then those nearest to the centre")]
    )
    return picture.pad(picture.above([titles, *rows], gap=6), 8, 8, 8, 8)


def _scaled(array: ArraySpec, frames: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """As `picture.draw` takes predictions: colours in [0, 1]."""
    return frames / 255 if array.kind == "image" else frames.astype(np.float64)


def _mean(array: ArraySpec, seen: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "..."]:
    if array.kind == "symbols":
        counts = np.stack([(seen == symbol).sum(0) for symbol in range(max(array.classes))])
        return counts.argmax(0).astype(np.float64)
    return _scaled(array, seen.mean(0, dtype=np.float64))
