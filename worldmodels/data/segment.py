"""Learning from recorded experience alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch.utils.data import DataLoader, Dataset

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count, Natural, Share
from worldmodels.core.protocols import EnvRecipe, Learner
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.data.consecutive import Consecutive, demand_reads_on
from worldmodels.data.recall import Carried, Recall
from worldmodels.data.sampler import Uniform
from worldmodels.data.shuffle import demand_cells, shuffled
from worldmodels.data.store import EpisodeStore


@dataclass(frozen=True)
class Segment:
    """What `conf/data/segment.yaml` becomes: windows from the episodes of a store, of which some are held out.

    `cross` lets windows run over an episode's end into the next one, `pad` lets them end early and masks the rest. Of a
    mixture, the next one is of the same world, unless `mix` lets worlds meet; with `balance` each world is as likely.
    `workers` subprocesses gather batches in advance; they are the same batches. `shuffle=cells` puts the cells of every
    frame, also of the held-out ones, in a random order of its own: a control that knows no layout and no dynamics.
    With `reset_interval` each row reads on where its window before ended, and goes on from what the learner believed
    there, until after that many steps on average it jumps elsewhere; see `data.consecutive`.
    """

    store: str | None
    length: Count = 64
    batch: Count = 16
    updates: Count = 1000  # in an epoch, at whose end checkpoints are cut
    workers: Natural = 0
    cross: bool = False
    pad: bool = False
    mix: bool = False
    balance: bool = False
    held_out: Share = 0.1  # of the episodes
    split_seed: int = 0
    held_batches: Natural = 8  # in a validation
    shuffle: Literal["cells"] | None = None
    reset_interval: Count | None = None

    def __post_init__(self) -> None:
        if self.recalls and self.workers:
            raise ConfigError(
                f"workers={self.workers} with reset_interval={self.reset_interval}",
                "rows that read on in one process, or windows that others gather",
                "set data.workers=0, or data.reset_interval=null",
            )
        demand_reads_on(self.length, self.reset_interval, "data")
        if self.updates < 1 or self.workers < 0 or self.held_batches < 0:
            found = f"updates={self.updates}, workers={self.workers}, held_batches={self.held_batches}"
            raise ConfigError(
                found, "at least one update and nothing below zero", "set data.updates and its neighbours"
            )
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out={self.held_out}", "a share from 0 to below 1", "set data.held_out=0.1")

    @property
    def recalls(self) -> bool:
        """Whether windows begin from what the learner believed."""
        return self.reset_interval is not None

    def sampler(self, numbers: Int64[np.ndarray, " n"], *, reads_on: bool = False) -> Uniform:
        """Of the episodes with these numbers."""
        names = ("cross", "pad", "mix", "balance")
        options: dict[str, Any] = {**{name: getattr(self, name) for name in names}, "among": numbers}
        if reads_on and self.recalls:
            return Consecutive(self.length, self.batch, reset_interval=self.reset_interval, **options)
        return Uniform(self.length, self.batch, **options)

    def folder(self) -> Path:
        """Where the store lies; ConfigError if there is none."""
        path = None if self.store is None else Path(self.store)
        if path is None or not (path / "store.json").exists():
            raise ConfigError(
                "data.store is not set" if path is None else f"no episode store in {path}",
                "the folder of a recording",
                "record one: python record.py env=minatar policy=random steps=100000, then set data.store=<its folder>",
            )
        return path

    def spec(self, recipe: EnvRecipe | None) -> EnvSpec:
        """The store's; SpecError if an env is given that differs."""
        store = EpisodeStore.open(self.folder(), spec=None if recipe is None else recipe.spec())
        try:
            if self.shuffle is not None:
                demand_cells(store.spec.obs)
            return store.spec
        finally:
            store.close()

    def remarks(self, kept: Mapping[str, Any] | None) -> list[str]:
        """What should be known of the recording. kept: the snapshot of a stream that is to go on; None begins."""
        store = EpisodeStore.open(self.folder())
        try:
            steps, episodes = store.steps, len(store)
            held = len(store.split(self.held_out, self.split_seed)[1])
        finally:
            store.close()
        found = []
        if self.held_out and self.held_batches and not held:
            found.append(
                f"data.held_out={self.held_out} holds out none of {episodes} episodes, so nothing tells how good the "
                "model is on what it did not learn from; record more, or raise data.held_out"
            )
        before = steps if kept is None else kept.get("steps", steps)
        if before != steps:
            found.append(
                f"the recording held {before:,} steps and holds {steps:,} now, all of which are learned from: the run "
                "does not go on as it would have with the former"
            )
        return found

    def stream(
        self,
        recipe: EnvRecipe | None,  # noqa: ARG002 (nobody acts)
        learner: Learner,
        folder: Path,  # noqa: ARG002
        rng: Rng,
    ) -> SegmentStream:
        return SegmentStream(self, learner, rng)


