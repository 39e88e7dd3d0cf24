"""Experience of a policy in a world, into an episode store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worldmodels.core.errors import ConfigError
from worldmodels.core.protocols import EnvRecipe, Policy
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.data.demand import demand_shares
from worldmodels.data.driver import Driver
from worldmodels.data.recorder import Recorder, Summary
from worldmodels.data.store import EpisodeStore
from worldmodels.launch.compose import make, plain
from worldmodels.launch.folder import flat, run_name
from worldmodels.launch.numbers import RECORD, demand
from worldmodels.launch.orderly import orderly
from worldmodels.launch.restore import load
from worldmodels.policy.scripted import Random
from worldmodels.policy.translated import in_world

STEPS = 10_000  # where no amount is asked for


def record(cfg: DictConfig) -> tuple[Path, Summary]:
    """Record up to `steps` env steps or `episodes` episodes in all; a store that holds as much stays as it is."""
    demand(cfg, RECORD)
    world = make(cfg.get("env"))  # before amounts: a misspelt game is told first, since an experiment may set both
    _demand_amounts(cfg)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    with orderly():
        return _recorded(cfg, world)


def _demand_amounts(cfg: DictConfig) -> None:
    if cfg.steps is not None and cfg.episodes is not None:
        raise ConfigError(
            f"steps={cfg.steps} and episodes={cfg.episodes}",
            "one of the two, since each says when to stop",
            "leave out steps or episodes",
        )
    if cfg.episodes is None and cfg.prefill > (cfg.steps or STEPS):
        raise ConfigError(
            f"prefill={cfg.prefill} of steps={cfg.steps or STEPS}",
            "at most as many: steps counts all that the store holds in the end",
            "raise steps, or lower prefill",
        )


def _recorded(cfg: DictConfig, world: EnvRecipe | None) -> tuple[Path, Summary]:
    actors = _actors(cfg, world)
    demand_shares(actors.recipe.spec(), cfg.width)
    env = actors.recipe.make(cfg.width, cfg.workers)
    try:
        folder = Path(cfg.store or Path(cfg.paths.recordings, _default_name(cfg, actors.source)))
        rng, source = Rng(cfg.seed, "record"), actors.source
        driver = Driver(env, actors.policy, rng, piece=cfg.piece, explore=cfg.explore, source=source)
        store = _opened(folder, driver, actors)
        try:
            return folder, _record(cfg, Recorder(driver, store), actors)
        finally:
            store.close()
    finally:
        env.close()


def _opened(folder: Path, driver: Driver, actors: Actors) -> EpisodeStore:
    """The store to go on with, or a new one. SpecError, or ConfigError, if it holds experience of another world."""
    if not (folder / "store.json").is_file():
        return EpisodeStore.create(folder, driver.spec, extras=driver.extras, origin={"env": actors.options})
    store = EpisodeStore.open(folder, write=True, spec=driver.spec)
    was, now = flat(store.layout.origin.get("env", {})), flat(actors.options)
    changed = [
        f"env.{key}: {was[key]} in the store, {now.get(key, 'absent')} here"
        for key in was
        if was[key] != now.get(key, ...) and key.rpartition(".")[2] != "views"  # which nobody stores
    ]
    if store.spec.worlds != driver.spec.worlds:
        changed = [f"worlds: {_listed(store.spec)} in the store, {_listed(driver.spec)} here"]
    if set(store.extras) != set(driver.extras):
        store.close()
        raise ConfigError(
            f"{folder} keeps the extras {_names(store.extras)}; this policy and world tell {_names(driver.extras)}",
            "a policy that tells the same of each step",
            "give store=<another folder>; random steps at the beginning are prefill=<count>",
        )
    if changed:
        store.close()
        raise ConfigError(
            f"{folder} holds experience of a world with other options:\n    " + "\n    ".join(changed),
            "the options that it was begun with, since nothing would tell the two apart",
            "undo the change, or give store=<another folder>",
        )
    return store


def _names(extras: Mapping[str, Any]) -> str:
    return ", ".join(extras) or "none"


def _listed(spec: EnvSpec) -> str:
    return ", ".join(spec.worlds) or spec.name


@dataclass(frozen=True)
class Actors:
    """Who acts where: the world, its options as plain data, the policy, and what to tell of both."""

    recipe: EnvRecipe
    options: Mapping[str, Any]
    policy: Policy
    source: dict[str, Any]


def _actors(cfg: DictConfig, chosen: EnvRecipe | None) -> Actors:
    """World and policy: of a trained run, of their own configs, or the run's policy in another (chosen) world."""
    run = load(cfg.run, cfg.checkpoint) if cfg.run else None
    if run is None and chosen is None:
        raise ConfigError("neither env nor run", "a world to record in", "set env=<name>, or run=<folder>")
    recipe: EnvRecipe = chosen if chosen is not None else run.recipe  # type: ignore[union-attr]
    options = plain(cfg.env) if chosen is not None else run.config["env"]  # type: ignore[union-attr]
    spec = recipe.spec()
    if cfg.get("policy") is not None or run is None:
        node = cfg.get("policy") or OmegaConf.create(
            {"_target_": "worldmodels.policy.scripted.Random", "_partial_": True}
        )
        policy = make(node)(spec)
        told = {} if cfg.explore else {"explore": 0}
        return Actors(recipe, options, policy, {"env": spec.name, "policy": _kind(node), **told, "seed": cfg.seed})
    source = {"env": spec.name, "policy": str(run.folder), "explore": int(cfg.explore), "seed": cfg.seed}
    return Actors(recipe, options, in_world(run.policy(), run.spec, spec), source)


def _kind(node: DictConfig) -> str:
    """What the policy is, for names of stores and the source of episodes; of a search, its run and planner, too."""
    kind = str(node["_target_"]).rpartition(".")[2].lower()
    if node.get("planner") is None or node.get("run") is None:
        return kind
    planner = node["planner"]
    inside = f"+{_kind(planner['interior']).removesuffix('rule')}" if planner.get("interior") is not None else ""
    return f"{kind}-{Path(node['run']).name}-{_kind(planner)}{inside}-{planner['simulations']}"


def _default_name(cfg: DictConfig, source: dict[str, Any]) -> str:
    """For example `minatar-breakout-random`; seeds and options that change the experience are told apart by hand."""
    policy = run_name([Path(cfg.run).name]) if cfg.run and cfg.get("policy") is None else source["policy"]
    greedy = "" if cfg.explore else "-greedy"
    return re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", f"{source['env']}-{policy}{greedy}")


def _record(cfg: DictConfig, recorder: Recorder, actors: Actors) -> Summary:
    """Random steps until the store holds `prefill`, then the policy; what the store holds already counts."""
    driver, store = recorder.driver, recorder.store
    before = store.steps, len(store)
    if store.steps < cfg.prefill:
        driver.switch(Random(driver.spec), {**actors.source, "policy": "random"})
        _shown(recorder, "prefill", steps=cfg.prefill)
        driver.switch(actors.policy, actors.source)
        driver.begin(store.next_number)  # an episode is random, or the policy's
    steps = (cfg.steps or STEPS) if cfg.episodes is None else None
    summary = _shown(recorder, "record", steps=steps, episodes=cfg.episodes)
    return replace(summary, added_steps=store.steps - before[0], added_episodes=len(store) - before[1])


def _shown(recorder: Recorder, what: str, *, steps: int | None = None, episodes: int | None = None) -> Summary:
    unit, total = ("episodes", episodes) if episodes is not None else ("env steps", steps)
    columns = (TextColumn(f"[bold]{what}"), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=total)
        return recorder.record(
            steps=steps,
            episodes=episodes,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
