"""What happens to runs afterwards: started again, or put away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from worldmodels.core.errors import ConfigError
from worldmodels.core.files import write_text
from worldmodels.data.lock import owner
from worldmodels.launch.jobs.roster import ARCHIVE, Run, stepped, stranded

AGAIN = ("failed", "killed")


def again(folder: Path, chosen: Sequence[Run], launcher: str | None) -> list[str]:
    """The command line of `train` that starts failed, killed and stranded ones again, each by its own words."""
    if stepped(folder):
        do = "give the command of the sweep again, which does what is left; or name one step, <study>/<step>"
        raise ConfigError(f"{folder} is a study of several steps", "one step, whose runs wait for no other", do)
    left = [run for run in chosen if run.status.state in AGAIN or stranded(run)]
    if not left:
        raise ConfigError(
            f"no failed or killed run among {len(chosen)} in {folder}", "a run to start again", "see `jobs status`"
        )
    unknown = [run.name for run in left if not run.status.overrides and run.name != "default"]
    if unknown:
        raise ConfigError(
            f"of {', '.join(unknown)} the command line is not known", "a status.json with overrides", "start it by hand"
        )
    launchers = {run.status.launcher for run in left} - {None}
    if launcher is None and len(launchers) > 1:
        raise ConfigError(
            f"runs of several launchers: {', '.join(sorted(map(str, launchers)))}", "one", "choose one with --launcher"
        )
    file = folder / ".again.json"
    write_text(file, json.dumps([list(run.status.overrides) for run in left], indent=1) + "\n")
    kind = launcher or next(iter(launchers), None) or "basic"
    return ["-m", "hydra/sweeper=json_list", f"hydra.sweeper.words={file.resolve()}", f"hydra/launcher={kind}"]


def archive(folder: Path, chosen: Sequence[Run]) -> list[tuple[Run, Path | None]]:
    """Move what is over to <study>/archive; live and waiting runs stay. Nothing there is overwritten."""
    moved: list[tuple[Run, Path | None]] = []
    for run in chosen:
        over = run.status.state in ("done", *AGAIN) and owner(run.folder / ".lock") is None
        place = _free(folder / ARCHIVE / run.name) if over else None
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            run.folder.rename(place)
        moved.append((run, place))
    return moved


def _free(place: Path) -> Path:
    number = 1
    free = place
    while free.exists():
        number += 1
        free = place.with_name(f"{place.name}.{number}")
    return free


def logs(run: Run) -> list[Path]:
    """Where the output of a run went, newest last: its own files, or the cluster launcher's."""
    own = [run.folder / name for name in ("stdout.log", "stderr.log")]
    job = run.status.job
    theirs = sorted((run.folder.parent / ".submitit").glob(f"{job}/*_log.*")) if job else []
    return sorted((path for path in (*own, *theirs) if path.is_file()), key=lambda path: path.stat().st_mtime)
