"""Trackers beside metrics.csv, each with what it needs to go on where it stopped."""

from __future__ import annotations

import importlib.util
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from worldmodels.core.errors import MissingExtraError

if TYPE_CHECKING:
    from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger


def tensorboard(folder: str) -> TensorBoardLogger:
    """Event files in <folder>/tensorboard."""
    _need("tensorboard", "tensorboard")
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="", version="tensorboard")


def wandb(folder: str, project: str, offline: bool) -> WandbLogger:
    """A Weights & Biases run whose id is kept in <folder>/wandb_id, so that a resumed run continues it."""
    _need("wandb", "wandb")
    from pytorch_lightning.loggers import WandbLogger

    kept = Path(folder, "wandb_id")
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(secrets.token_hex(4))
    path = Path(folder)
    name, group = path.name, path.parent.name
    logger = WandbLogger(
        name=name, group=group, project=project, save_dir=folder, offline=offline, id=kept.read_text(), resume="allow"
    )
    # Lightning hands on anonymous=None, and W&B warns of that word whatever its value: it does nothing any more.
    logger._wandb_init.pop("anonymous", None)
    return logger


def finish() -> None:
    """End the W&B run of this process, or else the next training in it, as in a multirun, would go on writing there."""
    package = sys.modules.get("wandb")
    if package is not None and package.run is not None:
        package.finish()


def _need(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, extra)
