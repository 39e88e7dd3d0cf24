"""Time, written once for all models: follow what was done, or one's own choices.

Alignment: moment t is the arrival at `obs[t]`, so it takes `action[t - 1]`. `arrivals` makes that shift, and beliefs
have T + 1 moments for T actions; `beliefs[t + 1]` is the one that predicts `reward[t]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from worldmodels.core.belief import Belief, stack
from worldmodels.core.experience import Batch
from worldmodels.core.protocols import WorldModel
from worldmodels.core.spec import EnvSpec

B_ = TypeVar("B_", bound=Belief)


def as_vector(spec: EnvSpec, action: Shaped[Tensor, "..."]) -> Float[Tensor, "... A"]:
    """Actions as models take them, (..., A): one-hot where they are choices."""
    return F.one_hot(action, spec.action_size).float() if spec.discrete else action


def arrivals(spec: EnvSpec, batch: Batch) -> Float[Tensor, "B _ A"]:
    """The action that led to each observation, (B, T + 1, A); zeros where none did."""
    led = F.pad(as_vector(spec, batch.action), (0, 0, 1, 0))
    return led * ~batch.first.unsqueeze(-1)


def seen(batch: Batch) -> Bool[Tensor, "B _"]:
    """Which observations are real, (B, T + 1): all but padding after the last step."""
    reached = F.pad(batch.mask, (1, 0), value=True)
    return reached | batch.first


def fresh(belief: B_, blank: B_, first: Bool[Tensor, " B"]) -> B_:
    """The same belief, but blank where an episode opens."""
    new = {name: _choose(first, getattr(blank, name), value) for name, value in vars(belief).items()}
    return type(belief)(**new)


def _choose(first: Tensor, blank: Tensor, value: Tensor) -> Tensor:
    return torch.where(first.view(-1, *[1] * (value.dim() - 1)), blank, value)


def track(
    model: WorldModel[B_],
    action: Float[Tensor, "B T A"],
    embed: Float[Tensor, "B T E"],
    first: Bool[Tensor, "B T"],
    belief: B_ | None = None,
    *,
    rng: torch.Generator | None = None,
) -> B_:
    """Beliefs (B, T, ...) along T observations with open eyes; action[:, t] is the one that led to embed[:, t].

    A model that can do it faster has a `track` of its own; a test holds it to this one.
    """
    blank = model.initial(len(action))
    belief = blank if belief is None else belief
    out: list[B_] = []
    for t in range(action.shape[1]):
        belief = model.observe(fresh(belief, blank, first[:, t]), action[:, t], embed[:, t], rng=rng)
        out.append(belief)
    return stack(out)


def dream(
    model: WorldModel[B_],
    belief: B_,
    choose: Callable[[B_], Tensor],
    horizon: int,
    *,
    rng: torch.Generator | None = None,
) -> tuple[list[B_], list[Float[Tensor, "B A"]]]:
    """Follow one's own choices with closed eyes: the beliefs (B, ...) of H + 1 moments, and the H actions between.

    `choose` takes a belief (B, ...) and returns an action (B, A).
    """
    beliefs, actions = [belief], list[Tensor]()
    for _ in range(horizon):
        actions.append(choose(beliefs[-1]))
        beliefs.append(model.imagine(beliefs[-1], actions[-1], rng=rng))
    return beliefs, actions


def follow(
    model: WorldModel[B_], belief: B_, action: Float[Tensor, "B H A"], *, rng: torch.Generator | None = None
) -> B_:
    """Beliefs (B, H, ...) on arrival of given actions, with closed eyes."""
    out: list[B_] = []
    for t in range(action.shape[1]):
        belief = model.imagine(belief, action[:, t], rng=rng)
        out.append(belief)
    return stack(out)
