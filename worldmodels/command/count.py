"""Print the parameters of a configuration by module, without training.

worldmodels count [+experiment=<name>] [option=<value> ...] [--json]

    worldmodels count                                  the demo
    worldmodels count +experiment=ppo_minatar --json   as JSON: {"encoder": 1234, ..., "total": 56789}
"""

from __future__ import annotations

import json

from omegaconf import DictConfig

from worldmodels.command import hydra_verb, with_demo


def main(argv: list[str]) -> int:
    as_json = "--json" in argv

    def task(cfg: DictConfig, overrides: list[str]) -> int:  # noqa: ARG001 (every verb's task takes them)
        from worldmodels.launch.build import build_stage
        from worldmodels.launch.compose import make
        from worldmodels.launch.count import count

        spec = make(cfg.data).spec(make(cfg.get("env")))
        rows = count(build_stage(cfg, spec))
        if as_json:
            print(json.dumps({row.name: row.parameters for row in rows}))
            return 0
        width = max(len(row.name) for row in rows)
        for row in rows:
            frozen = f"  ({row.frozen:,} frozen)" if row.frozen else ""
            print(f"{row.name:<{width}}  {row.parameters:>12,}{frozen}")
        return 0

    return hydra_verb("train", with_demo([word for word in argv if word != "--json"]), task, help_text=__doc__ or "")
