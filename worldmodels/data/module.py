"""Lightning's door to the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import pytorch_lightning as L
import torch
from torch.utils.data import DataLoader

from worldmodels.core.experience import Batch
from worldmodels.core.protocols import EnvRecipe, Learner, Resumable
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.data.replay import Replay
from worldmodels.data.segment import Segment, SegmentStream
from worldmodels.data.store import EpisodeStore


@runtime_checkable
class Stream(Resumable, Protocol):
    """One batch per update. It has a length, or Lightning would fetch a batch ahead and a resumed run would lose it."""

    env_steps: int  # taken so far
    episodes: int  # ended so far
    store: EpisodeStore | None
    divisible: bool  # a snapshot after any update continues exactly, not only one at an epoch's end

    def __len__(self) -> int: ...

    def __iter__(self) -> Any: ...

    def drain(self) -> list[tuple[float, int]]:
        """Return and length of the episodes that ended since last asked."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Plan(Protocol):
    """What `conf/data/*.yaml` becomes. Nothing runs yet."""

    def spec(self, recipe: EnvRecipe | None) -> EnvSpec: ...

    def stream(self, recipe: EnvRecipe | None, learner: Learner, folder: Path, rng: Rng) -> Any: ...


def drawn(plan: Plan) -> tuple[str, Any]:
    """What says which windows a plan draws, and its name in a config."""
    return ("data.sampler", plan.sampler) if isinstance(plan, Replay) else ("data", plan)


def caveats(plan: Plan, kept: Mapping[str, Any] | None = None) -> list[str]:
    """What should be known of what is learned from. kept: the snapshot of a stream that is to go on."""
    return [*left_out(plan), *(plan.remarks(kept) if isinstance(plan, Segment) else [])]


def left_out(plan: Plan) -> list[str]:
    """What should be known of the windows that it draws."""
    key, windows = drawn(plan)
    length = getattr(windows, "length", 1)
    if length == 1 or getattr(windows, "cross", True) or getattr(windows, "pad", True):
        return []
    return [
        f"windows of {length} steps lie whole inside an episode, so ends are rarely learned from, and shorter episodes "
        f"never; {key}.cross=true lets windows run on into the next one"
    ]


class Data(L.LightningDataModule):
    """Owns the stream, and through it worlds and memory; borrows the learner from the trainer.

    The stream's state goes through this module's `state_dict`, which Lightning always restores; a loader's own state it
    forgets at an epoch's end. Close it when training is over: a trainer may come back for more.
    """

    def __init__(self, plan: Plan, recipe: EnvRecipe | None, folder: Path, rng: Rng) -> None:
        super().__init__()
        self.plan, self.recipe, self.folder, self.rng = plan, recipe, folder, rng
        self.stream: Stream | None = None

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 (Lightning's signature)
        if self.stream is None:
            learner: Learner = cast(Any, cast(L.Trainer, self.trainer).lightning_module).learner()
            self.stream = self.plan.stream(self.recipe, learner, self.folder, self.rng)

    def train_dataloader(self) -> Any:
        return self._running()

    def val_dataloader(self) -> DataLoader[Batch] | list[Batch]:
        """Held-out windows where the data is recorded; nothing where it is lived."""
        stream = self._running()
        held = stream.validation() if isinstance(stream, SegmentStream) else None
        return [] if held is None else held

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        return batch.to(device, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        return self._running().snapshot()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._running().restore(state_dict)

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    def _running(self) -> Stream:
        if self.stream is None:
            raise RuntimeError("the data was asked for before its setup, or after its close")
        return self.stream
