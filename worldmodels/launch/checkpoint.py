"""Checkpoints as files: whole or refused, and of the run that wants to continue from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError, ResumeError
from worldmodels.launch.folder import Folder, differences
from worldmodels.launch.near import near

SHOWN = 8  # lines of what differs
DO = "put the run's own checkpoint back, or start over with force=true (the old folder is kept beside it)"


def find(folder: Folder, name: str, option: str = "checkpoint") -> Path:
    """A run's checkpoint by its name, which `option` said: last, best, or that of any other file beside them."""
    path = folder.last.parent / f"{name.removesuffix('.ckpt')}.ckpt"
    if path.is_file():
        return path
    there = sorted(each.stem for each in folder.last.parent.glob("*.ckpt"))
    raise ConfigError(
        f"{folder.path} has no {path.name}",
        f"one of {', '.join(there)}{near(name, there)}" if there else "a run that has cut a checkpoint",
        f"set {option}={there[-1]}" if there else "train it longer; `worldmodels train` cuts one at epoch ends",
    )


def read(path: Path, do: str = DO) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU, without reading tensors before they are used."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:  # what torch says about a file that is cut or foreign
        foreign = isinstance(error, UnpicklingError)  # torch's advice would be to let it run its code
        reason = "it holds something else" if foreign else next(iter(str(error).splitlines()), "it is empty")
        raise ResumeError(f"{path} can not be read: {reason}", "a whole checkpoint", do) from error


def demand(path: Path, config: Mapping[str, Any], stage: nn.Module) -> list[str]:
    """Warnings; ResumeError, with what differs, if a checkpoint is of another config, or does not fit the stage."""
    kept = read(path)
    origin = kept.get("callbacks", {}).get("Origin")
    changed = differences(origin["config"], config) if origin else []
    if changed:
        raise ResumeError(f"{path} was cut by a run of another config:{_list(changed)}", "a checkpoint of this run", DO)
    fit(path, kept["state_dict"], stage)
    before, now = (origin["config"] if origin else config).get("threads"), config.get("threads")
    if before == now:
        return []
    return [f"threads: {before} -> {now}; sums may round differently, so the run may not go on bit for bit"]


def fit(path: Path, weights: Mapping[str, Tensor], stage: nn.Module) -> None:
    """ResumeError if weights have other names or shapes than those of the stage."""
    wanted = stage.state_dict()
    changed = [
        f"{name}: {_shape(weights.get(name))} -> {_shape(wanted.get(name))}"
        for name in sorted({*weights, *wanted})
        if _shape(weights.get(name)) != _shape(wanted.get(name))
    ]
    if changed:
        do = "build the stage as it was, with the same config and the same code; provenance.json names the commit"
        raise ResumeError(f"{path} holds other weights:{_list(changed)}", "weights of the same names and shapes", do)


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))


def _list(lines: list[str]) -> str:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "".join(f"\n    {line}" for line in [*lines[:SHOWN], *more])
