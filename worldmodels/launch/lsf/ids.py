"""What a job is called: `123` and `123_4` here, as submitit has it in file names, `123[4]` on LSF's command lines."""

from __future__ import annotations

import re

LONGEST = 255  # characters of a job's name
SUFFIX = 9  # characters that `unique` adds


def element(job_id: str) -> str:
    """LSF's word for a job or for one element of an array, counted from 1."""
    number, _, index = job_id.partition("_")
    return f"{number}[{index}]" if index else number


def ours(number: str, index: str = "0") -> str:
    """The word of submitit for LSF's job number and index, which is 0 for a job that is no array."""
    inline = re.fullmatch(r"(\d+)\[(\d+)\]", number)
    if inline:
        number, index = inline.groups()
    return f"{number}_{index}" if index not in ("", "-", "0") else number


def job_name(text: str) -> str:
    """Letters, digits, `.`, `-` and `_` alone, as brackets, `%`, `*` and blanks mean something to LSF.

    It neither begins like an option nor looks like a job's number.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip("-.")
    if not safe or safe[0].isdigit():
        safe = f"job_{safe}".rstrip("_")
    return safe[: LONGEST - SUFFIX]


def unique(name: str, uid: str) -> str:
    """A name by which one submission can be found again, whatever became of bsub's answer."""
    return f"{job_name(name)}-{uid[: SUFFIX - 1]}"
