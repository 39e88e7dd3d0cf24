"""What a world model learns from a batch.

Hafner et al. (2024), equations 4 and 5; with `kl_balance` Hafner et al. (2021), algorithm 2, and with several draws
Burda et al. (2016), as pydreamer has both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count, Rate, Share
from worldmodels.model.recall import resume
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.model.unroll import arrivals, seen
from worldmodels.ops.bound import importance_weighted
from worldmodels.ops.masked import masked_mean
from worldmodels.ops.squash import ClipRewards
from worldmodels.stage.stage import Scalars

SCALES = {"obs": 1.0, "reward": 1.0, "cont": 1.0, "dyn": 1.0, "rep": 0.1}
ARRIVALS = ("reward", "cont")  # what belief t + 1 says of step t
# Names of other losses than those of observations, also in stages that add some: an observation that is called so keeps
# its own, as `obs/<name>`.
TAKEN = (*ARRIVALS, "kl", "bound", "representation", "actor", "critic", "repval")


@dataclass(frozen=True)
class ModelLoss:
    """Options of the loss; `scales` of its parts by name.

    The KL is kl_weight (dyn max(free_bits, KL(sg post || prior)) + rep max(free_bits, KL(post || sg prior))), in nats,
    where `kl_balance` alpha, if given, stands for dyn=alpha and rep=1 - alpha. The greater of the two is that of each
    moment, or with `free_avg`, as in DreamerV2's code, of the batch's mean. With `iwae_samples` I > 1 it is
    log q(z) - log p(z) of each of I draws, unbalanced, and a moment's loss is -log mean exp(-loss) over them. What the
    continuation head learns of a step after which the world goes on is 1, or `contdisc`, DreamerV3's discount (horizon
    333 is 1 - 1/333 = 0.997). Without `reward_grad` the reward teaches its head alone. `clip_rewards` says
    what a reward is to all that learn from the batch.
    """

    free_bits: Rate = 1.0
    free_avg: bool = False
    kl_weight: Rate = 1.0
    kl_balance: Share | None = None
    iwae_samples: Count = 1
    contdisc: Share | None = None
    reward_grad: bool = True
    clip_rewards: ClipRewards | None = None
    scales: Mapping[str, Rate] = field(default_factory=lambda: dict(SCALES))

    def __post_init__(self) -> None:
        if self.scales.keys() != SCALES.keys():
            found = f"loss scales for {', '.join(self.scales)}"
            raise ConfigError(found, f"exactly {', '.join(SCALES)}", "name each loss once")
        if self.contdisc == 0:
            raise ConfigError("contdisc=0", "a discount above 0, or null", "set stage.loss.contdisc=0.997 or null")

    @property
    def going(self) -> float:
        """What the continuation head says of a step after which the world surely goes on."""
        return 1.0 if self.contdisc is None else self.contdisc

    @property
    def sides(self) -> tuple[float, float]:
        """Weights of the two KLs, which teach the prior (dyn) and the posterior (rep)."""
        if self.kl_balance is None:
            return self.kl_weight * self.scales["dyn"], self.kl_weight * self.scales["rep"]
        return self.kl_weight * self.kl_balance, self.kl_weight * (1 - self.kl_balance)

    def scale(self, name: str) -> float:
        """Of one part of the loss; that of the analytic KL is in its two sides."""
        if name == "kl":
            return self.kl_weight if self.iwae_samples > 1 else 1.0
        return self.scales[name if name in ARRIVALS else "obs"]


@dataclass(frozen=True)
class Learned:
    """What a look at a batch gives: weighted losses, scalars to watch, and the beliefs along the way.

    With I draws there are I windows for each of the batch's, side by side, in `batch` and all else.
    """

    losses: Scalars
    metrics: Scalars
    beliefs: RSSMBelief  # (B I, T + 1, ...)
    seen: Bool[Tensor, "B moments"]  # neither padding nor a moment whose belief was only recalled
    batch: Batch
    surprise: Float[Tensor, " windows"] | None = None  # what each window of the batch cost; None: nothing learned

    def counts(self, name: str) -> Bool[Tensor, "B _"]:
        """Where a loss counts: at moments, or, of what comes on arrival, at steps."""
        return self.batch.mask if name in ARRIVALS else self.seen


def learn(model: RSSM, batch: Batch, loss: ModelLoss) -> Learned:
    """The weighted losses of a batch.

    Beliefs t = 0 .. T predict obs[t]; beliefs t + 1 predict reward[t] and whether the world went on. Padding, the step
    that was never taken between two episodes, and moments whose belief was only recalled count nowhere. A window's
    `weight` multiplies what it costs, but not the loss of a `representation`, which compares windows.
    """
    looked, embed = _look(model, batch, loss.iwae_samples)
    beliefs, feature = looked.beliefs, looked.beliefs.feature
    each = _surprises(model, looked, feature, loss)
    latents = model.rssm.latents
    post, prior = latents.distribution(beliefs.post), latents.distribution(beliefs.prior)
    plain = latents.kl(post.detach(), prior)
    if loss.iwae_samples == 1:
        each["kl"] = _divergence(plain, latents.kl(post, prior.detach()), looked.seen, loss)
        parts = {name: (loss.scale(name), value, looked.counts(name)) for name, value in each.items()}
    else:
        each["kl"] = latents.log_prob(post, beliefs.stoch) - latents.log_prob(prior, beliefs.stoch)
        parts = {"bound": (1.0, _bound(each, looked, loss), looked.seen[:: loss.iwae_samples])}
    losses = {
        name: scale * masked_mean(value if batch.weight is None else value * batch.weight[:, None], counts)
        for name, (scale, value, counts) in parts.items()
    }
    if model.representation is not None:
        losses["representation"] = model.representation.loss(feature, embed, looked.seen)
    with torch.no_grad():
        metrics = {
            "kl": masked_mean(plain, looked.seen),
            "entropy/posterior": masked_mean(latents.entropy(post), looked.seen),
            "entropy/prior": masked_mean(latents.entropy(prior), looked.seen),
        }
        if loss.iwae_samples > 1:
            metrics |= {f"draws/{name}": masked_mean(value, looked.counts(name)) for name, value in each.items()}
        surprise = torch.stack([scale * _by_window(value, counts) for scale, value, counts in parts.values()]).sum(0)
    return replace(looked, losses=losses, metrics=metrics, surprise=surprise)


@torch.no_grad()
def watch(model: RSSM, batch: Batch) -> Learned:
    """The beliefs along a batch, of a model that learns no more: no losses, and nothing is decoded."""
    return _look(model, batch, 1)[0]


def _look(model: RSSM, batch: Batch, draws: int) -> tuple[Learned, Float[Tensor, "B moments E"]]:
    """Beliefs along the batch, each window `draws` times, and the embeddings of what was seen."""
    embed = model.encode(batch.obs)
    if draws > 1:
        embed = embed.repeat_interleave(draws, 0)
        batch = batch.map(lambda x: x.repeat_interleave(draws, 0))
    action, real = arrivals(model.spec, batch), seen(batch)
    if batch.known is None:
        beliefs = model.track(action, embed, batch.first)
    else:
        beliefs, given = resume(model, batch, action, embed)
        real = real & ~F.pad(given[:, None], (0, real.shape[1] - 1))
    return Learned({}, {}, beliefs, real, batch), embed


def _surprises(
    model: RSSM, looked: Learned, feature: Float[Tensor, "B moments F"], loss: ModelLoss
) -> dict[str, Float[Tensor, "B _"]]:
    """Negative log-likelihoods of what was observed (B, T + 1), and of what came on arrival (B, T)."""
    batch, each = looked.batch, dict[str, Tensor]()
    if model.decoder is not None:
        told = model.decoder.losses(model.decoder(feature), batch.obs)
        each |= {f"obs/{name}" if name in TAKEN else name: value for name, value in told.items()}
    heads, arrived = model.heads, feature[:, 1:]
    rewarded = heads.reward(arrived if loss.reward_grad else arrived.detach())
    each["reward"] = heads.reward.loss(rewarded, batch.reward)
    each["cont"] = heads.cont.loss(heads.cont(arrived), (~batch.terminated).to(feature.dtype) * loss.going)
    return each


def _divergence(
    dyn: Float[Tensor, "B moments"], rep: Float[Tensor, "B moments"], counts: Bool[Tensor, "B moments"], loss: ModelLoss
) -> Float[Tensor, "B moments"]:
    """The weighted KL of each moment beyond its free bits; with `free_avg` the mean's, at each."""
    if loss.free_avg:
        dyn, rep = (masked_mean(side, counts).expand_as(side) for side in (dyn, rep))
    weights = loss.sides
    return weights[0] * dyn.clamp(min=loss.free_bits) + weights[1] * rep.clamp(min=loss.free_bits)


def _by_window(each: Float[Tensor, "windows _"], counts: Bool[Tensor, "windows _"]) -> Float[Tensor, " windows"]:
    """The mean over what counts in each window."""
    return torch.where(counts, each, 0).sum(1) / counts.sum(1).clamp(min=1)


def _bound(each: Mapping[str, Tensor], looked: Learned, loss: ModelLoss) -> Float[Tensor, "windows moments"]:
    """The importance-weighted loss of each moment, all that is said of it together."""
    total = torch.zeros_like(each["kl"])
    for name, value in each.items():
        scaled = torch.where(looked.counts(name), loss.scale(name) * value, 0)
        total = total + (F.pad(scaled, (1, 0)) if name in ARRIVALS else scaled)
    moments = total.unflatten(0, (-1, loss.iwae_samples))
    return importance_weighted(moments)
