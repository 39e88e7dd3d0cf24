"""One run from its config to its result: the same call resumes it, and returns the old result once it is finished."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, open_dict

from worldmodels.callback.budget import Budget
from worldmodels.callback.interrupt import Interrupt
from worldmodels.callback.meter import Meter
from worldmodels.callback.moment import find, stream
from worldmodels.callback.score import acts
from worldmodels.core.allocator import keep_freed_memory
from worldmodels.core.files import write_text
from worldmodels.data.lock import Lock
from worldmodels.data.module import Data, caveats
from worldmodels.evaluation.page import write_page
from worldmodels.evaluation.play import aside
from worldmodels.evaluation.table import JsonTable
from worldmodels.launch import arm, checkpoint, console, init
from worldmodels.launch.build import Parts, build
from worldmodels.launch.compose import kept, make
from worldmodels.launch.folder import Folder, run_name
from worldmodels.launch.logger import finish
from worldmodels.launch.numbers import TRAIN, demand
from worldmodels.launch.preflight import preflight
from worldmodels.launch.provenance import record
from worldmodels.launch.score import score
from worldmodels.launch.status import running


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended: finished with a result, or stopped by a signal."""

    folder: Folder
    result: dict[str, Any] | None
    signal: int | None = None

    @property
    def score(self) -> float | None:
        """How good the run is; None if it was stopped."""
        return None if self.result is None else score(self.result)

    @property
    def code(self) -> int:
        """Of a process that did nothing else."""
        return 0 if self.signal is None else 128 + self.signal


def train(cfg: DictConfig, overrides: Sequence[str] = ()) -> Outcome:
    """Begin, continue, or look up the run that a config and the words of its command line name."""
    demand(cfg, TRAIN)
    folder = Folder(Path(cfg.paths.runs, str(cfg.study), run_name(overrides) if cfg.name is None else str(cfg.name)))
    config = kept(cfg)
    with open_dict(cfg):
        cfg.paths.run = str(folder.path)
    init.demand(config["init"])
    arm.demand(config)
    lock = Lock(_prepared(folder, force=cfg.force) / ".lock")
    try:
        done = folder.answer(config["budget"])
        folder.check(config)
        if done is not None:
            more = "" if done["budget"] == config["budget"] else ", and has had this budget and more"
            console.say(f"this run is finished{more}; force=true starts it over and keeps the old folder")
            console.show(folder, done)
            return Outcome(folder, done)
        folder.done.unlink(missing_ok=True)
        with running(folder.path, overrides) as ending:
            outcome = _run(cfg, config, folder)
            if outcome.result is None:
                ending.stopped(outcome.signal or 0)
            else:
                ending.finished(outcome.result)
            return outcome
    finally:
        lock.release()


def _prepared(folder: Folder, *, force: bool) -> Path:
    if force:
        if folder.path.exists():
            Lock(folder.path / ".lock").release()  # refuses while another process works in it
        aside_folder = folder.move_aside()
        if aside_folder:
            console.say(f"the old run is now in {aside_folder}")
    folder.path.mkdir(parents=True, exist_ok=True)
    return folder.path


def _run(cfg: DictConfig, config: dict[str, Any], folder: Folder) -> Outcome:
    _quiet()
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    keep_freed_memory()
    parts = build(cfg, config, folder)
    resumed = folder.last if folder.last.is_file() else None
    begun = None if resumed else init.begin(config, parts.stage, parts.spec)
    folder.claim(config)  # not before: what can not be built leaves the name to the next try
    notes = checkpoint.demand(resumed, config, parts.stage) if resumed else []
    write_text(folder.spec, json.dumps(parts.spec.to_json(), indent=2) + "\n")
    origin = None if resumed else begun.to_json() if begun else {}
    record(folder.path / "provenance.json", resume=_resume(parts), init=origin)
    check = preflight(config, parts.stage, parts.spec, folder.path)
    lines = [*([f"init     {begun.told()}"] if begun else []), *check.lines]
    lived = checkpoint.read(resumed).get(Data.__qualname__) if resumed else None
    remarks = [*caveats(parts.data.plan, lived), *parts.stage.remarks(), *(begun.remarks if begun else ())]
    console.begin(
        folder,
        resumed,
        replace(check, lines=lines, warnings=[*check.warnings, *remarks, *notes]),
    )
    try:
        parts.trainer.fit(parts.stage, datamodule=parts.data, ckpt_path=resumed, weights_only=True)
        interrupt = find(parts.trainer, Interrupt)
        if interrupt is not None and interrupt.received is not None:
            console.say(f"saved in {folder.last}; the same command goes on from there")
            return Outcome(folder, None, interrupt.received)
        result = _evaluate(cfg, config, parts, folder)
    finally:
        parts.data.close()
        finish()
    folder.finish(result)
    write_page(folder.path)
    console.show(folder, result)
    return Outcome(folder, result)


def _resume(parts: Parts) -> str:
    """What an interruption costs: nothing (`exact`), or the episodes that are open (`episode`)."""
    if parts.recipe is None:
        return "exact"
    env = parts.recipe.make(1)
    try:
        return "exact" if env.resumable else "episode"
    finally:
        env.close()


def _evaluate(cfg: DictConfig, config: dict[str, Any], parts: Parts, folder: Folder) -> dict[str, Any]:
    """The result that a finished run keeps."""
    budget, updates = find(parts.trainer, Budget), parts.trainer.global_step
    seconds = budget.seconds if budget else 0.0
    result: dict[str, Any] = {
        "budget": config["budget"],
        "env_steps": stream(parts.trainer).env_steps,
        "updates": updates,
        "minutes": round(seconds / 60, 3),
        "updates_per_second": round(updates / seconds, 3) if seconds else None,
    }
    if parts.recipe is None or not acts(parts.stage):
        meter = find(parts.trainer, Meter)
        told = meter.newest if meter else {}
        # In the absence of returns: losses on held-out windows, and errors with closed eyes, averaged over horizons.
        result["model"] = {
            name: value
            for name, value in told.items()
            if name.startswith("held/loss/") or (name.startswith("ahead/") and name.endswith("/open"))
        }
        return result
    console.say(f"playing {cfg.evaluation.episodes} evaluation episodes")
    began = time.monotonic()
    with aside(parts.stage):
        result |= make(cfg.evaluation).compare(parts.recipe, parts.stage.policy(), parts.stage.others(), "final")
    row = {name: value for name, value in result.items() if name != "budget"}
    JsonTable(folder.evaluation).append({**row, "final": True, "took_seconds": round(time.monotonic() - began, 2)})
    return result


def _quiet() -> None:
    """Lightning says much that is not for users; our own lines say what is."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    # Our streams keep their place in the DataModule, which Lightning does not look at.
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    # Held-out windows are looked at by callback.held, not by Lightning's validation.
    warnings.filterwarnings("ignore", message="You passed in a `val_dataloader` but have no `validation_step`")
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")
    # On a machine with SLURM one process is what `python train.py` means; hydra/launcher=submitit_slurm submits.
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
    warnings.filterwarnings("ignore", message="`isinstance\\(treespec, LeafSpec\\)` is deprecated")  # Lightning's own
    # The meter writes to loggers, at its own cadence.
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
