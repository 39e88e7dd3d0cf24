"""A study of several steps, one after the other: each does only what is left, and what depends on a failure waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from worldmodels.core.errors import ConfigError, ResumeError, UserError
from worldmodels.core.files import write_text
from worldmodels.evaluation.status import Status, observe
from worldmodels.evaluation.study.find import STEPS
from worldmodels.launch import console
from worldmodels.launch.compose import config, kept
from worldmodels.launch.folder import Folder
from worldmodels.launch.json_list import word
from worldmodels.launch.multirun import Job, locked, plan
from worldmodels.launch.near import near
from worldmodels.launch.record import record
from worldmodels.launch.status import running
from worldmodels.launch.steps import Row, Step, steps

KEYS = {"name", "steps", "seeds", "launcher", "resources", "report", "reference"}
ARCHIVING = "worldmodels jobs archive <study>/<step>"
ENDED = (0, 1)  # exit codes of a multirun that came to its end
Train = Callable[[list[str]], int]


@dataclass(frozen=True)
class Pipeline:
    """What to do. `argv`: the options of every multirun; `places`: where else configs lie."""

    folder: Path
    steps: tuple[Step, ...]
    argv: tuple[str, ...]
    places: tuple[str, ...]
    reported: tuple[str, ...]
    reference: str | None

    @property
    def begun(self) -> bool:
        """There is something to report."""
        return any(row.folder.is_dir() for step in self.steps if step.name in self.reported for row in step.rows)

    def run(self, train: Train) -> int:
        """Work through the steps with `train`, which takes the words of a command line. 0 if all is finished."""
        jobs = self._planned()
        self._demand_order(jobs)
        with locked({self.folder}):
            order = [step.name for step in self.steps]
            told = {"steps": order, "report": list(self.reported), "reference": self.reference}
            write_text(self.folder / STEPS, json.dumps(told, indent=1) + "\n")
            for number, step in enumerate(self.steps):
                code = self._step(f"step {number + 1} of {len(self.steps)}", step, jobs, train)
                if code not in ENDED:
                    return code
        left = [row for step in self.steps for row in step.rows if not _finished(row, jobs)]
        for row in left:
            console.say(f"missing  {row.name}: {_why(row, jobs)}")
        total = sum(len(step.rows) for step in self.steps)
        console.say(f"\n{total - len(left)} of {total} runs of all steps finished; all lie in {self.folder}")
        return 1 if left else 0

    def _planned(self) -> dict[Path, Job]:
        """The runs as `train` will see them. Composing every config now tells a wrong word before hours are spent."""
        search = [f"hydra.searchpath=[file://{Path(place).resolve()}]" for place in self.places]
        jobs: dict[Path, Job] = {}
        for step in self.steps:
            if step.verb == "record":
                for row in step.rows:
                    config("record", [*row.line, *search])
                continue
            lines = [[*self._where(step), *row.line] for row in step.rows]
            found = plan(lambda words: config("train", [*words, *search]), lines)
            jobs |= {job.folder.path: job for job in found}
            for row, line in zip(step.rows, lines, strict=True):
                if _made(row) and _overrides(row) != line:  # or else a word that its name does not tell is lost
                    self._demand_same(jobs[row.folder], config("train", [*line, *search]))
        return jobs

    def _demand_same(self, job: Job, cfg: DictConfig) -> None:
        try:
            job.folder.check(kept(cfg))
        except ResumeError as error:
            do = f"undo the change, put all into another folder with runs=<folder>, or put that run away ({ARCHIVING})"
            raise ResumeError(error.found, error.expected, do) from None

    def _demand_order(self, jobs: Mapping[Path, Job]) -> None:
        """ConfigError if a run is to be done from which later ones were made already: they would be of another one."""
        for row in (row for step in self.steps for row in step.rows if _made(row)):
            if again := [need for need in row.needs if not _finished(need, jobs)]:
                raise ConfigError(
                    f"{again[0].name} is not finished as this command has it, and {row.name} was made from it as it is",
                    "runs that are made from one another",
                    "give the words that it was made with, put all into another folder with runs=<folder>, or put away "
                    f"what was made from it ({ARCHIVING})",
                )

    def _where(self, step: Step) -> list[str]:
        study = f"{self.folder.name}/{step.name}"
        return [f"study={word(study)}", f"paths.runs={word(str(self.folder.parent))}"]

    def _step(self, place: str, step: Step, jobs: Mapping[Path, Job], train: Train) -> int:
        left = [row for row in step.rows if not _finished(row, jobs)]
        ready = [row for row in left if all(_finished(need, jobs) for need in row.needs)]
        done, waiting = len(step.rows) - len(left), len(left) - len(ready)
        parts = [f"{done} finished", *([f"{len(ready)} to do"] if ready else [])]
        parts += [f"{waiting} that can not start"] if waiting else []
        console.say(f"\n{place}: {step.name}, {len(step.rows)} to {step.verb}: {', '.join(parts)}")
        for row in left:
            if row not in ready:
                console.say(f"waits    {row.name}: {_why(row, jobs)}")
        if not ready:
            return 0
        if step.verb == "record":
            for row in ready:
                self._record(row)
            return 0
        file = self.folder / step.name / ".runs.json"
        write_text(file, json.dumps([list(row.words) for row in ready], indent=1) + "\n")
        places = [part for each in self.places for part in ("--config-dir", each)]
        listed = f"hydra.sweeper.words={word(str(file))}"
        return train([*places, "-m", *self._where(step), *self.argv, listed, *ready[0].common])

    def _record(self, row: Row) -> None:
        """One recording; if it fails by something that the user can mend, the others go on."""
        search = [f"hydra.searchpath=[file://{Path(place).resolve()}]" for place in self.places]
        row.folder.mkdir(parents=True, exist_ok=True)
        try:
            with running(row.folder, row.line) as ending:
                _, summary = record(config("record", [*row.line, *search]))
                ending.finished({"env_steps": summary.env_steps})
        except UserError as error:
            console.say(f"failed   {row.name}\n{error}")
            return
        console.say(f"recorded {row.name}: {summary.env_steps:,} env steps, {summary.episodes:,} episodes")


def _made(row: Row) -> bool:
    """Whether there is something of a run; what failed before its first checkpoint has left nothing."""
    if row.verb == "record":
        return (row.result / "store.json").is_file()
    folder = Folder(row.folder)
    return folder.last.is_file() or folder.done.is_file()


def _overrides(row: Row) -> list[str]:
    status = Status.read(row.folder)
    return [] if status is None else list(status.overrides)


def _finished(row: Row, jobs: Mapping[Path, Job]) -> bool:
    if row.verb == "train":
        return jobs[row.folder].result() is not None
    status = Status.read(row.folder)
    return status is not None and status.state == "done" and list(status.overrides) == row.line


def _why(row: Row, jobs: Mapping[Path, Job]) -> str:
    """Why a run is not there."""
    missing = [need for need in row.needs if not _finished(need, jobs)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"it needs {missing[0].name}{more}"
    status = observe(row.folder)
    said = (status.error or "").partition("\n")[0] if status is not None else ""
    return f"{status.state if status else 'not started'}{f', {said}' if said else ''}"


def pipeline(
    cfg: Mapping[str, Any], study: Mapping[str, Any], argv: Sequence[str], places: Sequence[str], words: Sequence[str]
) -> Pipeline:
    """From the config of `conf/sweep.yaml` and a study that has steps.

    argv: launcher and sweeper of every multirun. places: `--config-dir <folder>`, as typed. words: of the command line,
    for all steps that train, or for one step as <step>:<word>.
    """
    few, many = sorted(KEYS - set(study)), sorted(set(study) - KEYS)
    if few or many:
        found = [*([f"lacks {', '.join(few)}"] if few else []), *([f"has {', '.join(many)}"] if many else [])]
        raise ConfigError(
            f"the study of steps {' and '.join(found)}", f"exactly the keys {', '.join(sorted(KEYS))}", "mend it"
        )
    folder = Path(cfg["runs"], str(study["name"]))
    told: Mapping[str, Any] = study["steps"]
    seeds = cfg["seeds"] if cfg["seeds"] is not None else study["seeds"]
    made = steps(told, folder, seeds, _parted(told, words))
    reported = tuple(study["report"] or [made[-1].name])
    for name in reported:
        if name not in told:
            raise ConfigError(f"report={name}", f"some of {', '.join(told)}{near(name, told)}", "correct the study")
    own = [each.partition("=")[2] or each for each in places if each not in ("--config-dir", "-cd")]
    return Pipeline(folder, tuple(made), tuple(argv), tuple(own), reported, study["reference"])


def _parted(told: Mapping[str, Any], words: Sequence[str]) -> dict[str, list[str]]:
    """Further words by step."""
    found: dict[str, list[str]] = {name: [] for name in told}
    for each in words:
        step, colon, rest = each.partition(":")
        if colon and step in told:
            found[step].append(rest)
        elif colon and step.isidentifier() and "=" not in step:
            do = f"write <step>:<word>{near(step, told)}, or the word alone for all that train"
            raise ConfigError(f"{each}: there is no step {step!r}", f"one of {', '.join(told)}", do)
        else:
            for name, tree in told.items():
                found[name] += [each] if tree.get("verb", "train") == "train" else []
    return found
