"""Weights to begin with: modules of another run's checkpoint in a stage that has learned nothing yet.

Modules, and parts of them, are named as in `launch.modules`. The optimizer begins fresh and updates are counted from 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.spec import EnvSpec
from worldmodels.launch import checkpoint, meaning
from worldmodels.launch.folder import Folder, flat
from worldmodels.launch.json_list import word
from worldmodels.launch.modules import Weights, chosen, modules, others, parts, tensors, within
from worldmodels.stage.stage import Stage

SHOWN = 3  # tensors of a module that are told
OPTIONS = 8  # of a model


@dataclass(frozen=True)
class Begun:
    """What a run began with. `remarks`: in what the other run's world or model differs, although the weights fit."""

    folder: str
    checkpoint: str
    sha256: str
    updates: int
    modules: tuple[str, ...]
    fresh: tuple[str, ...]
    commit: str | None
    dirty: bool | None
    command: str | None
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "remarks"}

    def told(self) -> str:
        rest = f"; {', '.join(self.fresh)} fresh" if self.fresh else ""
        return f"{', '.join(self.modules)} of {self.folder}, {self.checkpoint} at {self.updates:,} updates{rest}"


def demand(options: Mapping[str, Any]) -> None:
    """ConfigError if `init` holds something that is not a folder, a name, and a list of names."""
    run, name, modules = options["run"], options["checkpoint"], options["modules"]
    if run is not None and not isinstance(run, str):
        raise ConfigError(f"init.run={run}", "the folder of a run, or null", "give init=runs/<study>/<name>")
    if not isinstance(name, str):
        raise ConfigError(f"init.checkpoint={name}", "last, best, or a checkpoint's name", "correct it")
    if modules is not None and not (isinstance(modules, list) and all(isinstance(each, str) for each in modules)):
        raise ConfigError(f"init.modules={modules}", "a list of names, or null", "write init.modules=[encoder,rssm]")
    if modules and run is None:
        raise ConfigError(
            f"init.modules=[{','.join(modules)}] of no run",
            "the run that has them",
            "give init=runs/<study>/<name>, or begin with nothing: init.modules=[], or arm=scratch if there are arms",
        )


def begin(config: Mapping[str, Any], stage: Stage, spec: EnvSpec) -> Begun | None:
    """Load what a config's `init` asks for; None if that is nothing. Nothing is loaded unless everything fits."""
    options = config["init"]
    demand(options)
    if options["run"] is None or options["modules"] == []:
        return None
    folder = Folder(Path(options["run"]))
    theirs = folder.read_config()
    _demand_trained(folder, theirs, config)
    path = checkpoint.find(folder, options["checkpoint"], "init.checkpoint")
    do = "give another run or init.checkpoint, or leave init out"
    kept = checkpoint.read(path, do)
    here, there = stage.state_dict(), kept["state_dict"]
    names = chosen(options["modules"], stage)
    told = f"the world of {folder.path} is another one: "
    world = folder.read_spec()
    differences = tuple(told + each for each in spec.differences(world))
    _fit(path, names, here, there, differences, _Advice(theirs, config, bool(differences)))
    remarks = (*differences, *meaning.demand(folder.path, theirs, config, names, here))
    for name in names:
        found = tensors(there, name)
        here |= {key: found[short] for short, key in within(here, name).items()}
    stage.load_state_dict(here)
    _follow(stage, names)
    return Begun(
        str(folder.path), path.name, _hash(path), int(kept.get("global_step", 0)), tuple(names),
        tuple(others(here, names)), **_origin(folder), remarks=remarks,
    )  # fmt: skip


def _follow(stage: Stage, names: Sequence[str]) -> None:
    """Slow copies begin as what they follow, unless they were loaded themselves."""
    paths = {id(part): path for path, part in stage.named_modules()}
    for slow, source in stage.followers():
        if paths[id(slow)].partition(".")[0] not in names:
            slow.reset(source)


