"""Checkpoints that are whole or absent, cut where a run continues exactly."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as L
import torch
from pytorch_lightning.callbacks import Checkpoint as LastInLine
from pytorch_lightning.plugins.io import TorchCheckpointIO

from worldmodels.callback.moment import epoch_ends
from worldmodels.callback.watcher import Watcher
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
    """

    def __init__(self, folder: str, every: Count, pause: Rate) -> None:
        self.folder, self.every, self.pause = Path(folder), every, pause
        self.cut_at = -float("inf")

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        trainer.strategy.checkpoint_io = Straight()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.cut_at = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
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


def _settle(path: Path) -> None:
    """Ask the disk to keep it, not only the system's memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
