"""How long `worldmodels report` takes: 100 runs of 1,000 rows and 30 columns should take less than 30 seconds.

    python benchmarks/report.py [--runs 100] [--rows 1000] [--columns 30] [--films] [--keep DIR] [--profile]

The runs are made up: 2 environments, 5 learning rates, 10 seeds; a few failed, were killed, or ran from other commits.
--films puts a film of 400 kB into each. --keep leaves runs and report there, to look at.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from worldmodels.evaluation.status import Status
from worldmodels.evaluation.study.report import report
from worldmodels.ops.picture import encode_gif

RATES, GAMES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), ("breakout", "asterix")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--films", action="store_true")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        study = (asked.keep or Path(passing)) / "study"
        rng = np.random.default_rng(0)
        film = encode_gif(moving(rng)) if asked.films else None
        for number in range(asked.runs):
            run(study, number, asked.rows, asked.columns, rng, film)
        size = sum(path.stat().st_size for path in study.rglob("*") if path.is_file())
        print(f"{asked.runs} runs of {asked.rows} rows and {asked.columns} columns, {size / 1e6:.0f} MB")
        seconds = timed(lambda: report([study]), profiled=asked.profile)
        page = study / "report" / "report.html"
        print(f"report: {seconds:.1f} s, page of {page.stat().st_size / 1e6:.1f} MB")


def timed(call: Callable[[], object], *, profiled: bool) -> float:
    watch = cProfile.Profile()
    began = time.perf_counter()
    if profiled:
        watch.enable()
    call()
    watch.disable()
    seconds = time.perf_counter() - began
    if profiled:
        pstats.Stats(watch).sort_stats("cumulative").print_stats(30)
    return seconds


def run(study: Path, number: int, rows: int, columns: int, rng: np.random.Generator, film: bytes | None) -> None:
    """One run's folder, as training leaves it."""
    rate, game = RATES[number % 5], GAMES[number // 5 % 2]
    seed = number // 10
    state = "failed" if number % 31 == 30 else "killed" if number % 29 == 28 else "done"
    words = ("+experiment=dqn_minatar", f"seed={seed}", f"env.game={game}", f"stage.lr={rate:g}")
    folder = study / ",".join(sorted(word.lstrip("+") for word in words))
    folder.mkdir(parents=True)
    config = {
        "seed": seed,
        "study": "study",
        "budget": {"updates": rows * 100},
        "env": {"_target_": "worldmodels.env.minatar.MinAtar", "game": game, "sticky": 0.1},
        "stage": {"_target_": "worldmodels.stage.dqn.DQN", "lr": rate, **{f"option{n}": n for n in range(80)}},
        "evaluation": {"episodes": 20, "seed": seed},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    Status(state, words, attempt=1, error="ValueError: made up" if state == "failed" else None).write(folder)
    commit = ("b" if number % 17 == 16 else "a") * 40
    session = {"time": "2026-01-01T00:00:00", "commit": commit, "dirty": False, "diff": ""}
    (folder / "provenance.json").write_text(json.dumps({"sessions": [session]}))
    height = 10 * np.exp(-(np.log10(rate / 1e-3) ** 2)) * (1 if game == "breakout" else 0.2) * rng.uniform(0.7, 1.3)
    curves(folder, rows if state == "done" else rows // 2, columns, height, rng)
    imagination(folder, height, rng, film)
    if state == "done":
        told = {
            "return_mean": height,
            "return_stderr": 0.3,
            "return_min": 0.0,
            "return_max": 2 * height,
            "episodes": 20,
        }
        result = {"env_steps": rows * 400, "updates": rows * 100, "minutes": 30.0, "episodes": 20, **told}
        (folder / "done.json").write_text(json.dumps(result))


def curves(folder: Path, rows: int, columns: int, height: float, rng: np.random.Generator) -> None:
    n = np.arange(1, rows + 1)
    grown = height * (1 - np.exp(-n / rows * 4))
    table = {"env_steps": n * 400, "updates": n * 100, "seconds": n * 1.8, "return": grown + rng.normal(0, 1, rows)}
    table |= {f"loss/{at}": rng.normal(size=rows) for at in range(columns - 4)}
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows([f"{value:.6g}" for value in row] for row in zip(*table.values(), strict=True))
    with (folder / "evaluation.jsonl").open("w") as file:
        for at in range(rows // 20, rows + 1, max(rows // 20, 1)):
            score = float(grown[at - 1] + rng.normal(0, 0.3))
            row = {"env_steps": at * 400, "updates": at * 100, "final": False, "episodes": 10, "return_mean": score}
            file.write(json.dumps(row) + "\n")


def moving(rng: np.random.Generator) -> np.ndarray:
    """Frames of 20 x 20 cells that change a little from one to the next: (20, 400, 400, 3), about 400 kB as a film."""
    cells = np.cumsum(rng.integers(0, 3, (20, 20, 20, 3)), axis=0) * 6
    return np.kron(cells, np.ones((1, 20, 20, 1))).astype(np.uint8)


def imagination(folder: Path, height: float, rng: np.random.Generator, film: bytes | None) -> None:
    if film is None:
        return
    (folder / "films").mkdir()
    (folder / "films" / "00100000.gif").write_bytes(film)
    steps = [
        {"horizon": h, "windows": 32, "mse/obs/grid/open": 0.01 * h**0.5 / (1 + height) * rng.uniform(0.9, 1.1),
         "mse/obs/grid/copy": 0.01 * h**0.5}
        for h in range(1, 16)
    ]  # fmt: skip
    (folder / "films" / "00100000.json").write_text(json.dumps({"rows": steps}))


if __name__ == "__main__":
    main()