def _demand_trained(folder: Folder, theirs: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """ConfigError unless the other run was trained as an arm says: under another's name its result would mislead."""
    found = flat(theirs)
    for name, wanted in (config["init"].get("trained") or {}).items():
        if found.get(name) != wanted:
            arm = config.get("arm")
            raise ConfigError(
                f"init={folder.path} was trained with {name}={word(found.get(name))}",
                f"{name}={word(wanted)}" + (f" for arm={arm}" if arm else ""),
                "give a run that was trained so" + (", or choose another arm" if arm else ""),
            )


def _fit(
    path: Path,
    names: Sequence[str],
    here: Weights,
    there: Weights,
    differences: Sequence[str],
    advice: _Advice,
) -> None:
    """SpecError with the modules and tensors that have another shape, and with the modules that would do."""
    wrong = {name: lines for name in names if (lines := _misfits(name, here, there))}
    if not wrong:
        return
    lines = [*differences, *(f"{name}: {line}" for name, each in wrong.items() for line in _cut(each))]
    fit = [part for name in names for part in ([name] if name not in wrong else parts(here, name))]
    fit = [name for name in fit if not _misfits(name, here, there)]
    others_fit = [name for name in modules(there) if name in modules(here) and not _misfits(name, here, there)]
    some = [f"no module of it fits; it has {', '.join(modules(there))}"]
    if fit or others_fit:
        some = [advice.modules(fit or others_fit)]
    raise SpecError(
        f"{path} does not fit into this {'run' if differences else 'model'}:\n    " + "\n    ".join(lines),
        f"weights of the same names and shapes in {', '.join(names)}",
        "; or ".join([*some, *advice.alike()]),
    )


def _misfits(module: str, here: Weights, there: Weights) -> list[str]:
    mine, its = tensors(here, module), tensors(there, module)
    if not its:
        return ["absent from the checkpoint"]
    return [
        f"{name} is {_shape(its.get(name))} in the checkpoint and {_shape(mine.get(name))} here"
        for name in dict.fromkeys([*mine, *its])
        if _shape(mine.get(name)) != _shape(its.get(name))
    ]


def _cut(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - SHOWN} more tensors"] if len(lines) > SHOWN else []
    return [*lines[:SHOWN], *more]


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))


@dataclass(frozen=True)
class _Advice:
    """What to do about weights that do not fit, from the configs of both runs."""

    theirs: Mapping[str, Any]
    ours: Mapping[str, Any]
    other_world: bool

    def modules(self, names: Sequence[str]) -> str:
        words = f"init.modules=[{','.join(names)}] takes those that fit"
        return f"arm=null {words}, since an arm is another without its modules" if self.ours.get("arm") else words

    def alike(self) -> list[str]:
        """What would make the two alike: the other run's world and model, as words to paste."""
        there, here = (flat(config.get("env") or {}, "env.") for config in (self.theirs, self.ours))
        world = _unlike(there, here) if there.get("env._target_") == here.get("env._target_") else ""
        model = _unlike(*({**flat(c.get("model") or {}, "model."), **_behaviour(c)} for c in (self.theirs, self.ours)))
        found = list[str]()
        if self.other_world:
            same = "take the same world in both, or a checkpoint of this one"
            found.append(f"take its world: {world}" if world else same)
        if model:
            found.append(f"take that run's model: {model}")
        return found or ["take the checkpoint of a run with this model"]


def _unlike(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What is other there, as words to paste."""
    other = [f"{key}={word(value)}" for key, value in there.items() if key in here and value != here[key]]
    return " ".join(other[:OPTIONS]) + (" and so on, as its config.yaml says" if len(other) > OPTIONS else "")


def _behaviour(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for part in meaning.BEHAVIOUR
        for key, value in flat((config.get("stage") or {}).get(part) or {}, f"stage.{part}.").items()
    }


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _origin(folder: Folder) -> dict[str, Any]:
    """Which code made the weights, by the last session of their run."""
    path = folder.path / "provenance.json"
    sessions = json.loads(path.read_text())["sessions"] if path.is_file() else []
    last = sessions[-1] if sessions else {}
    return {name: last.get(name) for name in ("commit", "dirty", "command")}
