"""Whether arrays are still what was written, at the speed of memory."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

_PAGE = 4096  # bytes


def checksum(parts: Sequence[np.ndarray]) -> int:
    """CRC-32 of the sums over the pages of each part, and over the same words of all its pages, as 64-bit integers.

    A CRC of all bytes would cost five times as much as writing them. Any one word that changes shows in two sums, and
    so do words that change places and pages that were never written.
    """
    value = 0
    for part in parts:
        data = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        whole = len(data) // _PAGE * _PAGE
        words = data[:whole].view("<u8").reshape(-1, _PAGE // 8)
        for axis in (0, 1) if whole else ():
            value = zlib.crc32(np.add.reduce(words, axis=axis).data, value)
        value = zlib.crc32(data[whole:].data, value)
    return value
