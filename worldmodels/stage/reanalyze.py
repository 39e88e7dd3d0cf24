"""Searching again from what was lived, with what is known by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Natural, Share
from worldmodels.model.muzero import MuZero
from worldmodels.planner.plan import TreePlanner
from worldmodels.policy.searching import POLICY, VALUE, simulator
from worldmodels.stage.searcher import Searcher


@dataclass(frozen=True)
class Search:
    """What is found from observations (B, *): extras that a policy would tell. It does not explore.

    With `plain` the value is the model's, not the search's.
    """

    model: MuZero
    planner: TreePlanner
    discount: float
    plain: bool

    @torch.no_grad()
    def __call__(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        belief = self.model.start(self.model.encode(obs))
        ways = simulator(self.model, self.discount)
        plan = self.planner.plan(ways, belief, rng=np.random.default_rng(0), explore=False)
        return {POLICY: plan.target, VALUE: self.model.value(belief.latent) if self.plain else plan.value}


@dataclass(frozen=True)
class Reanalyze:
    """`ratio` of the windows of each batch are searched anew, every step of them, and what is found replaces the old.

    It is kept with `data.refresh=true`. The batch itself is learned from with what is found; or, with `workers`, with
    what was known before, while so many other processes search, on the CPU, a share each. All search with the weights
    from before the update. `simulations`: of each search; null: those of the planner. Schrittwieser et al. (2021),
    "Online and Offline Reinforcement Learning by Planning with a Learned Model"; there 80 % of all updates, and stored
    targets stay.
    """

    ratio: Share = 0.0
    simulations: Natural | None = None
    workers: Natural = 0

    def demand(self, *, keeps: bool, used: bool) -> None:
        """ConfigError for searches whose findings would not be kept, or not learned from, and for options of none."""
        if self.ratio and not keeps:
            found = f"stage.reanalyze.ratio={self.ratio}, and what is found is not kept"
            raise ConfigError(found, "data.refresh=true", "set data.refresh=true, too, or stage.reanalyze.ratio=0")
        if self.ratio and not used:
            raise ConfigError(
                f"stage.reanalyze.ratio={self.ratio} of a model of values of actions with stage.target: what a search "
                "finds is not learned from",
                "values that are bootstrapped from what searches said, or a model with a policy",
                "set stage.target=null; or stage.reanalyze.ratio=0 data.refresh=false",
            )
        if not self.ratio and (self.workers or self.simulations is not None or keeps):
            given = {
                "data.refresh=true": keeps,
                f"stage.reanalyze.workers={self.workers}": self.workers,
                f"stage.reanalyze.simulations={self.simulations}": self.simulations is not None,
            }
            found = " ".join(word for word, is_set in given.items() if is_set)
            raise ConfigError(
                f"{found} with stage.reanalyze.ratio=0: nothing is searched again",
                "a share of the windows, or none of these options",
                "set stage.reanalyze.ratio=0.25 data.refresh=true, or leave them out",
            )

    def chosen(self, rows: Int64[Tensor, " B"]) -> Bool[Tensor, " B"]:
        """Windows to search again, by their rows in the whole batch, to which the number of the update is added.

        They are spread evenly over the batch, for those of prioritised replay come in the order of age; and they are
        others in the next update.
        """
        row = rows.double()
        return ((row + 1) * self.ratio).floor() > (row * self.ratio).floor()

    def how(self, search: Search) -> Search:
        if self.simulations is None:
            return search
        return replace(search, planner=replace(search.planner, simulations=self.simulations))


class Again:
    """What a stage does about it at each update: `begin` before, `end` after."""

    def __init__(self, options: Reanalyze) -> None:
        self.options = options
        self._found: Mapping[str, Tensor] = {}
        self._searchers: list[Searcher] = []
        self._waiting: tuple[Batch, Tensor] | None = None

    def begin(self, batch: Batch, search: Search, rows: Int64[Tensor, " B"]) -> Batch:
        """The batch as it is to be learned from in this update; rows: see `Reanalyze.chosen`."""
        self.end()  # nobody may have asked for the last
        self._found, known = {}, batch.mask & self.options.chosen(rows)[:, None]
        if not known.any():
            if self.options.ratio:  # another share of the batch may have windows to search
                self._found = {name: batch.extras[name] for name in (POLICY, VALUE)} | {"known": known}
            return batch
        search, seen = self.options.how(search), {name: x[:, :-1][known] for name, x in batch.obs.items()}
        if not self.options.workers:
            self._found = placed(batch, known, search(seen))
            return replace(batch, extras={**batch.extras, **{name: self._found[name] for name in (POLICY, VALUE)}})
        if not self._searchers:
            self._searchers = [Searcher(search, search.model) for _ in range(self.options.workers)]
        for searcher, share in zip(self._searchers, shares(seen, self.options.workers), strict=False):
            searcher.ask(search.model, share)
        self._waiting = batch, known
        return batch

    def end(self) -> Mapping[str, Tensor]:
        """What was found (B, T, ...), and where, `known`."""
        if self._waiting is not None:
            (batch, known), self._waiting = self._waiting, None
            said = [searcher.answer() for searcher in self._searchers if searcher.asked]
            self._found = placed(batch, known, {name: torch.cat([each[name] for each in said]) for name in said[0]})
        return self._found

    def close(self) -> None:
        for searcher in self._searchers:
            searcher.close()
        self._searchers = []


def shares(obs: Mapping[str, Tensor], count: int) -> list[dict[str, Tensor]]:
    """Observations in equal parts, in their order; fewer than `count` where there are fewer observations."""
    parts = {name: x.chunk(count) for name, x in obs.items()}
    return [dict(zip(parts, part, strict=True)) for part in zip(*parts.values(), strict=True)]


def placed(batch: Batch, known: Tensor, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch's extras with what was found in their place, and where that is."""
    newest = {name: batch.extras[name].clone() for name in found}
    for name, value in found.items():
        newest[name][known] = value.to(newest[name])
    return {**newest, "known": known}
