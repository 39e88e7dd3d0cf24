"""Which numbers of a game a world model's latents hold, and whether the latents fall into groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodels.analysis import factors_page, grouping
from worldmodels.analysis.factors import Found
from worldmodels.analysis.grouping import Groups
from worldmodels.analysis.linear import Sides, split
from worldmodels.analysis.moments import Chosen, Latents, Moments, believe, choose, collect
from worldmodels.analysis.reading import Reading, read, shuffled
from worldmodels.analysis.subject import Progress, Subject
from worldmodels.analysis.variables import Variables, frame, variables
from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural, Share
from worldmodels.core.rng import Rng

LEAST = 500  # moments


class LatentFactors:
    """Reads game variables from h and z (ridge regression, single features, CCA), and groups latents by k-means.

    All correlations are on held-out episodes, beside those of the same network untrained, of variables of other
    moments, and of the observation itself.

    frames: moments to look at, of whole episodes chosen by chance; of a mixture, of one `world` or, with null, of all,
    whose planes then have numbers for names. held_out: share of them. components: principal
    components that are read from, at most. clusters: every k to try, each from `restarts` beginnings. untrained:
    networks with fresh weights. shuffles: shifts of the variables in time. scatter: the variable to draw; null: the x
    of the first plane if there is one, else the one that a single feature tells best.
    """

    def __init__(
        self,
        *,
        frames: Count = 20_000,
        world: str | None = None,
        held_out: Share = 0.25,
        components: Count = 512,
        clusters: Sequence[int] = (4, 8, 16),
        restarts: Count = 4,
        untrained: Count = 3,
        shuffles: Count = 5,
        scatter: str | None = None,
        seed: Natural = 0,
    ) -> None:
        if not clusters or min(clusters) < 2:
            raise ConfigError(f"clusters={list(clusters)}", "numbers of at least 2", "set analysis.clusters=[4,8,16]")
        if not 0 < held_out < 1:
            raise ConfigError(f"held_out={held_out}", "a share between 0 and 1", "set analysis.held_out=0.25")
        self.frames, self.world, self.held_out, self.components = frames, world, held_out, components
        self.clusters, self.restarts = tuple(sorted(set(clusters))), restarts
        self.untrained, self.shuffles, self.scatter, self.seed = untrained, shuffles, scatter, seed

    def __call__(self, subject: Subject, folder: Path, progress: Progress) -> dict[str, Any]:
        found = self.find(subject, progress)
        progress(0.97, "drawing")
        summary = factors_page.write(found, folder, self.seed)
        progress(1.0, "done")
        return summary

    def find(self, subject: Subject, progress: Progress) -> Found:
        rng = Rng(self.seed, "latent factors")
        least = max(LEAST, 20 * self.clusters[-1])
        chosen = choose(subject.store, self.frames, least, rng.child("episodes"), self.world)
        moments = collect(subject.store, chosen, self.world)
        found = variables(moments)
        place = None if self.scatter is None else found.at(self.scatter)
        sides = split(chosen.episode, self.held_out, rng.child("held out").numpy)
        features, latents = self._features(subject, chosen, moments, rng, progress)
        readings = self._read(features, found, sides, rng, progress)
        groups, inside = self._group(latents, features["untrained 0"], found, rng, progress)
        scatter = found.names[_drawn(found, readings["trained"][0]) if place is None else place]
        return Found(
            subject, chosen, moments, latents, found, sides, readings, features, groups, inside, scatter
        )  # fmt: skip

    def _features(
        self, subject: Subject, chosen: Chosen, moments: Moments, rng: Rng, progress: Progress
    ) -> tuple[dict[str, np.ndarray], Latents]:
        done, total = 0, chosen.total * (1 + self.untrained)

        def tick(count: int) -> None:
            nonlocal done
            done += count
            progress(0.5 * done / total, "following episodes")

        latents = believe(subject.model, subject.store, chosen, rng.child("walk"), tick)
        features = {"trained": latents.feature, "trained h": latents.deter, "trained z": latents.stoch}
        for number in range(self.untrained):
            fresh = believe(subject.untrained(number), subject.store, chosen, rng.child("walk", number), tick)
            features[f"untrained {number}"] = fresh.feature
        return features | {"frame": frame(moments)}, latents

    def _read(
        self, features: dict[str, np.ndarray], found: Variables, sides: Sides, rng: Rng, progress: Progress
    ) -> dict[str, list[Reading]]:
        readings: dict[str, list[Reading]] = {}
        asked = [(name, x, found) for name, x in features.items()]
        for number in range(self.shuffles):
            other = shuffled(found, rng.child("shuffle", number).numpy)
            asked.append((f"shuffled {number}", features["trained"], other))
        for at, (name, x, y) in enumerate(asked):
            progress(0.5 + 0.35 * at / len(asked), f"reading {name}")
            kind = name.rstrip("0123456789").strip() if name[-1].isdigit() else name
            reading = read(x, y, sides, self.components, rng.child("read", name).numpy)
            readings.setdefault(kind, []).append(reading)
        return readings

    def _group(
        self, latents: Latents, untrained: np.ndarray, found: Variables, rng: Rng, progress: Progress
    ) -> tuple[dict[str, dict[int, Groups]], np.ndarray]:
        inside = grouping.inside(latents.feature, rng.child("inside").numpy)
        sets = {
            "trained": inside,
            "untrained": grouping.inside(untrained, rng.child("inside").numpy),
            "cloud": grouping.cloud(inside, rng.child("cloud").numpy),
        }
        groups: dict[str, dict[int, Groups]] = {}
        for at, (name, x) in enumerate(sets.items()):
            for k in self.clusters:
                progress(0.85 + 0.04 * at, f"grouping {name}")
                draws = rng.child("cluster", name, k).numpy
                groups.setdefault(name, {})[k] = grouping.group(x, found.values, k, self.restarts, draws)
        return groups, inside


def _drawn(found: Variables, reading: Reading) -> int:
    """The player's place, as a rule; or else what one feature tells best."""
    first = next((at for at, name in enumerate(found.names) if name.endswith("_x")), None)
    told = np.nan_to_num([each.value for each in reading.single])
    return int(np.argmax(told)) if first is None else first
