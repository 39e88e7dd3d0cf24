"""See, stop, repeat and put away runs, on this machine or a cluster.

worldmodels jobs <verb> [study] [run] [--runs <folder>] [--json]

    worldmodels jobs list                       all studies: how many runs are in which state
    worldmodels jobs status <study>             every run of a study: state, progress, return, time, where
    worldmodels jobs query <study> <run>        all that is known of one run
    worldmodels jobs tail <study> <run> [-n 40] [-f]    the end of its output; -f goes on until it ends
    worldmodels jobs stop <study> [run] [--grace 60]    let it save and end; kill it after so many seconds
    worldmodels jobs kill <study> <run>         end one run at once
    worldmodels jobs retry <study> [run] [--launcher gpu_queue]    start failed and killed runs again, where they were
    worldmodels jobs archive <study> [run]      move what is over to <study>/archive; live runs stay
    worldmodels jobs results <study>            the table of `worldmodels report`

A run is named by words of its name or command line that no other run has, such as "seed=3". States: queued, running,
done, failed, killed (stopped by a signal or found dead: the same command goes on). Without a run, `stop` also stops the
sweep itself.

Exit codes: 0 fine, 1 something did not end as asked, 2 something to mend.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from worldmodels.core.errors import ConfigError
from worldmodels.evaluation.status import observe
from worldmodels.launch.jobs import ending, keeping, roster, table

CONSOLE = Console(highlight=False)


def main(argv: list[str]) -> int:
    asked = _parser().parse_args(argv)
    return VERBS[asked.verb](asked)


def _list(asked: argparse.Namespace) -> int:
    if asked.study:
        return _status(asked)
    folders = roster.studies(asked.runs)
    if asked.json:
        print(json.dumps({name: [run.status.state for run in roster.runs(at)] for name, at in folders.items()}))
    else:
        CONSOLE.print(table.of_studies(folders))
    return 0


def _status(asked: argparse.Namespace) -> int:
    if not asked.study:
        return _list(asked)
    chosen = roster.choose(roster.study(asked.runs, asked.study), asked.run)
    if asked.json:
        print(json.dumps([table.facts(run) for run in chosen], indent=1))
    else:
        CONSOLE.print(table.of_runs(chosen))
        for line in table.remarks(chosen):
            CONSOLE.print(line, markup=False, soft_wrap=True)
    return 0


def _query(asked: argparse.Namespace) -> int:
    run = _one(asked)
    told = {**table.facts(run), "logs": [str(path) for path in keeping.logs(run)]}
    if asked.json:
        print(json.dumps(told, indent=1))
        return 0
    for name, value in told.items():
        CONSOLE.print(f"[bold]{name:<12}[/]", end="")
        CONSOLE.print(str(value), markup=False, soft_wrap=True)
    return 0


def _tail(asked: argparse.Namespace) -> int:
    run = _one(asked)
    files = keeping.logs(run)
    if not files:
        raise ConfigError(
            f"{run.name} has no log of its own",
            "a run that a queue or a cluster started",
            "its output went to the terminal where it was started; `jobs query` shows its numbers",
        )
    for path in files:
        print(f"==> {path} <==")
        print("\n".join(path.read_text(errors="replace").splitlines()[-asked.lines :]))
    if asked.follow:
        _follow(files[-1], run)
    return 0


def _follow(path: Path, run: roster.Run) -> None:
    with path.open(errors="replace") as file:
        file.seek(0, 2)
        while True:
            text = file.read()
            print(text, end="", flush=True)
            now = observe(run.folder)
            if not text and (now is None or now.state not in ("running", "queued")):
                return
            time.sleep(0.5)


def _stop(asked: argparse.Namespace) -> int:
    return _told(ending.stop(_study(asked), asked.run, grace=asked.grace))


def _kill(asked: argparse.Namespace) -> int:
    _one(asked)
    return _told(ending.kill(_study(asked), asked.run))


def _retry(asked: argparse.Namespace) -> int:
    from worldmodels.command import train

    folder = _study(asked)
    return train.main(keeping.again(folder, roster.choose(folder, asked.run), asked.launcher))


def _archive(asked: argparse.Namespace) -> int:
    folder = _study(asked)
    for run, place in keeping.archive(folder, roster.choose(folder, asked.run)):
        print(f"{run.name}: {'stays, it is ' + run.status.state if place is None else f'now in {place}'}")
    return 0


def _results(asked: argparse.Namespace) -> int:
    from worldmodels.command import report

    return report.main([str(_study(asked))])


def _study(asked: argparse.Namespace) -> Path:
    if not asked.study:
        raise ConfigError(f"jobs {asked.verb} without a study", "its name", f"worldmodels jobs {asked.verb} <study>")
    return roster.study(asked.runs, asked.study)


def _one(asked: argparse.Namespace) -> roster.Run:
    if not asked.run:
        do = f"worldmodels jobs {asked.verb} <study> <run>"
        raise ConfigError(f"jobs {asked.verb} without a run", "part of its name", do)
    (run,) = roster.choose(_study(asked), asked.run)
    return run


def _told(verdicts: list[ending.Verdict]) -> int:
    for name, what, _ in verdicts:
        print(f"{name}: {what}")
    if not verdicts:
        print("nothing was running")
    return 0 if all(fine for _, _, fine in verdicts) else 1


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "status": _status,
    "tail": _tail,
    "query": _query,
    "kill": _kill,
    "stop": _stop,
    "retry": _retry,
    "archive": _archive,
    "results": _results,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "worldmodels jobs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=VERBS, metavar="verb", help=", ".join(VERBS))
    parser.add_argument("study", nargs="?", help="a folder of runs, by its name in --runs or by its path")
    parser.add_argument("run", nargs="?", help="part of a run's name that no other has")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where studies lie (default: runs)")
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.add_argument("--grace", type=float, default=60.0, help="stop: seconds to save and end")
    parser.add_argument("--launcher", help="retry: another launcher than the one before")
    parser.add_argument("-n", "--lines", type=int, default=40, help="tail: how many")
    parser.add_argument("-f", "--follow", action="store_true", help="tail: go on until the run ends")
    return parser
