"""Resizing means areas."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodels.env.area import resize


@pytest.mark.parametrize(("source", "target"), [((21, 16), (8, 6)), ((70, 48), (32, 20)), ((9, 8), (3, 4))])
def test_each_new_pixel_is_the_mean_of_the_area_it_covers(source, target):
    frame = np.random.default_rng(0).integers(0, 256, (*source, 3)).astype(np.uint8)
    # Blow every pixel up so that the new pixels' edges fall on whole ones, then average blocks.
    fine = frame.repeat(target[0], 0).repeat(target[1], 1).astype(np.float64)
    mean = fine.reshape(target[0], source[0], target[1], source[1], 3).mean((1, 3))
    assert np.abs(resize(frame, *target) - mean).max() <= 0.5 + 1e-4


def test_growing_repeats_pixels_and_one_side_may_grow_while_the_other_shrinks():
    frame = np.arange(8, dtype=np.uint8).reshape(2, 4, 1) * 10
    np.testing.assert_array_equal(resize(frame, 4, 4), frame.repeat(2, 0))
    assert resize(frame, 4, 2)[..., 0].tolist() == [[5, 25], [5, 25], [45, 65], [45, 65]]


def test_the_same_size_is_the_same_frame():
    frame = np.random.default_rng(1).integers(0, 256, (5, 7, 2)).astype(np.uint8)
    np.testing.assert_array_equal(resize(frame, 5, 7), frame)
