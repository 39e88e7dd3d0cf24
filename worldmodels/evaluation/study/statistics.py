"""Aggregates over runs and environments, with stratified bootstrap intervals. Agarwal et al. (2021).

Runs are resampled with replacement within each environment, which is what makes the bootstrap stratified; the interval
lies between the percentiles of the resampled aggregate. The same numbers as the authors' package `rliable` gives, but
environments may have different numbers of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Strata = Sequence[Float[np.ndarray, " _"]]  # final scores, an array per environment
RESAMPLES, SEED, COVERAGE = 10_000, 0, 0.95


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; None where there are too few runs for one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> bool:
        return self.low is not None


def mean(samples: Sequence[Float[np.ndarray, "*b _"]]) -> Float[np.ndarray, "*b"]:
    """Mean over environments of the mean over runs."""
    return np.asarray(np.mean([each.mean(-1) for each in samples], axis=0))


def median(samples: Sequence[Float[np.ndarray, "*b _"]]) -> Float[np.ndarray, "*b"]:
    """Median over runs; of several environments, the median over environments of the mean over runs."""
    one = len(samples) == 1
    return np.asarray(np.median(samples[0], axis=-1) if one else np.median([s.mean(-1) for s in samples], axis=0))


def iqm(samples: Sequence[Float[np.ndarray, "*b _"]]) -> Float[np.ndarray, "*b"]:
    """Mean of the middle half of all runs of all environments. A quarter is rounded down: of three, all count."""
    together = np.sort(np.concatenate(samples, axis=-1), axis=-1)
    count = together.shape[-1]
    return np.asarray(together[..., count // 4 : count - count // 4].mean(-1))


AGGREGATES: dict[str, Callable[[Strata], np.ndarray]] = {"mean": mean, "median": median, "iqm": iqm}


def aggregate(scores: Strata, *, resamples: int = RESAMPLES, seed: int = SEED) -> dict[str, Estimate]:
    """Mean, median and IQM with their intervals; without intervals if an environment has a single run."""
    values = {name: float(of(scores)) for name, of in AGGREGATES.items()}
    if min(map(len, scores)) < 2:
        return {name: Estimate(value) for name, value in values.items()}
    rng = np.random.default_rng(seed)
    drawn = [each[rng.integers(len(each), size=(resamples, len(each)))] for each in scores]
    return {name: Estimate(values[name], *_interval(of(drawn))) for name, of in AGGREGATES.items()}


def improvement(ours: Strata, others: Strata, *, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate | None:
    """Probability that a run of ours scores higher than one of the others in the same environment, ties counting half.

    The mean over environments of Mann and Whitney's U / (n m). None if one side has a single run somewhere: one run
    against one gives 0 or 1 and says nothing.
    """
    if not ours or min(map(len, [*ours, *others])) < 2:
        return None
    rng = np.random.default_rng(seed)
    values, drawn = list[float](), list[np.ndarray]()
    for x, y in zip(ours, others, strict=True):
        wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
        values.append(float(wins.mean()))
        drawn.append(np.einsum("bx,xy,by->b", _shares(len(x), resamples, rng), wins, _shares(len(y), resamples, rng)))
    return Estimate(float(np.mean(values)), *_interval(np.mean(drawn, axis=0)))


def band(
    values: Float[np.ndarray, "runs points"], *, resamples: int = 2000, seed: int = SEED
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]] | None:
    """Interval of the mean over runs at every point, whole runs being resampled; None of a single run."""
    if len(values) < 2:
        return None
    means = _shares(len(values), resamples, np.random.default_rng(seed)) @ values
    low, high = np.percentile(means, _TAILS, axis=0)
    return low, high


_TAILS = (50 * (1 - COVERAGE), 50 * (1 + COVERAGE))


def _interval(drawn: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    low, high = np.percentile(drawn, _TAILS)
    return float(low), float(high)


def _shares(count: int, resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "resamples runs"]:
    """How much each run counts in each resample."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count
