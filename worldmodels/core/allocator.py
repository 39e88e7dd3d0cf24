"""What the C library does with memory that a process has freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt in glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let the process keep large pieces of memory that it frees, and use them again. False where that is unknown.

    glibc hands them back to the kernel, which must fill them with zeros, page by page, when the next tensor of that
    size is made: a sixth to a third of the CPU time of a training step that looks at pictures. The price is that a
    process stays about as large as it was at its largest. Memory-mapped files are not concerned.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, -1))
