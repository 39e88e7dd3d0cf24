"""The folder of one run: its name, its paths, its config, its mark of being done."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from worldmodels.core.errors import ConfigError, ResumeError
from worldmodels.core.files import write_text
from worldmodels.core.spec import EnvSpec

UNNAMED = ("force", "threads", "study", "name", "logger", "paths")  # how a run is watched, not what it is
# May change when a run is resumed: a larger budget continues a finished run, and callbacks watch without a say in what
# is learned, so their cadences are free. (Threads only round; a change of them is warned of.)
FREE = (*UNNAMED, "budget", "callback")
LONGEST_PART = 200  # bytes of one that a user chose
LONGEST = 120  # characters of a folder's name; file systems allow 255


def run_name(overrides: Sequence[str]) -> str:
    """A folder's name from the command line: the same overrides in any order give the same name, others another.

    Characters that a shell or a file system could trip over are replaced and long names are cut; a hash of the
    original text then keeps such names apart.
    """
    pairs: dict[str, str] = {}
    for text in overrides:
        word = f"{text[1:]}=null" if re.fullmatch(r"~\w+", text) else text  # a group was typed with =null
        key, _, value = word.lstrip("+").partition("=")
        if re.split(r"[.@/]", key)[0] not in UNNAMED:
            pairs[key] = value
    raw = ",".join(f"{key}={value}" if value else key for key, value in sorted(pairs.items()))
    if not raw:
        return "default"
    safe = re.sub(r"[^A-Za-z0-9_.,=+-]", "-", raw).lstrip(".-")
    if safe == raw and len(safe) <= LONGEST:
        return safe
    return f"{safe[:LONGEST]}-{hashlib.sha1(raw.encode()).hexdigest()[:8]}"


def check_place(study: object, name: object) -> None:
    """ConfigError unless runs/<study>/<name> lies below runs: a study may be folders in folders, a name is one."""
    parts = [("study", part) for part in str(study).split("/")] + ([] if name is None else [("name", str(name))])
    for key, part in parts:
        if part in ("", ".", "..") or re.search(r"[/\\\0]", part) or len(part.encode()) > LONGEST_PART:
            value = study if key == "study" else name
            raise ConfigError(
                f"{key}={value} is no place inside the folder of runs",
                f"a folder's name of up to {LONGEST_PART} bytes"
                + (", or several with / between them" if key == "study" else " without /"),
                f"give another {key}; paths.runs=<folder> puts runs elsewhere, study=<name> puts them together",
            )


@dataclass(frozen=True)
class Folder:
    """Where everything of one run lies."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.jsonl"

    @property
    def done(self) -> Path:
        return self.path / "done.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def read_config(self) -> dict[str, Any]:
        if not self.config.is_file():
            raise ConfigError(
                f"{self.path} is not a run folder: it has no config.yaml",
                "a folder that `worldmodels train` made",
                f"give the folder of one run, such as {self._meant()}",
            )
        config = self._read(self.config, yaml.safe_load)
        if not isinstance(config, dict):
            raise self._damaged(self.config, "it holds no options")
        return config

    def read_spec(self) -> EnvSpec:
        """What its world looks like."""
        return self._read(self.spec, lambda text: EnvSpec.from_json(json.loads(text)))

    def _read(self, path: Path, meaning: Callable[[str], Any]) -> Any:
        try:
            return meaning(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise self._damaged(path, "it is not there") from error
        except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(path, " ".join(str(error).split()) or type(error).__name__) from error

    def _damaged(self, path: Path, reason: str) -> ConfigError:
        do = "restore it from a copy, or give another run; one of your own begins anew with force=true"
        return ConfigError(f"{path} can not be read: {reason}", "the file that `worldmodels train` wrote", do)

    def _meant(self) -> str:
        """The run that a path lies in, or the first one that lies in it."""
        inside = sorted(self.path.glob("*/config.yaml"))
        near = [*(parent / "config.yaml" for parent in self.path.parents), *inside]
        return next((str(path.parent) for path in near if path.is_file()), "runs/<study>/<name>")

    def result(self) -> dict[str, Any] | None:
        """What the finished run returned; None while it is not finished."""
        return json.loads(self.done.read_text()) if self.done.is_file() else None

    def answer(self, budget: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result, if the run is finished and this budget would add nothing to it."""
        done = self.result()
        return done if done is not None and (done["budget"] == budget or _had(done, budget)) else None

    def finish(self, result: Mapping[str, Any]) -> None:
        write_text(self.done, json.dumps(result, indent=2) + "\n")

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse if the folder belongs to a run of another config. It does from the first checkpoint on.

        What failed or was killed before has nothing that could be continued, so its name is free for a mended config.
        """
        if self.config.is_file() and not (self.last.is_file() or self.done.is_file()):
            return
        if self.config.is_file():
            changed = differences(self.read_config(), config)
            if changed:
                raise ResumeError(
                    f"{self.path} holds a run of another config:\n    " + "\n    ".join(changed),
                    "the config that the run began with",
                    "undo the change, give this run its own folder with name=..., or start over with force=true "
                    "(the old folder is kept beside it)",
                )
        elif self.last.is_file():
            raise ResumeError(
                f"{self.path} holds a checkpoint but no config.yaml",
                "a run folder with the config it began with",
                "put config.yaml back, or start over with force=true (the old folder is kept beside it)",
            )

    def claim(self, config: Mapping[str, Any]) -> None:
        """Keep the config; from now on the folder is this run's."""
        self.check(config)
        write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def move_aside(self) -> Path | None:
        """Rename the folder to <name>.old-<k>; nothing is deleted."""
        if not self.path.exists():
            return None
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.old-{number}")).exists():
            number += 1
        self.path.rename(aside)
        return aside


def _had(result: Mapping[str, Any], budget: Mapping[str, Any]) -> bool:
    """Whether a finished run had reached a limit of this budget, for the first one reached ends a run."""
    used = {"updates": result["updates"], "env_steps": result["env_steps"], "hours": result["minutes"] / 60}
    return any(limit is not None and used[name] >= limit for name, limit in budget.items())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines `key: old -> new` for every key that would change the run; those in FREE, such as cadences, do not."""
    was, now = flat(old), flat(new)
    return [
        f"{key}: {was.get(key, 'absent')} -> {now.get(key, 'absent')}"
        for key in sorted({*was, *now})
        if was.get(key, ...) != now.get(key, ...) and key.split(".")[0] not in FREE
    ]


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted key; empty mappings are leaves."""
    if isinstance(tree, Mapping) and tree:
        return {key: leaf for name, value in tree.items() for key, leaf in flat(value, f"{prefix}{name}.").items()}
    return {prefix.removesuffix("."): tree}
