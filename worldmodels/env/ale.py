"""The Arcade Learning Environment itself: what there is before any preprocessing. Bellemare et al. (2013)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from worldmodels.core.errors import ConfigError, MissingExtraError
from worldmodels.core.spec import ArraySpec
from worldmodels.env.area import resize

if TYPE_CHECKING:
    from ale_py import ALEInterface


def import_ale() -> Any:
    """ale_py, or a MissingExtraError."""
    try:
        import ale_py
        import ale_py.roms
    except ImportError as error:
        raise MissingExtraError("ale-py", "atari") from error
    return ale_py


def interface() -> ALEInterface:
    """A silent emulator without a game, in which no frame sticks."""
    ale_py = import_ale()
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    return ale


def load_game(ale: ALEInterface, game: str) -> None:
    """Put a cartridge in, which is also when ALE takes a new seed. ConfigError for a game for two only."""
    path = import_ale().roms.get_rom_path(game)
    if ale.isSupportedROM(path) is None:  # loadROM would end the process
        raise ConfigError(f"game={game!r}", "a game that one can play alone", "choose another game")
    ale.loadROM(path)


def action_names(actions: list[Any]) -> tuple[str, ...]:
    """ALE's names in lower case, for example `uprightfire`."""
    return tuple(action.name.lower() for action in actions)


@cache
def minimal_actions(game: str) -> tuple[str, ...]:
    """The actions that do something in a game, in ALE's order, which agents with a minimal set count them by."""
    ale = interface()
    load_game(ale, game)
    return action_names(ale.getMinimalActionSet())


def seeds_of(seed: int) -> tuple[int, int]:
    """Seeds for our chance and for the emulator. As in Gymnasium, less the sign, which ALE's vector env misreads."""
    first, second = np.random.SeedSequence(seed).generate_state(2)
    return int(first), int(second) & 0x7FFFFFFF


class Grey84:
    """What DQN agents were shown: the last four greys of 84 x 84, oldest first, blank before an episode's first.

    Each is the greater, pixel by pixel, of a step's last two frames, which are shrunk before they are compared. (The
    observations of `AtariWorld` are shrunk after it, as in Gymnasium.) As in the published agents of atari-agents.
    """

    spec = ArraySpec((84, 84, 4), "uint8", "image")

    def __init__(self, ale: ALEInterface) -> None:
        self._ale = ale
        self._screen = np.zeros(ale.getScreenDims(), np.uint8)
        self._frames, self._stack = np.zeros((2, 84, 84), np.uint8), self.spec.zeros()

    def reset(self) -> None:
        """An episode begins with what is on the screen."""
        self._frames.fill(0)
        self._stack = self.spec.zeros()
        self.look(1)
        self.push()

    def look(self, which: int) -> None:
        """Take down the screen: 0 is the last frame but one of a step, 1 the last."""
        self._ale.getScreenGrayscale(self._screen)
        self._frames[which] = resize(self._screen[..., None], 84, 84)[..., 0]

    def push(self) -> None:
        """The step is over."""
        newest = self._frames.max(0)[..., None]
        self._stack = np.concatenate([self._stack[..., 1:], newest], -1)
        self._frames.fill(0)

    @property
    def seen(self) -> UInt8[np.ndarray, "84 84 4"]:
        return self._stack

    def snapshot(self) -> np.ndarray:
        return self._stack.copy()

    def restore(self, stack: np.ndarray) -> None:
        self._stack = stack
