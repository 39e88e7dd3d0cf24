"""A run folder back to objects: its stage with weights, its policy, its worlds."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.experience import Obs, Step
from worldmodels.core.protocols import Env, EnvRecipe, Policy
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.evaluation.play import Summary, play
from worldmodels.launch import checkpoint as checkpoint_file
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import make
from worldmodels.launch.folder import Folder
from worldmodels.stage.stage import Stage


class Agent:
    """A policy that keeps its own memory: give it what the env gave, get what the env wants.

    `moment = env.reset([0])`, then again and again `moment = env.step(agent(moment))`.
    """

    def __init__(self, policy: Policy, width: int, *, explore: bool = False, seed: int = 0) -> None:
        self.policy, self.width, self.explore = policy, width, explore
        self.rng = Rng(seed, "agent")
        self.memory = policy.initial(width)

    def __call__(self, moment: Obs | Step) -> np.ndarray:
        """Actions (N,) or (N, A) for first observations (from `reset`) or for a step."""
        if isinstance(moment, Step):
            obs, first = moment.obs, moment.terminated | moment.truncated
        else:
            obs, first = moment, np.ones(self.width, bool)
        with torch.no_grad():
            action, self.memory, _ = self.policy.act(obs, first, self.memory, explore=self.explore, rng=self.rng)
        return action


class Run:
    """A run that was trained, on the CPU."""

    def __init__(self, folder: Folder, config: dict[str, Any], spec: EnvSpec, stage: Stage) -> None:
        self.folder, self.config, self.spec, self.stage = folder.path, config, spec, stage
        self.result = folder.result()

    @property
    def recipe(self) -> EnvRecipe:
        """How to make the run's world."""
        if self.config.get("env") is None:
            raise ConfigError(
                f"{self.folder} was trained without a world",
                "a run with a world",
                "leave out what has to be played in it, or give another run",
            )
        return make(OmegaConf.create(self.config["env"]))

    def policy(self) -> Policy:
        return self.stage.policy()

    def demand(self, spec: EnvSpec) -> None:
        """SpecError if the run's policy can not act in worlds of that spec."""
        found = self.spec.differences(spec)
        if found:
            raise SpecError(
                f"{self.folder} was trained in {self.spec.name}, which differs from {spec.name}:\n    "
                + "\n    ".join(found),
                "a world with the same observations and actions",
                "choose another env, or another run",
            )

    def env(self, width: int = 1, workers: int = 0) -> Env:
        """The worlds of the run, side by side; yours to close."""
        return self.recipe.make(width, workers)

    def agent(self, width: int = 1, *, explore: bool = False, seed: int = 0) -> Agent:
        """The policy with a memory for that many worlds."""
        return Agent(self.policy(), width, explore=explore, seed=seed)

    def play(self, episodes: int = 10, *, width: int = 10, seed: int = 0, limit: int = 100_000) -> Summary:
        """Returns and lengths of episodes without exploration."""
        env = self.env(min(width, episodes))
        try:
            with torch.no_grad():
                return play(env, self.policy(), episodes=episodes, rng=Rng(seed, "play"), limit=limit)
        finally:
            env.close()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {type(self.stage).__name__} of {self.spec.name})"


def load(folder: str | PathLike[str], checkpoint: str = "last") -> Run:
    """The run of a folder, on the CPU whatever it was trained on. `checkpoint` is `last`, `best`, or another's name."""
    found = Folder(Path(folder))
    config = found.read_config()
    path = checkpoint_file.find(found, checkpoint)
    spec = found.read_spec()
    state = checkpoint_file.read(path)["state_dict"]
    with torch.random.fork_rng():
        stage = _built(found, config, spec)
    checkpoint_file.fit(path, state, stage)
    stage.load_state_dict(state)
    return Run(found, config, spec, stage.eval())


def _built(folder: Folder, config: dict[str, Any], spec: EnvSpec) -> Stage:
    try:
        return build_stage(OmegaConf.create(config), spec)
    except ConfigError as error:  # an option that the code had once and calls otherwise now
        raise ConfigError(
            f"{folder.config}: {error.found}",
            error.expected,
            "name it there as it is called now, or load the run with its own code, whose commit provenance.json names",
        ) from error
