"""What benchmarks of stores share: an episode in pieces, and files that are no longer in the page cache."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from worldmodels.core.experience import Episode

PIECE = 64  # steps


def lived(number: int, image: np.ndarray) -> list[Episode]:
    """An episode of these frames (T + 1, ...), in the pieces in which it would have been lived."""
    length, pieces = len(image) - 1, list[Episode]()
    for start in range(0, length, PIECE):
        part = image[start : min(start + PIECE, length) + 1]
        steps = len(part) - 1
        action, reward = np.zeros(steps, np.int64), np.zeros(steps, np.float32)
        ended = start + steps == length
        pieces.append(Episode({"image": part}, action, reward, ended, False, number=number, start=start))
    return pieces


def forget(folder: Path) -> None:
    """Ask the operating system to drop these files from its page cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)
