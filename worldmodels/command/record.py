"""Record episodes of a policy into a store; asking again for the same amount adds nothing.

worldmodels record env=<name> policy=<name> steps=<count> [episodes=<count>] [store=<folder>]
worldmodels record run=<folder> [explore=false] steps=<count>

    worldmodels record env=minatar env.game=breakout policy=random steps=100000
    worldmodels record run=runs/dreamer_minatar/mine explore=false episodes=50    a trained agent in its own world
    worldmodels record run=runs/dreamer_minatar/mine env=minatar env.game=asterix steps=10000    in another world
    worldmodels record run=runs/dreamer_minatar/mine policy=planning planner.simulations=64    by a search in its model

The store is named after world and policy unless `store` names it. `worldmodels inspect <store>` shows what it holds.
"""

from __future__ import annotations

from omegaconf import DictConfig

from worldmodels.command import hydra_verb


def main(argv: list[str]) -> int:
    def task(cfg: DictConfig, overrides: list[str]) -> None:
        from worldmodels.launch.own_search import demand_search
        from worldmodels.launch.record import record

        demand_search(cfg, overrides)
        if cfg.get("policy") is not None and cfg.policy.get("planner") is not None and not cfg.planner.simulations:
            print("searches nothing: with planner.simulations=0 it acts by what the run's network says alone")
        folder, summary = record(cfg)
        told = "" if summary.mean_return is None else f", mean return {summary.mean_return:.2f}"
        print(f"added    {summary.added_steps:,} env steps, {summary.added_episodes:,} episodes{told}")
        print(f"holds    {summary.env_steps:,} env steps, {summary.episodes:,} episodes")
        print(f"store    {folder}")

    from worldmodels.launch.own_search import with_own_search

    words = with_own_search(argv, "policy=planning", "explore", default=True)
    return hydra_verb("record", words, task, help_text=__doc__ or "")
