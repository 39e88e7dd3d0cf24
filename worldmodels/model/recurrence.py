"""The recurrent heart of the RSSM: how a moment follows from the one before, and how a look corrects it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.options import Count, Natural, Share
from worldmodels.nn.late import Layer
from worldmodels.nn.latents import make_latents
from worldmodels.nn.mlp import MLP, Manner, init_weights, make_activation
from worldmodels.nn.norm import make_norm
from worldmodels.nn.recurrent import CellKind
from worldmodels.nn.transition import make_transition


class Recurrence(nn.Module):
    """Deterministic state (D) driven by latents (S, K) and actions; prior and posterior over the next latents.

    Projections of actions and embeddings are separate, so that callers can do them for all T at once; so embedding and
    state have a weight each where DreamerV3's code has one for both. classes=0 makes the latents Gaussian.
    Hafner et al. (2024), equation 3; layer counts as in its code: two for the prior, one for the posterior, whose first
    reads state and embedding.
    """

    def __init__(  # noqa: PLR0913 (each is an option of its config)
        self,
        actions: int,
        embed: int,
        *,
        deter: Count = 2048,
        stoch: Count = 32,
        classes: Natural = 16,
        hidden: Count = 256,
        gru: CellKind = "block",
        gru_layers: Count = 1,
        blocks: Count = 8,
        unimix: Share = 0.01,
        prior_layers: Natural = 2,
        posterior_layers: Count = 1,
        manner: Manner | None = None,
    ) -> None:
        super().__init__()
        manner = manner or Manner()
        self.latents = make_latents(stoch, classes, unimix)
        self.deter, latent, raw = deter, stoch * self.latents.width, stoch * self.latents.parameters
        self.size = deter + latent
        self.transition = make_transition(
            gru, actions, latent, deter, hidden, layers=gru_layers, blocks=blocks, manner=manner
        )
        self.deter_out = nn.Linear(deter, hidden)
        self.embed_out = nn.Linear(embed, hidden, bias=False)
        self.out_norm, self.activation = make_norm(manner.norm, hidden), make_activation(manner.activation)
        more = posterior_layers - 1
        self.post_out = MLP(hidden, hidden, more, raw, **vars(manner)) if more else nn.Linear(hidden, raw)
        self.prior_out = MLP(deter, hidden, prior_layers, raw, **vars(manner))
        self._fill(gru, manner)

    def _fill(self, gru: str, manner: Manner) -> None:
        dense = gru != "block"
        layers = [self.transition.stoch_in, self.transition.action_in] if dense else []
        for layer in (*layers, self.deter_out, self.embed_out, self.post_out):
            init_weights(layer, manner.init)
        if not dense:
            # Together they are one layer whose fan-in is that of both.
            deter, embed = self.deter_out.in_features, self.embed_out.in_features
            with torch.no_grad():
                for layer, size in ((self.deter_out, deter), (self.embed_out, embed)):
                    layer.weight.mul_((size / (deter + embed)) ** 0.5)

    def acted(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch hidden"]:
        """What `advance` needs of an action; brought into [-1, 1], as the world cuts what is drawn beyond.

        The gradient passes, as in DreamerV3, which divides by the size.
        """
        return self.transition.acted(action / action.detach().abs().clamp(min=1))

    def advance(
        self, deter: Float[Tensor, "B D"], stoch: Float[Tensor, "B S K"], acted: Float[Tensor, "B hidden"]
    ) -> Float[Tensor, "B D"]:
        """The next deterministic state; acted is `acted` of the action."""
        return self.transition(deter, stoch.flatten(1), acted)

    def shown(self, embed: Float[Tensor, "*batch E"]) -> Float[Tensor, "*batch hidden"]:
        """What `post` needs of an embedding."""
        return self.embed_out(embed)

    def post(self, deter: Float[Tensor, "B D"], shown: Float[Tensor, "B hidden"]) -> Float[Tensor, "B S P"]:
        """Raw parameters of the latents after a look; shown is `shown` of the embedding."""
        return self._grouped(self.post_out(self.activation(self.out_norm(self.deter_out(deter) + shown))))

    def prior(self, deter: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch S P"]:
        """Raw parameters of the latents with closed eyes."""
        return self._grouped(self.prior_out(deter))

    @property
    def looped(self) -> list[Layer]:
        """Layers of `advance` and `post`, for `nn.late`."""
        out = [self.post_out] if isinstance(self.post_out, nn.Linear) else []
        return [*self.transition.looped, self.deter_out, *out]

    def _grouped(self, raw: Float[Tensor, "*batch SP"]) -> Float[Tensor, "*batch S P"]:
        return raw.unflatten(-1, (self.latents.stoch, self.latents.parameters))
