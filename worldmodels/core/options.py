"""What a constructor says about its arguments beyond their types, so that a config can be checked before it is used.

None of it does anything at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Options:
    """`Annotated[Mapping[str, Any], Options(MLP)]`: a mapping of keyword arguments of MLP."""

    of: Callable[..., Any]


@dataclass(frozen=True)
class Bound:
    """`Annotated[int, Bound(1)]`: a number of at least `low`, and at most `high` if there is one.

    With `above` it may not be `low` itself.
    """

    low: float
    high: float | None = None
    above: bool = False

    def holds(self, number: float) -> bool:
        enough = self.low < number if self.above else self.low <= number
        return enough and (self.high is None or number <= self.high)

    def __str__(self) -> str:
        if self.above:
            return f"above {self.low:g}" + ("" if self.high is None else f", at most {self.high:g}")
        return f"of at least {self.low:g}" if self.high is None else f"from {self.low:g} to {self.high:g}"


Count = Annotated[int, Bound(1)]
Natural = Annotated[int, Bound(0)]
Rate = Annotated[float, Bound(0)]
Positive = Annotated[float, Bound(0, above=True)]
Share = Annotated[float, Bound(0, 1)]
