"""Show what an episode store holds; check it; draw some of it.

worldmodels inspect <store> [--verify] [--sheet out.png | --no-sheet] [--all] [--json]

    worldmodels inspect runs/x/episodes                       episodes, returns, lengths, arrays, size, split
    worldmodels inspect runs/x/episodes --verify              read everything and check every checksum
    worldmodels inspect runs/x/episodes --sheet sheet.png     the contact sheet elsewhere
    worldmodels inspect runs/x/episodes --json                the same facts for a program, without a sheet

The contact sheet shows one episode per row. It lies beside the store, in <store>-sheet.png, and replaces an older one.

Exit codes: 0 fine, 1 --verify found damage (it is named), 2 something to mend.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from worldmodels.core.errors import ConfigError, StoreError
from worldmodels.core.files import write_bytes
from worldmodels.core.spec import ENV_ID, describe, describe_action
from worldmodels.data.store import EpisodeStore
from worldmodels.data.table import Episodes
from worldmodels.ops.picture import draw, encode_png, fit, sheet

ENDS = 5  # episodes shown at each end of a long table


def main(argv: list[str]) -> int:
    asked = _parser().parse_args(argv)
    _check_sheet(asked.sheet)
    store = EpisodeStore.open(_find(Path(asked.store)))
    facts = summary(store, asked.held_out, asked.seed)
    damage = store.verify() if asked.verify else store.damage
    facts["damage"] = [item._asdict() for item in damage]
    facts["verified"] = bool(asked.verify)
    if asked.json:
        print(json.dumps({**facts, "episodes": _rows(store)}, indent=1))
    else:
        _print(store, facts, everything=asked.all)
    if asked.sheet:
        _write_sheet(store, asked, asked.sheet)
    elif not (asked.no_sheet or asked.json):
        beside = store.folder.resolve()
        try:
            _write_sheet(store, asked, beside.with_name(f"{beside.name}-sheet.png"))
        except (
            StoreError,
            PermissionError,
        ) as reason:  # nobody asked for it: a store in a closed place, or an empty one
            print(f"no contact sheet: {str(reason).splitlines()[0]}")
    return 1 if damage else 0


def _check_sheet(path: Path | None) -> None:
    if path is not None and path.suffix.lower() != ".png":
        raise ConfigError(f"--sheet {path}", "a name that ends in .png", f"try --sheet {path.with_suffix('.png')}")
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"--sheet {path}: there is no folder {path.parent}", "a folder that exists", "make it first")


def _write_sheet(store: EpisodeStore, asked: argparse.Namespace, path: Path) -> None:
    write_bytes(path, encode_png(contact_sheet(store, asked.obs, asked.rows, asked.columns)))
    if not asked.json:
        print(f"contact sheet: {path}")


def summary(store: EpisodeStore, held_out: float = 0.1, seed: int = 0) -> dict[str, Any]:
    """Facts about a store as plain data."""
    episodes, table = store.episodes, store.split(held_out, seed)
    columns = {name: describe(spec) for name, spec in store.layout.columns.items()}
    return {
        "folder": str(store.folder),
        "env": store.spec.name,
        "actions": describe_action(store.spec),
        "arrays": columns,
        "count": len(store),
        "running": int((~episodes.ended).sum()),
        "terminated": int(episodes.terminated.sum()),
        "truncated": int(episodes.truncated.sum()),
        "steps": store.steps,
        "bytes": sum(path.stat().st_blocks * 512 for path in store.folder.iterdir()),
        "length": _spread(episodes.length),
        "return": _spread(episodes.return_),
        "split": {"held_out": held_out, "seed": seed, "train": len(table.train), "held": len(table.held)},
        "worlds": _worlds(store, episodes),
        "sources": _sources(episodes.source),
    }


def contact_sheet(store: EpisodeStore, obs: str | None, rows: int, columns: int) -> np.ndarray:
    """An episode per row, evenly chosen, and evenly spaced moments of it from the first to the last observation.

    Of a mixture, each world has as many rows.
    """
    name = obs or next((n for n, spec in store.spec.obs.items() if spec.kind != "vector"), next(iter(store.spec.obs)))
    if name not in store.spec.obs:
        raise ConfigError(f"no observation {name!r}", f"one of {', '.join(store.spec.obs)}", "give another --obs")
    if not len(store):
        raise StoreError(f"{store.folder} is empty", "at least one episode", "record more first")
    frames: list[np.ndarray] = []
    for number in _chosen(store, rows):
        seen = store[number].obs[name]
        frames.append(draw(store.spec.obs[name], seen[np.linspace(0, len(seen) - 1, columns).round().astype(int)]))
    return sheet(fit(np.concatenate(frames), 64), columns)


def _chosen(store: EpisodeStore, rows: int) -> list[int]:
    """Numbers of episodes."""
    numbers, labels = store.episodes.number, store.labels()
    groups = [numbers] if labels is None else [numbers[labels == label] for label in np.unique(labels)]
    each = max(rows // len(groups), 1)
    places = [np.unique(np.linspace(0, len(group) - 1, each).round().astype(int)) for group in groups]
    chosen = [np.sort(group)[place] for group, place in zip(groups, places, strict=True)]
    return np.concatenate(chosen).tolist()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "worldmodels inspect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", help="folder of an episode store, or of a run that has one")
    parser.add_argument("--verify", action="store_true", help="read everything and check every checksum")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--all", action="store_true", help="list every episode")
    drawn = parser.add_mutually_exclusive_group()
    drawn.add_argument("--sheet", metavar="PNG", type=Path, help="where to draw the contact sheet; default: beside")
    drawn.add_argument("--no-sheet", action="store_true", help="draw no contact sheet")
    parser.add_argument("--obs", help="observation to draw; default: the first one that is a picture")
    parser.add_argument("--rows", type=_positive, default=8, help="episodes on the sheet (default 8)")
    parser.add_argument("--columns", type=_positive, default=12, help="moments per episode on the sheet (default 12)")
    parser.add_argument("--held-out", type=_share, default=0.1, help="fraction of the split to show (default 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split to show (default 0)")
    return parser


def _find(folder: Path) -> Path:
    """A run keeps its store in `episodes`."""
    inner = folder / "episodes"
    return inner if (inner / "store.json").exists() and not (folder / "store.json").exists() else folder


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    return {name: round(float(f(values)), 3) for name, f in (("min", np.min), ("mean", np.mean), ("max", np.max))}


def _sources(sources: tuple[Mapping[str, Any], ...] | Any) -> dict[str, dict[str, int]]:
    """How often each origin was told; those that differ in every episode, such as seeds, are only counted."""
    told: dict[str, Counter[str]] = {}
    for source in sources:
        for key, value in source.items():
            told.setdefault(key, Counter())[str(value)] += 1
    return {k: dict(c) if len(c) <= ENDS else {f"{len(c)} different": c.total()} for k, c in told.items()}


def _worlds(store: EpisodeStore, episodes: Episodes) -> dict[str, dict[str, Any]]:
    """Of a mixture, what each world has of it, in the order of env_id; returns are those of episodes that are over."""
    labels = store.labels()
    found: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(store.spec.worlds if labels is not None else ()):
        mine = labels == place
        returns = _spread(episodes.return_[mine & episodes.ended])
        found[name] = {"count": int(mine.sum()), "steps": int(episodes.length[mine].sum()), "return": returns}
    return found


def _rows(store: EpisodeStore) -> list[dict[str, Any]]:
    e = store.episodes
    values = zip(e.number, e.length, e.return_, e.terminated, e.truncated, e.source, strict=True)
    rows = [
        {
            "number": int(number),
            "length": int(length),
            "return": float(return_),
            "end": "terminated" if terminated else "truncated" if truncated else "running",
            "source": dict(source),
        }
        for number, length, return_, terminated, truncated, source in values
    ]
    return sorted(rows, key=lambda row: row["number"])  # the store has them as their blocks came


def _print(store: EpisodeStore, facts: Mapping[str, Any], *, everything: bool) -> None:
    console = Console()
    head = Table(title=f"{facts['folder']}", show_header=False)
    ends = f"{facts['terminated']} terminated, {facts['truncated']} truncated, {facts['running']} not over"
    split = facts["split"]
    facts_to_show = {
        "env": f"{facts['env']}, {facts['actions']}",
        "episodes": f"{facts['count']:,} ({ends})",
        "env steps": f"{facts['steps']:,}",
        "on disk": f"{facts['bytes'] / 1e6:,.1f} MB",
        "length": _told(facts["length"]),
        "return": _told(facts["return"]),
        f"split {split['held_out']:g}, seed {split['seed']}": f"{split['train']} train, {split['held']} held out",
        **{
            f"{ENV_ID} {place}": f"{name}: {of['steps']:,} env steps, {of['count']:,} episodes, "
            f"return {_told(of['return'])}"
            for place, (name, of) in enumerate(facts["worlds"].items())
        },
        **{f"source {k}": ", ".join(f"{v} ({n})" for v, n in c.items()) for k, c in facts["sources"].items()},
        **facts["arrays"],
    }
    for name, value in facts_to_show.items():
        head.add_row(name, value)
    console.print(head)
    rows = _rows(store)
    table = Table("episode", "length", "return", "end", "source", title="episodes")
    skipped = 0 if everything else max(len(rows) - 2 * ENDS, 0)
    for place, row in enumerate(rows):
        if skipped and place == ENDS:
            table.add_row("...", f"{skipped} more", "", "", "--all lists them")
        if not skipped or not ENDS <= place < ENDS + skipped:
            told = " ".join(f"{k}={v}" for k, v in row["source"].items())
            table.add_row(str(row["number"]), str(row["length"]), f"{row['return']:g}", row["end"], told)
    console.print(table)
    for item in facts["damage"]:
        where = f"a block with some of episodes {_list(item['episodes'])}" if item["episodes"] else "a block"
        console.print(f"[red]damaged[/]: {where} (line {item['line'] + 1} of index.jsonl): {item['reason']}")
    if facts["verified"] and not facts["damage"]:
        console.print("every checksum is right")


def _told(spread: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in spread.items()) or "-"


def _list(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:ENDS]))
    return shown if len(numbers) <= ENDS else f"{shown} and {len(numbers) - ENDS} more"
