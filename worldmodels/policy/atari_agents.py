"""Published Atari agents, from github.com/floringogianu/atari-agents: DQN, C51 and M-DQN of many ages and games."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Share
from worldmodels.core.spec import EnvSpec
from worldmodels.env.ale import Grey84, minimal_actions
from worldmodels.policy.greedy import Epsilon, Greedy
from worldmodels.policy.published import fit, read
from worldmodels.policy.skilled import UNKNOWN, Agent, Skilled

PUBLISHED = (
    "files <folder>/<Game>/<seed>/model_<step>.gz; the README of github.com/floringogianu/atari-agents says where they "
    "can be downloaded"
)
_PREFIX = "_AtariNet__"  # Python's mangling of private attributes, left in the published names
_STATE = "estimator_state"


class AtariNet(nn.Module):
    """Four greys (..., 84, 84, 4) to action values (..., actions). Mnih et al. (2015).

    With `atoms`, the means of distributions over that many returns from -10 to 10. Bellemare et al. (2017).
    """

    def __init__(self, actions: int, atoms: int = 0) -> None:
        super().__init__()
        self.actions = actions
        self.features = nn.Sequential(
            *(nn.Conv2d(4, 32, 8, stride=4), nn.ReLU()),
            *(nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, stride=1), nn.ReLU()),
        )
        self.head = nn.Sequential(nn.Linear(64 * 7 * 7, 512), nn.ReLU(), nn.Linear(512, actions * max(atoms, 1)))
        if atoms:
            self.register_buffer("support", torch.linspace(-10, 10, atoms))

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        x = obs["grey84"].movedim(-1, -3).float() / 255
        leading = x.shape[:-3]
        out = self.head(self.features(x.flatten(0, -4)).flatten(1))
        if hasattr(self, "support"):
            support: Any = self.support
            out = out.unflatten(-1, (self.actions, len(support))).softmax(-1) @ support
        return out.reshape(*leading, self.actions)


def agent(game: str, path: Path, *, trusted: bool = False) -> Agent:
    """The agent of a file for one of ALE's games; ConfigError if it is of another game or another kind."""
    held = read(path, trusted=trusted)
    weights = held.get(_STATE, held)
    if not isinstance(weights, Mapping):
        raise ConfigError(f"{path}: {_STATE} is a {type(weights).__name__}", "a dict of tensors", "give another file")
    own = {str(name).removeprefix(_PREFIX): value for name, value in weights.items()}
    names, support, last = minimal_actions(game), own.get("support"), own.get("head.2.weight")
    atoms = len(support) if isinstance(support, Tensor) and support.ndim else 0
    if isinstance(last, Tensor) and last.ndim and len(last) != len(names) * max(atoms, 1):
        has = f"{len(last) / max(atoms, 1):g}"
        raise ConfigError(
            f"{path} was trained with {has} actions",
            f"{len(names)}, which {game} has ({', '.join(names)})",
            f"give a file of {game}; agents of one game can not play another",
        )
    net = AtariNet(len(names), atoms)
    fit(path, own, net)
    spec = EnvSpec(f"atari/{game}", {"grey84": Grey84.spec}, len(names), action_names=names)
    return Agent(Greedy(net, Epsilon(start=0.0, end=0.0)), spec, _step(path), str(path))


def _step(path: Path) -> int:
    """In agent steps, of four frames each."""
    number = re.search(r"(\d+)$", path.name.partition(".")[0])
    return int(number[1]) if number else UNKNOWN


def atari_agents(
    spec: EnvSpec,
    *,
    folder: str | None,
    files: str = "*/model_*.gz",
    each: Count | None = 4,
    epsilon: Share = 0.001,
    trusted: bool = False,
) -> Skilled:
    """What `conf/policy/atari_agents.yaml` becomes; the env has to show `views=[grey84]`.

    `folder` holds a folder for each game, in which `files` names the agents; of these, sorted by their age, `each` are
    taken, evenly spaced from the youngest to the oldest. One takes 7 MB of memory.
    """
    worlds = spec.worlds or (spec.name,)
    if foreign := [name for name in worlds if not name.startswith("atari/")]:
        raise ConfigError(f"agents for Atari in {', '.join(foreign)}", "a game of ALE", "set env=atari")
    if folder is None or not Path(folder).is_dir():
        found = "policy.folder is not set" if folder is None else f"policy.folder={folder} is no folder"
        raise ConfigError(found, PUBLISHED, "download agents of the games, and set policy.folder=<path>/DQN_modern")
    if not files or Path(files).is_absolute():
        raise ConfigError(
            f"policy.files={files or 'nothing'}", "a pattern within a game's folder", "set policy.files=*/model_*.gz"
        )
    games = [name.removeprefix("atari/") for name in worlds]
    chosen = {game: _chosen(_files(Path(folder), game, files), each) for game in games}
    with torch.no_grad():
        agents = [agent(game, path, trusted=trusted) for game, paths in chosen.items() for path in paths]
    return Skilled(spec, agents, epsilon=epsilon)


def _files(folder: Path, game: str, files: str) -> list[Path]:
    """Of a game's folder, whose name is told apart by its letters alone: AirRaid, Air_Raid and air_raid are one."""
    places = [each for each in folder.iterdir() if _letters(each.name) == _letters(game)]
    found = sorted((path for place in places for path in place.glob(files)), key=lambda path: (_step(path), str(path)))
    if not found:
        named = "".join(part.capitalize() for part in game.split("_"))
        raise ConfigError(f"no {folder / named / files}", PUBLISHED, f"download agents of {game}, or leave it out")
    return found


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _chosen(files: Sequence[Path], each: int | None) -> list[Path]:
    if each is None or each >= len(files):
        return list(files)
    places = [len(files) - 1] if each == 1 else np.linspace(0, len(files) - 1, each).round().astype(int).tolist()
    return [files[place] for place in places]
