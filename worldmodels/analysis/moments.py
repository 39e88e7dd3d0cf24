"""Moments of recorded episodes, and what a world model thinks at each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, Shaped
from torch import nn

from worldmodels.core.errors import ConfigError, StoreError
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.data.store import EpisodeStore
from worldmodels.model.unroll import as_vector, track

WIDTH, LENGTH = 16, 64  # episodes side by side, and moments of each that a model takes at once


@dataclass(frozen=True)
class Chosen:
    """Episodes of a store, and how many moments of each, from its first observation on."""

    number: Int[np.ndarray, " e"]
    count: Int[np.ndarray, " e"]

    @property
    def total(self) -> int:
        return int(self.count.sum())

    @property
    def episode(self) -> Int[np.ndarray, " n"]:
        """Of each moment, counted from 0."""
        return np.repeat(np.arange(len(self.count)), self.count)

    @property
    def step(self) -> Int[np.ndarray, " n"]:
        """Of each moment: how many steps its episode is old."""
        return np.concatenate([np.arange(count) for count in self.count])


@dataclass(frozen=True)
class Moments:
    """What was there at n moments, and zeros where that is not known.

    That is the first moment of rewards and of a world's extras, which came on arrival, and the last one of a policy's
    extras, which tell of what it did next.
    """

    spec: EnvSpec
    obs: Mapping[str, Shaped[np.ndarray, "n ..."]]
    reward: Float32[np.ndarray, " n"]
    extras: Mapping[str, Shaped[np.ndarray, "n ..."]]
    first: Bool[np.ndarray, " n"]
    last: Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class Latents:
    """What a model believed after each look: h, what it remembers, and z, what it sees, one-hot groups side by side."""

    deter: Float32[np.ndarray, "n D"]
    stoch: Float32[np.ndarray, "n Z"]

    @property
    def feature(self) -> Float32[np.ndarray, "n F"]:
        return np.concatenate([self.deter, self.stoch], 1)


def choose(store: EpisodeStore, frames: int, least: int, rng: Rng, world: str | None = None) -> Chosen:
    """Episodes in random order until there are that many moments; the last one is cut short where it has more.

    `world` is one of a mixture's; None takes all. StoreError if there are less than `least` moments, or less than four
    episodes: two to fit to, two to judge by.
    """
    known = store.episodes
    order = rng.numpy.permutation(len(known.number))
    if world is not None:
        order = order[_in_world(store, world)[order]]
    length = known.length[order] + 1
    reached = length.cumsum()
    taken = int(np.searchsorted(reached, frames)) + 1
    number, count = known.number[order][:taken], length[:taken]
    if len(count) and (over := int(count.sum()) - frames) > 0:
        count[-1] -= over
    chosen = Chosen(number, count)
    if chosen.total < least or len(count) < 4:
        # Where the store holds enough in too few episodes, more frames do not help.
        raise StoreError(
            f"{chosen.total:,} frames in {len(count)} episodes of {store.folder}",
            f"at least {least:,} frames in at least 4 episodes, whole ones of which are held out",
            "raise frames, record more (worldmodels record run=<folder>), or take another store",
        )
    return chosen


def named(spec: EnvSpec, world: str) -> int:
    """Which of a mixture's worlds is called so, in full or without what stands before the last slash."""
    short = [each.rpartition("/")[2] for each in spec.worlds]
    names = spec.worlds if world in spec.worlds else short
    if names.count(world) != 1:
        found = f"world={world!r} in a store of {', '.join(spec.worlds) or spec.name}"
        raise ConfigError(found, f"one of {', '.join(short) or 'no mixture'}", "set analysis.world, or null for all")
    return names.index(world)


