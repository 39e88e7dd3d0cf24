"""How far a world model sees with closed eyes: its error against recorded experience, by horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.protocols import WorldModel
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.evaluation import surprise
from worldmodels.model.unroll import arrivals, follow, seen

B_ = TypeVar("B_", bound=Belief)
FIRST = 5  # steps of the open loop that pydreamer's `_open` metrics average


class Model(WorldModel[B_], Protocol[B_]):
    """A world model that knows which world it models.

    One that also has `nll(belief, obs, reward, terminated)`, as model.rssm, is asked how surprised it was.
    """

    spec: EnvSpec


@dataclass(frozen=True)
class Look:
    """What a model said of M = context + H moments of B windows, moment m being the arrival at obs[:, m].

    `valid` tells which imagined moments belong to the episode in which the eyes were closed.
    """

    context: int
    seeing: Prediction  # (B, M, ...): eyes open all the time
    blind: Prediction  # (B, H, ...): eyes closed after `context` observations, with the actions that were taken
    valid: Bool[Tensor, "B H"]


@dataclass(frozen=True)
class Curve:
    """Errors by horizon: errors[quantity][predictor] is (H,), the mean over count[h] windows; nan where there are none.

    Quantities: `mse/<name>` and `mse/reward`, squared errors per entry, with colours in [0, 1] (for symbols the share
    that is wrong); `wrong/<name>`, cells per frame whose planes or symbols are not all right; `nll/<name>`,
    `nll/reward` and `nll/cont`, what `surprise.nll` says; `nll/reward_nonzero` and `nll/cont_terminal`, the same where
    there was a reward, or the world ended: `rare` counts those windows.
    Predictors: `open` loop (eyes closed), `onestep` (eyes closed for this one step), `closed` loop (eyes open), `copy`
    the last observation seen, and `mean`, the average over the same windows.
    """

    errors: Mapping[str, Mapping[str, Float[Tensor, " H"]]]
    count: Int64[Tensor, " H"]
    rare: Mapping[str, Int64[Tensor, " H"]] = field(default_factory=dict)

    def windows(self, quantity: str) -> Int64[Tensor, " H"]:
        """In how many windows a quantity was measured."""
        return self.rare.get(quantity, self.count)

    def means(self) -> dict[str, float]:
        """One number for each quantity and predictor: the mean over all imagined moments.

        `open_first5` is that of the first five. What was measured nowhere is left out.
        """
        found: dict[str, float] = {}
        for quantity, by in self.errors.items():
            for predictor, error in by.items():
                found[f"{quantity}/{predictor}"] = self._mean(quantity, error)
                if predictor == "open" and len(error) >= FIRST:
                    found[f"{quantity}/open_first{FIRST}"] = self._mean(quantity, error[:FIRST])
        return {name: value for name, value in found.items() if not isnan(value)}

    def _mean(self, quantity: str, error: Float[Tensor, " h"]) -> float:
        count = self.windows(quantity)[: len(error)]
        return float((error.nan_to_num() * count).sum() / count.sum())

    def rows(self) -> list[dict[str, float | int | None]]:
        """A row for each horizon, for tables."""
        columns = {f"{q}/{p}": error.tolist() for q, by in self.errors.items() for p, error in by.items()}
        return [
            {"horizon": h + 1, "windows": count, **{k: None if isnan(x[h]) else x[h] for k, x in columns.items()}}
            for h, count in enumerate(self.count.tolist())
        ]


def merge(curves: Sequence[Curve]) -> Curve:
    """One curve over the windows of all."""
    count = torch.stack([curve.count for curve in curves]).sum(0)
    rare = {name: torch.stack([curve.rare[name] for curve in curves]).sum(0) for name in curves[0].rare}

    def average(quantity: str, predictor: str) -> Tensor:
        sums = [curve.errors[quantity][predictor].nan_to_num() * curve.windows(quantity) for curve in curves]
        return torch.stack(sums).sum(0) / rare.get(quantity, count)

    return Curve({q: {p: average(q, p) for p in by} for q, by in curves[0].errors.items()}, count, rare)


@torch.no_grad()
def look(model: Model[B_], batch: Batch, *, context: int, horizon: int, rng: torch.Generator) -> Look:
    """Observe `context` moments of each window, then imagine `horizon` more with the actions that were taken."""
    seeing, blind = _believe(model, batch, context, horizon, rng)
    return Look(context, model.decode(seeing), model.decode(blind), _valid(batch, context, horizon))


@torch.no_grad()
def open_loop(model: Model[B_], batch: Batch, *, context: int, horizon: int, rng: torch.Generator) -> Curve:
    """The errors of a model's imagination, beside those of two predictors that know nothing of the world."""
    seeing, blind = _believe(model, batch, context, horizon, rng)
    valid, ahead = _valid(batch, context, horizon), slice(context, context + horizon)
    before = seeing.map(lambda x: x[:, context - 1 : -1])
    beliefs = {
        "open": blind,
        "closed": seeing.map(lambda x: x[:, ahead]),
        "onestep": surprise.onestep(model, before, arrivals(model.spec, batch)[:, ahead], rng),
    }
    truth = _truth(model.spec, batch)
    guesses = {name: _told(model.decode(belief)) for name, belief in beliefs.items()}
    guesses["copy"] = {name: value[:, context - 1 : context] for name, value in truth.items() if name != "cont"}
    guesses["mean"] = _averages(model.spec, truth, batch)
    where = {name: mask[:, ahead] & valid for name, mask in surprise.rare(batch).items()}
    scored = {*beliefs, "mean"} if surprise.bernoulli(model) else set()
    errors: dict[str, dict[str, Tensor]] = {}
    for predictor, guess in guesses.items():
        found: dict[str, Tensor] = {}
        for name in guess.keys() & truth.keys():
            found |= _errors(model.spec, name, guess[name], truth[name][:, ahead], likely=predictor in scored)
        if predictor in beliefs:
            found |= surprise.nll(model, beliefs[predictor], batch, ahead)
        for quantity, error in surprise.with_rare(found).items():
            at = where.get(quantity, valid)
            errors.setdefault(quantity, {})[predictor] = (torch.where(at, error, 0).sum(0) / at.sum(0)).cpu()
    counts = {name: at.sum(0).cpu() for name, at in where.items() if name in errors}
    return Curve({name: errors[name] for name in sorted(errors)}, valid.sum(0).cpu(), counts)


