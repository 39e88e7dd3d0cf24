"""Deep Q-learning: action values from replayed steps. Mnih et al. (2015); for MinAtar Young & Tian (2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count, Natural, Options, Rate, Share
from worldmodels.core.spec import EnvSpec
from worldmodels.data.module import Plan, drawn
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.mlp import MLP, Activation, Scheme
from worldmodels.nn.norm import NormKind
from worldmodels.nn.target import Target
from worldmodels.policy.greedy import Epsilon, Greedy
from worldmodels.stage.stage import Group, Scalars, Stage


class QNetwork(nn.Module):
    """Observations (..., *shape) to action values (..., actions); dueling as in Wang et al. (2016)."""

    def __init__(
        self,
        spec: EnvSpec,
        *,
        encoder: Annotated[Mapping[str, Any], Options(Encoder)],
        units: Count = 128,
        layers: Natural = 1,
        dueling: bool = False,
        norm: NormKind = "none",
        activation: Activation = "relu",
        init: Scheme = "torch",
    ) -> None:
        super().__init__()
        style: dict[str, Any] = {"norm": norm, "activation": activation, "init": init}
        self.encoder = Encoder(spec, **{**style, **encoder})
        self.advantage = MLP(self.encoder.size, units, layers, spec.action_size, **style)
        self.value = MLP(self.encoder.size, units, layers, 1, **style) if dueling else None

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        feature = self.encoder(obs)
        advantage = self.advantage(feature)
        if self.value is None:
            return advantage
        return self.value(feature) + advantage - advantage.mean(-1, keepdim=True)


class DQN(Stage):
    """Learns the value of the first action of each window from the `n_step` steps that follow it.

    Windows should hold exactly `n_step` steps and may be padded after an episode's end (`data.sampler.pad=true`) or
    cross it: the return stops there, and bootstraps if it was truncated. `net` are options of `QNetwork`, `target` of
    `nn.target.Target`, `epsilon` of `policy.greedy.Epsilon`. `clip_reward` learns from the sign of the reward, as in
    Atari.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        net: Annotated[Mapping[str, Any], Options(QNetwork)],
        target: Annotated[Mapping[str, Any], Options(Target)],
        epsilon: Annotated[Mapping[str, Any], Options(Epsilon)],
        discount: Share = 0.99,
        n_step: Count = 1,
        double: bool = True,
        clip_reward: bool = False,
        lr: Rate = 3e-4,
        clip: Rate = 10.0,
        eps: Rate = 1e-5,
    ) -> None:
        super().__init__(spec)
        if not spec.discrete:
            raise ConfigError(f"{spec.name} has continuous actions", "numbered actions", "take stage=ppo")
        self.net = QNetwork(spec, **net)
        self.target = Target(self.net, **target)
        self.epsilon = Epsilon(**epsilon)
        self.discount, self.n_step, self.double_q, self.clip_reward = discount, n_step, double, clip_reward
        self.lr, self.clip, self.eps = lr, clip, eps
        self._surprise: Tensor | None = None

    def demand(self, plan: Plan) -> None:
        """Windows must hold `n_step` steps, and reach an episode's last ones, or how it ends is never learned."""
        super().demand(plan)
        key, windows = drawn(plan)
        length, n = int(getattr(windows, "length", self.n_step)), self.n_step
        whole = not (getattr(windows, "pad", True) or getattr(windows, "cross", True))
        if length >= n and (length == 1 or not whole):
            return
        found = f"{key} gives windows of {length} steps" + (" that lie whole inside an episode" if whole else "")
        ends = ", which may end early with their episode" if length > 1 or n > 1 else ""
        raise ConfigError(
            f"{found}, and DQN has n_step={n}",
            f"windows of {n} steps{ends}",
            f"set {key}.length={n} {key}.pad=true {key}.batch=64, or start from +experiment=dqn_minatar",
        )

    def groups(self) -> list[Group]:
        return [Group("values", self.net, self.lr, self.clip, eps=self.eps)]

    def policy(self) -> Greedy:
        return Greedy(self.net, self.epsilon)

    def followers(self) -> list[tuple[Target, nn.Module]]:
        return [(self.target, self.net)]

    def after_update(self) -> None:
        self.target.update(self.net)

    def feedback(self) -> Tensor | None:
        """Absolute temporal-difference error of each window of the last batch (B,)."""
        return self._surprise

    @torch.no_grad()
    def surprise_of(self, batch: Batch) -> Float32[Tensor, " B"]:
        batch = batch.to(self.device)
        return (self.taken_values(batch) - self.returns(batch)).abs() * batch.mask[:, 0]

    def taken_values(self, batch: Batch) -> Float32[Tensor, " B"]:
        """Of what was done first in each window."""
        values = self.net({name: x[:, 0] for name, x in batch.obs.items()})
        return values.gather(-1, batch.action[:, :1]).squeeze(-1)

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        learn = batch.mask[:, 0]  # a window that opens with the row between two episodes teaches nothing
        taken, target = self.taken_values(batch), self.returns(batch)
        each = nn.functional.smooth_l1_loss(taken, target, reduction="none") * learn
        count = learn.sum().clamp(min=1)
        loss = (each if batch.weight is None else each * batch.weight).sum() / count
        with torch.no_grad():
            self._surprise = surprise = (taken - target).abs() * learn
            metrics = {
                "value": (taken * learn).sum() / count,
                "surprise": surprise.sum() / count,
                "epsilon": torch.tensor(self.epsilon.value, device=taken.device),
            }
        return {"values": loss}, metrics

    @torch.no_grad()
    def returns(self, batch: Batch) -> Float32[Tensor, " B"]:
        """Rewards of the steps from the window's first, plus the discounted value of where they lead."""
        if batch.mask.shape[1] < self.n_step:
            raise ConfigError(
                f"windows of {batch.mask.shape[1]} steps for n_step={self.n_step}",
                f"at least {self.n_step} steps",
                f"set data.sampler.length={self.n_step}",
            )
        lived = connected(batch)[:, : self.n_step]
        steps = lived.sum(1)
        reward = batch.reward.sign() if self.clip_reward else batch.reward
        fading = self.discount ** torch.arange(self.n_step, device=reward.device)
        total = (reward[:, : self.n_step] * lived * fading).sum(1)
        died = (batch.terminated[:, : self.n_step] & lived).any(1)
        scale = self.discount**steps * ~died
        return total + scale * self._ahead(batch, steps)

    def _ahead(self, batch: Batch, steps: Int64[Tensor, " B"]) -> Float32[Tensor, " B"]:
        """Value of the observation `steps` after the first of each window."""
        rows = torch.arange(len(steps), device=steps.device)
        obs = {name: x[rows, steps] for name, x in batch.obs.items()}
        slow = self.target(obs)
        chooser = self.net(obs) if self.double_q else slow
        return slow.gather(-1, chooser.argmax(-1, keepdim=True)).squeeze(-1)


def connected(batch: Batch) -> Bool[Tensor, "B T"]:
    """The steps that were taken and belong to the episode of the window's first step."""
    over = batch.terminated | batch.truncated | ~batch.mask
    before = torch.cat([torch.zeros_like(over[:, :1]), over[:, :-1]], 1)
    return batch.mask & (before.cumsum(1) == 0)
