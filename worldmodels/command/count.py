"""Print the parameters of a configuration by module, without training.

worldmodels count [+experiment=<name>] [option=<value> ...] [--layers] [--json]

    worldmodels count                                  the demo
    worldmodels count +experiment=ppo_minatar --json   as JSON: {"encoder": 1234, ..., "total": 56789, "learned": 5678}
    worldmodels count +experiment=world_model_offline env=minatar     shapes from a world instead of data.store
    worldmodels count model=dreamerv3 model/size=12M env=atari        a preset, at one of its sizes
    worldmodels count model=dreamerv2_pydreamer --layers              layer by layer, with the shapes of weights

Targets, such as the slow copy of a critic, are in the total, but do not learn.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from worldmodels.command import hydra_verb
from worldmodels.core.errors import ConfigError
from worldmodels.launch.words import check_flags, with_demo

if TYPE_CHECKING:
    from worldmodels.core.spec import EnvSpec
    from worldmodels.launch.count import Count

FLAGS = ("--json", "--layers", "--help", "-h", "--cfg", "-c", "--config-dir", "-cd")  # one configuration: no --multirun


def main(argv: list[str]) -> int:
    check_flags("count", argv, FLAGS)
    as_json, deep = "--json" in argv, "--layers" in argv

    def task(cfg: DictConfig, overrides: list[str]) -> None:  # noqa: ARG001 (every verb's task takes them)
        import torch

        from worldmodels.launch.build import build_stage
        from worldmodels.launch.count import count, layers

        spec = _spec(cfg)
        with torch.device("meta"):  # tensors of shapes alone: a model of any size is counted in no time and memory
            stage = build_stage(cfg, spec)
        rows = count(stage)
        if deep:
            rows = [*layers(stage), rows[-1]]
        if as_json:
            learned = rows[-1].parameters - rows[-1].frozen
            print(json.dumps({**{row.name: row.parameters for row in rows}, "learned": learned}))
            return
        width = max(len(row.name) for row in rows)
        for row in rows:
            print(f"{row.name:<{width}}  {row.parameters:>12,}{_remark(row)}")

    return hydra_verb(
        "train", with_demo([word for word in argv if word not in ("--json", "--layers")]), task, help_text=__doc__ or ""
    )


def _spec(cfg: DictConfig) -> EnvSpec:
    """What the shapes depend on: the world's if one is named, or else the recording's."""
    from worldmodels.launch.compose import make

    recipe = make(cfg.get("env"))
    if recipe is None and not cfg.data.get("store"):
        raise ConfigError(
            "neither env nor data.store", "a world or a recording to take shapes from", "add env=minatar, for example"
        )
    return make(cfg.data).spec(None) if recipe is None else recipe.spec()


def _remark(row: Count) -> str:
    if not row.frozen:
        return ""
    if row.frozen == row.parameters:
        return "  target: does not learn"
    return f"  {row.parameters - row.frozen:,} of them learn"
