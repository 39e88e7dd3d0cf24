"""Learn how the world goes on, without acting in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Rate
from worldmodels.core.spec import EnvSpec
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.model.unroll import arrivals, seen
from worldmodels.ops.categorical import balanced_kl, entropy
from worldmodels.ops.masked import masked_mean
from worldmodels.stage.stage import Group, Scalars, Stage

SCALES = {"obs": 1.0, "reward": 1.0, "cont": 1.0, "dyn": 1.0, "rep": 0.1}


@dataclass(frozen=True)
class Learned:
    """What a look at a batch gives: weighted losses, scalars to watch, and the beliefs along the way."""

    losses: Scalars
    metrics: Scalars
    beliefs: RSSMBelief  # (B, T + 1, ...)
    seen: Bool[Tensor, "B moments"]


def learn(model: RSSM, batch: Batch, *, scales: Mapping[str, float], free_bits: float) -> Learned:
    """The world-model loss of Hafner et al. (2024), equations 4 and 5.

    Beliefs t = 0 .. T predict obs[t]; beliefs t + 1 predict reward[t] and whether the world went on. Padding, and the
    step that was never taken between two episodes, count nowhere.
    """
    beliefs = model.track(arrivals(model.spec, batch), model.encode(batch.obs), batch.first)
    real = seen(batch)
    feature = beliefs.feature
    surprise = model.decoder.losses(model.decoder(feature), batch.obs)
    losses = {name: scales["obs"] * masked_mean(each, real) for name, each in surprise.items()}
    for name, each in model.heads.losses(feature[:, 1:], batch.reward, batch.terminated).items():
        losses[name] = scales[name] * masked_mean(each, batch.mask)
    post, prior = model.rssm.log_probs(beliefs.post), model.rssm.log_probs(beliefs.prior)
    kl, divergence = balanced_kl(post, prior, free_bits=free_bits, dyn=scales["dyn"], rep=scales["rep"])
    losses["kl"] = masked_mean(kl, real)
    metrics = {
        "kl": masked_mean(divergence, real),
        "entropy/posterior": masked_mean(entropy(post.detach()), real),
        "entropy/prior": masked_mean(entropy(prior.detach()), real),
    }
    return Learned(losses, metrics, beliefs, real)


def checked(scales: Mapping[str, float] | None) -> dict[str, float]:
    """The loss scales, each named: one too few or too many is an error."""
    scales = dict(SCALES if scales is None else scales)
    if scales.keys() != SCALES.keys():
        raise ConfigError(f"loss scales for {', '.join(scales)}", f"exactly {', '.join(SCALES)}", "name each loss once")
    return scales


class WorldModel(Stage):
    """Trains a world model on recorded experience; offers no policy."""

    unfit = (Replay, Rollout)  # nobody would act

    def __init__(
        self,
        spec: EnvSpec,
        model: Callable[[EnvSpec], RSSM],
        *,
        lr: Rate = 4e-5,
        clip: Rate = 100.0,
        eps: Rate = 1e-8,
        free_bits: Rate = 1.0,
        scales: Mapping[str, Rate] | None = None,
    ) -> None:
        super().__init__(spec)
        self.model = model(spec)
        self.lr, self.clip, self.eps = lr, clip, eps
        self.free_bits, self.scales = free_bits, checked(scales)

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        learned = learn(self.model, batch, scales=self.scales, free_bits=self.free_bits)
        return learned.losses, learned.metrics

    def groups(self) -> list[Group]:
        return [Group("model", self.model, self.lr, self.clip, eps=self.eps)]
