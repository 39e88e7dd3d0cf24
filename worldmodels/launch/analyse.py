"""A trained run and experience to an analysis, whose folder is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import nn

from worldmodels.analysis.subject import Subject
from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.files import write_text
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver
from worldmodels.data.recorder import Recorder
from worldmodels.data.store import EpisodeStore
from worldmodels.launch.build import build_stage
from worldmodels.launch.checkpoint import find
from worldmodels.launch.compose import make, plain
from worldmodels.launch.folder import Folder
from worldmodels.launch.numbers import ANALYSE, demand
from worldmodels.launch.orderly import orderly
from worldmodels.launch.restore import Run, load
from worldmodels.planner.simulator import Simulator
from worldmodels.stage.stage import Stage

SUMMARY = "summary.json"
WIDTH = 16  # worlds to play in


@dataclass(frozen=True)
class Outcome:
    """Where an analysis lies, what it found, and whether it was there before."""

    folder: Path
    findings: dict[str, Any]
    old: bool


def analyse(cfg: DictConfig, name: str) -> Outcome:
    """The analysis that the config describes; the same question is answered once."""
    demand(cfg, ANALYSE)
    with orderly():
        return _analysed(cfg, name)


def _analysed(cfg: DictConfig, name: str) -> Outcome:
    run = _run(cfg)
    analysis = make(cfg.analysis)
    folder = Path(cfg.out) if cfg.out else run.folder / "analysis" / name
    source = None if cfg.play else _source(cfg, run)
    asked = _asked(cfg, run, source)
    if (old := _answered(folder, asked, force=cfg.force)) is not None:
        return Outcome(folder, old, old=True)
    passing = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        passing.mkdir(parents=True)
        columns = (TextColumn("[bold]{task.description:<22}"), BarColumn(bar_width=30), TaskProgressColumn())
        with Progress(*columns, TimeRemainingColumn()) as bar:
            task = bar.add_task("opening", total=1.0)
            source = source or _play(cfg, run, passing / "episodes")
            with EpisodeStore.open(source) as store:
                findings = analysis(
                    _subject(cfg, run, store),
                    passing,
                    lambda share, words: bar.update(task, completed=share, description=words),
                )
        write_text(passing / SUMMARY, json.dumps({"asked": asked, "found": findings}, indent=1) + "\n")
        Folder(folder).move_aside()
        passing.rename(folder)
    finally:
        shutil.rmtree(passing, ignore_errors=True)
    return Outcome(folder, findings, old=False)


def _run(cfg: DictConfig) -> Run:
    if not cfg.run:
        raise ConfigError("run is not set", "the folder of a trained run", "set run=runs/<study>/<name>")
    run = load(cfg.run, cfg.checkpoint)
    if not all(hasattr(_model(run.stage), verb) for verb in ("encode", "observe", "imagine")):
        raise ConfigError(
            f"{run.folder} trained {type(run.stage).__name__}, which has no world model",
            "a run whose stage has one, such as stage=dreamer, stage=muzero or stage=world_model",
            "give another run",
        )
    return run


def _model(stage: nn.Module) -> Any:
    return getattr(stage, "model", None)


def _source(cfg: DictConfig, run: Run) -> Path:
    """The store to look at; it must show what the run knows."""
    own = run.folder / "episodes"
    learned = (run.config.get("data") or {}).get("store")
    candidates = [Path(cfg.store)] if cfg.store else [own, *([Path(learned)] if learned else [])]
    found = next((path for path in candidates if (path / "store.json").is_file()), None)
    if found is None:
        raise ConfigError(
            f"no episode store in {' or '.join(map(str, candidates))}",
            "the folder of a recording",
            "set store=<folder>, or play=true if the run has a policy",
        )
    with EpisodeStore.open(found) as store:
        if different := run.spec.differences(store.spec):
            raise SpecError(
                f"{found} was recorded in {store.spec.name}, which differs from the run's {run.spec.name}:\n    "
                + "\n    ".join(different),
                "a store with the same observations and actions",
                "take another store, or play=true",
            )
    return found


def _asked(cfg: DictConfig, run: Run, source: Path | None) -> dict[str, Any]:
    """Whatever the answer depends on, as plain data."""
    weights = find(Folder(run.folder), cfg.checkpoint)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    options = {key: value for key, value in plain(cfg).items() if key not in ("out", "force", "run", "store")}
    steps = None
    if source is not None:
        with EpisodeStore.open(source) as store:
            steps = store.steps
    store_told = None if source is None else {"folder": str(source), "steps": steps}
    return {"run": str(run.folder), "weights": digest, "store": store_told, **options}


def _answered(folder: Path, asked: Mapping[str, Any], *, force: bool) -> dict[str, Any] | None:
    """What is there already if it answers the same question; ConfigError if it answers another one."""
    if force or not folder.exists():
        return None
    try:
        kept = json.loads((folder / SUMMARY).read_text())
        if kept["asked"] == json.loads(json.dumps(asked)):
            return kept["found"]
        changed = [key for key in sorted({*asked, *kept["asked"]}) if asked.get(key) != kept["asked"].get(key)]
        found = f"{folder} holds an analysis with another {', '.join(changed)}"
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError):
        found = f"{folder} is there already, and is no analysis"
    raise ConfigError(found, "a new folder", "set out=<folder>, or force=true (the old one is kept beside it)")


def _play(cfg: DictConfig, run: Run, folder: Path) -> Path:
    """New episodes of the run's policy, kept with the analysis."""
    env = run.env(WIDTH)
    try:
        driver = Driver(env, run.policy(), Rng(cfg.seed, "analyse"), explore=True, source={"run": str(run.folder)})
        with EpisodeStore.create(folder, env.spec, extras=driver.extras) as store, torch.no_grad():
            Recorder(driver, store).record(steps=cfg.frames)
    finally:
        env.close()
    return folder


def _subject(cfg: DictConfig, run: Run, store: EpisodeStore) -> Subject:
    def untrained(number: int) -> nn.Module:
        """As a run of this seed without `init` begins, or with the first weights of another seed."""
        config = OmegaConf.create({**run.config, "seed": run.config["seed"] + number})
        with torch.random.fork_rng():
            return _model(build_stage(config, run.spec)).eval()

    played = "new, played by its policy" if cfg.play else str(store.folder)
    origin = {"run": str(run.folder), "checkpoint": cfg.checkpoint, "episodes": played, "seed": cfg.seed}
    title = f"{run.folder.parent.name}/{run.folder.name}"
    return Subject(title, run.spec, _model(run.stage), untrained, store, origin, _simulator(run.stage))


def _simulator(stage: Stage) -> Callable[[torch.Generator], Simulator] | None:
    """What a search can go through, if the stage learned enough for that, and actions are numbered."""
    try:
        stage.simulator(torch.Generator())
    except (ConfigError, SpecError):
        return None
    return stage.simulator
