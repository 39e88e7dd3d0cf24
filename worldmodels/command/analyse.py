"""Look into a trained run: what do its latents hold?

worldmodels analyse <analysis> run=<folder> [store=<folder> | play=true] [frames=<count>] [option=<value> ...] [--json]

    worldmodels analyse latent-factors run=runs/dreamer_minatar/mine
    worldmodels analyse latent-factors run=runs/dreamer_minatar/mine play=true frames=50000    new episodes
    worldmodels analyse latent-factors run=runs/dreamer_minatar/mine analysis.clusters=[8,12] analysis.scatter=ball_x

    worldmodels analyse search-tree run=runs/gumbel_muzero/mine planner.simulations=32 analysis.step=40

latent-factors   which game variables (places and counts of planes, vectors, extras) can be read from h and z: ridge
                 regression, single features and CCA, on held-out episodes, beside the untrained network; and k-means
search-tree      why an action was chosen: the tree that a search grew from one moment, with values and visits

The run is restored and stays as it is. Arrays, a CSV, figures and a page are written to <run>/analysis/<analysis>, or
to out=<folder>. The same question again is answered by what is there; force=true asks anew and moves the old folder
aside. Options: conf/analyse.yaml, conf/analysis/; docs/analysis.md says how to read the answer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from worldmodels.command import hydra_verb
from worldmodels.core.errors import ConfigError
from worldmodels.launch.words import check_flags

if TYPE_CHECKING:
    from worldmodels.launch.analyse import Outcome

FLAGS = ("--json", "--help", "-h", "--cfg", "-c", "--config-dir", "-cd")
SHOWN = 12  # variables


def main(argv: list[str]) -> int:
    check_flags("analyse", argv, FLAGS)
    as_json = "--json" in argv
    from worldmodels.launch.own_search import with_own_search

    words = [_group(word) for word in argv if word != "--json"]
    words = with_own_search(words, "analysis=search_tree", "analysis.explore", default=False)
    if not {"-h", "--help"} & set(argv) and not any(word.startswith("analysis=") for word in words):
        raise ConfigError(
            "no analysis is named", f"one of {', '.join(_known())}", f"name it: analyse {_known()[0]} ..."
        )

    def task(cfg: DictConfig, overrides: list[str]) -> None:  # noqa: ARG001 (every verb's task takes them)
        from worldmodels.launch.analyse import analyse

        name = next(word.partition("=")[2] for word in words if word.startswith("analysis="))
        outcome = analyse(cfg, name.replace("_", "-"))
        if as_json:
            print(json.dumps({"folder": str(outcome.folder), **outcome.findings}, indent=1))
        else:
            _print(outcome)

    return hydra_verb("analyse", words, task, help_text=__doc__ or "")


def _group(word: str) -> str:
    """`latent-factors` as Hydra takes it."""
    return word if "=" in word or word.startswith("-") else f"analysis={word.replace('-', '_')}"


def _known() -> list[str]:
    from worldmodels.launch.choices import conf

    return sorted(path.stem.replace("_", "-") for path in (conf() / "analysis").glob("*.yaml"))


def _print(outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table

    console, found = Console(highlight=False), outcome.findings
    if "readout" in found:
        kinds = ("trained", "untrained", "shuffled", "frame")
        console.print("correlations on held-out episodes: lines through all features; the best single")
        console.print("feature, and how many times the untrained one's, or that of one by chance, it is")
        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in ("", *kinds, "single", "/untr.", "/chance"):
            table.add_column(name, no_wrap=True, justify="right" if name else "left")
        best = sorted(found["readout"], key=lambda name: -(found["readout"][name]["trained"] or 0))
        for name in best[:SHOWN]:
            alone = found["single"][name]
            cells = [found["readout"][name][kind] for kind in kinds]
            cells += [alone["trained"], alone["times_untrained"], alone["times_typical"]]
            table.add_row(name, *map(_number, cells))
        console.print(table)
    if "root" in found:
        place, search = f"episode {found['episode']}, step {found['step']}", found["planner"]
        searched = (
            f"{found['simulations']} simulations"
            if found["simulations"]
            else "nothing searched: what the network says alone"
        )
        console.print(f"{place}: {found['chosen']} ({search}, {searched})", markup=False)
        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in found["root"][0]:
            table.add_column(name, no_wrap=True, justify="left" if name == "action" else "right")
        for row in found["root"]:
            table.add_row(*(_cell(value) for value in row.values()))
        console.print(table)
    if outcome.old:
        console.print("the same question was answered before; force=true asks anew", markup=False)
    for label, pattern in (("page", "*.html"), ("table", "*.csv"), ("arrays", "*.npz")):
        for path in sorted(outcome.folder.glob(pattern)):
            console.print(f"{label:<7} {path}", markup=False, soft_wrap=True)


def _cell(value: Any) -> str:
    return _number(value) if isinstance(value, float) or value is None else str(value)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.2f}"
