"""Learn a model by what a search in it needs to know: rewards, values and what the search would do.

Schrittwieser et al. (2020), "Mastering Atari, Go, chess and shogi by planning with a learned model"; with `planner`
gumbel its successor of Danihelka et al. (2022). Differences: `consistency` holds imagined latents against seen ones
(EfficientZero: Ye et al., 2021); values are bootstrapped from what the search said when the step was lived, or, of
the random steps at the beginning, from what the network says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count, Natural, Options, Rate, Share
from worldmodels.core.spec import EnvSpec
from worldmodels.data.module import Plan
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout
from worldmodels.data.segment import Segment
from worldmodels.model import muzero
from worldmodels.model.unroll import as_vector
from worldmodels.nn.target import Target
from worldmodels.ops.squash import ClipRewards, clip_rewards
from worldmodels.planner.plan import TreePlanner, demand_heads
from worldmodels.planner.simulator import Simulator
from worldmodels.policy.searching import VALUE, Searching, simulator
from worldmodels.stage.consistency import Consistency, Seen
from worldmodels.stage.optim import Optim
from worldmodels.stage.reanalyze import Again, Reanalyze, Search
from worldmodels.stage.search_losses import read
from worldmodels.stage.search_targets import Horizon, Targets, targets, unsearched
from worldmodels.stage.stage import Group, Scalars, Stage, demand_kind


@dataclass(frozen=True)
class Scales:
    """What each part of the loss counts; entropy is a bonus. `gradient` is that into each imagined latent."""

    value: Rate = 0.25
    policy: Rate = 1.0
    reward: Rate = 1.0
    consistency: Rate = 1.0
    entropy: Rate = 0.0
    gradient: Share = 0.5


class MuZero(Stage):
    """Unrolls the model `unroll` steps from each window's first observation; values look `n_step` steps further.

    Windows should hold unroll + n_step + 1 steps and be padded (`data.sampler.pad=true`). The gradient into each
    imagined latent is multiplied by `scales.gradient`; its losses count 1 / unroll, those of the first moment 1.
    `consistency(model)` holds imagined latents against what is seen; null: nothing does. With `target`, options
    of `nn.target.Target`, values are bootstrapped from a slow copy of the model instead of from what the search said.
    A model with values of actions (`model.q`) learns those that were taken, and no policy. `eval_simulations` are those
    of the search that acts without exploring; null: as many. Without `search_values` it is the network's own word on
    each step that is stored. `clip_rewards` says what a reward is to all that is learned. `shorten_every`: values look
    one step less far, but one, for each so many updates that have passed since the step was lived, as what is done by
    now is something else: off-policy correction of Ye et al. (2021), section 4.3, where it is 0.3 of all updates.
    """

    unfit = (Rollout, Segment)
    refreshes = True

    def __init__(  # noqa: PLR0913 (each is an option of its config)
        self,
        spec: EnvSpec,
        model: Callable[[EnvSpec], muzero.MuZero],
        planner: TreePlanner,
        consistency: Callable[[muzero.MuZero], Consistency] | None = None,
        *,
        optim: Optim | None = None,
        scales: Scales | None = None,
        target: Annotated[Mapping[str, Any] | None, Options(Target)] = None,
        reanalyze: Reanalyze | None = None,
        eval_simulations: Natural | None = None,
        search_values: bool = True,
        clip_rewards: ClipRewards | None = None,
        unroll: Natural = 5,
        n_step: Count = 5,
        shorten_every: Count | None = None,
        discount: Share = 0.997,
    ) -> None:
        super().__init__(spec)
        made = model(spec)
        if target is not None and not search_values:
            found = "stage.search_values=false with stage.target, from which values are bootstrapped instead"
            raise ConfigError(found, "one of both", "leave out stage.search_values, or set stage.target=null")
        if not isinstance(made, muzero.MuZero):
            found = f"stage=muzero with a model of {type(made).__name__}"
            raise ConfigError(found, "latents that tell rewards, values and a policy", "take model=muzero")
        demand_kind(spec, planner.candidates)
        planner.check(spec.action_size)
        demand_heads(planner, made)
        self.model, self.planner = made, planner
        self.consistency = None if consistency is None else consistency(self.model)
        self.optim, self.scales = optim or Optim(), scales or Scales()
        self.slow = None if target is None else Target(self.model, **target)
        self._again, self.eval_simulations = Again(reanalyze or Reanalyze()), eval_simulations
        self.search_values = search_values
        self.clip_rewards: ClipRewards | None = clip_rewards
        self.horizon = Horizon(unroll, n_step, discount, shorten_every)
        self._demand_searches()
        self._surprise: Tensor | None = None

    def demand(self, plan: Plan) -> None:
        super().demand(plan)
        assert isinstance(plan, Replay)
        unroll, n = self.horizon.unroll, self.horizon.n_step
        needed, windows = unroll + n + 1, plan.sampler
        if getattr(windows, "length", needed) < needed or not getattr(windows, "pad", True):
            raise ConfigError(
                f"data.sampler gives windows of {windows.length} steps"  # pyright: ignore[reportAttributeAccessIssue]
                + ("" if getattr(windows, "pad", True) else " that lie whole inside an episode"),
                f"{needed} steps for stage.unroll={unroll} and stage.n_step={n}, padded at the end",
                f"set data.sampler.length={needed} data.sampler.pad=true",
            )
        self._again.options.demand(keeps=plan.refresh, used=self.slow is None or not self.model.by_actions)

    def _demand_searches(self) -> None:
        """ConfigError where searches would go through dynamics that nothing teaches, or be too large."""
        for name, count in self._searches.items():
            if count and count > self.planner.most:
                limit = f"at most {self.planner.most:,} simulations, each of which is a node in memory"
                raise ConfigError(f"{name}={count}", limit, f"set {name} to less")
            if count and not self.horizon.unroll:
                raise ConfigError(
                    f"{name}={count} with stage.unroll=0: a search in a model whose steps are not learned",
                    "at least one step to be imagined and learned",
                    f"set stage.unroll=5, and data.sampler.length to 6 + stage.n_step; or {name}=0",
                )

    @property
    def _searches(self) -> dict[str, int | None]:
        """How many simulations each kind of search has, by its option; None where that is not set."""
        again = self._again.options
        return {
            "planner.simulations": self.planner.simulations,
            "stage.eval_simulations": self.eval_simulations,
            "stage.reanalyze.simulations": again.simulations if again.ratio else None,
        }

    def simulator(self, rng: torch.Generator, candidates: int | None = None) -> Simulator:  # noqa: ARG002 (draws none)
        demand_kind(self.spec, candidates)
        if not self.horizon.unroll:
            raise ConfigError(
                "a run with stage.unroll=0, whose model has not learned what follows",
                "a model that was trained to imagine at least one step",
                "search in a run of +experiment=q_learning_search, or record this one without policy=planning",
            )
        return simulator(self.model, self.horizon.discount)

    def policy(self) -> Searching:
        ways = simulator(self.model, self.horizon.discount)
        clock = None if self.horizon.shorten_every is None else lambda: self.updates
        return Searching(
            self.spec, self.model, ways, self.planner, self.judged, plain=not self.search_values, clock=clock
        )

    @property
    def judged(self) -> TreePlanner:
        """The search that acts without exploring."""
        count = self.eval_simulations
        return self.planner if count is None else replace(self.planner, simulations=count)

    def others(self) -> dict[str, Searching]:
        """What the network does alone: how much is due to the search."""
        return {"prior": self.policy().by(replace(self.planner, simulations=0))} if self.judged.simulations else {}

    def remarks(self) -> list[str]:
        what = "policies are learned from what the network says itself"
        if self.model.by_actions:
            what = "it acts by the network's own values of actions"
        names = ("planner.simulations", "stage.reanalyze.simulations")
        found = [f"{name}=0: nothing is searched; {what}" for name in names if self._searches[name] == 0]
        if self.planner.simulations and not self.judged.simulations:
            found.append(
                "stage.eval_simulations=0: evaluations search nothing, and have the score of the network alone"
            )
        if any(self._searches.values()) and not self.scales.reward:
            found.append("stage.scales.reward=0: searches go by rewards that nothing teaches")
        return found + self._idle()

    def _idle(self) -> list[str]:
        """Scales that were set for what is not learned here."""
        valued, alone = self.model.by_actions, self.consistency is None
        lacking = {"policy": valued, "entropy": valued, "consistency": alone}
        usual = Scales()
        return [
            f"stage.scales.{name}={scale}: there is no such loss here"
            for name, absent in lacking.items()
            if absent and (scale := getattr(self.scales, name)) not in (getattr(usual, name), 0)
        ]

    def groups(self) -> list[Group]:
        parts = {"model": self.model} | ({} if self.consistency is None else {"consistency": self.consistency})
        return self.optim.groups(parts)

    def optimizer(self, groups: list[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        return self.optim.make(groups, fused=fused)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        self.optim.schedule(optimizer, self.updates)
        super().optimizer_step(epoch, batch_idx, optimizer, *args, **kwargs)

    def feedback(self) -> Tensor | None:
        """How far the value of each window's first moment was from its target (B,)."""
        return self._surprise

    @torch.no_grad()
    def surprise_of(self, batch: Batch) -> Float[Tensor, " B"]:
        """How far the value of each window's first moment is from its target."""
        batch = batch.to(self.device)
        targets, latent = self.targets(batch), self.model.encode({name: x[:, 0] for name, x in batch.obs.items()})
        if self.model.by_actions:
            value = self.model.prior(latent).gather(1, targets.action[:, :1])[:, 0]
        else:
            value = self.model.value(latent)
        return (value - targets.value[:, 0]).abs() * targets.worth[:, 0]

    def followers(self) -> list[tuple[Target, nn.Module]]:
        own: list[tuple[Target, nn.Module]] = [] if self.slow is None else [(self.slow, self.model)]
        return own if self.consistency is None else own + self.consistency.followers(self.model)

    def after_update(self) -> None:
        for slow, source in self.followers():
            slow.update(source)
        if self.consistency is not None:
            self.consistency.after_update()

    def beliefs(self) -> Mapping[str, Tensor]:
        """What was found by searching again from the last batch."""
        return self._again.end()

    def teardown(self, stage: str) -> None:
        self._again.close()
        super().teardown(stage)

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        if self.training:  # or else the windows are others, to be judged by
            search = Search(self.steady, self.planner, self.horizon.discount, not self.search_values)
            batch = self._again.begin(batch, search, self.rows(batch) + self.updates)
        targets = self.targets(batch)
        latents = self.imagine(batch, targets.action[:, : self.horizon.unroll])
        each, told, self._surprise = read(self.model, latents, targets)
        if self.consistency is not None:
            obs = {name: x[:, : self.horizon.unroll + 1] for name, x in batch.obs.items()}
            each["consistency"], more = self.consistency(latents, Seen(obs, targets.seen, self.model.encode))
            told |= more
        losses = {name: getattr(self.scales, name) * self.average(x, batch.weight) for name, x in each.items()}
        return losses, told

    def imagine(self, batch: Batch, action: Int64[Tensor, "B K"]) -> Float[Tensor, "B K+1 ..."]:
        """Latents of the first moment, and of those that the actions lead to."""
        latents = [self.model.encode({name: x[:, 0] for name, x in batch.obs.items()})]
        for done in as_vector(self.spec, action).unbind(1):
            arrived = self.model.advance(latents[-1], done)
            latents.append(torch.lerp(arrived.detach(), arrived, self.scales.gradient))
        return torch.stack(latents, 1)

    def average(self, each: Float[Tensor, "B M"], weight: Float[Tensor, " B"] | None) -> Float[Tensor, ""]:
        """Over the batch; then the first moment, and the mean of the others."""
        moments = (each if weight is None else each * weight[:, None]).mean(0)
        return moments[0] + moments[1:].sum() / max(self.horizon.unroll, 1)

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        net, batch = self.steady, replace(batch, reward=clip_rewards(batch.reward, self.clip_rewards))
        if self.slow is not None:
            return targets(batch, self.horizon, net.value(net.encode(batch.obs)), now=self.updates)
        left = unsearched(batch, self.horizon)
        if left.any():  # or else a value that leads there would be as if the world ended
            value = batch.extras[VALUE].clone()
            value[left] = net.value(net.encode({name: x[:, :-1][left] for name, x in batch.obs.items()})).to(value)
            batch = replace(batch, extras={**batch.extras, VALUE: value})
        return targets(batch, self.horizon, now=self.updates)

    @property
    def steady(self) -> muzero.MuZero:
        """The slow copy of the model, or the model where there is none."""
        return self.model if self.slow is None else cast(muzero.MuZero, self.slow.module)
