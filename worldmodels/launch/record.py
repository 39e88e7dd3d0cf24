"""Experience of a policy in a world, into an episode store."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worldmodels.core.errors import ConfigError
from worldmodels.core.protocols import EnvRecipe, Policy
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver
from worldmodels.data.recorder import Recorder, Summary
from worldmodels.data.store import EpisodeStore
from worldmodels.launch.compose import make
from worldmodels.launch.folder import run_name
from worldmodels.launch.numbers import RECORD, demand
from worldmodels.launch.restore import load


def record(cfg: DictConfig) -> tuple[Path, Summary]:
    """Record up to `steps` env steps or `episodes` episodes in all; a store that holds as much stays as it is."""
    demand(cfg, RECORD)
    with _orderly():
        return _recorded(cfg)


def _recorded(cfg: DictConfig) -> tuple[Path, Summary]:
    recipe, policy, source = _actors(cfg)
    env = recipe.make(cfg.width, cfg.workers)
    try:
        folder = Path(cfg.store or Path(cfg.paths.recordings, _default_name(cfg, source)))
        driver = Driver(env, policy, Rng(cfg.seed, "record"), piece=cfg.piece, explore=cfg.explore, source=source)
        if (folder / "store.json").is_file():
            store = EpisodeStore.open(folder, write=True, spec=env.spec)
        else:
            store = EpisodeStore.create(folder, env.spec, extras=driver.extras)
        try:
            return folder, _record(cfg, Recorder(driver, store))
        finally:
            store.close()
    finally:
        env.close()


@contextmanager
def _orderly() -> Iterator[None]:
    """SIGTERM ends what runs inside as Ctrl-C does: what was lived is stored on the way out."""

    def leave(number: int, frame: Any) -> None:  # noqa: ARG001
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _actors(cfg: DictConfig) -> tuple[EnvRecipe, Policy, dict[str, Any]]:
    """World and policy: of a trained run, of their own configs, or the run's policy in another world."""
    run = load(cfg.run, cfg.checkpoint) if cfg.run else None
    chosen = make(cfg.get("env"))
    if run is None and chosen is None:
        raise ConfigError("neither env nor run", "a world to record in", "set env=<name>, or run=<folder>")
    recipe: EnvRecipe = chosen if chosen is not None else run.recipe  # type: ignore[union-attr]
    spec = recipe.spec()
    if cfg.get("policy") is not None or run is None:
        node = cfg.get("policy") or OmegaConf.create(
            {"_target_": "worldmodels.policy.scripted.Random", "_partial_": True}
        )
        return recipe, make(node)(spec), {"env": spec.name, "policy": _kind(node), "seed": cfg.seed}
    run.demand(spec)
    source = {"env": spec.name, "policy": str(run.folder), "explore": int(cfg.explore), "seed": cfg.seed}
    return recipe, run.policy(), source


def _kind(node: DictConfig) -> str:
    return str(node["_target_"]).rpartition(".")[2].lower()


def _default_name(cfg: DictConfig, source: dict[str, Any]) -> str:
    """For example `minatar-breakout-random`; seeds and options that change the experience are told apart by hand."""
    policy = run_name([Path(cfg.run).name]) if cfg.run and cfg.get("policy") is None else source["policy"]
    greedy = "" if cfg.explore else "-greedy"
    return re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", f"{source['env']}-{policy}{greedy}")


def _record(cfg: DictConfig, recorder: Recorder) -> Summary:
    unit = "episodes" if cfg.episodes is not None else "env steps"
    columns = (TextColumn("[bold]record"), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task("record", total=cfg.episodes if cfg.episodes is not None else cfg.steps)
        steps = cfg.steps if cfg.episodes is None else None
        return recorder.record(
            steps=steps,
            episodes=cfg.episodes,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
