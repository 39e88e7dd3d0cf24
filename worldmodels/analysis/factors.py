"""What `latent_factors` found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from worldmodels.analysis.grouping import Groups
from worldmodels.analysis.linear import Correlation, Sides
from worldmodels.analysis.moments import Chosen, Latents, Moments
from worldmodels.analysis.reading import Reading
from worldmodels.analysis.subject import Subject
from worldmodels.analysis.variables import Variables

COMPARED = ("trained", "untrained", "shuffled", "frame")


@dataclass(frozen=True)
class Found:
    """All that was found. readings and groups are by set of features, readings of several alike in a list."""

    subject: Subject
    chosen: Chosen
    moments: Moments
    latents: Latents
    variables: Variables
    sides: Sides
    readings: dict[str, list[Reading]]
    features: dict[str, Float[np.ndarray, "n _"]]
    groups: dict[str, dict[int, Groups]]
    inside: Float[np.ndarray, "n c"]  # where clusters were looked for
    scatter: str  # the variable to draw

    def each(self, kind: str, way: str) -> list[Correlation]:
        """Of each variable, by `readout` or by `single` feature; of several alike, the mean and the range."""
        several = [getattr(reading, way) for reading in self.readings[kind]]
        return [_middle(each) for each in zip(*several, strict=True)]


def times(one: float, other: float) -> float | None:
    """How many times as strong; None where either is nothing."""
    return one / other if min(one, other) > 1e-3 else None


def _middle(several: Sequence[Correlation]) -> Correlation:
    if len(several) == 1:
        return several[0]
    values = np.array([each.value for each in several])
    if np.isnan(values).all():
        return Correlation(np.nan, np.nan, np.nan)
    return Correlation(float(np.nanmean(values)), float(np.nanmin(values)), float(np.nanmax(values)))
