"""ALE's own vector env behind our contract: frames from threads, without snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from worldmodels.core.errors import ResumeError
from worldmodels.core.experience import Obs, Step
from worldmodels.core.spec import EnvSpec
from worldmodels.env.ale import seeds_of
from worldmodels.env.atari import Atari


class NativeAtari:
    """`ale_py.AtariVectorEnv`, unclipped and without a first FIRE. Meets `core.protocols.Env`.

    Equal to `AtariWorld` bit for bit when noops = 0 and sticky = 0. It draws no-ops and sticking (ALE's own) from
    generators of its own: equal in distribution.
    """

    resumable = False

    def __init__(self, recipe: Atari, spec: EnvSpec, width: int, threads: int) -> None:
        from ale_py.vector_env import AtariVectorEnv

        self.spec, self.width, self._colours = spec, width, recipe.colours
        self._env = AtariVectorEnv(
            recipe.game,
            width,
            num_threads=min(threads, width),
            max_num_frames_per_episode=recipe.time_limit,
            repeat_action_probability=recipe.sticky,
            full_action_space=recipe.full_actions,
            autoreset_mode="SameStep",
            img_height=recipe.size,
            img_width=recipe.size,
            grayscale=recipe.colours == 1,
            stack_num=recipe.frames,
            frameskip=recipe.frame_skip,
            maxpool=recipe.frame_skip > 1,
            noop_max=recipe.noops,
            reward_clipping=False,
            use_fire_reset=False,
        )

    def reset(self, seeds: Sequence[int]) -> Obs:
        obs, _ = self._env.reset(seed=np.array([seeds_of(seed)[1] for seed in seeds]))
        return {"image": self._stacked(obs)}

    def step(self, action: np.ndarray) -> Step:
        obs, reward, terminated, truncated, info = self._env.step(action)
        now = {"image": self._stacked(obs)}
        arrived: Mapping[str, np.ndarray] = now
        ended = terminated | truncated
        if ended.any():
            arrived = {"image": np.where(ended[:, None, None, None], self._stacked(info["final_obs"]), now["image"])}
        # No lives: at an episode's end, ALE tells those of the next.
        return Step(now, arrived, reward.astype(np.float32), terminated, truncated)

    def _stacked(self, frames: np.ndarray) -> np.ndarray:
        """(N, stack, h, w) or (N, stack, h, w, 3) to (N, h, w, C)."""
        if self._colours == 1:
            return np.ascontiguousarray(frames.transpose(0, 2, 3, 1))
        merged = frames.transpose(0, 2, 3, 1, 4)
        return merged.reshape(*merged.shape[:3], -1)

    def snapshot(self) -> dict[str, Any]:
        self._refuse()

    def restore(self, state: dict[str, Any]) -> None:
        del state
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ResumeError("ALE's vector env can not save its state", "a world that can", "set env.native=false")

    def close(self) -> None:
        """Nothing to do: its threads end with it."""
