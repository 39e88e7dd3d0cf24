"""Proximal policy optimisation. Schulman et al. (2017), with the details collected by Huang et al. (2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count, Options, Rate, Share
from worldmodels.core.spec import EnvSpec
from worldmodels.data.replay import Replay
from worldmodels.data.segment import Segment
from worldmodels.ops.masked import explained_variance, masked_mean, standardise
from worldmodels.ops.returns import gae
from worldmodels.policy.actor import ActorCritic, ActorPolicy
from worldmodels.stage.stage import Group, Scalars, Stage

_FRAMES = 4096  # observations valued at once in `prepare`: bounds memory


class PPO(Stage):
    """Learns from on-policy rollouts, each step weighted by how much better it went than the critic expected.

    `net` are options of `ActorCritic`. `clip_value` also clips the critic's change; `kl_stop` refuses the remaining
    updates of a rollout once the policy has moved that far; `anneal` lowers the rate linearly to 0 over so many
    updates. Batches come from `data=rollout`, which calls `prepare`.
    """

    unfit = (Replay, Segment)  # only fresh rollouts are handed to `prepare`
    stopped: Tensor
    moved: Tensor

    def __init__(
        self,
        spec: EnvSpec,
        *,
        net: Annotated[Mapping[str, Any], Options(ActorCritic)],
        discount: Share = 0.99,
        lam: Share = 0.95,
        clip_ratio: Rate = 0.2,
        clip_value: Rate | None = None,
        value_weight: Rate = 0.5,
        entropy_weight: Rate = 0.01,
        kl_stop: Rate | None = None,
        anneal: Count | None = None,
        lr: Rate = 2.5e-4,
        clip: Rate = 0.5,
    ) -> None:
        super().__init__(spec)
        self.net = ActorCritic(spec, **net)
        self.discount, self.lam = discount, lam
        self.clip_ratio, self.clip_value = clip_ratio, clip_value
        self.value_weight, self.entropy_weight = value_weight, entropy_weight
        self.kl_stop, self.anneal, self.lr, self.clip = kl_stop, anneal, lr, clip
        self.register_buffer("stopped", torch.zeros((), dtype=torch.bool))

    def groups(self) -> list[Group]:
        return [Group("agent", self.net, self.lr, self.clip, eps=1e-5)]

    def policy(self) -> ActorPolicy:
        return ActorPolicy(self.net)

    @torch.no_grad()
    def prepare(self, rollout: Batch) -> Batch:
        """Adds `advantage`, `return` and the critic's `value` (B, T), and allows updates again."""
        self.stopped.fill_(False)
        value = self._values(rollout)
        advantage = gae(
            rollout.reward,
            value,
            (~rollout.terminated).float(),
            discount=self.discount,
            lam=self.lam,
            mask=rollout.mask,
        )
        before = value[:, :-1]
        return replace(
            rollout,
            extras={**rollout.extras, "advantage": advantage, "return": advantage + before, "value": before},
        )

    def _values(self, rollout: Batch) -> Float[Tensor, "B T1"]:
        device = next(self.net.parameters()).device
        times = max(1, _FRAMES // len(rollout.reward))
        total = rollout.first.shape[1]
        parts = [
            self.net.value({name: x[:, t : t + times].to(device) for name, x in rollout.obs.items()})
            for t in range(0, total, times)
        ]
        return torch.cat(parts, 1).to(rollout.reward.device)

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        made, value = self.net({name: x[:, :-1] for name, x in batch.obs.items()})
        old, mask = batch.extras, batch.mask
        shift = made.log_prob(old.get("raw", batch.action)) - old["logprob"]
        # Rows that no one acted in have no probability; 0 keeps the exponential finite there.
        shift = torch.where(mask, shift, 0)
        ratio = shift.exp()
        advantage = standardise(old["advantage"], mask)
        losses = {
            "policy": masked_mean(clipped(ratio, advantage, self.clip_ratio), mask),
            "value": self.value_weight * masked_mean(self._value_error(value, old), mask),
            "entropy": -self.entropy_weight * masked_mean(made.entropy(), mask),
        }
        with torch.no_grad():
            self.moved = masked_mean(ratio - 1 - shift, mask)
            metrics = {
                "kl": self.moved,
                "clipped": masked_mean(((ratio - 1).abs() > self.clip_ratio).float(), mask),
                "entropy": masked_mean(made.entropy(), mask),
                "explained": explained_variance(old["value"], old["return"], mask),
            }
        return losses, metrics

    def _value_error(self, value: Tensor, old: Mapping[str, Tensor]) -> Tensor:
        error = (value - old["return"]).square()
        if self.clip_value is not None:
            near = old["value"] + (value - old["value"]).clamp(-self.clip_value, self.clip_value)
            error = torch.maximum(error, (near - old["return"]).square())
        return 0.5 * error

    def demand_crew(self, count: int) -> None:
        if self.kl_stop is not None:
            found = f"trainer.devices={count} with stage.kl_stop={self.kl_stop}, which one process decides on"
            raise ConfigError(found, "one process, or no such limit", "set trainer.devices=1, or stage.kl_stop=null")

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        if self.kl_stop is None or not bool(self.stopped):
            return super().training_step(batch, batch_idx)
        with torch.no_grad():  # the step will be refused: watch it, but spare the backward pass
            out = super().training_step(batch, batch_idx)
        return {**out, "loss": out["loss"].clone().requires_grad_()}

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """One update, or none once `kl_stop` was passed: a refused step still counts, so the calendar stays intact."""
        if self.anneal is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * max(0.0, 1 - self.global_step / self.anneal)

        def closure() -> Any:
            result = optimizer_closure() if optimizer_closure is not None else None
            if self.kl_stop is not None:
                self.stopped |= self.moved > self.kl_stop
                if bool(self.stopped):
                    optimizer.zero_grad(set_to_none=True)  # without gradients the optimizer moves nothing
            return result

        super().optimizer_step(epoch, batch_idx, optimizer, closure)


def clipped(ratio: Float[Tensor, "*N"], advantage: Float[Tensor, "*N"], by: float) -> Float[Tensor, "*N"]:
    """The pessimistic surrogate loss of each step. Schulman et al. (2017), equation 7, negated."""
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - by, 1 + by) * advantage)
