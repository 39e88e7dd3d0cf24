"""Atari 2600 games through ale-py, with the usual preprocessing and exact snapshots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, ClassVar

import numpy as np

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import Env
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.env.ale import Grey84, action_names, import_ale, interface, load_game, seeds_of
from worldmodels.env.area import resize
from worldmodels.env.recipe import Recipe

_NOOP = 0


@dataclass(frozen=True)
class Atari(Recipe):
    """One of ale-py's games, for example "breakout" or "ms_pacman".

    obs: "rgb" or "grey" and the side of the square frame. stack: frames seen at once, oldest first, blank before the
    first; None means 1 for rgb and 4 for grey. sticky: probability that a frame, not a step, repeats the action of the
    frame before. noops: at most so many idle frames open an episode. time_limit: frames, not steps. Sticky actions and
    the limit: Machado et al. (2018), "Revisiting the Arcade Learning Environment". With terminal_on_life_loss a lost
    life ends the episode, and the next one is a new game, as in Gymnasium. native: ALE's own vector env, which is a
    little faster and equal but for its own chance (no-ops, sticking); it can not save itself, and does not tell lives.
    views: [grey84] shows policies what DQN agents see, whatever is observed and stored; see `env.ale.Grey84`.
    """

    UNIFYING: ClassVar = {"actions": {"full_actions": True}}

    game: str = "breakout"
    obs: str = "rgb64"
    stack: int | None = None
    frame_skip: int = 4
    sticky: float = 0.25
    noops: int = 30
    full_actions: bool = False
    terminal_on_life_loss: bool = False
    time_limit: int = 108_000
    mode: int | None = None
    difficulty: int | None = None
    native: bool = False
    views: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(self.views))
        games = import_ale().roms.get_all_rom_ids()
        if self.game not in games:
            snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.game).replace("-", "_").lower()
            near = get_close_matches(snake, games, n=3) or ["breakout", "pong", "ms_pacman"]
            raise ConfigError(f"game={self.game!r}", f"one of ale-py's {len(games)} games", f"try {' or '.join(near)}")
        if not re.fullmatch(r"(rgb|grey)[1-9]\d*", self.obs):
            raise ConfigError(
                f"obs={self.obs!r}", "'rgb' or 'grey' and a side in pixels", "set env.obs=rgb64 or env.obs=grey84"
            )
        for name, low in (("frame_skip", 1), ("noops", 0), ("time_limit", 1), ("stack", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"{name}={value}", f"{low} or more", f"raise env.{name}")
        if not 0.0 <= self.sticky <= 1.0:
            raise ConfigError(f"sticky={self.sticky}", "a probability", "set env.sticky between 0 and 1; 0.25 is usual")
        if not set(self.views) <= {"grey84"}:
            raise ConfigError(f"views={list(self.views)}", "[] or [grey84]", "choose one of them")
        chosen = (self.mode, self.difficulty)
        if self.native and (self.terminal_on_life_loss or self.views or chosen != (None, None)):
            raise ConfigError(
                "native=true with terminal_on_life_loss, views, mode or difficulty",
                "options that ALE's vector env treats as this package does",
                "set env.native=false",
            )

    @property
    def size(self) -> int:
        return int(re.sub(r"\D", "", self.obs))

    @property
    def colours(self) -> int:
        return 3 if self.obs.startswith("rgb") else 1

    @property
    def frames(self) -> int:
        """Frames seen at once."""
        return self.stack or (1 if self.colours == 3 else 4)

    def world(self) -> AtariWorld:
        return AtariWorld(self)

    def spec(self) -> EnvSpec:
        spec = super().spec()
        return replace(spec, extras={}) if self.native else spec

    def make(self, width: int, workers: int = 0) -> Env:
        """As `Recipe.make`; the native env spreads over `workers` threads instead of subprocesses."""
        if not self.native:
            return super().make(width, workers)
        from worldmodels.env.atari_native import NativeAtari

        return NativeAtari(self, self.spec(), width, max(workers, 1))


class AtariWorld:
    """One game. Frames are those of `gymnasium.wrappers.AtariPreprocessing`, stacked along the channels.

    Bit for bit with sticky=0. Otherwise frames stick as often as in ALE, but not the same ones: ALE's snapshots leave
    out which action it repeats, so chance is drawn here. Like there, a game that ends within a skip shows the last
    pooled frame. Meets `core.protocols.World`.
    """

    resumable = True

    def __init__(self, recipe: Atari) -> None:
        self.recipe = recipe
        self.ale = interface()
        self.ale.setInt("max_num_frames_per_episode", recipe.time_limit)
        self._seed(int(np.random.SeedSequence().generate_state(1)[0]))
        chosen = self.ale.getLegalActionSet() if recipe.full_actions else self.ale.getMinimalActionSet()
        self._actions = [int(action.value) for action in chosen]
        height, width = self.ale.getScreenDims()
        shape = (height, width, 3) if recipe.colours == 3 else (height, width)
        self._latest, self._before = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self._lives = 0
        self._executed = _NOOP
        image = ArraySpec((recipe.size, recipe.size, recipe.colours * recipe.frames), "uint8", "image")
        self._stack = image.zeros()
        self.spec = EnvSpec(
            name=f"atari/{recipe.game}",
            obs={"image": image},
            action_size=len(self._actions),
            extras={"lives": ArraySpec((), "int64")},
            action_names=action_names(chosen),
            views=dict.fromkeys(recipe.views, Grey84.spec),
        )
        self._view = Grey84(self.ale) if recipe.views else None

    def reset(self, seed: int | None = None) -> Obs:
        if seed is not None:
            self._seed(seed)
        self.ale.reset_game()
        # Gymnasium draws from 1 up; so do we, to start where it starts.
        for _ in range(int(self._chance.integers(1, self.recipe.noops + 1)) if self.recipe.noops else 0):
            self.ale.act(_NOOP)
            if self.ale.game_over():
                self.ale.reset_game()
        self._executed = _NOOP
        self._lives = self.ale.lives()
        self._look(self._latest)
        self._before.fill(0)
        self._stack = np.zeros_like(self._stack)
        if self._view:
            self._view.reset()
        return self._see()

    def step(self, action: int) -> tuple[Obs, float, bool, bool, Obs]:
        skip, reward, terminated, truncated = self.recipe.frame_skip, 0.0, False, False
        for frame, move in enumerate(self._moves(self._actions[action])):
            self._executed = move
            reward += self.ale.act(move)
            terminated = self.ale.game_over(with_truncation=False)
            truncated = self.ale.game_truncated()
            lives = self.ale.lives()
            if self.recipe.terminal_on_life_loss:
                terminated = terminated or lives < self._lives
            self._lives = lives
            if terminated or truncated:
                break
            if frame >= skip - 2:
                last = frame == skip - 1
                self._look(self._latest if last else self._before)
                if self._view:
                    self._view.look(int(last))
        if self._view:
            self._view.push()
        return self._see(), reward, terminated, truncated, {"lives": np.asarray(self._lives)}

    def _moves(self, chosen: int) -> list[int]:
        """What each frame of a step executes: once the chosen action came through, nothing else does."""
        skip, sticky = self.recipe.frame_skip, self.recipe.sticky
        late = 0
        if sticky and chosen != self._executed:
            # Of a step's frames, the first `late` repeat what was executed before: one draw instead of one per frame.
            late = min(int(self._chance.geometric(1.0 - sticky)) - 1, skip) if sticky < 1 else skip
        return [self._executed] * late + [chosen] * (skip - late)

    def _look(self, into: np.ndarray) -> None:
        if self.recipe.colours == 3:
            self.ale.getScreenRGB(into)
        else:
            self.ale.getScreenGrayscale(into)

    def _see(self) -> Obs:
        if self.recipe.frame_skip > 1:  # sprites that flicker show in one of two frames
            np.maximum(self._latest, self._before, out=self._latest)
        size, colours = self.recipe.size, self.recipe.colours
        frame = resize(self._latest.reshape(*self._latest.shape[:2], colours), size, size)
        self._stack = np.concatenate([self._stack[..., colours:], frame], axis=-1)
        return {"image": self._stack, **({"grey84": self._view.seen} if self._view else {})}

    def _seed(self, seed: int) -> None:
        mine, its = seeds_of(seed)
        self._chance = np.random.Generator(np.random.PCG64(mine))
        self.ale.setInt("random_seed", its)
        self._load()  # ALE takes a seed only when it loads a game

    def _load(self) -> None:
        recipe, ale = self.recipe, self.ale
        load_game(ale, recipe.game)
        for name, value, available, choose in (
            ("mode", recipe.mode, ale.getAvailableModes, ale.setMode),
            ("difficulty", recipe.difficulty, ale.getAvailableDifficulties, ale.setDifficulty),
        ):
            if value is not None and value not in available():
                found = f"{name}={value} for {recipe.game}"
                raise ConfigError(found, f"one of {sorted(available())}", f"choose another env.{name}, or null")
            if value is not None:
                choose(value)

    def snapshot(self) -> dict[str, Any]:
        """The emulator, the generator, the action last executed, both pooled frames and the stack: about 150 kB."""
        ale = self.ale.cloneState(include_rng=True).__getstate__()
        arrays = (self._latest, self._before, self._stack, *([self._view.snapshot()] if self._view else []))
        return {"state": freeze((ale, self._chance, self._lives, self._executed, *arrays))}

    def restore(self, state: dict[str, Any]) -> None:
        ale, self._chance, self._lives, self._executed, *arrays = thaw(state["state"])
        self._latest, self._before, self._stack, *viewed = arrays
        if self._view:
            self._view.restore(*viewed)
        kind = type(self.ale.cloneState())
        held = kind.__new__(kind)
        held.__setstate__(ale)
        self.ale.restoreState(held)

    def close(self) -> None:
        pass
