"""How the weights of a stage's groups are moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural, Rate, Share
from worldmodels.nn.laprop import LaProp
from worldmodels.stage.stage import Group

Each = Rate | Mapping[str, Rate]  # one for all groups, or one for each by its name


@dataclass(frozen=True)
class Optim:
    """Options of the optimizer; `lr`, `clip` and `weight_decay` are one number for all groups, or one for each.

    A group of probes that is not named has the numbers of the model, as in pydreamer.
    `agc` clips every tensor's gradient to that share of the tensor's own norm (Brock et al., 2021), `clip` then each
    group's to a norm; null is no clipping. Rates rise linearly over the first `warmup` updates. From the
    first on they are multiplied by `decay` for every `decay_updates` updates: smoothly, or with `staircase` each time
    that many have passed. `sgd` has `momentum` (not Nesterov's) in place of betas and eps.
    """

    kind: Literal["adamw", "laprop", "sgd"] = "adamw"
    lr: Each = 1e-4
    clip: Each | None = 100.0
    agc: Rate | None = None
    weight_decay: Each = 0.0
    eps: Rate = 1e-8
    betas: Sequence[Share] = (0.9, 0.999)
    momentum: Share = 0.9
    warmup: Natural = 0
    decay: Share = 1.0
    decay_updates: Count = 100_000
    staircase: bool = False

    def __post_init__(self) -> None:
        if self.decay == 0:
            raise ConfigError("decay=0.0", "above 0, up to 1", "set stage.optim.decay=1.0 for rates that stay")
        if len(self.betas) != 2:
            raise ConfigError(f"betas={list(self.betas)}", "two shares", "set stage.optim.betas=[0.9,0.999]")

    def groups(self, parts: Mapping[str, nn.Module]) -> list[Group]:
        """The parts with their numbers; ConfigError for a name that is none of theirs."""
        for option, value in (("lr", self.lr), ("clip", self.clip), ("weight_decay", self.weight_decay)):
            unknown = sorted(set(value) - {*parts, "probe"}) if isinstance(value, Mapping) else []
            if unknown:
                raise ConfigError(
                    f"stage.optim.{option} for {', '.join(unknown)}",
                    f"one number, or one for each of {', '.join(parts)}",
                    f"correct the name, or leave it out: ~stage.optim.{option}.{unknown[0]}",
                )
        return [
            Group(
                name,
                part,
                _of("lr", self.lr, name),
                float("inf") if self.clip is None else _of("clip", self.clip, name),
                weight_decay=_of("weight_decay", self.weight_decay, name),
                eps=self.eps,
                agc=self.agc,
            )
            for name, part in parts.items()
        ]

    def make(self, groups: list[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        """The optimizer of groups as `Stage.configure_optimizers` describes them."""
        if self._moves:
            groups = [{**group, "full_lr": group["lr"]} for group in groups]
        first, second = self.betas
        if self.kind == "sgd":
            groups = [{name: value for name, value in group.items() if name != "eps"} for group in groups]
            return torch.optim.SGD(groups, momentum=self.momentum, fused=fused)
        if self.kind == "adamw":
            return torch.optim.AdamW(groups, betas=(first, second), fused=fused)
        return LaProp(groups, betas=(first, second))

    @property
    def _moves(self) -> bool:
        return self.warmup > 0 or self.decay < 1

    def schedule(self, optimizer: Any, update: int) -> None:
        """Set the rates of an update, counted from 0."""
        if not self._moves:
            return
        periods = update / self.decay_updates
        share = self.decay ** (int(periods) if self.staircase else periods)
        if update < self.warmup:
            share *= (update + 1) / self.warmup
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * share


def _of(option: str, value: Each, group: str) -> float:
    if not isinstance(value, Mapping):
        return float(value)
    if group == "probe" and group not in value:
        return _of(option, value, "model")
    if group not in value:
        raise ConfigError(
            f"stage.optim.{option} for {', '.join(value) or 'no group'}",
            f"one number, or one that is called {group!r}, too",
            f"set stage.optim.{option}.{group}",
        )
    return float(value[group])
