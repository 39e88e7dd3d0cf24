"""DQN agents for MinAtar as plain PyTorch state dicts: the data source of a published multi-environment experiment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Share
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.env.minatar import ACTIONS
from worldmodels.env.planes import GAMES, shape_of
from worldmodels.policy.greedy import Epsilon, Greedy
from worldmodels.policy.published import fit, found, read
from worldmodels.policy.skilled import UNKNOWN, Agent, Skilled

PUBLISHED = "files of github.com/JonaSchulz/pydreamer, or state dicts of layer1, layer2 and layer3 of your own"


class MLP(nn.Module):
    """Planes (..., 10, 10, C), flattened as they lie, to the values of MinAtar's six actions."""

    def __init__(self, planes: ArraySpec, units: int = 128) -> None:
        super().__init__()
        self.layer1 = nn.Linear(planes.size, units)
        self.layer2 = nn.Linear(units, units)
        self.layer3 = nn.Linear(units, len(ACTIONS))

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        x = obs["grid"].float().flatten(-3)
        return self.layer3(self.layer2(self.layer1(x).relu()).relu())


def agent(game: str, path: Path, *, trusted: bool = False) -> Agent:
    """The agent of a file. `skill` is the last number in its name, with k and M; ConfigError if it does not fit."""
    _demand_own(game, path)
    planes, weights = shape_of("none", game), read(path, trusted=trusted)
    first = weights.get("layer1.weight")
    channels = first.shape[-1] / 100 if isinstance(first, Tensor) and first.dim() == 2 else None
    if channels is not None and channels != planes.shape[-1]:
        raise ConfigError(
            f"{path} was trained on {channels:g} planes of 10 x 10",
            f"{planes.shape[-1]}, as {game} has",
            f"give a file of {game}; agents of one game can not play another",
        )
    net = MLP(planes, len(first) if isinstance(first, Tensor) and first.dim() == 2 else 128)
    fit(path, weights, net)
    spec = EnvSpec(f"minatar/{game}", {"grid": planes}, len(ACTIONS), action_names=ACTIONS)
    return Agent(Greedy(net, Epsilon(start=0.0, end=0.0)), spec, _skill(path), str(path))


def _demand_own(game: str, path: Path) -> None:
    """ConfigError if file or folder are called after another game: the tensors of some games are alike."""
    told = re.sub(r"[\W_]", "", f"{path.parent.name}/{path.name}").lower()
    named = [each for each in GAMES if each.replace("_", "") in told]
    if named and game not in named:
        raise ConfigError(
            f"{path} is called after {' and '.join(named)}",
            f"an agent of {game}",
            f"give a file of {game}, or rename this one if it is",
        )


def _skill(path: Path) -> int:
    numbers = re.findall(r"(\d+)([kM]?)", path.stem)
    return int(numbers[-1][0]) * {"": 1, "k": 1_000, "M": 1_000_000}[numbers[-1][1]] if numbers else UNKNOWN


def minatar_dqn(
    spec: EnvSpec, *, files: Mapping[str, Sequence[str]], epsilon: Share = 0.0, trusted: bool = False
) -> Skilled:
    """What `conf/policy/minatar_dqn.yaml` becomes. `files`: for each game paths, or patterns with *."""
    if unknown := sorted(set(files) - set(GAMES)):
        raise ConfigError(f"policy.files of {', '.join(unknown)}", f"games among {', '.join(GAMES)}", "correct it")
    with torch.no_grad():
        there = [(game, path) for game, paths in files.items() for path in found(list(paths), PUBLISHED)]
        agents = [agent(game, path, trusted=trusted) for game, path in there]
    return Skilled(spec, agents, epsilon=epsilon, do=f"set policy.files={{<game>: [<path>]}}; {PUBLISHED}")
