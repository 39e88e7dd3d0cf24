"""Several worlds as one: the lanes of a vector env are shared out among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import World
from worldmodels.core.spec import ENV_ID, ArraySpec, EnvSpec, describe
from worldmodels.env.recipe import Recipe

NAMED = 5  # more worlds are counted in a mixture's name, and not listed


@dataclass(frozen=True)
class Mixture(Recipe):
    """The same recipe with other games: lane n of a vector env plays game n modulo their number.

    Lanes step in time, so each game gets as many steps as any other where their number divides the width. Each step
    tells `env_id`, the game's place in `games`, as an extra, and policies are shown it beside what they observe. The
    games have to be alike in observations and actions; `vary` is the option of `base` that names the game.
    """

    base: Recipe
    games: Sequence[str]
    vary: str = "game"

    def __post_init__(self) -> None:
        object.__setattr__(self, "games", tuple(self.games))
        options = [each.name for each in fields(self.base)]
        if self.vary not in options:
            kind = type(self.base).__name__
            do = f"set env.vary={options[0]}, for example"
            raise ConfigError(f"vary={self.vary!r} for {kind}", f"one of its options {', '.join(options)}", do)
        if not self.games or len(set(self.games)) < len(self.games):
            raise ConfigError(f"games={list(self.games)}", "at least one game, and none twice", "set env.games=[...]")
        _ = self.parts

    @cached_property
    def parts(self) -> list[Recipe]:
        """A recipe for each game."""
        parts: list[Recipe] = []
        for game in self.games:
            try:
                parts.append(replace(self.base, **{self.vary: game}))
            except ConfigError as wrong:
                raise ConfigError(f"games={list(self.games)}: {wrong.found}", wrong.expected, wrong.do) from wrong
        return parts

    def spec(self) -> EnvSpec:
        return self._spec

    @cached_property
    def _spec(self) -> EnvSpec:
        specs = [part.spec() for part in self.parts]
        for game, spec in zip(self.games, specs, strict=True):
            self._demand_alike(game, specs[0], spec)
        label, names = {ENV_ID: ArraySpec((), "int64")}, tuple(spec.name for spec in specs)
        first = specs[0]
        extras, views = {**first.extras, **label}, {**first.views, **label}
        return replace(first, name=_name(names), extras=extras, views=views, worlds=names)

    def _demand_alike(self, game: str, first: EnvSpec, spec: EnvSpec) -> None:
        found, unlike = first.differences(spec), list[str]()
        if first.obs != spec.obs:
            unlike.append("observations")
        if any(getattr(first, name) != getattr(spec, name) for name in ("action_size", "discrete", "action_names")):
            unlike.append("actions")
        if not found and first.action_names != spec.action_names:
            found = ["actions: named in one, and not in the other"]
        if not found and (first.extras, first.views) != (spec.extras, spec.views):
            found, unlike = _unlike(first, spec), ["extras and views"]
        if found:
            raise ConfigError(
                f"{self.games[0]} and {game} can not be mixed:\n    " + "\n    ".join(found),
                "the same observations, actions, extras and views in all games of a mixture",
                self._remedy(unlike),
            )

    def _remedy(self, unlike: Sequence[str]) -> str:
        """The options of the base that make games alike; if some difference remains with them, that none does."""
        options = {
            kind: [
                f"env.base.{name}={str(value).lower() if isinstance(value, bool) else value}"
                for name, value in self.base.UNIFYING.get(kind, {}).items()
                if getattr(self.base, name) != value
            ]
            for kind in unlike
        }
        if lacking := [kind for kind in unlike if not options[kind]]:
            kind = type(self.base).__name__
            return (
                f"choose env.games that are alike, or take each alone; no option of {kind} makes "
                f"their {' and '.join(lacking)} the same"
            )
        return f"set {' '.join(word for words in options.values() for word in words)}, or leave out a game"

    def world(self) -> World:
        return self.lane(0)

    def lane(self, number: int) -> World:
        place = number % len(self.parts)
        return _Labelled(self.parts[place].world(), self.spec(), place)


def _unlike(one: EnvSpec, other: EnvSpec) -> list[str]:
    """Extras and views that are not the same."""
    return [
        f"{kind} {name}: {describe(ours.get(name))} in one, {describe(theirs.get(name))} in the other"
        for kind, ours, theirs in (("extra", one.extras, other.extras), ("view", one.views, other.views))
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
    ]


def _name(names: tuple[str, ...]) -> str:
    """For example `minatar/asterix+breakout`."""
    kinds = {name.rpartition("/")[0] for name in names}
    kind = kinds.pop() if len(kinds) == 1 else ""
    games = [name.rpartition("/")[2] if kind else name.replace("/", "-") for name in names]
    told = "+".join(games) if len(games) <= NAMED else f"mixture-of-{len(games)}"
    return f"{kind}/{told}" if kind else told


class _Labelled:
    """A world of a mixture, which tells its place in it. Meets `core.protocols.World`."""

    def __init__(self, world: World, spec: EnvSpec, place: int) -> None:
        self.inner, self.spec, self.resumable = world, spec, world.resumable
        self._label = {ENV_ID: np.asarray(place, np.int64)}

    def reset(self, seed: int | None = None) -> Obs:
        return {**self.inner.reset(seed), **self._label}

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, Obs]:
        obs, reward, terminated, truncated, extras = self.inner.step(action)
        return {**obs, **self._label}, reward, terminated, truncated, {**extras, **self._label}

    def snapshot(self) -> dict[str, Any]:
        return self.inner.snapshot()

    def restore(self, state: dict[str, Any]) -> None:
        self.inner.restore(state)

    def close(self) -> None:
        self.inner.close()
