"""Dreamer's recurrent state-space model.

Hafner et al. (2021), "Mastering Atari with Discrete World Models", sec. 2; Hafner et al. (2024), "Mastering Diverse
Domains through World Models", sec. "World model learning".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.spec import EnvSpec
from worldmodels.model.recurrence import Recurrence
from worldmodels.model.unroll import fresh
from worldmodels.nn.decoder import Decoder
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.heads import BinaryHead, ScalarHead
from worldmodels.nn.late import late
from worldmodels.nn.mlp import Activation, Manner, Scheme
from worldmodels.nn.norm import NormKind
from worldmodels.nn.representation import Representation
from worldmodels.ops.categorical import uniform

SURE = 1e-6  # what a probability keeps from 0 and 1


@dataclass(frozen=True)
class RSSMBelief(Belief):
    """What was lived through (deter), what it might look like (stoch), and how sure of that, before and after looking.

    post and prior are raw parameters of the latents (such as logits before unimix), which `nn.latents` explains; where
    the eyes were closed they are the same.
    """

    deter: Float[Tensor, "*batch D"]
    stoch: Float[Tensor, "*batch S K"]
    post: Float[Tensor, "*batch S P"]
    prior: Float[Tensor, "*batch S P"]

    @property
    def feature(self) -> Float[Tensor, "*batch F"]:
        """What heads and policies read, F = D + S * K."""
        return torch.cat([self.deter, self.stoch.flatten(-2)], -1)


class Heads(nn.Module):
    """What a feature says about the arrival: its reward, and whether the world goes on from there.

    `contdisc` is what `cont` learns to say where the world surely goes on; a stage sets it to its loss's discount.
    """

    def __init__(self, reward: ScalarHead, cont: BinaryHead) -> None:
        super().__init__()
        self.reward, self.cont, self.contdisc = reward, cont, 1.0

    def going(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """Probability that the world goes on, without the discount that was learned with it."""
        return (self.cont.mean(self.cont(feature)) / self.contdisc).clamp(max=1)

    def losses(
        self,
        feature: Float[Tensor, "*batch F"],
        reward: Float[Tensor, "*batch"],
        terminated: Bool[Tensor, "*batch"],
    ) -> dict[str, Float[Tensor, "*batch"]]:
        """Negative log-likelihoods of the reward and of going on.

        A head that learned a discount may say more than it, which would make an end infinitely unlikely: with one,
        probabilities are kept between SURE and 1 - SURE.
        """
        if self.contdisc == 1:
            cont = self.cont.loss(self.cont(feature), (~terminated).to(feature.dtype))
        else:
            going = self.going(feature).clamp(SURE, 1 - SURE)
            cont = -torch.where(terminated, 1 - going, going).log()
        return {"reward": self.reward.loss(self.reward(feature), reward), "cont": cont}


class RSSM(nn.Module):
    """Encoder, recurrence, decoder and heads for reward and continuation; meets `core.protocols.WorldModel`.

    Everything that does not depend on the recurrence (embedding and action projections, priors, noise, heads) is done
    for all T at once. Without a decoder nothing tells what an observation looked like; a `representation` can teach
    features to know embeddings instead. norm, activation and init are those of all parts.
    """

    def __init__(
        self,
        spec: EnvSpec,
        encoder: Callable[..., Encoder],
        recurrence: Callable[..., Recurrence],
        decoder: Callable[..., Decoder] | None,
        reward: Callable[..., ScalarHead],
        cont: Callable[..., BinaryHead],
        representation: Callable[[int, int], Representation] | None = None,
        *,
        norm: NormKind = "rms",
        activation: Activation = "silu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        self.spec = spec
        manner = Manner(norm, activation, init)
        style = vars(manner)
        self.encoder = encoder(spec, **style)
        self.rssm = recurrence(spec.action_size, self.encoder.size, manner=manner)
        self.size = self.rssm.size
        self.decoder = None if decoder is None else decoder(spec, self.size, deter=self.rssm.deter, manner=manner)
        self.heads = Heads(reward(self.size, **style), cont(self.size, **style))
        self.representation = None if representation is None else representation(self.size, self.encoder.size)

    def initial(self, batch: int) -> RSSMBelief:
        """The belief before the first observation: all zeros."""
        latents, weight = self.rssm.latents, self.rssm.deter_out.weight
        raw = weight.new_zeros(batch, latents.stoch, latents.parameters)
        stoch = weight.new_zeros(batch, latents.stoch, latents.width)
        return RSSMBelief(weight.new_zeros(batch, self.rssm.deter), stoch, raw, raw)

    def encode(self, obs: Mapping[str, Tensor]) -> Float[Tensor, "*batch E"]:
        return self.encoder(obs)

    def observe(
        self,
        belief: RSSMBelief,
        action: Float[Tensor, "B A"],
        embed: Float[Tensor, "B E"],
        *,
        rng: torch.Generator | None = None,
    ) -> RSSMBelief:
        deter = self.rssm.advance(belief.deter, belief.stoch, self.rssm.acted(action))
        post = self.rssm.post(deter, self.rssm.shown(embed))
        stoch = self.rssm.latents.draw(post, rng)
        return RSSMBelief(deter, stoch, post, self.rssm.prior(deter))

    def imagine(
        self, belief: RSSMBelief, action: Float[Tensor, "B A"], *, rng: torch.Generator | None = None
    ) -> RSSMBelief:
        deter = self.rssm.advance(belief.deter, belief.stoch, self.rssm.acted(action))
        prior = self.rssm.prior(deter)
        stoch = self.rssm.latents.draw(prior, rng)
        return RSSMBelief(deter, stoch, prior, prior)

    def track(
        self,
        action: Float[Tensor, "B T A"],
        embed: Float[Tensor, "B T E"],
        first: Bool[Tensor, "B T"],
        belief: RSSMBelief | None = None,
        *,
        rng: torch.Generator | None = None,
    ) -> RSSMBelief:
        """As `unroll.track`, with all that needs no recurrence taken out of the loop."""
        blank = self.initial(len(action))
        belief = blank if belief is None else belief
        belief = fresh(belief, blank, first[:, 0])
        shown = self.rssm.shown(embed).unbind(1)
        acted = self.rssm.acted(action).unbind(1)
        # Time first, as the moments would draw it one after the other.
        noise = uniform((action.shape[1], action.shape[0], self.rssm.latents.stoch), embed, rng).unbind(0)
        keep = (~first).to(embed.dtype).unbind(1)
        deter, stoch, deters, stochs, posts = belief.deter, belief.stoch, [], [], []
        with late(self.rssm.looped, len(acted), len(action)):
            for t in range(len(acted)):
                if t:
                    deter, stoch = deter * keep[t][:, None], stoch * keep[t][:, None, None]
                deter = self.rssm.advance(deter, stoch, acted[t])
                post = self.rssm.post(deter, shown[t])
                stoch = self.rssm.latents.draw(post, noise=noise[t])
                deters.append(deter)
                stochs.append(stoch)
                posts.append(post)
        deters, stochs, posts = (torch.stack(parts, 1) for parts in (deters, stochs, posts))
        return RSSMBelief(deters, stochs, posts, self.rssm.prior(deters))

    def decode(self, belief: RSSMBelief) -> Prediction:
        feature = belief.feature
        return Prediction(
            obs=None if self.decoder is None else self.decoder.means(self.decoder(feature)),
            reward=self.reward(feature),
            cont=self.cont(feature),
        )

    def nll(
        self,
        belief: RSSMBelief,
        obs: Mapping[str, Tensor],
        reward: Float[Tensor, "*batch"],
        terminated: Bool[Tensor, "*batch"],
    ) -> dict[str, Float[Tensor, "*batch"]]:
        """How surprising an arrival is, in nats: `obs/<name>` for what is decoded, `reward` and `cont`.

        These are the losses of the heads, of `cont` without its discount; a squared error lacks its density's constant.
        """
        feature = belief.feature
        seen = {} if self.decoder is None else self.decoder.losses(self.decoder(feature), obs)
        told = self.heads.losses(feature, reward, terminated)
        return {**{f"obs/{name}": value for name, value in seen.items()}, **told}

    def reward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """Expected reward on arriving at a feature."""
        return self.heads.reward.mean(self.heads.reward(feature))

    def cont(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """Probability that the world goes on from a feature."""
        return self.heads.going(feature)

    def discounted_cont(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The same times the discount that was learned with it, `heads.contdisc`; beyond it where the head overshoots.

        What dreams go by, as DreamerV3's do.
        """
        return self.heads.cont.mean(self.heads.cont(feature))
