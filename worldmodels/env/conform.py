"""What a world returned against what it declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from worldmodels.core.spec import ArraySpec, describe

SMALL = 3  # a side of the smallest kernel
LARGE = 100.0  # numbers beyond this drown those of usual size


def misfits(specs: Mapping[str, ArraySpec], values: Sequence[Mapping[str, Any]], where: str) -> Iterator[str]:
    """One sentence for each array that does not fit, naming the first moment at which it does not."""
    for name in sorted({name for value in values for name in value} - set(specs)):
        yield f"{where}[{name!r}] is returned but not declared"
    for name, spec in specs.items():
        for moment, value in enumerate(values):
            wrong = _misfit(spec, value, name)
            if wrong:
                yield f"{where}[{name!r}] {wrong} at step {moment}; declared {describe(spec)}"
                break


def _misfit(spec: ArraySpec, value: Mapping[str, Any], name: str) -> str:
    if name not in value:
        return "is missing"
    array = value[name]
    if not isinstance(array, np.ndarray | np.generic):
        return f"is a {type(array).__name__}, not an array,"
    if array.shape != spec.shape or array.dtype != spec.dtype:
        return f"is {array.dtype} {array.shape}"
    if spec.kind == "symbols" and ((array.max((0, 1)) >= spec.classes).any() or array.min() < 0):
        return f"has symbols up to {array.max((0, 1)).tolist()} for {list(spec.classes)} classes"
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        return "is not finite"
    return ""


def oddities(specs: Mapping[str, ArraySpec], values: Sequence[Mapping[str, np.ndarray]]) -> Iterator[tuple[str, str]]:
    """What fits the declaration but learns badly: a sentence, and a remedy."""
    for name, spec in specs.items():
        low = min(float(value[name].min()) for value in values)
        high = max(float(value[name].max()) for value in values)
        label = f"obs[{name!r}]"
        if spec.kind == "image" and spec.dtype != "uint8" and (low < 0 or high > 1):
            yield f"{label} is a float image with values in [{low:.3g}, {high:.3g}]", "return uint8 from 0 to 255"
        elif spec.kind == "image" and spec.dtype == "uint8" and high <= 1:
            yield f"{label} is an image with values up to {high:.0f} of 255", "multiply by 255, or declare planes"
        elif spec.kind == "vector" and max(-low, high) > LARGE:
            yield f"{label} reaches {max(-low, high):.3g}", "scale it to about [-1, 1], or learn with symlog"
        elif low == high:
            yield f"{label} always is {low:.3g}", "check that the world writes what it sees"
        if spec.kind == "vector" and len(spec.shape) == 3:
            yield f"{label} is a vector of shape {spec.shape}", "declare it as image, planes or symbols"
        if spec.kind != "vector" and min(spec.shape[:2]) < SMALL:
            yield f"{label} is {spec.shape[0]} x {spec.shape[1]}, too small for convolutions", "declare it as a vector"
        if spec.kind == "image" and max(spec.shape[:2]) > 128:
            yield f"{label} is {spec.shape[0]} x {spec.shape[1]} pixels", "shrink it: 64 x 64 is usual"


def seen_as(spec: ArraySpec) -> str:
    """What an encoder makes of one array."""
    if spec.kind == "vector":
        return f"{spec.size} number{'s' if spec.size > 1 else ''}, into an MLP"
    height, width, channels = spec.shape
    if spec.kind == "symbols":
        parts = " + ".join(str(n) for n in spec.classes)
        return f"{sum(spec.classes)} one-hot planes ({parts}) of {height} x {width}, into convolutions"
    what, values = ("channel", "in [0, 1]") if spec.kind == "image" else ("plane", "of zeros and ones")
    return f"{channels} {what}{'s' if channels > 1 else ''} {values} of {height} x {width}, into convolutions"
