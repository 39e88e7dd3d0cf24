"""Published scores that make returns of different games comparable.

Atari: random play is 0, a human tester is 1. The table of Wang et al. (2016), which extends that of Mnih et al. (2015)
to 57 games, as it is used for the human-normalised score since: episodes of at most 108,000 frames that begin with up
to 30 idle frames, without sticky actions. Runs with sticky actions, as Machado et al. (2018) advise, are commonly put
on this scale all the same.

Procgen: (return - minimum) / (maximum - minimum) with the constants of Cobbe et al. (2020), appendix C.

MinAtar and other worlds have no such table: their returns stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# game: return of random play, return of a human
ATARI: dict[str, tuple[float, float]] = {
    "alien": (227.8, 7127.7),
    "amidar": (5.8, 1719.5),
    "assault": (222.4, 742.0),
    "asterix": (210.0, 8503.3),
    "asteroids": (719.1, 47388.7),
    "atlantis": (12850.0, 29028.1),
    "bank_heist": (14.2, 753.1),
    "battle_zone": (2360.0, 37187.5),
    "beam_rider": (363.9, 16926.5),
    "berzerk": (123.7, 2630.4),
    "bowling": (23.1, 160.7),
    "boxing": (0.1, 12.1),
    "breakout": (1.7, 30.5),
    "centipede": (2090.9, 12017.0),
    "chopper_command": (811.0, 7387.8),
    "crazy_climber": (10780.5, 35829.4),
    "defender": (2874.5, 18688.9),
    "demon_attack": (152.1, 1971.0),
    "double_dunk": (-18.6, -16.4),
    "enduro": (0.0, 860.5),
    "fishing_derby": (-91.7, -38.7),
    "freeway": (0.0, 29.6),
    "frostbite": (65.2, 4334.7),
    "gopher": (257.6, 2412.5),
    "gravitar": (173.0, 3351.4),
    "hero": (1027.0, 30826.4),
    "ice_hockey": (-11.2, 0.9),
    "jamesbond": (29.0, 302.8),
    "kangaroo": (52.0, 3035.0),
    "krull": (1598.0, 2665.5),
    "kung_fu_master": (258.5, 22736.3),
    "montezuma_revenge": (0.0, 4753.3),
    "ms_pacman": (307.3, 6951.6),
    "name_this_game": (2292.3, 8049.0),
    "phoenix": (761.4, 7242.6),
    "pitfall": (-229.4, 6463.7),
    "pong": (-20.7, 14.6),
    "private_eye": (24.9, 69571.3),
    "qbert": (163.9, 13455.0),
    "riverraid": (1338.5, 17118.0),
    "road_runner": (11.5, 7845.0),
    "robotank": (2.2, 11.9),
    "seaquest": (68.4, 42054.7),
    "skiing": (-17098.1, -4336.9),
    "solaris": (1236.3, 12326.7),
    "space_invaders": (148.0, 1668.7),
    "star_gunner": (664.0, 10250.0),
    "surround": (-10.0, 6.5),
    "tennis": (-23.8, -8.3),
    "time_pilot": (3568.0, 5229.2),
    "tutankham": (11.4, 167.6),
    "up_n_down": (533.4, 11693.2),
    "venture": (0.0, 1187.5),
    "video_pinball": (16256.9, 17667.9),
    "wizard_of_wor": (563.5, 4756.5),
    "yars_revenge": (3092.9, 54576.9),
    "zaxxon": (32.5, 9173.3),
}

# game: minimum and maximum of its easy mode, then of its hard mode
PROCGEN: dict[str, tuple[float, float, float, float]] = {
    "bigfish": (1, 40, 0, 40),
    "bossfight": (0.5, 13, 0.5, 13),
    "caveflyer": (3.5, 12, 2, 13.4),
    "chaser": (0.5, 13, 0.5, 14.2),
    "climber": (2, 12.6, 1, 12.6),
    "coinrun": (5, 10, 5, 10),
    "dodgeball": (1.5, 19, 1.5, 19),
    "fruitbot": (-1.5, 32.4, -0.5, 27.2),
    "heist": (3.5, 10, 2, 10),
    "jumper": (3, 10, 1, 10),
    "leaper": (3, 10, 1.5, 10),
    "maze": (5, 10, 4, 10),
    "miner": (1.5, 13, 1.5, 20),
    "ninja": (3.5, 10, 2, 10),
    "plunder": (4.5, 30, 3, 30),
    "starpilot": (2.5, 64, 1.5, 35),
}


@dataclass(frozen=True)
class Reference:
    """A scale on which `low` is 0 and `high` is 1."""

    low: float
    high: float
    name: str

    def __call__(self, score: float) -> float:
        return (score - self.low) / (self.high - self.low)


def reference(env: Mapping[str, Any] | None) -> Reference | None:
    """The scale of the world that this part of a config describes; None where nobody published one."""
    target, game = str((env or {}).get("_target_", "")), str((env or {}).get("game", ""))
    if target.endswith(".atari.Atari"):
        bare = game.lower().replace("_", "").replace("-", "")
        found = next((pair for name, pair in ATARI.items() if name.replace("_", "") == bare), None)
        return Reference(*found, "human-normalised") if found else None
    mode = (env or {}).get("mode")
    if target.endswith(".procgen.Procgen") and game in PROCGEN and mode in ("easy", "hard"):
        low, high = PROCGEN[game][:2] if mode == "easy" else PROCGEN[game][2:]
        return Reference(low, high, f"min-max-normalised ({mode})")
    return None
