"""What a method writes, and what it need not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import pytorch_lightning as L
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.protocols import Learner, Policy, Rating
from worldmodels.core.spec import EnvSpec
from worldmodels.data.module import Plan
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout
from worldmodels.data.segment import Segment
from worldmodels.nn.laprop import clip_adaptive_
from worldmodels.nn.target import Target
from worldmodels.planner.simulator import Simulator
from worldmodels.stage.crew import Crew, deal

Scalars = dict[str, Tensor]
PLANS = (Replay, Rollout, Segment)


@dataclass(frozen=True)
class Group:
    """Parameters that learn at one rate and are clipped together by their global gradient norm."""

    name: str
    params: nn.Module
    lr: float
    clip: float = 100.0
    weight_decay: float = 0.0
    eps: float = 1e-8
    agc: float | None = None  # before that, clip every tensor's gradient to this share of the tensor's norm


class Stage(L.LightningModule, ABC):
    """Something that learns from batches and, in return, offers a policy.

    Write `losses` and `groups`; the rest is here. One optimizer with groups equals several optimizers as long as each
    loss reaches only its own group, so cut graphs with detach().
    """

    unfit: ClassVar[tuple[type, ...]] = (Rollout,)  # plans of data whose batches it can not learn from
    recalls: ClassVar[bool] = False  # whether it can go on from `Batch.recalled`
    refreshes: ClassVar[bool] = False  # whether it tells of `beliefs` that replace what was lived

    crew: Crew | None = None  # other processes that learn from shares of its batches
    shares = 1  # in so many parts a batch is learned from
    share = 0  # which of them is here
    counted = 0  # updates so far, where there is no Trainer to count them

    def __init__(self, spec: EnvSpec) -> None:
        super().__init__()
        self.spec = spec

    @abstractmethod
    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        """Weighted scalar losses by name, and scalars worth watching. No logging, no optimizer, no trainer."""

    @abstractmethod
    def groups(self) -> list[Group]: ...

    def remarks(self) -> list[str]:
        """What a person should know before it begins."""
        return []

    def demand_crew(self, count: int) -> None:
        """ConfigError unless so many processes may learn from shares of its batches."""

    def demand(self, plan: Plan) -> None:
        """ConfigError unless it can learn from what the plan will hand out. Asked before anything runs."""
        if isinstance(plan, self.unfit):
            fit = " or ".join(f"data={each.__name__.lower()}" for each in PLANS if each not in self.unfit)
            name, data = type(self).__name__, type(plan).__name__.lower()
            raise ConfigError(f"{name} can not learn from data={data}", fit, f"set {fit}")
        if getattr(plan, "refresh", False) and not self.refreshes:
            name = type(self).__name__
            raise ConfigError(f"{name} finds nothing that could be refreshed", "data.refresh=false", "leave it out")
        if getattr(plan, "input_priorities", False) and not isinstance(self, Rating):
            name = type(self).__name__
            found = f"{name} does not say how surprising a window is before it learns from it"
            raise ConfigError(found, "data.input_priorities=false: what is new comes first", "leave it out")
        if getattr(plan, "recalls", False) and not self.recalls:
            raise ConfigError(
                f"{type(self).__name__} has no beliefs that its data could hand back",
                "windows that begin without any",
                "leave data.replay_context at 0, data.reset_interval at null, and data.sampler at Uniform",
            )

    def policy(self) -> Policy:
        raise ConfigError(
            f"{type(self).__name__} learns a model but no policy",
            "a stage that offers a policy",
            "record with policy=random, or train a stage that acts, such as stage=dreamer",
        )

    def others(self) -> Mapping[str, Policy]:
        """Lesser ways to act that are scored beside the policy, by name, such as the same without its search."""
        return {}

    def simulator(self, rng: torch.Generator, candidates: int | None = None) -> Simulator:  # noqa: ARG002
        """The world model that was learned, for a planner to search in; roots are its beliefs.

        rng: of what it draws. candidates: how many continuous actions are drawn at a node; None if they are numbered.
        """
        raise ConfigError(
            f"{type(self).__name__} learns no world model",
            "a stage that learns how the world goes on, rewards, values and a policy",
            "search in a run of stage=dreamer or stage=muzero",
        )

    def prepare(self, rollout: Batch) -> Batch:
        return rollout

    def taken(self, batch: Batch) -> Batch:
        """The batch as it is learned from, which is also what a world model is to be judged by."""
        return batch

    def feedback(self) -> Tensor | None:
        return None

    def beliefs(self) -> Mapping[str, Tensor]:
        return {}

    def rows(self, batch: Batch) -> Int64[Tensor, " B"]:
        """Which rows of the whole batch those of its share are."""
        return deal(len(batch.mask) * self.shares, self.shares)[self.share].to(batch.mask.device)

    @property
    def updates(self) -> int:
        """Taken so far."""
        return self.counted if self._trainer is None else self.trainer.global_step

    def followers(self) -> list[tuple[Target, nn.Module]]:
        """Slow copies, and what they follow."""
        return []

    def after_update(self) -> None:
        """Move target networks. Runs inside the step, so a checkpoint never falls between."""

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:  # noqa: ARG002 (Lightning's signature)
        if self.crew is not None:
            batch = self.crew.share(self, batch)
        losses, metrics = self.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        watched = {f"loss/{name}": value.detach() for name, value in losses.items()}
        watched |= {name: value.detach() for name, value in metrics.items()}
        self._watched = {"loss/total": total.detach(), **watched}
        return {"loss": total, "metrics": self._watched}

    def on_after_backward(self) -> None:
        if self.crew is not None:
            self._watched["loss/total"] = self.crew.gather(self, self._watched["loss/total"])

    def learner(self) -> Learner:
        """What a stream may ask of all that learn."""
        return self if self.crew is None else Together(self, self.crew)

    def teardown(self, stage: str) -> None:  # noqa: ARG002 (Lightning's signature)
        if self.crew is not None:
            self.crew.close()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = [
            {
                "params": [p for p in group.params.parameters() if p.requires_grad],
                "lr": group.lr,
                "weight_decay": group.weight_decay,
                "eps": group.eps,
                "clip": group.clip,
                "name": group.name,
                **({} if group.agc is None else {"agc": group.agc}),
            }
            for group in self.groups()
        ]
        # One kernel per group: on the CPU this takes a third of the time of the loop over tensors. With a gradient
        # scaler it would be handed scaled gradients, which our clipping must not see.
        trainer = self._trainer
        scaled = trainer is not None and trainer.precision == "16-mixed"
        groups = [group for group in groups if group["params"]]
        if not groups:
            do = "leave a part out of stage.freeze"
            raise ConfigError(f"nothing is left for {type(self).__name__} to learn", "a part that is not frozen", do)
        return self.optimizer(groups, fused=not scaled)

    def optimizer(self, groups: list[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        """What moves the groups, of which each has the numbers of a `Group`, and parameters that learn."""
        return torch.optim.AdamW(groups, fused=fused)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,  # noqa: ARG002 (Lightning's signature; each group has its own)
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002
    ) -> None:
        for group in optimizer.param_groups:
            if "agc" in group:
                clip_adaptive_(group["params"], group["agc"])
            if group["clip"] < float("inf"):
                nn.utils.clip_grad_norm_(group["params"], group["clip"])

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.after_update()


class Together:
    """A stage that learned from a share, and the others."""

    def __init__(self, stage: Stage, crew: Crew) -> None:
        self.stage, self.crew = stage, crew

    def policy(self) -> Policy:
        return self.stage.policy()

    def prepare(self, rollout: Batch) -> Batch:
        return self.stage.prepare(rollout)

    def feedback(self) -> Tensor | None:
        return self.crew.feedback(self.stage.feedback())

    def surprise_of(self, batch: Batch) -> Tensor:
        return cast(Rating, self.stage).surprise_of(batch)

    def beliefs(self) -> Mapping[str, Tensor]:
        return self.crew.beliefs(self.stage.beliefs())


def demand_kind(spec: EnvSpec, candidates: int | None) -> None:
    """ConfigError unless continuous actions are drawn, and numbered ones are not."""
    if spec.discrete == (candidates is None):
        return
    kind, planners = "continuous", "sampled"
    if spec.discrete:
        kind, planners = "numbered", "gumbel, puct, regularized or, for values of actions, ucb_q"
    found = f"{spec.name} has {kind} actions"
    raise ConfigError(found, f"a search for such, planner={planners}", f"set planner={planners.partition(',')[0]}")
