"""Bring episodes from Minari data sets, or give them to one.

worldmodels minari import <data set> <store>      by the id or the folder of a data set on this machine
worldmodels minari export <store> <id>            to where Minari keeps its data sets, or below --root

    worldmodels minari import D4RL/pen/human-v2 stores/pen
    worldmodels minari export runs/x/episodes mine/breakout-v0 --author "A. Name" --algorithm dqn
"""

from __future__ import annotations

import argparse
import os

from worldmodels.data.minari import export_minari, import_minari, load
from worldmodels.data.store import EpisodeStore


def main(argv: list[str]) -> int:
    asked = _parser().parse_args(argv)
    if asked.root:
        os.environ["MINARI_DATASETS_PATH"] = asked.root
    if asked.direction == "import":
        count = import_minari(load(asked.source), asked.target)
        print(f"{count} episodes in {asked.target}")
        return 0
    store = EpisodeStore.open(asked.source)
    about = {"author": asked.author, "algorithm_name": asked.algorithm, "description": asked.description}
    dataset = export_minari(store, asked.target, jpeg=asked.jpeg, **{k: v for k, v in about.items() if v})
    running = int((~store.episodes.ended).sum())
    print(f"{dataset.total_episodes} episodes in {dataset.id}" + (f"; left out {running} not over" if running else ""))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "worldmodels minari", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("direction", choices=("import", "export"))
    parser.add_argument("source", help="data set to import, or store to export")
    parser.add_argument("target", help="store to make, or id of the data set to make")
    parser.add_argument("--root", help="where Minari keeps data sets; default: MINARI_DATASETS_PATH, or its own place")
    parser.add_argument("--jpeg", action="store_true", help="smaller files: let Minari compress frames, with loss")
    parser.add_argument("--author")
    parser.add_argument("--algorithm", help="name of what acted")
    parser.add_argument("--description")
    return parser
