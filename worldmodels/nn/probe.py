"""Small networks that read off a feature what the world would not show: they measure what a world model remembers.

One interface: `probe(feature, extras, mask)` gives a loss and measurements, all of them means over the moments that
`mask` counts; extras are what the world told on arrival at these moments. After pydreamer's `MapProbeHead` and
`GoalsProbe` (github.com/jurgisp/pydreamer, models/probes.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural, Options
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.nn.mlp import MLP, Activation, Scheme
from worldmodels.nn.norm import NormKind
from worldmodels.ops.masked import masked_mean

Told = tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]
AGES = (-1, 0, 5, 10, 50, 200, 1000)  # steps since a goal was last seen: each class ends with one of them, included


class MapProbe(nn.Module):
    """The whole map, cell by cell, from a feature and from where the agent stands and looks.

    Needs the extras `map` (symbols) and `agent` (numbers). Loss: cross-entropy in nats, summed over cells. `acc_map`:
    share of the cells that are right in all their symbols; `acc_map_seen`: the same of those that `map_seen` marks, if
    the world tells that.
    """

    def __init__(
        self,
        spec: EnvSpec,
        size_in: int,
        *,
        units: Count = 1024,
        layers: Natural = 4,
        norm: NormKind = "layer",
        activation: Activation = "elu",
        init: Scheme = "torch",
    ) -> None:
        super().__init__()
        self.map = _needed(spec, "map", "map")
        if self.map.kind != "symbols":
            raise ConfigError(f"the extra 'map' is {self.map.kind}", "symbols", "take a world whose map is of symbols")
        agent = _needed(spec, "agent", "map")
        high, wide, _ = self.map.shape
        size = high * wide * sum(self.map.classes)
        self.net = MLP(size_in + agent.size, units, layers, size, norm=norm, activation=activation, init=init)

    def forward(
        self,
        feature: Float[Tensor, "*batch F"],
        extras: Mapping[str, Shaped[Tensor, "*batch ..."]],
        mask: Bool[Tensor, "*batch"],
    ) -> Told:
        place = extras["agent"].flatten(mask.dim()).to(feature.dtype)
        numbers = self.net(torch.cat([feature, place], -1)).float()
        logits = numbers.unflatten(-1, (*self.map.shape[:2], -1)).split(self.map.classes, -1)
        truth = extras["map"].long().unbind(-1)
        each = torch.stack(
            [-x.log_softmax(-1).gather(-1, y[..., None])[..., 0] for x, y in zip(logits, truth, strict=True)]
        )
        with torch.no_grad():
            right = torch.stack([x.argmax(-1) == y for x, y in zip(logits, truth, strict=True)]).all(0).float()
            told = {"acc_map": masked_mean(right.mean((-1, -2)), mask)}
            if "map_seen" in extras:
                seen = extras["map_seen"].flatten(mask.dim()).float()
                count = seen.sum(-1)
                share = (right.flatten(-2) * seen).sum(-1) / count.clamp(min=1)
                told["acc_map_seen"] = masked_mean(share, mask & (count > 0))
        return masked_mean(each.sum((0, -1, -2)), mask), told


class GoalsProbe(nn.Module):
    """Which way and how far goals lie, as the means of normals with deviation 1.

    Needs the extra `goals_direction` (G, 2), for `goal_direction` (2,) if that is told, too. Loss: half the squared
    error, summed. `mse_goals`: squared distance to where a goal is, mean over goals; `var_goals`: the same of the best
    constant guess within the batch, so that who does no better knows nothing. With `goals_age` (G,) goals of age -1 do
    not exist and count nowhere, and `mse_goal_age<n>` is the error of those that were last seen up to n steps ago, but
    not within the class before: 0, 5, 10, 50, 200, 1000; nan where there are none.
    """

    def __init__(
        self,
        spec: EnvSpec,
        size_in: int,
        *,
        units: Count = 400,
        layers: Natural = 4,
        norm: NormKind = "layer",
        activation: Activation = "elu",
        init: Scheme = "torch",
    ) -> None:
        super().__init__()
        self.shape = _needed(spec, "goals_direction", "goals").shape
        if len(self.shape) != 2:
            raise ConfigError(f"the extra 'goals_direction' of shape {self.shape}", "(goals, axes)", "mend the world")
        sizes = {"goals_direction": spec.extras["goals_direction"].size}
        if "goal_direction" in spec.extras:
            sizes["goal_direction"] = spec.extras["goal_direction"].size
        self.nets = nn.ModuleDict()
        for name, size in sizes.items():
            self.nets[name] = MLP(size_in, units, layers, size, norm=norm, activation=activation, init=init)

    def forward(
        self,
        feature: Float[Tensor, "*batch F"],
        extras: Mapping[str, Shaped[Tensor, "*batch ..."]],
        mask: Bool[Tensor, "*batch"],
    ) -> Told:
        truth = extras["goals_direction"].float()
        age = extras.get("goals_age", torch.zeros_like(truth[..., 0], dtype=torch.int64))
        there = mask[..., None] & (age >= 0)
        guess = self.nets["goals_direction"](feature).float().unflatten(-1, self.shape)
        apart = (guess - truth).square().sum(-1)
        loss = masked_mean((apart * there).sum(-1) / 2, mask)
        if "goal_direction" in self.nets:
            first = self.nets["goal_direction"](feature).float() - extras["goal_direction"].float()
            loss = loss + masked_mean(first.square().sum(-1) / 2, there[..., 0])
        with torch.no_grad():
            told = {"mse_goals": _mean(apart, there), "var_goals": _variance(truth, there)}
            for low, high in pairwise(AGES) if "goals_age" in extras else ():
                told[f"mse_goal_age{high}"] = _mean(apart, there & (age > low) & (age <= high))
        return loss, told


@dataclass(frozen=True)
class Probes:
    """Which probes there are, each by its options; null: none of that kind. gradients: whether they teach the model."""

    map: Annotated[Mapping[str, Any] | None, Options(MapProbe)] = None
    goals: Annotated[Mapping[str, Any] | None, Options(GoalsProbe)] = None
    gradients: bool = False

    def make(self, spec: EnvSpec, size_in: int) -> nn.ModuleDict:
        """Those that are asked for, with weights that leave torch's generator as it was."""
        kinds = {"map": (MapProbe, self.map), "goals": (GoalsProbe, self.goals)}
        with torch.random.fork_rng():
            made = {name: kind(spec, size_in, **told) for name, (kind, told) in kinds.items() if told is not None}
        return nn.ModuleDict(made)


def _needed(spec: EnvSpec, name: str, probe: str) -> ArraySpec:
    if name not in spec.extras:
        raise ConfigError(
            f"{spec.name} does not tell the extra {name!r}, which probes.{probe} needs",
            "a world that does" + (f"; it tells {', '.join(spec.extras)}" if spec.extras else ""),
            "set env.privileged=true with env=minigrid, or leave out the probe",
        )
    return spec.extras[name]


def _mean(value: Float[Tensor, "*batch"], where: Bool[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Or nan, where there is nothing."""
    return torch.where(where, value, 0).sum() / where.sum()


def _variance(truth: Float[Tensor, "*batch G A"], there: Bool[Tensor, "*batch G"]) -> Float[Tensor, ""]:
    """Squared distance to the mean of each goal over the batch, mean over all that is there."""
    flat, here = truth.flatten(0, -3), there.flatten(0, -2)[..., None].float()
    middle = (flat * here).sum(0) / here.sum(0).clamp(min=1)
    return _mean((flat - middle).square().sum(-1), here[..., 0].bool())
