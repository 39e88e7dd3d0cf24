"""MinAtar's planes by game, and three ways to show them so that all games look alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Bool

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.spec import ArraySpec

Unify = Literal["none", "pad", "categorical", "semantic"]
Planes = Bool[np.ndarray, "*N 10 10 C"]

# The planes of each game as MinAtar has them, and what each of them means. No meaning comes twice in a game, so
# `semantic` loses nothing. A shooter is an enemy that fires; a hazard harms by touch alone; what a trail shows is
# whence something came; in Freeway it tells the speed, too.
MEANING: dict[str, dict[str, str]] = {
    "asterix": {"player": "player", "enemy": "hazard", "trail": "trail", "gold": "target"},
    "breakout": {"paddle": "player", "ball": "ball", "trail": "trail", "brick": "target"},
    "freeway": {"chicken": "player", "car": "hazard", **{f"speed{n}": f"trail_at_speed_{n}" for n in range(1, 6)}},
    "seaquest": {
        "sub_front": "player",
        "sub_back": "player_rear",
        "friendly_bullet": "friendly_shot",
        "trail": "trail",
        "enemy_bullet": "enemy_shot",
        "enemy_fish": "hazard",
        "enemy_sub": "shooter",
        "oxygen_guage": "gauge_of_air",  # MinAtar's spelling
        "diver_guage": "gauge_of_catch",
        "diver": "target",
    },
    "space_invaders": {
        "cannon": "player",
        "alien": "shooter",
        "alien_left": "moves_left",
        "alien_right": "moves_right",
        "friendly_bullet": "friendly_shot",
        "enemy_bullet": "enemy_shot",
    },
}
GAMES = tuple(MEANING)
MEANINGS = tuple(dict.fromkeys(meaning for game in MEANING.values() for meaning in game.values()))
MOST = max(map(len, MEANING.values()))  # planes of a game
PADDED = ArraySpec((10, 10, MOST), "bool", "planes")


def shape_of(unify: Unify, game: str) -> ArraySpec:
    """The array that shows a game."""
    if unify == "categorical":
        return ArraySpec((10, 10, 1), "uint8", "symbols", (MOST + 1,))
    count = {"none": len(MEANING[game]), "pad": MOST, "semantic": len(MEANINGS)}[unify]
    return ArraySpec((10, 10, count), "bool", "planes")


def shower(unify: Unify, game: str) -> Callable[[Planes], np.ndarray]:
    """What makes that array of a game's own planes.

    pad: the planes in their order, then empty ones, so that a plane means another thing in each game. categorical: in
    each cell the number of the first plane that is set, counted from 1, or 0; what lies below it is lost. semantic: a
    plane for each of MEANINGS, whichever game shows it.
    """
    if unify == "none":
        return lambda planes: planes
    if unify == "categorical":
        return lambda planes: ((planes.argmax(-1) + 1) * planes.any(-1))[..., None].astype(np.uint8)
    places = np.array(_places(unify, game))
    count = shape_of(unify, game).shape[-1]

    def show(planes: Planes) -> np.ndarray:
        out = np.zeros((*planes.shape[:-1], count), bool)
        out[..., places] = planes
        return out

    return show


def reader(game: str, shown: Mapping[str, ArraySpec]) -> Callable[[Obs], Planes]:
    """How to read a game's own planes off what a world of it shows; ConfigError where they are lost."""
    if shown.get("planes") == PADDED:
        name, places = "planes", _places("pad", game)
    else:
        modes: tuple[Unify, ...] = ("none", "pad", "semantic")
        found: Unify | None = next((mode for mode in modes if shown.get("grid") == shape_of(mode, game)), None)
        if found is None:
            raise ConfigError(
                f"{game}'s own planes can not be read off what the world shows",
                "planes from which nothing was left out",
                "set env.views=[planes], or env.base.views of a mixture: agents see them, the store does not get them",
            )
        name, places = "grid", _places(found, game)
    if places == list(range(shown[name].shape[-1])):
        return lambda obs: obs[name]
    return lambda obs: np.ascontiguousarray(obs[name][..., places])


def _places(unify: Unify, game: str) -> list[int]:
    """Where each of a game's planes is found."""
    if unify == "semantic":
        return [MEANINGS.index(meaning) for meaning in MEANING[game].values()]
    return list(range(len(MEANING[game])))