def collect(store: EpisodeStore, chosen: Chosen, world: str | None = None) -> Moments:
    """All that the store tells of those moments."""
    episodes = [store[int(number)] for number in chosen.number]
    some = list(zip(episodes, chosen.count.tolist(), strict=True))

    def arrived(array: np.ndarray, count: int) -> np.ndarray:
        return np.concatenate([np.zeros_like(array[:1]), array[: count - 1]])

    def done(array: np.ndarray, count: int) -> np.ndarray:
        return np.concatenate([array, np.zeros_like(array[:1])])[:count]

    extras = {name: arrived if name in store.spec.extras else done for name in store.extras}
    spec = store.spec if world is None else replace(store.spec, name=store.spec.worlds[named(store.spec, world)])
    return Moments(
        spec,
        {name: np.concatenate([each.obs[name][:count] for each, count in some]) for name in store.spec.obs},
        np.concatenate([arrived(each.reward, count) for each, count in some]),
        {name: np.concatenate([at(each.extras[name], count) for each, count in some]) for name, at in extras.items()},
        chosen.step == 0,
        chosen.step == np.repeat([len(each.reward) for each in episodes], chosen.count),
    )


def _in_world(store: EpisodeStore, world: str) -> Bool[np.ndarray, " N"]:
    labels, wanted = store.labels(), named(store.spec, world)
    return np.zeros(len(store), bool) if labels is None else labels == wanted


@torch.no_grad()
def believe(
    model: Any, store: EpisodeStore, chosen: Chosen, rng: Rng, progress: Callable[[int], None] = lambda _: None
) -> Latents:
    """Follow each chosen episode from its beginning with open eyes; `progress` is told how many moments were new.

    z is drawn from the posterior, as the model's own heads and policy see it.
    """
    if not isinstance(model, nn.Module) or not hasattr(model, "observe"):
        raise ConfigError("a stage without a world model", "one with latents", "take a run of stage=dreamer")
    if not hasattr(model.initial(1), "deter"):  # pyright: ignore[reportCallIssue]
        raise ConfigError(f"{type(model).__name__} has no h and z", "a recurrent model", "take a run of stage=dreamer")
    parts: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    order = np.argsort(-chosen.count, kind="stable")  # side by side are episodes of about one length
    for group in np.array_split(order, -(-len(order) // WIDTH)):
        for start, stop, deter, stoch in _follow(model, store, chosen, group, rng):
            for at, episode in enumerate(group.tolist()):
                count = int(min(stop, chosen.count[episode]) - start)
                if count > 0:
                    parts.append((episode, start, deter[at, :count], stoch[at, :count]))
            progress(int(np.clip(chosen.count[group] - start, 0, stop - start).sum()))
    parts.sort(key=lambda part: part[:2])
    return Latents(*(np.concatenate([part[which] for part in parts]) for which in (2, 3)))


def _follow(
    model: Any, store: EpisodeStore, chosen: Chosen, group: Int[np.ndarray, " g"], rng: Rng
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Latents of moments start to stop of a group of episodes; of those that have ended, anything."""
    own = getattr(model, "track", None)
    number, longest = chosen.number[group], int(chosen.count[group].max())
    known = dict(zip(store.episodes.number.tolist(), store.episodes.length.tolist(), strict=True))
    last = np.array([known[n] for n in number.tolist()]) - 1
    belief = None
    # A window of T steps brings T + 1 observations: the first window all of them, the others all but the first.
    for start in range(0, max(longest - 1, 1), LENGTH):
        steps = min(LENGTH, longest - 1 - start) if longest > 1 else 1
        keys = np.stack([number, np.minimum(start, last)], 1)
        batch = store.windows(keys, steps)
        action = as_vector(model.spec, batch.action)
        embed = model.encode(batch.obs)
        if belief is None:
            action = torch.cat([torch.zeros_like(action[:, :1]), action], 1)
            first = torch.zeros(action.shape[:2], dtype=torch.bool)
            first[:, 0] = True
        else:
            embed, first = embed[:, 1:], torch.zeros(action.shape[:2], dtype=torch.bool)
        seen = (
            own(action, embed, first, belief, rng=rng.torch)
            if own
            else track(model, action, embed, first, belief, rng=rng.torch)
        )
        belief = seen.map(lambda x: x[:, -1])
        deter, stoch = seen.deter.flatten(2).float().numpy(), seen.stoch.flatten(2).float().numpy()
        yield (0 if start == 0 else start + 1), start + 1 + steps, deter, stoch
