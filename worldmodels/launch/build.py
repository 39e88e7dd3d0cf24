"""Config to objects. No branch here knows a name: what an object is, its YAML says."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as L
import torch
from hydra.errors import InstantiationException
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from worldmodels.callback.origin import Origin
from worldmodels.callback.watcher import Watcher, spare
from worldmodels.core.errors import ConfigError
from worldmodels.core.protocols import EnvRecipe
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.data.module import Data, drawn
from worldmodels.launch.compose import make
from worldmodels.launch.folder import Folder
from worldmodels.stage.crew import Crew
from worldmodels.stage.stage import Stage


@dataclass(frozen=True)
class Parts:
    """A run, ready to train."""

    recipe: EnvRecipe | None
    spec: EnvSpec
    stage: Stage
    data: Data
    trainer: L.Trainer


def build(cfg: DictConfig, config: Mapping[str, Any], folder: Folder) -> Parts:
    """Everything that `conf/train.yaml` describes; `config` is the same as plain data, to be kept."""
    recipe, plan = make(cfg.get("env")), make(cfg.data)
    spec = plan.spec(recipe)
    stage = build_stage(cfg, spec)
    stage.demand(plan)
    data = Data(plan, recipe, folder.path, Rng(cfg.seed, "data"))
    callbacks = [Origin(config), *(make(each) for each in cfg.callback.values() if each is not None)]
    for each in callbacks:
        if isinstance(each, Watcher):
            each.demand(stage)
    loggers = [make(each) for each in (cfg.get("logger") or {}).values() if each is not None]
    trainer, devices = _trainer(cfg, callbacks=callbacks, logger=loggers or False, default_root_dir=str(folder.path))
    if len(devices) > 1:
        stage.shares = len(devices)
        stage.crew = _crew(devices, stage, plan, trainer, cfg.trainer, Rng(cfg.seed, "crew"))
    spare(stage)
    seed_globals(Rng(cfg.seed, "losses"))
    return Parts(recipe, spec, stage, data, trainer)


def _trainer(cfg: DictConfig, **late: Any) -> tuple[L.Trainer, list[str]]:
    """A trainer for one device, and all devices that learn: the first is its own, see `stage.crew`."""
    if "SLURM_JOB_ID" in os.environ and "plugins" not in cfg.trainer:
        late["plugins"] = [processes()]
    if cfg.trainer.get("devices", 1) == 1 and cfg.trainer.get("num_nodes", 1) == 1:
        return _made(cfg, **late), ["one"]
    # Lightning would start the others by the words of a command line that Hydra has taken, into a locked folder, each
    # with worlds of its own; it is only asked which devices there are.
    asked = _made(cfg, **{**late, "callbacks": [], "logger": False})
    if asked.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={asked.num_nodes}",
            "one machine for one run",
            "set trainer.num_nodes=1; several runs go to several machines with -m",
        )
    if asked.strategy.root_device.type == "cuda":
        return _made(cfg, **late, devices=asked.device_ids[:1]), [f"cuda:{number}" for number in asked.device_ids]
    return _made(cfg, **late, devices=1), ["cpu"] * asked.num_devices


def _made(cfg: DictConfig, **late: Any) -> L.Trainer:
    try:
        return make(cfg.trainer, **late)
    except InstantiationException as error:
        if not isinstance(error.__cause__, MisconfigurationException | ValueError | TypeError):
            raise
        raise ConfigError(
            str(error.__cause__), "a machine that has what the trainer asks for", "take trainer=cpu, or mend trainer.*"
        ) from error


def _crew(devices: list[str], stage: Stage, plan: Any, trainer: L.Trainer, options: Any, rng: Rng) -> Crew:
    """Those who learn together; ConfigError if they can not."""
    key, windows = drawn(plan)
    count, batch = len(devices), getattr(windows, "batch", 0)
    stage.demand_crew(count)
    if batch % count:
        raise ConfigError(
            f"trainer.devices={count} for batches of {batch}",
            "as many windows for each",
            f"set {key}.batch={batch + count - batch % count}, which is of all together",
        )
    alien = [name for name in ("strategy", "accumulate_grad_batches") if name in options]
    if alien:
        found = f"trainer.{alien[0]} with trainer.devices={count}"
        raise ConfigError(found, "what one process has", f"leave out trainer.{alien[0]}")
    if trainer.precision not in ("32-true", "bf16-mixed"):
        found = f"trainer.precision={trainer.precision} on {count} devices"
        raise ConfigError(found, "32-true or bf16-mixed", "set trainer.precision=bf16-mixed")
    tells = getattr(plan, "recalls", False) or getattr(plan, "refresh", False)
    return Crew(devices, rng, half=trainer.precision == "bf16-mixed", tells=tells)


def processes() -> LightningEnvironment | SLURMEnvironment:
    """Who starts the processes of a run in a SLURM job: srun if this is a step of several tasks, or else Lightning.

    Left alone, Lightning would take every job for such a step, also one task with several GPUs, and plain
    `python train.py` in an allocation for several tasks; and it would requeue, which is submitit's part.
    """
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def build_stage(cfg: Any, spec: EnvSpec) -> Stage:
    """The stage with fresh weights, the same for the same seed whatever was drawn before."""
    seed_globals(Rng(cfg.seed, "weights"))
    return make(cfg.stage)(spec)


def seed_globals(rng: Rng) -> None:
    """Set the generators that weights and losses draw from: torch's, and numpy's and Python's for good measure."""
    torch.manual_seed(rng.number)
    np.random.seed(rng.number)  # noqa: NPY002 (the global generator is meant)
    random.seed(rng.number)
