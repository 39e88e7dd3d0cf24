"""Checkpoints that are whole or absent, cut where a run continues exactly."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as L
import torch
from pytorch_lightning.callbacks import Checkpoint as LastInLine
from pytorch_lightning.plugins.io import TorchCheckpointIO

from worldmodels.callback.moment import epoch_ends
from worldmodels.callback.watcher import Watcher
from worldmodels.core.files import write_bytes
from worldmodels.core.options import Count, Rate


class Straight(TorchCheckpointIO):
    """Writes where it is told to; Lightning's own goes by way of the system's temporary folder, which may be small."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        whole = io.BytesIO()
        torch.save(checkpoint, whole)
        Path(path).write_bytes(whole.getbuffer())


class Checkpoint(Watcher, LastInLine):
    """Keeps `last.ckpt`, and `best.ckpt` where something scored.

    Cut at the end of every `every`-th epoch, but not sooner than `pause` seconds after the one before, and wherever
    training stops. A new file takes the old one's place in one step, so being killed at any moment leaves one of them
    whole. Lightning calls this class after all other callbacks, so what they keep is of the same moment.

    keep="geometric" also leaves `update_<updates>.ckpt`, weights alone, after `first` updates, twice as many, four
    times as many, and so on: the same files however often the run is interrupted.
    """

    def __init__(
        self,
        folder: str,
        every: Count,
        pause: Rate,
        keep: Literal["last", "geometric"] = "last",
        first: Count = 100,
    ) -> None:
        self.folder, self.every, self.pause = Path(folder), every, pause
        self.keep, self.first = keep, first
        self.cut_at = -float("inf")

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        trainer.strategy.checkpoint_io = Straight()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.cut_at = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        # First, or else a run that is killed in between would go on from after this update without its file.
        if self.keep == "geometric" and is_step(trainer.global_step, self.first):
            self._keep(trainer)
        best = any(getattr(callback, "improved", False) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if best or trainer.should_stop or self._due(trainer):
            self._save(trainer, best)

    def _due(self, trainer: L.Trainer) -> bool:
        regular = epoch_ends(trainer) and (trainer.current_epoch + 1) % self.every == 0
        return regular and time.monotonic() - self.cut_at >= self.pause

    def _save(self, trainer: L.Trainer, best: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        passing, last = self.folder / "cutting.tmp", self.folder / "last.ckpt"
        try:
            trainer.save_checkpoint(passing)
            _settle(passing)
        except OSError:  # of a full disk, say: half a checkpoint would only take up more of it
            passing.unlink(missing_ok=True)
            raise
        passing.replace(last)
        _settle(self.folder)
        if best:
            passing.unlink(missing_ok=True)
            os.link(last, passing)  # a second name for the same bytes, until last.ckpt is replaced
            passing.replace(self.folder / "best.ckpt")
        self.cut_at = time.monotonic()

    def _keep(self, trainer: L.Trainer) -> None:
        """The weights as they are now. A run can not go on from them; `load` takes them."""
        weights = {name: value.detach().cpu() for name, value in trainer.lightning_module.state_dict().items()}
        whole = io.BytesIO()
        torch.save({"state_dict": weights, "global_step": trainer.global_step}, whole)
        write_bytes(self.folder / f"update_{trainer.global_step:08d}.ckpt", whole.getvalue())


def is_step(updates: int, first: int) -> bool:
    """Whether it is `first` times a power of two."""
    times, rest = divmod(updates, first)
    return not rest and times.bit_count() == 1


def _settle(path: Path) -> None:
    """Ask the disk to keep it, not only the system's memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
