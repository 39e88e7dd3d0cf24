from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.evaluation.film import BLIND, SEEING, Shot, curve, film, filmable, shoot, strip
from worldmodels.ops import picture

WIDTH = 6
PLANES = ArraySpec((4, WIDTH, 1), "bool", "planes")


@dataclass(frozen=True)
class Column(Belief):
    at: Tensor  # (B,)


@dataclass
class Dot:
    """Knows where a dot is, and, if `moves`, that it goes one column to the right at each step."""

    moves: bool = True
    spec: EnvSpec = EnvSpec("dot", {"grid": PLANES}, 2)  # noqa: RUF009 (frozen)

    def initial(self, batch):
        return Column(torch.zeros(batch, dtype=torch.long))

    def encode(self, obs):
        return obs["grid"][..., 0, :, 0].float()

    def observe(self, belief, action, embed, *, rng=None):
        return Column(embed.argmax(-1))

    def imagine(self, belief, action, *, rng=None):
        return Column((belief.at + self.moves) % WIDTH)

    def decode(self, belief):
        grid = F.one_hot(belief.at, WIDTH).float()[..., None, :, None]
        return Prediction({"grid": grid.expand(*grid.shape[:-3], 4, WIDTH, 1)})


def batch(rows: int = 3, steps: int = 7) -> Batch:
    at = (torch.arange(steps + 1) + torch.arange(rows)[:, None]) % WIDTH
    grid = F.one_hot(at, WIDTH).bool()[:, :, None, :, None].expand(-1, -1, 4, -1, -1)
    blank, first = torch.zeros(rows, steps, dtype=torch.bool), torch.zeros(rows, steps + 1, dtype=torch.bool)
    return Batch({"grid": grid}, blank.long(), torch.zeros(rows, steps), blank, blank, first, ~blank)


def shot(moves: bool = True, rows: int = 3, **options) -> Shot:
    return shoot(Dot(moves), batch(rows), context=3, horizon=5, rng=torch.Generator(), **options)


def test_a_perfect_model_is_filmed_without_difference():
    assert (shot().imagined == shot().real).all()
    assert (shot().error == 0).all()


def test_a_model_that_stands_still_errs_only_after_its_eyes_close():
    error = shot(moves=False).error
    assert (error[:, :3] == 0).all()
    assert (error[:, 3:] > 0).all()


def test_windows_that_stay_in_their_episode_are_filmed_first():
    windows = batch()
    mask = windows.mask.clone()
    mask[0, 4], mask[2, 6] = False, False
    found = shoot(Dot(), replace(windows, mask=mask), context=3, horizon=5, rng=torch.Generator(), windows=2)
    np.testing.assert_array_equal(found.real[0], windows.obs["grid"][1].numpy())
    np.testing.assert_array_equal(found.real[1], windows.obs["grid"][2].numpy())
    assert found.valid.sum(1).tolist() == [8, 7]
    assert np.isnan(found.error[1, -1])


def test_an_observation_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="one of grid"):
        shot(name="image")


def colours(frame: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.unique(frame.reshape(-1, 3), axis=0).tolist()}


