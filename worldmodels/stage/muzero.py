"""Learn a model by what a search in it needs to know: rewards, values and what the search would do.

Schrittwieser et al. (2020), "Mastering Atari, Go, chess and shogi by planning with a learned model"; with `planner`
gumbel its successor of Danihelka et al. (2022). Differences: `consistency` holds imagined latents against seen ones
(EfficientZero: Ye et al., 2021); values are bootstrapped from what the search said when the step was lived.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count, Rate, Share
from worldmodels.core.spec import EnvSpec
from worldmodels.data.module import Plan
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout
from worldmodels.data.segment import Segment
from worldmodels.model import muzero
from worldmodels.model.muzero import LatentBelief
from worldmodels.model.unroll import as_vector
from worldmodels.ops.returns import n_step
from worldmodels.planner.plan import TreePlanner
from worldmodels.planner.simulator import Simulator, from_model
from worldmodels.policy.searching import POLICY, VALUE, Searching
from worldmodels.stage.consistency import Consistency, Seen
from worldmodels.stage.dqn import connected
from worldmodels.stage.optim import Optim
from worldmodels.stage.stage import Group, Scalars, Stage


@dataclass(frozen=True)
class Scales:
    """What each part of the loss counts; entropy is a bonus."""

    value: Rate = 0.25
    policy: Rate = 1.0
    reward: Rate = 1.0
    consistency: Rate = 1.0
    entropy: Rate = 0.0


@dataclass(frozen=True)
class Targets:
    """What is to be learned of B windows at moments 0 to K, of which the first is seen and K are imagined.

    Where the world has ended, nothing more is paid and nothing is to be done. Flags say where a target is known.
    """

    action: Int64[Tensor, "B K"]
    reward: Float[Tensor, "B K"]
    value: Float[Tensor, "B K+1"]
    policy: Float[Tensor, "B K+1 A"]
    paid: Bool[Tensor, "B K"]  # of reward
    worth: Bool[Tensor, "B K+1"]  # of value
    decided: Bool[Tensor, "B K+1"]  # of policy
    seen: Bool[Tensor, "B K+1"]  # whether there was anything to see


class MuZero(Stage):
    """Unrolls the model `unroll` steps from each window's first observation; values look `n_step` steps further.

    Windows should hold unroll + n_step + 1 steps and be padded (`data.sampler.pad=true`). The gradient into each
    imagined latent is multiplied by `grad_scale`; its losses count 1 / unroll, those of the first moment 1.
    `consistency(spec, shape)` holds imagined latents against what is seen; null: nothing does.
    """

    unfit = (Rollout, Segment)

    def __init__(
        self,
        spec: EnvSpec,
        model: Callable[[EnvSpec], muzero.MuZero],
        planner: TreePlanner,
        consistency: Callable[[EnvSpec, tuple[int, ...]], Consistency] | None = None,
        *,
        optim: Optim | None = None,
        scales: Scales | None = None,
        unroll: Count = 5,
        n_step: Count = 5,
        discount: Share = 0.997,
        grad_scale: Share = 0.5,
    ) -> None:
        super().__init__(spec)
        made = model(spec)
        if not isinstance(made, muzero.MuZero):
            found = f"stage=muzero with a model of {type(made).__name__}"
            raise ConfigError(found, "latents that tell rewards, values and a policy", "take model=muzero")
        planner.check(spec.action_size)
        self.model, self.planner = made, planner
        self.consistency = None if consistency is None else consistency(spec, self.model.shape)
        self.optim, self.scales = optim or Optim(), scales or Scales()
        self.unroll, self.n_step, self.discount, self.grad_scale = unroll, n_step, discount, grad_scale
        self._surprise: Tensor | None = None

    def demand(self, plan: Plan) -> None:
        super().demand(plan)
        assert isinstance(plan, Replay)
        needed, windows = self.unroll + self.n_step + 1, plan.sampler
        if getattr(windows, "length", needed) < needed or not getattr(windows, "pad", True):
            raise ConfigError(
                f"data.sampler gives windows of {windows.length} steps"  # pyright: ignore[reportAttributeAccessIssue]
                + ("" if getattr(windows, "pad", True) else " that lie whole inside an episode"),
                f"{needed} steps for stage.unroll={self.unroll} and stage.n_step={self.n_step}, padded at the end",
                f"set data.sampler.length={needed} data.sampler.pad=true",
            )

    def simulator(self, rng: torch.Generator) -> Simulator:
        model = self.model
        heads: dict[str, Callable[[LatentBelief], Tensor]] = {
            "reward": lambda belief: model.reward(belief.latent),
            "value": lambda belief: model.value(belief.latent),
            "prior": lambda belief: model.prior(belief.latent),
        }
        return from_model(model, heads, actions=self.spec.action_size, discount=self.discount, rng=rng)

    def policy(self) -> Searching:
        return Searching(self.spec, self.model, self.simulator(torch.Generator()), self.planner)

    def others(self) -> dict[str, Searching]:
        """What the prior does alone: how much is due to the search."""
        return {"prior": self.policy().by(replace(self.planner, simulations=0))} if self.planner.simulations else {}

    def groups(self) -> list[Group]:
        parts = {"model": self.model} | ({} if self.consistency is None else {"consistency": self.consistency})
        return self.optim.groups(parts)

    def optimizer(self, groups: list[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        return self.optim.make(groups, fused=fused)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        self.optim.warm(optimizer, self.updates)
        super().optimizer_step(epoch, batch_idx, optimizer, *args, **kwargs)

    def feedback(self) -> Tensor | None:
        """How far the value of each window's first moment was from its target (B,)."""
        return self._surprise

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        targets = self.targets(batch)
        latents = self.imagine(batch, targets.action)
        arrived = latents[:, 1:]
        logits = self.model.prior(latents).log_softmax(-1)
        each = {
            "value": self.model.likelihood("value", latents, targets.value) * targets.worth,
            "policy": -(targets.policy * logits).sum(-1) * targets.decided,
            "reward": F.pad(self.model.likelihood("reward", arrived, targets.reward) * targets.paid, (1, 0)),
        }
        entropy = -(logits.exp() * logits).sum(-1) * targets.decided
        if self.scales.entropy:
            each["entropy"] = -entropy
        told = Scalars()
        if self.consistency is not None:
            obs = {name: x[:, : self.unroll + 1] for name, x in batch.obs.items()}
            each["consistency"], told = self.consistency(latents, Seen(obs, targets.seen, self.model.encode))
        losses = {name: getattr(self.scales, name) * self.average(x, batch.weight) for name, x in each.items()}
        return losses, self.watch(latents.detach(), targets, entropy) | told

    def imagine(self, batch: Batch, action: Int64[Tensor, "B K"]) -> Float[Tensor, "B K+1 ..."]:
        """Latents of the first moment, and of those that the actions lead to."""
        latents = [self.model.encode({name: x[:, 0] for name, x in batch.obs.items()})]
        for done in as_vector(self.spec, action).unbind(1):
            arrived = self.model.advance(latents[-1], done)
            latents.append(torch.lerp(arrived.detach(), arrived, self.grad_scale))
        return torch.stack(latents, 1)

    def average(self, each: Float[Tensor, "B M"], weight: Float[Tensor, " B"] | None) -> Float[Tensor, ""]:
        """Over the batch; then the first moment, and the mean of the others."""
        moments = (each if weight is None else each * weight[:, None]).mean(0)
        return moments[0] + moments[1:].sum() / self.unroll

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        known, depth = batch.extras, self.unroll
        lived = connected(batch)
        steps, moment = lived.sum(1, keepdim=True), torch.arange(depth + 1, device=lived.device)
        over = (batch.terminated & lived).any(1, keepdim=True)
        lives = moment < steps
        policy = known[POLICY][:, : depth + 1]
        drawn = torch.randint(self.spec.action_size, batch.action[:, :depth].shape, device=lived.device)
        return Targets(
            action=torch.where(lived[:, :depth], batch.action[:, :depth], drawn),
            reward=(batch.reward * lived)[:, :depth],
            value=self.returns(batch, lived)[:, : depth + 1],
            policy=policy,
            paid=lived[:, :depth] | over,
            worth=lives | over,
            decided=lives & (policy.sum(-1) > 0),
            seen=(moment <= steps) & (steps > 0),
        )

    def returns(self, batch: Batch, lived: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """Rewards of the next `n_step` steps and what the search said of where they lead; 0 where the world has ended.

        Of the moment after the last step, be it that a clock cut the episode, nobody has searched: sums stop before it.
        """
        said = batch.extras[VALUE] * lived
        last = lived & ~F.pad(lived[:, 1:], (0, 1)) & ~batch.terminated
        cont = (~batch.terminated).to(said.dtype)
        value = F.pad(said, (0, 1))
        return n_step(batch.reward, value, cont, discount=self.discount, n=self.n_step, mask=lived & ~last)

    @torch.no_grad()
    def watch(self, latents: Float[Tensor, "B M ..."], targets: Targets, entropy: Float[Tensor, "B M"]) -> Scalars:
        """And keep what prioritised replay is to be told."""
        value, reward = self.model.value(latents), self.model.reward(latents[:, 1:])
        off = (value - targets.value) * targets.worth
        self._surprise = off[:, 0].abs()
        last = targets.worth[:, -1]
        return {
            "value": (value * targets.worth)[:, 0].mean(),
            "surprise": self._surprise.mean(),
            "value_error": off[:, -1].abs().sum() / last.sum().clamp(min=1),
            "reward_error": ((reward - targets.reward).abs() * targets.paid).sum() / targets.paid.sum().clamp(min=1),
            "policy_entropy": entropy.sum() / targets.decided.sum().clamp(min=1),
        }
