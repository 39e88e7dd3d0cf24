"""How surprised a world model is by recorded experience: negative log-likelihoods in nats, by head.

They are the losses of the model's heads, summed over the entries of an observation: exact for yes-or-no planes,
symbols, the continuation (without a discount learned with it) and rewards in bins. Squared errors lack their normal
density's constant: of whole ones (images, symlog vectors) ln(pi) / 2 per entry, the variance being 1/2; of half ones
(likelihood normal, head=mse) ln(2 pi) / 2, the variance being 1. In pydreamer these are called `logprob_*`,
although less is better.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from worldmodels.core.belief import Belief
from worldmodels.core.experience import Batch
from worldmodels.model.unroll import arrivals, track

B_ = TypeVar("B_", bound=Belief)
RARE = {"nll/reward_nonzero": "nll/reward", "nll/cont_terminal": "nll/cont"}  # what is measured at some moments only


def nll(model: Any, belief: Belief, batch: Batch, moments: slice) -> dict[str, Float[Tensor, "B H"]]:
    """Of the arrivals at obs[:, moments], from beliefs (B, H, ...) about them; empty if the model does not tell.

    The first moment of a window is no arrival: nothing is known of the step before it.
    """
    tell = getattr(model, "nll", None)
    if tell is None:
        return {}
    steps = slice(moments.start - 1, moments.stop - 1)
    obs = {name: frames[:, moments] for name, frames in batch.obs.items()}
    told: Mapping[str, Tensor] = tell(belief, obs, batch.reward[:, steps], batch.terminated[:, steps])
    return {f"nll/{short(name)}": value.float() for name, value in told.items()}


def short(name: str) -> str:
    """Of an observation, `obs/<name>`, the name alone, unless reward or continuation are called so."""
    bare = name.removeprefix("obs/")
    return name if bare in ("reward", "cont") else bare


def with_rare(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With the quantities that are measured at some moments only."""
    return {**found, **{name: found[plain] for name, plain in RARE.items() if plain in found}}


def bernoulli(model: Any) -> bool:
    """Whether planes are scored as yes or no, so that constant guesses about them can be scored alike."""
    likelihood = getattr(getattr(model, "decoder", None), "likelihood", None)
    return getattr(likelihood, "planes", "bernoulli") == "bernoulli"


def rare(batch: Batch) -> dict[str, Bool[Tensor, "B _"]]:
    """At which of the T + 1 moments the quantities that are named so are measured."""
    return {
        "nll/reward_nonzero": F.pad(batch.reward != 0, (1, 0)),
        "nll/cont_terminal": F.pad(batch.terminated, (1, 0)),
    }


def onestep(model: Any, before: B_, action: Float[Tensor, "B H A"], rng: torch.Generator) -> B_:
    """Beliefs (B, H, ...) that close their eyes for one step, each after a belief (B, H, ...) that had them open.

    The generator is left as it was: who draws from it next does not notice.
    """
    state = rng.get_state()
    flat = model.imagine(before.map(lambda x: x.flatten(0, 1)), action.flatten(0, 1), rng=rng)
    rng.set_state(state)
    return flat.map(lambda x: x.unflatten(0, action.shape[:2]))


def watch(model: Any, batch: Batch, moments: int, rng: torch.Generator) -> Any:
    """Beliefs (B, M, ...) along the first M observations of each window, with open eyes."""
    action, first = arrivals(model.spec, batch)[:, :moments], batch.first[:, :moments]
    embed = model.encode({name: frames[:, :moments] for name, frames in batch.obs.items()})
    own = getattr(model, "track", None)
    return own(action, embed, first, rng=rng) if own else track(model, action, embed, first, rng=rng)


@torch.no_grad()
def surprises(model: Any, batches: Iterable[Batch], rng: torch.Generator) -> dict[str, float]:
    """Means over all arrivals of windows by quantity and predictor, such as `nll/reward/closed`.

    `closed` loop: after looking; `onestep`: before looking, with eyes that were open until then. Quantities that were
    measured nowhere are left out, and so is everything if the model does not tell.
    """
    sums: dict[str, list[Tensor]] = defaultdict(list)
    for batch in batches:
        moments = batch.mask.shape[1] + 1
        seeing, ahead = watch(model, batch, moments, rng), slice(1, moments)
        before = seeing.map(lambda x: x[:, :-1])
        beliefs = {
            "closed": seeing.map(lambda x: x[:, 1:]),
            "onestep": onestep(model, before, arrivals(model.spec, batch)[:, ahead], rng),
        }
        where = {name: mask[:, ahead] & batch.mask for name, mask in rare(batch).items()}
        for predictor, belief in beliefs.items():
            for quantity, each in with_rare(nll(model, belief, batch, ahead)).items():
                at = where.get(quantity, batch.mask)
                sums[f"{quantity}/{predictor}"].append(torch.stack([torch.where(at, each, 0).sum(), at.sum()]))
    totals = {name: torch.stack(parts).sum(0).tolist() for name, parts in sums.items()}
    return {name: total / count for name, (total, count) in totals.items() if count}