def test_the_film_has_a_frame_per_moment_and_marks_where_the_eyes_close():
    frames = film(shot(), size=48)
    assert len(frames) == 8
    for m, frame in enumerate(frames):
        assert (BLIND in colours(frame)) == (m >= 3)
    border = [frame[frame.shape[0] // 2] for frame in frames]  # a row of pixels through the imagined pictures
    assert [SEEING in colours(line) for line in border] == [True] * 3 + [False] * 5
    assert [BLIND in colours(line) for line in border] == [False] * 3 + [True] * 5


def test_the_real_picture_is_in_the_film_as_it_was():
    taken = shot(moves=False, rows=1)
    frames = film(taken, size=48)
    drawn = picture.fit(picture.draw(PLANES, taken.real[0]), 48)
    for m in (0, 7):
        found = np.lib.stride_tricks.sliding_window_view(frames[m], drawn[m].shape)[:, :, 0]
        assert (found == drawn[m]).all((2, 3, 4)).any()


def test_what_comes_after_the_end_of_an_episode_is_dim():
    taken = shot()
    valid = taken.valid.copy()
    valid[:, 6:] = False
    frames = film(replace(taken, valid=valid), size=48)
    light = tuple(picture.palette(1)[0].astype(int).tolist())
    assert light in colours(frames[5])
    assert light not in colours(frames[6])


def test_the_curve_grows_with_time_and_changes_colour_with_the_eyes():
    values = np.linspace(0.2, 1, 10)
    panel = curve(values, context=4, width=60, height=30)
    drawn = [(panel[m] != curve(values * np.nan, 4, 60, 30)[0]).any((0, 2)) for m in range(10)]
    assert (np.diff([columns.sum() for columns in drawn]) > 0).all()
    assert drawn[-1].all()
    assert SEEING in colours(panel[0])
    assert BLIND not in colours(panel[3])
    assert BLIND in colours(panel[4])


def test_a_higher_error_is_drawn_higher():
    panel = curve(np.array([0.0, 0.5, 1.0]), context=1, width=31, height=41)[-1]
    ground = curve(np.full(3, np.nan), context=1, width=31, height=41)[-1]
    heights = (panel != ground).any(-1).sum(0)
    assert (np.diff(heights[1:]) >= 0).all()
    assert heights[-1] >= 39
    assert heights[15] == pytest.approx(20, abs=2)


def test_moments_without_an_episode_leave_the_curve_empty():
    panel = curve(np.array([0.5, 0.5, np.nan, np.nan]), context=1, width=40, height=20)[-1]
    empty = curve(np.full(4, np.nan), context=1, width=40, height=20)[-1]
    assert (panel[:, :18] != empty[:, :18]).any()
    assert (panel[:, 22:] == empty[:, 22:]).all()


@pytest.mark.parametrize(
    "spec",
    [
        ArraySpec((16, 16, 3), "uint8", "image"),
        ArraySpec((8, 8, 4), "uint8", "image"),
        ArraySpec((5, 5, 2), "uint8", "symbols", (4, 3)),
        ArraySpec((3,), "float32"),
        ArraySpec((10, 10, 6), "bool", "planes"),
    ],
    ids=lambda spec: f"{spec.kind}{spec.shape[-1]}",
)
def test_any_kind_of_observation_can_be_filmed(spec):
    rng = np.random.default_rng(0)
    limit = np.array(spec.classes or (255 if spec.kind == "image" else 2))
    real = rng.integers(0, limit, (2, 6, *spec.shape)).astype(spec.dtype)
    imagined = real.astype(np.float32) / (255 if spec.kind == "image" else 1)
    taken = Shot(spec, real, imagined, 2, np.ones((2, 6), bool))
    np.testing.assert_allclose(taken.error, 0, atol=1e-12)
    assert film(taken).shape[0] == 6
    assert strip(taken).ndim == 3
    assert picture.encode_gif(film(taken))[:6] == b"GIF89a"


def test_the_strip_begins_with_the_last_moment_seen_and_ends_with_the_last_imagined():
    taken = shot(moves=False, rows=1)
    page = strip(taken, moments=3, size=24)
    for m, there in ((2, True), (7, True), (0, False)):
        drawn = picture.fit(picture.draw(PLANES, taken.real[0, m]), 24)
        found = np.lib.stride_tricks.sliding_window_view(page, drawn.shape)[:, :, 0]
        assert (found == drawn).all((2, 3, 4)).any() == there


def test_what_is_not_decoded_can_not_be_filmed():
    class Blind(Dot):
        def decode(self, belief):
            return Prediction(None, torch.zeros(len(belief.at)))

    assert filmable(Dot(), "grid")
    assert not filmable(Dot(), "sound")
    assert not filmable(Blind(), "grid")
    with pytest.raises(ConfigError, match="decoder"):
        shoot(Blind(), batch(), context=3, horizon=4, rng=torch.Generator())
