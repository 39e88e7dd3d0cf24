"""Acting while learning from everything that was lived so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, cast, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Bound, Count, Natural, Rate
from worldmodels.core.protocols import Env, EnvRecipe, Learner, Rating, Resumable, Telling
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.data.block import Block
from worldmodels.data.demand import demand_shares
from worldmodels.data.driver import Driver
from worldmodels.data.latents import TOLD
from worldmodels.data.lived import Lived
from worldmodels.data.recall import Carried, Recall, Refreshed, Replayed
from worldmodels.data.sampler import Prioritised, Uniform
from worldmodels.data.store import EpisodeStore
from worldmodels.data.uninformed import Random

Flag = Annotated[int, Bound(0, 1)]


@runtime_checkable
class Sampler(Resumable, Protocol):
    """Chooses what to learn from next; see `data.sampler`."""

    def sample(self, store: EpisodeStore, rng: Rng) -> Batch: ...

    def update(self, key: Int64[Tensor, "B 2"], priority: Float[Tensor, " B"]) -> None: ...


@dataclass(frozen=True)
class Replay:
    """What `conf/data/replay.yaml` becomes.

    `warmup` env steps are taken at random before the first update, and `steps_per_update` before each one, as a
    fraction where several updates share a step. The store takes blocks of `piece` steps of all worlds; until then a
    step can not be drawn, even if its episode is over. With `replay_context` windows begin from what the learner
    believed at their first step, when it was lived or last learned from, instead of blank: DreamerV3's, of which 1 is
    the only length here. So do they, from the end of the row's window before, with a sampler that carries it on. With
    `refresh` the policy's extras lie where the learner replaces them when it knows better, and windows have the newest.
    With `input_priorities` the learner says how surprising new windows are before any is drawn, and again when they
    have grown; without, they come first. `compress` names observations that are deflated on disk.
    """

    sampler: Sampler
    width: Count = 16
    workers: Natural = 0
    piece: Count = 16
    warmup: Natural = 1000
    steps_per_update: Rate = 4.0
    updates: Count = 1000  # in an epoch, at whose end checkpoints are cut
    replay_context: Flag = 0
    refresh: bool = False
    input_priorities: bool = False
    compress: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.replay_context and self.carries:
            raise ConfigError(
                "data.replay_context=1 with windows that carry beliefs on",
                "one of both",
                "set data.replay_context=0, or data/sampler=uniform",
            )
        if self.refresh and self.recalls:
            found = "data.refresh=true with windows that begin from beliefs"
            raise ConfigError(found, "one of both", "set data.replay_context=0, data/sampler=uniform or prioritised")
        if self.input_priorities and not hasattr(self.sampler, "fresh"):
            found = "data.input_priorities=true with windows that are not drawn by priority"
            raise ConfigError(found, "data/sampler=prioritised", "set both, or neither")
        if self.updates < 1 or self.warmup < 0 or self.steps_per_update < 0:
            found = f"updates={self.updates}, warmup={self.warmup}, steps_per_update={self.steps_per_update}"
            raise ConfigError(
                found, "at least one update and nothing below zero", "set data.updates and its neighbours"
            )

    @property
    def carries(self) -> bool:
        return bool(getattr(self.sampler, "carries", False))

    @property
    def recalls(self) -> bool:
        """Whether windows begin from what the learner believed."""
        return bool(self.replay_context) or self.carries

    @property
    def remembers(self) -> bool:
        """Whether what is told of each step is kept where it can be overwritten."""
        return bool(self.replay_context) or self.refresh

    def spec(self, recipe: EnvRecipe | None) -> EnvSpec:
        spec = needed(recipe).spec()
        demand_shares(spec, self.width, "data.width")
        return spec

    def stream(self, recipe: EnvRecipe | None, learner: Learner, folder: Path, rng: Rng) -> ReplayStream:
        return ReplayStream(self, needed(recipe).make(self.width, self.workers), learner, folder / "episodes", rng)


class ReplayStream(Lived):
    """Acts, remembers, and hands out one batch per update. Meets `core.protocols.Resumable`.

    The ratio of acting to learning is kept here and nowhere else. A store that lies in the folder already is emptied,
    unless a snapshot says how much of it belongs to this run.
    """

    divisible = True  # each batch is drawn afresh, so a snapshot after any update continues exactly

    def __init__(self, plan: Replay, env: Env, learner: Learner, folder: Path, rng: Rng) -> None:
        self.plan, self.learner, self.folder = plan, learner, folder
        self.sampler, self.rng = deepcopy(plan.sampler), rng.child("sampler")
        self.policy = learner.policy()
        if plan.remembers:
            self.policy = cast(Telling, self.policy).telling()
        self.driver = Driver(env, self.policy, rng.child("driver"), piece=plan.piece, source={"policy": "learner"})
        self.owed = 0.0  # env steps not yet taken; below zero, taken in advance
        self.store: EpisodeStore | None = None  # until the first use
        self.recall = self._recall()
        self._open: Batch | None = None  # handed out, and the learner has not been asked about it

    def __len__(self) -> int:
        return self.plan.updates

    def __iter__(self) -> Iterator[Batch]:
        store = self._opened()
        for _ in range(self.plan.updates):
            self._settle()
            self._warm_up(store)
            self.owed += self.plan.steps_per_update
            while self.owed > 0:
                self._keep(store, self.driver.step())
                self.owed -= self.driver.width
            if self.plan.input_priorities:
                self._rate(store)
            self._open = self.recall.recall(store, self.sampler.sample(store, self.rng))
            yield self._open

    def snapshot(self) -> dict[str, Any]:
        self._settle()
        return {
            "owed": self.owed,
            "rng": self.rng.snapshot(),
            "driver": self.driver.snapshot(),
            "sampler": self.sampler.snapshot(),
            "store": self._opened().snapshot(),
            **({"recall": self.recall.snapshot()} if self.plan.recalls or self.plan.refresh else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.owed = float(state["owed"])
        self.rng.restore(state["rng"])
        self.store = self._reopen() if self.store is None else self.store
        self.store.restore(state["store"])
        self.driver.restore(state["driver"])
        self.sampler.restore(state["sampler"])
        if self.plan.recalls or self.plan.refresh:
            self.recall.restore(state["recall"])

    def close(self) -> None:
        self.driver.env.close()
        self.recall.close()
        if self.store is not None:
            self.store.close()
            self.store = None

    def _settle(self) -> None:
        """Note what the learner made of the last batch: before the next one, and before a snapshot."""
        batch, self._open = self._open, None
        if batch is None:
            return
        surprise = self.learner.feedback()
        if batch.key is not None and surprise is not None:
            self.sampler.update(batch.key, surprise.detach().cpu())
        if self.plan.recalls or self.plan.refresh:
            self.recall.keep(self._opened(), batch, self.learner.beliefs())

    def _warm_up(self, store: EpisodeStore) -> None:
        """Act at random, and give the store all of it, so that there is something to draw from."""
        if self.driver.steps >= self.plan.warmup:
            return
        self.driver.switch(Random(self.driver.spec))
        while self.driver.steps < self.plan.warmup:
            self._keep(store, self.driver.step())
        self._keep(store, self.driver.flush())
        self.driver.switch(self.policy)

    def _rate(self, store: EpisodeStore) -> None:
        """Have the learner say how surprising new windows are."""
        for batch in cast(Prioritised, self.sampler).fresh(store):
            surprise = cast(Rating, self.learner).surprise_of(self.recall.recall(store, batch))
            self.sampler.update(cast(Tensor, batch.key), surprise.cpu())

    def _keep(self, store: EpisodeStore, blocks: Sequence[Block]) -> None:
        for block in blocks:
            self.recall.take(store, block)
            self.driver.reuse(block)

    def _opened(self) -> EpisodeStore:
        if self.store is None:
            self.store = self._reopen() if (self.folder / "store.json").exists() else self._create()
            self.store.clear()
            self.recall.clear()
        return self.store

    def _create(self) -> EpisodeStore:
        kept = {name: spec for name, spec in self.driver.extras.items() if not name.startswith(TOLD)}
        return EpisodeStore.create(self.folder, self.driver.spec, extras=kept, compress=self.plan.compress)

    def _recall(self) -> Recall:
        if self.plan.carries:
            return Carried()
        if not self.plan.remembers:
            return Recall()
        kind = Refreshed if self.plan.refresh else Replayed
        return kind(self.folder.with_name("beliefs"), self.driver.extras, cast(Uniform, self.sampler))

    def _reopen(self) -> EpisodeStore:
        return EpisodeStore.open(self.folder, write=True, spec=self.driver.spec)


def needed(recipe: EnvRecipe | None) -> EnvRecipe:
    """The recipe, or a ConfigError that says how to give one."""
    if recipe is None:
        raise ConfigError("no env to act in", "an env, since this data is lived while learning", "set env=<name>")
    return recipe
