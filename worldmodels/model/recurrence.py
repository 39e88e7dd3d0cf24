"""The recurrent heart of the RSSM: how a moment follows from the one before, and how a look corrects it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.options import Count, Share
from worldmodels.nn.mlp import MLP, init_weights
from worldmodels.nn.norm import NormKind, make_norm
from worldmodels.nn.recurrent import CellKind, make_cell
from worldmodels.ops.categorical import mixed, straight_through, unimix


class Recurrence(nn.Module):
    """Deterministic state (D) driven by latents (S, K) and actions; prior and posterior over the next latents.

    Projections of actions and embeddings are separate, so that callers can do them for all T at once.
    Hafner et al. (2024), equation 3; layer counts as in its code: two for the prior, one for the posterior.
    """

    def __init__(
        self,
        actions: int,
        embed: int,
        *,
        deter: Count = 2048,
        stoch: Count = 32,
        classes: Count = 16,
        hidden: Count = 256,
        gru: CellKind = "block",
        blocks: Count = 8,
        mix: Share = 0.01,
        norm: NormKind = "rms",
    ) -> None:
        super().__init__()
        self.deter, self.stoch, self.classes, self.mix = deter, stoch, classes, mix
        latent = stoch * classes
        self.size = deter + latent
        self.stoch_in = nn.Linear(latent, hidden)
        self.action_in = nn.Linear(actions, hidden, bias=False)
        self.in_norm = make_norm(norm, hidden)
        self.cell = make_cell(gru, hidden, deter, blocks=blocks, norm=norm)
        self.deter_out = nn.Linear(deter, hidden)
        self.embed_out = nn.Linear(embed, hidden, bias=False)
        self.out_norm = make_norm(norm, hidden)
        self.post_out = nn.Linear(hidden, latent)
        self.prior_out = MLP(deter, hidden, 2, latent, norm=norm)
        for layer in (self.stoch_in, self.action_in, self.deter_out, self.embed_out, self.post_out):
            init_weights(layer)

    def acted(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch hidden"]:
        """What `advance` needs of an action; cut to [-1, 1], as the world cuts what is drawn beyond."""
        return self.action_in(action.clamp(-1, 1))

    def advance(
        self, deter: Float[Tensor, "B D"], stoch: Float[Tensor, "B S K"], acted: Float[Tensor, "B hidden"]
    ) -> Float[Tensor, "B D"]:
        """The next deterministic state; acted is `acted` of the action."""
        mixed = F.silu(self.in_norm(self.stoch_in(stoch.flatten(1)) + acted))
        return self.cell(mixed, deter)

    def post(self, deter: Float[Tensor, "B D"], shown: Float[Tensor, "B hidden"]) -> Float[Tensor, "B S K"]:
        """Logits of the latents after a look; shown is `embed_out` of the embedding."""
        return self._grouped(self.post_out(F.silu(self.out_norm(self.deter_out(deter) + shown))))

    def prior(self, deter: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch S K"]:
        """Logits of the latents with closed eyes."""
        return self._grouped(self.prior_out(deter))

    def draw(
        self,
        logits: Float[Tensor, "*batch S K"],
        rng: torch.Generator | None = None,
        *,
        noise: Float[Tensor, "*batch S"] | None = None,
    ) -> Float[Tensor, "*batch S K"]:
        """One-hot latents, with straight-through gradients."""
        return straight_through(mixed(logits, self.mix), rng, noise=noise)

    def log_probs(self, logits: Float[Tensor, "*batch S K"]) -> Float[Tensor, "*batch S K"]:
        return unimix(logits, self.mix)

    def _grouped(self, logits: Float[Tensor, "*batch SK"]) -> Float[Tensor, "*batch S K"]:
        return logits.unflatten(-1, (self.stoch, self.classes))
