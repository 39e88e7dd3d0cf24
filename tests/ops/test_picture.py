import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from worldmodels.core.errors import SpecError
from worldmodels.core.spec import ArraySpec
from worldmodels.ops import picture

PLANES = ArraySpec((3, 4, 5), "bool", "planes")
RNG = np.random.default_rng(0)


def decode(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def test_images_are_drawn_as_they_are():
    image = RNG.integers(0, 256, (2, 6, 7, 3), dtype=np.uint8)
    spec = ArraySpec((6, 7, 3), "uint8", "image")
    np.testing.assert_array_equal(picture.draw(spec, image), image)
    np.testing.assert_array_equal(picture.draw(spec, image / np.float32(255)), image)


def test_of_a_grey_stack_the_last_frame_is_drawn():
    stack = RNG.integers(0, 256, (2, 6, 7, 4), dtype=np.uint8)
    frames = picture.draw(ArraySpec((6, 7, 4), "uint8", "image"), stack)
    np.testing.assert_array_equal(frames, np.repeat(stack[..., 3:], 3, -1))


def test_each_plane_has_a_colour_and_shared_cells_one_of_their_own():
    cells = np.zeros((32, 3, 4, 5), bool)
    cells[:, 0, 0] = (np.arange(32)[:, None] >> np.arange(5)) & 1
    colours = picture.draw(PLANES, cells)[:, 0, 0]
    assert len(np.unique(colours, axis=0)) == 32
    assert (colours[0] == picture.GROUND).all()


def test_a_probability_fades_from_the_ground_to_the_plane():
    shares = np.zeros((11, 3, 4, 5), np.float32)
    shares[:, 0, 0, 2] = np.linspace(0, 1, 11)
    drawn = picture.draw(PLANES, shares)[:, 0, 0].astype(float)
    expected = picture.GROUND + np.linspace(0, 1, 11)[:, None] * (picture.palette(5)[2] - picture.GROUND)
    np.testing.assert_allclose(drawn, expected, atol=1)


def test_probabilities_beyond_their_range_do_not_wrap_around():
    bright = picture.draw(PLANES, np.full((3, 4, 5), 1.7, np.float32))
    np.testing.assert_array_equal(bright, picture.draw(PLANES, np.ones((3, 4, 5), bool)))


def test_symbols_are_told_apart_and_each_channel_has_its_panel():
    spec = ArraySpec((1, 4, 2), "uint8", "symbols", (4, 2))
    drawn = picture.draw(spec, np.array([[[0, 0], [1, 1], [2, 0], [3, 1]]], np.uint8))
    assert drawn.shape == (1, 9, 3)
    assert len(np.unique(drawn[0, :4], axis=0)) == 4
    assert len(np.unique(drawn[0, 5:], axis=0)) == 2


def test_bars_grow_with_the_number_and_point_its_way():
    spec = ArraySpec((4,), "float32")
    drawn = picture.draw(spec, np.array([-1000, 0, 0.3, 1000], np.float32))
    filled = (np.abs(drawn.astype(int) - picture.GROUND) > 60).any(-1)
    above, below = filled[:12, ::3].sum(0), filled[13:, ::3].sum(0)
    assert above.tolist() == sorted(above)
    assert below[0] > 8
    assert below[1:].sum() == 0
    assert above[3] > above[2] > 0


@pytest.mark.parametrize("shape", [(), (3,), (200,), (4, 30)])
def test_any_vector_can_be_drawn_with_any_leading_axes(shape):
    spec = ArraySpec(shape, "float32")
    assert picture.draw(spec, spec.zeros()).ndim == 3
    assert picture.draw(spec, spec.zeros(2, 5)).shape[:2] == (2, 5)


def test_an_array_of_another_shape_is_refused():
    with pytest.raises(SpecError, match="3, 4, 5"):
        picture.draw(PLANES, np.zeros((3, 4, 6), bool))


def test_the_palette_never_repeats_a_colour():
    assert len(np.unique(picture.palette(36), axis=0)) == 36


def test_enlarging_keeps_square_pixels():
    frame = RNG.integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    large = picture.enlarge(frame, 5)
    assert large.shape == (2, 15, 20, 3)
    np.testing.assert_array_equal(large[:, 2::5, 2::5], frame)
    assert picture.fit(frame, 21).shape == (2, 15, 20, 3)
    assert picture.fit(frame, 1).shape == frame.shape


def test_frames_stand_beside_and_above_each_other_whatever_their_size():
    one, other = np.full((7, 3, 4, 3), 9, np.uint8), np.full((5, 6, 3), 8, np.uint8)
    wide, tall = picture.beside([one, other], gap=2), picture.above([one, other], gap=1)
    assert wide.shape == (7, 5, 12, 3)
    assert tall.shape == (7, 9, 6, 3)
    np.testing.assert_array_equal(wide[:, :3, :4], one)
    np.testing.assert_array_equal(wide[3, :, 6:], other)
    np.testing.assert_array_equal(tall[2, 4:], other)


def test_a_caption_is_legible_and_leaves_the_frames_alone():
    frames = np.full((2, 10, 80, 3), 77, np.uint8)
    titled = picture.caption(frames, "real")
    np.testing.assert_array_equal(titled[:, -10:], frames)
    assert titled[:, :-10].max() > 200
    assert picture.caption(frames, "a line that is far too long for its frames").shape[2] == 80


def test_a_sheet_shows_every_frame_between_borders():
    frames = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    page = picture.sheet(frames, columns=2)
    assert page.shape == (3 * 3 + 1, 2 * 4 + 1, 3)
    np.testing.assert_array_equal(page[7:9, 1:4], frames[4])
    assert (page[0] == page[-1]).all()


def test_png_keeps_every_pixel():
    frame = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(picture.encode_png(frame))[0], frame)


def test_gif_keeps_pixel_art_exactly_and_every_frame():
    colours = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    frames = colours[RNG.integers(0, 256, (6, 20, 30))]
    np.testing.assert_array_equal(decode(picture.encode_gif(frames, fps=10.0)), frames)


def test_gif_of_many_colours_stays_close():
    y, x = np.mgrid[:64, :64].astype(np.uint8) * 4
    frames = np.stack([np.stack([y, x, np.full_like(x, 40 * t)], -1) for t in range(5)])
    error = np.abs(decode(picture.encode_gif(frames)).astype(int) - frames).mean()
    assert error < 8


def test_gif_plays_for_ever_at_its_speed():
    frames = RNG.integers(0, 9, (3, 4, 5, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(picture.encode_gif(frames, fps=10.0))) as image:
        assert image.info["duration"] == 100
        assert image.info["loop"] == 0