def unit(array: ArraySpec, obs: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Observations as kept, in the scale of predictions: colours in [0, 1], all else as floats."""
    return obs.float() / 255 if array.kind == "image" else obs.float()


def _believe(model: Model[B_], batch: Batch, context: int, horizon: int, rng: torch.Generator) -> tuple[B_, B_]:
    """Beliefs with open eyes, (B, context + H, ...), and with eyes closed after `context`, (B, H, ...)."""
    moments, found = context + horizon, batch.mask.shape[1] + 1
    if context < 1 or horizon < 1 or moments > found:
        raise ConfigError(
            f"{context} observed and {horizon} imagined moments of windows with {found} observations",
            f"at least one of each, {found} together at most",
            "take longer windows, or a smaller context or horizon",
        )
    seeing = surprise.watch(model, batch, moments, rng)
    last = seeing.map(lambda x: x[:, context - 1])
    return seeing, follow(model, last, arrivals(model.spec, batch)[:, context:moments], rng=rng)


def _valid(batch: Batch, context: int, horizon: int) -> Bool[Tensor, "B H"]:
    return batch.mask[:, context - 1 : context + horizon - 1].cumprod(1).bool()


def _told(prediction: Prediction) -> dict[str, Tensor]:
    told = {f"obs/{name}": value.float() for name, value in (prediction.obs or {}).items()}
    scalars = {"reward": prediction.reward, "cont": prediction.cont}
    return told | {name: value.float() for name, value in scalars.items() if value is not None}


def _truth(spec: EnvSpec, batch: Batch) -> dict[str, Tensor]:
    """What was there on arrival at each moment, (B, T + 1, ...), named as in `_told`."""
    truth = {f"obs/{name}": unit(spec.obs[name], frames) for name, frames in batch.obs.items()}
    truth["reward"] = F.pad(batch.reward, (1, 0))
    truth["cont"] = F.pad(~batch.terminated, (1, 0), value=True).float()
    return truth


def _averages(spec: EnvSpec, truth: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The constant guesses (1, 1, ...): the mean of all that was seen, or the most frequent symbol."""
    real, stepped = seen(batch), F.pad(batch.mask, (1, 0))
    means: dict[str, Tensor] = {}
    for name, value in truth.items():
        array = spec.obs.get(name.removeprefix("obs/")) if name.startswith("obs/") else None
        entries = value[real if array else stepped]
        symbols = array is not None and array.kind == "symbols"
        means[name] = (entries.mode(0).values if symbols else entries.mean(0))[None, None]
    return means


def _errors(
    spec: EnvSpec, name: str, guess: Float[Tensor, "b h ..."], truth: Float[Tensor, "B H ..."], *, likely: bool
) -> dict[str, Float[Tensor, "B H"]]:
    """Errors of one head by the name of the quantity; guesses broadcast over windows and moments.

    `likely`: guesses about yes or no are probabilities, so that they have a likelihood.
    """
    if name == "cont":
        return {"nll/cont": _cross_entropy(guess, truth)}
    kind = spec.obs[name.removeprefix("obs/")].kind if name.startswith("obs/") else "vector"
    wrong = guess.round() != truth
    each = wrong.float() if kind == "symbols" else (guess - truth).square()
    short = surprise.short(name)
    found = {f"mse/{short}": each.flatten(2).mean(2) if each.dim() > 2 else each}
    if kind in ("planes", "symbols"):
        found[f"wrong/{short}"] = wrong.any(-1).flatten(2).sum(2).float()
    if kind == "planes" and likely:
        found[f"nll/{short}"] = _cross_entropy(guess, truth).flatten(2).sum(2)
    return found


def _cross_entropy(guess: Tensor, truth: Tensor) -> Tensor:
    guess = guess.clamp(1e-6, 1 - 1e-6).expand_as(truth)
    return F.binary_cross_entropy(guess, truth, reduction="none")
