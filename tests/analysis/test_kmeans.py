"""k-means and its measures against naive loops and cases that are plain to see."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodels.analysis.kmeans import explained, kmeans, silhouette


def blobs(sizes: list[int], apart: float = 20.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(sizes)), sizes)
    centre = np.stack([[apart * k, -apart * k * k, 0] for k in range(len(sizes))])
    return centre[label] + rng.standard_normal((len(label), 3)), label


@pytest.mark.parametrize("seed", range(4))
def test_blobs_that_lie_apart_are_found_the_largest_first(seed: int):
    x, label = blobs([20, 50, 30])
    found = kmeans(x, 3, np.random.default_rng(seed))
    assert np.bincount(found.label).tolist() == [50, 30, 20]
    assert np.array_equal(found.label, np.array([2, 0, 1])[label])
    means = np.stack([x[found.label == k].mean(0) for k in range(3)])
    assert found.centre == pytest.approx(means)
    naive = sum(float(((x[i] - means[found.label[i]]) ** 2).sum()) for i in range(len(x)))
    assert found.inertia == pytest.approx(naive)


def test_restarts_never_make_it_worse_and_the_seed_decides():
    x = np.random.default_rng(0).standard_normal((300, 4))
    once, often = (kmeans(x, 9, np.random.default_rng(5), restarts=n).inertia for n in (1, 8))
    assert often <= once
    again = kmeans(x, 9, np.random.default_rng(5), restarts=1)
    assert again.inertia == once


def test_more_clusters_than_different_points_leave_some_empty():
    x = np.repeat(np.array([[0.0, 0.0], [3.0, 4.0]]), 5, 0)
    found = kmeans(x, 4, np.random.default_rng(0))
    assert found.inertia == pytest.approx(0)
    assert len(np.unique(found.label)) == 2


def test_silhouette_is_rousseeuws():
    x, label = blobs([9, 7, 5, 1], apart=1.5)
    scores = []
    for i in range(len(x)):
        far = [
            [float(np.linalg.norm(x[i] - x[j])) for j in range(len(x)) if label[j] == k and j != i] for k in range(4)
        ]
        if not far[label[i]]:
            scores.append(0.0)
            continue
        a = sum(far[label[i]]) / len(far[label[i]])
        b = min(sum(far[k]) / len(far[k]) for k in range(4) if k != label[i])
        scores.append((b - a) / max(a, b))
    assert silhouette(x, label, np.random.default_rng(0)) == pytest.approx(sum(scores) / len(scores), abs=1e-6)


def test_silhouette_of_a_sample_is_near_that_of_all_and_of_one_cluster_nothing():
    x, label = blobs([300, 300], apart=4)
    whole = silhouette(x, label, np.random.default_rng(0))
    assert silhouette(x, label, np.random.default_rng(0), most=200) == pytest.approx(whole, abs=0.05)
    assert np.isnan(silhouette(x, np.zeros(600, int), np.random.default_rng(0)))


def test_variance_between_clusters_is_a_share_of_what_is_defined():
    label = np.array([0, 0, 1, 1, 2, 2])
    y = np.array([[1.0, 1, 5], [1, 3, 5], [4, np.nan, 5], [4, np.nan, 5], [9, 7, 5], [9, 9, 5]])
    found = explained(label, y)
    between = 2 * (2 - 5) ** 2 + 2 * (8 - 5) ** 2
    total = (1 - 5) ** 2 + (3 - 5) ** 2 + (7 - 5) ** 2 + (9 - 5) ** 2
    assert found[:2] == pytest.approx([1.0, between / total])
    assert np.isnan(found[2])
