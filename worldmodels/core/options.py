"""Keyword arguments that travel as a mapping, told whose they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """`Annotated[Mapping[str, Any], Options(MLP)]`: a mapping of keyword arguments of MLP.

    Says nothing at run time. Whoever reads a config can check the mapping before MLP is made of it.
    """

    of: Callable[..., Any]
