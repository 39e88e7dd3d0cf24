"""Beliefs that outlive a window: kept as plain arrays, and taken up again where the next window begins."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.model.unroll import fresh
from worldmodels.nn.latents import Categorical


def keepsakes(model: RSSM) -> dict[str, ArraySpec]:
    """What is kept of one belief: `deter` in half precision (gated cells keep it in [-1, 1]), and `stoch` in as few
    bytes as it takes, numbers of classes where there are any.
    """
    latents = model.rssm.latents
    if isinstance(latents, Categorical):
        stoch = ArraySpec((latents.stoch,), "uint8" if latents.classes <= 256 else "int16")
    else:
        stoch = ArraySpec((latents.stoch,), "float16")
    return {"deter": ArraySpec((model.rssm.deter,), "float16"), "stoch": stoch}


@torch.no_grad()
def keep(model: RSSM, belief: RSSMBelief) -> dict[str, Shaped[Tensor, "..."]]:
    """A belief (..., ) as `recall` takes it up: deter (..., D), stoch (..., S) as numbers of classes or as drawn."""
    stoch = belief.stoch.argmax(-1) if isinstance(model.rssm.latents, Categorical) else belief.stoch.squeeze(-1)
    return {"deter": belief.deter.detach(), "stoch": stoch.detach()}


@torch.no_grad()
def recall(model: RSSM, kept: Mapping[str, Shaped[Tensor, "B ..."]]) -> RSSMBelief:
    """The belief that was kept; how sure it was of it is not known any more."""
    blank, stoch = model.initial(len(kept["deter"])), kept["stoch"]
    if isinstance(model.rssm.latents, Categorical):
        stoch = F.one_hot(stoch.long(), model.rssm.latents.classes)
    else:
        stoch = stoch.unsqueeze(-1)
    return RSSMBelief(kept["deter"].to(blank.deter.dtype), stoch.to(blank.stoch.dtype), blank.post, blank.prior)


def resume(
    model: RSSM, batch: Batch, action: Float[Tensor, "B moments A"], embed: Float[Tensor, "B moments E"]
) -> tuple[RSSMBelief, Bool[Tensor, " B"]]:
    """Beliefs along windows that go on from what is recalled of their first moment, and which do.

    There the first belief is what was kept, without a look. Where nothing is known, and where an episode opens, the
    first moment is looked at as ever.
    """
    assert batch.known is not None
    given = batch.known & ~batch.first[:, 0]
    opening = model.track(action[:, :1], embed[:, :1], batch.first[:, :1]).map(lambda x: x[:, 0])
    start = fresh(opening, recall(model, batch.recalled), given)
    rest = model.track(action[:, 1:], embed[:, 1:], batch.first[:, 1:], start)
    parts = {name: torch.cat([value[:, None], getattr(rest, name)], 1) for name, value in vars(start).items()}
    return RSSMBelief(**parts), given
