"""The global random generators, saved with the checkpoint."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytorch_lightning as L
import torch

from worldmodels.callback.watcher import Watcher
from worldmodels.core.snapshot import freeze, thaw


class GlobalRng(Watcher):
    """Brings back torch's (CPU and CUDA), numpy's and Python's global generators when a run is resumed.

    They are set when training starts and not when the checkpoint is read, because building loops and loaders in
    between may draw from them.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": freeze(_global()),
            "python": freeze(random.getstate()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.kept = state_dict

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        if self.kept is None:
            return
        torch.set_rng_state(self.kept["torch"].cpu())
        if len(self.kept["cuda"]) == torch.cuda.device_count() > 0:
            torch.cuda.set_rng_state_all([state.cpu() for state in self.kept["cuda"]])
        np.random.set_state(thaw(self.kept["numpy"]).get_state())  # noqa: NPY002 (the global generator is meant)
        random.setstate(thaw(self.kept["python"]))
        self.kept = None


def _global() -> np.random.RandomState:
    """A copy of numpy's global generator."""
    copy = np.random.RandomState()
    copy.set_state(np.random.get_state())  # noqa: NPY002 (the global generator is meant)
    return copy
