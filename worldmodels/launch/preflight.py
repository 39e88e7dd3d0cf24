"""What a run needs and what the machine has, before hours are spent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from torch import nn

from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.bits import row_bytes
from worldmodels.data.latents import told

GIB = 2**30


@dataclass(frozen=True)
class Preflight:
    """Lines to print, and warnings that a person should read."""

    lines: list[str]
    warnings: list[str]


def preflight(config: Mapping[str, Any], stage: nn.Module, spec: EnvSpec, folder: Path) -> Preflight:
    """Device, memory, disk and threads: needed against free."""
    accelerator = str(config["trainer"].get("accelerator", "auto"))
    memory, disk = weights_bytes(stage), store_bytes(config, spec, _beliefs(config, stage))
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    free_memory = torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available
    free_disk = shutil.disk_usage(_existing(folder)).free
    lines = [
        f"device   {_device(on_gpu)}, {torch.get_num_threads()} of {os.cpu_count()} threads",
        f"memory   {_gib(memory)} for weights, gradients and optimizer; {_gib(free_memory)} free",
        f"disk     about {_gib(disk)} for {_what(config)}; {_gib(free_disk)} free",
    ]
    warnings = []
    if torch.cuda.is_available() and accelerator == "cpu":
        warnings.append("a GPU is present, but trainer=cpu; use it with trainer=gpu")
    if memory > free_memory:
        warnings.append(
            f"the stage needs {_gib(memory)} of memory, {_gib(free_memory)} are free; choose a smaller model"
        )
    if disk > free_disk:
        warnings.append(
            f"{_what(config)} may take {_gib(disk)}, {_gib(free_disk)} are free; set paths.runs to a larger disk"
        )
    if torch.get_num_threads() > (os.cpu_count() or 1):
        warnings.append(f"{torch.get_num_threads()} threads on {os.cpu_count()} cores; set threads={os.cpu_count()}")
    return Preflight(lines, warnings)


def weights_bytes(stage: nn.Module) -> int:
    """Parameters four times (weight, gradient, two moments of Adam) and buffers once."""
    parameters = sum(p.numel() * p.element_size() for p in stage.parameters())
    return 4 * parameters + sum(b.numel() * b.element_size() for b in stage.buffers())


def store_bytes(config: Mapping[str, Any], spec: EnvSpec, beliefs: Collection[ArraySpec] = ()) -> int:
    """What the episodes of the whole run take on disk, at least; 0 where no world is stepped, or no end is known.

    `beliefs` are kept of every step beside it, in up to two places (`data.latents`).
    """
    budget, data = config["budget"], config["data"]
    steps = budget.get("env_steps")
    if steps is None and budget.get("updates") is not None:
        steps = data.get("warmup", 0) + budget["updates"] * data.get("steps_per_update", 0)
    if config.get("env") is None or steps is None:
        return 0
    arrays = [*spec.obs.values(), *spec.extras.values(), spec.action]
    per_step = sum(map(row_bytes, arrays)) + 6  # reward and two flags
    if "piece" in data:
        per_step *= 1 + 1 / data["piece"]  # every piece has one more row, for what was seen on arrival
    per_step += 2 * sum(array.zeros().nbytes for array in beliefs)
    return int(steps * per_step)


def _beliefs(config: Mapping[str, Any], stage: nn.Module) -> list[ArraySpec]:
    """What is kept of a step's belief, if anything."""
    if not _remembers(config):
        return []
    return list(told(cast(Any, stage).policy().telling().extras).values())


def _what(config: Mapping[str, Any]) -> str:
    return "episodes and beliefs" if _remembers(config) else "episodes"


def _remembers(config: Mapping[str, Any]) -> bool:
    return bool(config["data"].get("replay_context") or config["data"].get("refresh"))


def _device(on_gpu: bool) -> str:
    return torch.cuda.get_device_name(0) if on_gpu else "CPU"


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def _gib(count: int) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB / 10 else f"{count / 2**20:.1f} MiB"
