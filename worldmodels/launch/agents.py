"""Trained runs as agents for `policy.skilled`, and as what `policy.planning` searches in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from worldmodels.core.errors import ConfigError
from worldmodels.launch import checkpoint
from worldmodels.launch.folder import Folder
from worldmodels.launch.restore import load
from worldmodels.policy.believing import Believing
from worldmodels.policy.planning import Searchable, Trained
from worldmodels.policy.searching import Searching
from worldmodels.policy.skilled import Agent


def agents(runs: Sequence[str], checkpoints: Sequence[str], worlds: Sequence[str]) -> list[Agent]:
    """Every checkpoint whose name one of `checkpoints` matches, of every run that was trained in one of the worlds.

    Two names for the weights after the same update are one agent. `runs` are folders, or patterns with *. ConfigError
    for one that names no run, and for a run without such a checkpoint.
    """
    found = dict.fromkeys(folder for pattern in runs for folder in _folders(pattern))
    return [
        agent
        for folder in found
        if Folder(folder).read_spec().name in worlds
        for agent in _of(Folder(folder), checkpoints)
    ]


def trained(run: str, checkpoint: str, candidates: int | None = None) -> Searchable:
    """ConfigError, or SpecError, unless its stage learned a model that can be searched."""
    stage = load(run, checkpoint).stage
    stage.simulator(torch.Generator(), candidates)
    policy = stage.policy()
    if isinstance(policy, Searching):
        return policy
    if not isinstance(policy, Believing):
        do = "search in a run of stage=dreamer or stage=muzero"
        raise ConfigError(f"the policy of {run} has no beliefs", "one that follows its world model", do)
    return Trained(policy, stage.simulator)


def _folders(pattern: str) -> list[Path]:
    # A name that is there is meant as it stands, although run folders may hold brackets.
    path = Path(pattern)
    paths = [path] if path.exists() else sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    folders = [path for path in paths if (path / "spec.json").is_file()]
    if not folders:
        raise ConfigError(
            f"policy.runs: {pattern} names no run",
            "the folder of a run that was trained, or a pattern such as runs/dqn_minatar/*",
            "train agents first: python train.py +experiment=dqn_minatar env.game=<game>",
        )
    return folders


def _of(folder: Folder, wanted: Sequence[str]) -> list[Agent]:
    there = sorted(path.stem for path in folder.last.parent.glob("*.ckpt"))
    names = [name for name in there if any(fnmatchcase(name, pattern) for pattern in wanted)]
    if not names:
        raise ConfigError(
            f"{folder.path} has no checkpoint {' or '.join(wanted)}",
            f"one of {', '.join(there)}" if there else "a run that has cut a checkpoint",
            "set policy.checkpoints=[last], or train with callback.checkpoint.keep=geometric",
        )
    made = [_agent(folder, name) for name in names]
    return list({agent.skill: agent for agent in reversed(made)}.values())[::-1]  # the last one may have two names


def _agent(folder: Folder, name: str) -> Agent:
    run = load(folder.path, name)
    named = re.fullmatch(r"update_(\d+)", name)
    updates = int(named[1]) if named else int(checkpoint.read(checkpoint.find(folder, name))["global_step"])
    with torch.no_grad():
        return Agent(run.policy(), run.spec, updates, f"{folder.path}:{name}")
