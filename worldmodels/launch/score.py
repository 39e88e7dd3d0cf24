"""One number that says how good a finished run is, for sweepers that search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from worldmodels.evaluation.study.run import held_loss

T = TypeVar("T")


def score(result: Mapping[str, Any]) -> float:
    """The mean return of the final evaluation; of a run that does not act, minus its held-out loss.

    More is better. NaN where a run has neither: no held-out episodes were set apart.
    """
    if "return_mean" in result:
        return float(result["return_mean"])
    loss = held_loss(result.get("model", {}))
    return float("nan") if loss is None else -loss


def best(scores: Mapping[T, float], *, maximize: bool = True) -> T:
    """Whose score is the highest, or the lowest."""
    return (max if maximize else min)(scores, key=scores.__getitem__)
