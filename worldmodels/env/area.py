"""Shrink and enlarge frames as the field's Atari papers do, without OpenCV."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import UInt8


@cache
def _taps(source: int, target: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each tap k: which source index, and with which float32 weight, each target index takes."""
    scale = source / target
    index, weight = [[] for _ in range(target)], [[] for _ in range(target)]
    for i in range(target):
        start, end = i * scale, (i + 1) * scale
        cell = min(scale, source - start)
        first, last = int(np.ceil(start)), min(int(np.floor(end)), source - 1)
        first = min(first, last)
        if first - start > 1e-3:
            index[i].append(first - 1)
            weight[i].append((first - start) / cell)
        for j in range(first, last):
            index[i].append(j)
            weight[i].append(1.0 / cell)
        if end - last > 1e-3:
            index[i].append(last)
            weight[i].append(min(min(end - last, 1.0), cell) / cell)
    most = max(len(row) for row in index)
    # A tap that a target index lacks reads some pixel with weight zero.
    index = [row + [0] * (most - len(row)) for row in index]
    weight = [row + [0.0] * (most - len(row)) for row in weight]
    return [
        (np.array([row[k] for row in index]), np.array([row[k] for row in weight], np.float32)) for k in range(most)
    ]


def _along_rows(frame: np.ndarray, target: int) -> np.ndarray:
    """(source, n) to (target, n), adding the taps in order, as OpenCV does: float32 sums depend on the order."""
    total = None
    for index, weight in _taps(len(frame), target):
        part = frame.take(index, 0) * weight[:, None]
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


def resize(frame: UInt8[np.ndarray, "h w C"], height: int, width: int) -> UInt8[np.ndarray, "H W C"]:
    """The frame at another size; each new pixel is the mean of the area it covers.

    Bit for bit OpenCV's INTER_AREA where both sides shrink. A side that grows takes the nearest pixel.
    """
    frame = _grow(frame, height, width)
    h, w, channels = frame.shape
    if (h, w) == (height, width):
        return np.ascontiguousarray(frame)
    if h % height == 0 and w % width == 0:
        return _blocks(frame, h // height, w // width)
    # Transposed as flat tables, which is several times faster than swapping axes of (h, w, C).
    columns = np.ascontiguousarray(frame.reshape(h, w * channels).T).reshape(w, channels * h)
    narrow = _along_rows(columns, width).reshape(width * channels, h)
    flat = np.ascontiguousarray(narrow.T)
    small = _along_rows(flat, height)
    return np.rint(small, out=small).clip(0, 255).astype(np.uint8).reshape(height, width, channels)


def _grow(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    h, w = frame.shape[:2]
    if height > h:
        frame = frame[np.arange(height) * h // height]
    if width > w:
        frame = frame[:, np.arange(width) * w // width]
    return frame


def _blocks(frame: np.ndarray, tall: int, wide: int) -> np.ndarray:
    rows = sum((frame[k::tall].astype(np.int32) for k in range(1, tall)), frame[::tall].astype(np.int32))
    total = sum((rows[:, k::wide] for k in range(1, wide)), rows[:, ::wide])
    if (tall, wide) == (2, 2):
        return ((total + 2) >> 2).astype(np.uint8)  # OpenCV rounds halves up here, and only here
    return np.rint(total * np.float32(1 / (tall * wide))).astype(np.uint8)
