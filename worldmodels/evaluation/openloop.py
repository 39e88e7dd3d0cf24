"""How far a world model sees with closed eyes: its error against recorded experience, by horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from worldmodels.model.unroll import arrivals, follow, seen, track

B_ = TypeVar("B_", bound=Belief)


class Model(WorldModel[B_], Protocol[B_]):
    """A world model that knows which world it models."""

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
    that is wrong); `wrong/<name>`, cells per frame whose planes or symbols are not all right; `nll/cont` in nats.
    Predictors: `open` loop (eyes closed), `closed` loop (eyes open), `copy` the last observation seen, and `mean`, the
    average over the same windows.
    """

    errors: Mapping[str, Mapping[str, Float[Tensor, " H"]]]
    count: Int64[Tensor, " H"]

    def means(self) -> dict[str, float]:
        """One number for each quantity and predictor: the mean over all imagined moments."""
        share = self.count / self.count.sum().clamp(min=1)
        return {
            f"{quantity}/{predictor}": float((error.nan_to_num() * share).sum())
            for quantity, by in self.errors.items()
            for predictor, error in by.items()
        }

    def rows(self) -> list[dict[str, float | int | None]]:
        """A row for each horizon, for tables."""
        columns = {f"{q}/{p}": error.tolist() for q, by in self.errors.items() for p, error in by.items()}
        return [
            {"horizon": h + 1, "windows": count, **{k: column[h] if count else None for k, column in columns.items()}}
            for h, count in enumerate(self.count.tolist())
        ]


def merge(curves: Sequence[Curve]) -> Curve:
    """One curve over the windows of all."""
    count = torch.stack([curve.count for curve in curves]).sum(0)

    def average(quantity: str, predictor: str) -> Tensor:
        sums = [curve.errors[quantity][predictor].nan_to_num() * curve.count for curve in curves]
        return torch.stack(sums).sum(0) / count

    return Curve({q: {p: average(q, p) for p in by} for q, by in curves[0].errors.items()}, count)


@torch.no_grad()
def look(model: Model[B_], batch: Batch, *, context: int, horizon: int, rng: torch.Generator) -> Look:
    """Observe `context` moments of each window, then imagine `horizon` more with the actions that were taken."""
    moments, found = context + horizon, batch.mask.shape[1] + 1
    if context < 1 or horizon < 1 or moments > found:
        raise ConfigError(
            f"{context} observed and {horizon} imagined moments of windows with {found} observations",
            f"at least one of each, {found} together at most",
            "take longer windows, or a smaller context or horizon",
        )
    action = arrivals(model.spec, batch)[:, :moments]
    embed = model.encode({name: frames[:, :moments] for name, frames in batch.obs.items()})
    tracked = _track(model, action, embed, batch.first[:, :moments], rng)
    last = tracked.map(lambda x: x[:, context - 1])
    imagined = follow(model, last, action[:, context:], rng=rng)
    valid = batch.mask[:, context - 1 : moments - 1].cumprod(1).bool()
    return Look(context, model.decode(tracked), model.decode(imagined), valid)


@torch.no_grad()
def open_loop(model: Model[B_], batch: Batch, *, context: int, horizon: int, rng: torch.Generator) -> Curve:
    """The errors of a model's imagination, beside those of two predictors that know nothing of the world."""
    found = look(model, batch, context=context, horizon=horizon, rng=rng)
    ahead = slice(context, context + horizon)
    truth = _truth(model.spec, batch)
    guesses = {
        "open": _told(found.blind),
        "closed": {name: value[:, ahead] for name, value in _told(found.seeing).items()},
        "copy": {name: value[:, context - 1 : context] for name, value in truth.items() if name != "cont"},
        "mean": _averages(model.spec, truth, batch),
    }
    count = found.valid.sum(0)
    errors: dict[str, dict[str, Tensor]] = {}
    for predictor, guess in guesses.items():
        for name in guess.keys() & truth.keys():
            for quantity, error in _errors(model.spec, name, guess[name], truth[name][:, ahead]).items():
                total = torch.where(found.valid, error, 0).sum(0)
                errors.setdefault(quantity, {})[predictor] = (total / count).cpu()
    return Curve({name: errors[name] for name in sorted(errors)}, count.cpu())


def unit(array: ArraySpec, obs: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Observations as kept, in the scale of predictions: colours in [0, 1], all else as floats."""
    return obs.float() / 255 if array.kind == "image" else obs.float()


def _track(model: Model[B_], action: Tensor, embed: Tensor, first: Tensor, rng: torch.Generator) -> B_:
    own = getattr(model, "track", None)
    return own(action, embed, first, rng=rng) if own else track(model, action, embed, first, rng=rng)


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
    spec: EnvSpec, name: str, guess: Float[Tensor, "b h ..."], truth: Float[Tensor, "B H ..."]
) -> dict[str, Float[Tensor, "B H"]]:
    """Errors of one head by the name of the quantity; guesses broadcast over windows and moments."""
    if name == "cont":
        guess = guess.clamp(1e-6, 1 - 1e-6).expand_as(truth)
        return {"nll/cont": F.binary_cross_entropy(guess, truth, reduction="none")}
    kind = spec.obs[name.removeprefix("obs/")].kind if name.startswith("obs/") else "vector"
    wrong = guess.round() != truth
    each = wrong.float() if kind == "symbols" else (guess - truth).square()
    short = name.removeprefix("obs/")
    found = {f"mse/{short}": each.flatten(2).mean(2) if each.dim() > 2 else each}
    if kind in ("planes", "symbols"):
        found[f"wrong/{short}"] = wrong.any(-1).flatten(2).sum(2).float()
    return found
