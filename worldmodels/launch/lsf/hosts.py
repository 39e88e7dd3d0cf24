"""The hosts of a job, from what LSF puts into its environment."""

from __future__ import annotations

from collections.abc import Mapping


def hosts(environ: Mapping[str, str]) -> dict[str, int]:
    """Host -> slots, in LSF's order. LSB_MCPU_HOSTS is `hostA 2 hostB 3`; LSB_HOSTS is absent when it would be long."""
    words = environ.get("LSB_MCPU_HOSTS", "").split()
    if words and len(words) % 2 == 0:
        return {name: int(slots) for name, slots in zip(words[::2], words[1::2], strict=True)}
    names = environ.get("LSB_HOSTS", "").split()
    return {name: names.count(name) for name in names}
