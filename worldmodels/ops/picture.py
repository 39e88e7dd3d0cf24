"""Arrays as pictures that a person can read. Numpy only; frames are uint8 (..., height, width, 3).

`draw` knows the kinds of arrays; the rest puts frames together and turns them into files.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer, Real, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from worldmodels.core.errors import SpecError
from worldmodels.core.spec import ArraySpec

Frames = UInt8[np.ndarray, "... _h _w 3"]

GROUND = np.array([22, 25, 31], np.uint8)  # behind everything
INK = (232, 232, 228)
# Okabe & Ito's colours and some of Paul Tol's, ordered for contrast on the dark ground: eyes of all kinds tell them
# apart. The first is light, for the first plane or class is, as a rule, the player.
COLOURS = np.array(
    [
        (242, 242, 236), (222, 92, 20), (86, 180, 233), (240, 228, 66), (0, 158, 115), (204, 121, 167),
        (38, 110, 200), (230, 159, 0), (153, 153, 153), (255, 170, 187), (170, 170, 0), (136, 64, 120),
    ],
    np.float32,
)  # fmt: skip
HEAT = np.array([(22, 25, 31), (87, 35, 110), (188, 55, 84), (249, 142, 9), (252, 255, 190)], np.float32)
COLD_TO_WARM = np.array([(60, 140, 230), (22, 25, 31), (240, 130, 40)], np.float32)


def draw(spec: ArraySpec, array: Shaped[np.ndarray, "..."]) -> Frames:
    """Frames (..., H, W, 3) of arrays (..., *spec.shape), as stored or as a model predicts them (floats).

    Images appear as they are (of a stack, the last frame); planes each in a colour, mixed where several share a cell,
    faint where a probability is low; symbols in colours, one panel per channel; vectors as bars about a middle line.
    """
    if array.shape[array.ndim - len(spec.shape) :] != spec.shape:
        raise SpecError(f"an array of shape {array.shape}", f"(..., {', '.join(map(str, spec.shape))})", "check kind")
    painter = {"image": _image, "planes": _planes, "symbols": _symbols, "vector": _vector}[spec.kind]
    leading = array.shape[: array.ndim - len(spec.shape)]
    frames = painter(spec, array.reshape(-1, *spec.shape))
    return frames.reshape(*leading, *frames.shape[1:])


def palette(count: int) -> Float[np.ndarray, "count 3"]:
    """Colours that are told apart; from the thirteenth on they come again, darker."""
    shades = [COLOURS * 0.6**i for i in range(-(-count // len(COLOURS)))]
    return np.concatenate([*shades, np.zeros((0, 3), np.float32)])[:count]


def _image(spec: ArraySpec, array: Real[np.ndarray, "n h w c"]) -> Frames:
    colours = spec.shape[-1] % 3 == 0
    last = array[..., -3:] if colours else np.repeat(array[..., -1:], 3, -1)
    return last if last.dtype == np.uint8 else _to_bytes(last * 255.0)


def _planes(spec: ArraySpec, array: Shaped[np.ndarray, "n h w c"]) -> Frames:
    share = np.clip(array.astype(np.float32), 0, 1)
    total = share.sum(-1, keepdims=True)
    mixed = share @ palette(spec.shape[-1]) / np.maximum(total, 1)
    return _to_bytes(mixed + np.maximum(1 - total, 0) * GROUND)


def _symbols(spec: ArraySpec, array: Real[np.ndarray, "n h w c"]) -> Frames:
    symbols = np.rint(array).astype(np.int64)
    panels: list[np.ndarray] = []
    for channel, count in enumerate(spec.classes):
        colours = np.concatenate([GROUND[None].astype(np.float32), palette(count - 1)])
        panels.append(_to_bytes(colours[np.clip(symbols[..., channel], 0, count - 1)]))
    return beside(panels, gap=1)


def _vector(spec: ArraySpec, array: Shaped[np.ndarray, "n ..."]) -> Frames:
    """Bars of x / (1 + |x|), so that any number fits; a grid of cold and warm cells if there are more than 64."""
    flat = array.reshape(len(array), spec.size).astype(np.float32)
    squashed = flat / (1 + np.abs(flat))
    if spec.size > 64:
        width = int(np.ceil(np.sqrt(spec.size)))
        cells = np.pad(squashed, ((0, 0), (0, -spec.size % width)))
        return ramp(cells.reshape(len(array), -1, width) / 2 + 0.5, COLD_TO_WARM)
    height = np.linspace(1, -1, 25)[:, None]  # of each row, the middle one is 0
    bars = squashed[:, None, :]
    filled = np.where(bars > 0, (height >= 0) & (height <= bars), (height <= 0) & (height >= bars))
    tone = np.where(filled, np.where(height >= 0, 1.0, 0.0), 0.5) + np.where(np.abs(height) < 0.01, 0.15, 0.0)
    wide = np.repeat(ramp(tone.clip(0, 1), COLD_TO_WARM), 3, axis=2)
    wide[:, :, 2::3] = GROUND  # a gap between bars
    return wide


def ramp(values: Real[np.ndarray, "*n"], stops: Float[np.ndarray, "k 3"] = HEAT) -> UInt8[np.ndarray, "*n 3"]:
    """Values in [0, 1] as colours along evenly spaced stops."""
    at = np.linspace(0, 1, len(stops))
    return _to_bytes(np.stack([np.interp(values, at, stops[:, channel]) for channel in range(3)], -1))


def enlarge(frames: Frames, factor: int) -> Frames:
    """Every pixel as a square of factor x factor."""
    return frames.repeat(factor, -3).repeat(factor, -2)


def fit(frames: Frames, size: int) -> Frames:
    """Enlarged by the whole factor that brings the longer side closest to size without passing it, if there is one."""
    return enlarge(frames, max(1, size // max(frames.shape[-3:-1])))


def pad(frames: Frames, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> Frames:
    """Frames with margins of the ground colour."""
    *leading, height, width, _ = frames.shape
    out = np.broadcast_to(GROUND, (*leading, height + top + bottom, width + left + right, 3)).copy()
    out[..., top : top + height, left : left + width, :] = frames
    return out


def beside(frames: Sequence[Frames], gap: int = 2) -> Frames:
    """Frames from left to right, at the top where their heights differ. Leading axes broadcast."""
    height = max(frame.shape[-3] for frame in frames)
    leading = np.broadcast_shapes(*(frame.shape[:-3] for frame in frames))
    parts = [pad(f, bottom=height - f.shape[-3], right=gap * (f is not frames[-1])) for f in frames]
    return np.concatenate([np.broadcast_to(part, (*leading, *part.shape[-3:])) for part in parts], -2)


def above(frames: Sequence[Frames], gap: int = 2) -> Frames:
    """Frames from top to bottom, at the left where their widths differ. Leading axes broadcast."""
    return beside([frame.swapaxes(-3, -2) for frame in frames], gap).swapaxes(-3, -2)


def text(words: str, size: int = 12, colour: tuple[int, int, int] = INK) -> UInt8[np.ndarray, "h w 3"]:
    """One line of text on the ground; its height depends on size alone."""
    font = ImageFont.load_default(size)
    canvas = Image.new("RGB", (int(font.getlength(words)) + 2, size + 4), tuple(GROUND.tolist()))
    ImageDraw.Draw(canvas).text((1, 1), words, fill=colour, font=font)
    return np.asarray(canvas)


def caption(frames: Frames, words: str, size: int = 12) -> Frames:
    """Frames under a line of text, which is cut where they end."""
    return above([text(words, size)[:, : frames.shape[-2]], frames])


def sheet(frames: UInt8[np.ndarray, "n h w 3"], columns: int, gap: int = 1) -> UInt8[np.ndarray, "H W 3"]:
    """A contact sheet: n frames in rows, with thin borders."""
    count, height, width, _ = frames.shape
    rows = -(-count // columns)
    out = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 70, np.uint8)
    for i, frame in enumerate(frames):
        y, x = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        out[y : y + height, x : x + width] = frame
    return out


def encode_png(frame: UInt8[np.ndarray, "h w 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def encode_gif(frames: UInt8[np.ndarray, "n h w 3"], fps: float = 8) -> bytes:
    """An endless film. Up to 256 colours are kept exactly; of more, the nearest, without dithering (it flickers)."""
    indices, colours = _index(frames)
    images = [Image.fromarray(index) for index in indices]
    for image in images:
        image.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    # GIF counts in hundredths of a second, and viewers slow down what is shorter than two.
    duration = max(20, 10 * round(100 / fps))
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=False, disposal=1
    )
    return buffer.getvalue()


def _index(frames: UInt8[np.ndarray, "n h w 3"]) -> tuple[UInt8[np.ndarray, "n h w"], UInt8[np.ndarray, "k 3"]]:
    """Frames as indices into one palette of at most 256 colours."""
    red, green, blue = np.moveaxis(frames.astype(np.int32), -1, 0)
    codes = red << 16 | green << 8 | blue
    table = np.zeros(1 << 24, np.int32)  # much faster than to sort millions of pixels
    table[codes] = 1
    unique = np.flatnonzero(table)
    table[unique] = np.arange(len(unique))
    inverse = table[codes]
    colours = _split(unique)
    choice: Integer[np.ndarray, " u"] = np.arange(len(unique))
    if len(unique) > 256:
        colours, choice = _reduce(colours, np.bincount(inverse.ravel()))
    return choice.astype(np.uint8)[inverse], colours


def _reduce(
    colours: UInt8[np.ndarray, "u 3"], counts: Integer[np.ndarray, " u"]
) -> tuple[UInt8[np.ndarray, "k 3"], Integer[np.ndarray, " u"]]:
    """256 colours in place of many, and which of them stands for each."""
    # The root of how often it occurs, so that a small thing keeps its colour beside a large ground.
    often = np.maximum(1, np.sqrt(counts / counts.max()) * 50).astype(np.int64)
    swatch = Image.fromarray(np.repeat(colours, often, axis=0)[None])
    # Of Pillow's methods this one had the smallest largest error, on pixel art and on procgen alike.
    best = swatch.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2)
    few = np.frombuffer(bytes(best.getpalette() or []), np.uint8).reshape(-1, 3)
    nearest = [
        np.abs(part[:, None].astype(np.int32) - few[None]).sum(-1).argmin(-1)
        for part in np.array_split(colours, -(-len(colours) // 1024))
    ]
    return few, np.concatenate(nearest)


def _split(codes: Integer[np.ndarray, " u"]) -> UInt8[np.ndarray, "u 3"]:
    return np.stack([codes >> 16 & 255, codes >> 8 & 255, codes & 255], -1).astype(np.uint8)


def _to_bytes(values: Real[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