class Windows(Dataset[Batch]):
    """Batch n of a sequence, a function of the generator's name and n alone. May be sent to another process."""

    def __init__(self, store: EpisodeStore, sampler: Uniform, rng: Rng, *, shuffle: bool = False) -> None:
        self.store, self.sampler, self.rng, self.shuffle = store, sampler, rng, shuffle

    def __getitem__(self, index: int) -> Batch:
        rng = self.rng.child(index)
        batch = self.sampler.sample(self.store, rng)
        return shuffled(batch, self.store.spec.obs, rng.child("shuffle")) if self.shuffle else batch

    def __getstate__(self) -> dict[str, Any]:
        rng = (self.rng.entropy, self.rng.names)
        return {"folder": self.store.folder, "sampler": self.sampler, "rng": rng, "shuffle": self.shuffle}

    def __setstate__(self, state: dict[str, Any]) -> None:
        seed, names = state["rng"]
        store = EpisodeStore.open(state["folder"])
        self.__init__(store, state["sampler"], Rng(seed, *names), shuffle=state["shuffle"])


class SegmentStream:
    """Windows of the episodes to learn from; `updates` batches make an epoch. Nothing is lived, nothing is stored."""

    divisible = True  # batches are numbered, so a snapshot after any update continues exactly

    def __init__(self, plan: Segment, learner: Learner, rng: Rng) -> None:
        self.plan, self.learner, self.rng = plan, learner, rng
        self.store = EpisodeStore.open(plan.folder())
        self.env_steps, self.episodes, self.resume = 0, 0, "exact"
        self.epoch, self.update = 0, 0  # of the batch that comes next
        self._train, self._held = self.store.split(plan.held_out, plan.split_seed)
        self.sampler = plan.sampler(self._train, reads_on=True)
        self.recall = Carried() if plan.recalls else Recall()
        self._open: Batch | None = None  # handed out, and the learner has not been asked about it

    def __len__(self) -> int:
        return self.plan.updates

    def __iter__(self) -> Iterator[Batch]:
        windows = self._windows(self.sampler, self.rng.child("train", self.epoch))
        for batch in self._load(windows, range(self.update, self.plan.updates)):
            self._settle()
            self.update += 1
            if self.update == self.plan.updates:
                self.epoch, self.update = self.epoch + 1, 0
            self._open = self.recall.recall(self.store, batch)
            yield self._open

    def validation(self) -> DataLoader[Batch] | None:
        """The same held-out windows every time; None if no episode is held out."""
        if not len(self._held) or not self.plan.held_batches:
            return None
        windows = self._windows(self.plan.sampler(self._held), self.rng.child("held out"))
        return self._load(windows, range(self.plan.held_batches))

    def drain(self) -> list[tuple[float, int]]:
        return []

    def snapshot(self) -> dict[str, Any]:
        self._settle()
        here = {"epoch": self.epoch, "update": self.update, "steps": self.store.steps}
        if not self.plan.recalls:
            return here
        return {**here, "sampler": self.sampler.snapshot(), "recall": self.recall.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        self.epoch, self.update = int(state["epoch"]), int(state["update"])
        if self.plan.recalls:
            self.sampler.restore(state["sampler"])
            self.recall.restore(state["recall"])

    def close(self) -> None:
        self.store.close()

    def _settle(self) -> None:
        """Note what the learner believes of the last batch: before the next one, and before a snapshot."""
        batch, self._open = self._open, None
        if batch is not None and self.plan.recalls:
            self.recall.keep(self.store, batch, self.learner.beliefs())

    def _windows(self, sampler: Uniform, rng: Rng) -> Windows:
        return Windows(self.store, sampler, rng, shuffle=self.plan.shuffle is not None)

    def _load(self, windows: Windows, indices: Sequence[int]) -> DataLoader[Batch]:
        collate: Any = _as_it_is
        return DataLoader(
            windows,
            batch_size=None,
            sampler=indices,
            num_workers=self.plan.workers,
            collate_fn=collate,
            generator=torch.Generator(),  # or else it draws from the global one, and shifts the model's noise
        )


def _as_it_is(batch: Batch) -> Batch:
    return batch
