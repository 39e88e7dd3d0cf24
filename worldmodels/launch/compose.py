"""Command-line words to a config: finds conf/, and makes Hydra's refusals readable."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodels.core.errors import ConfigError, UserError

REFUSALS = (HydraException, OmegaConfBaseException)


def conf() -> Path:
    """The folder of configs: beside the package in a source tree, inside it when installed."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"no conf/ in {package} or {package.parent}", "conf/train.yaml", "reinstall the package")


def config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """`conf/<name>.yaml` with overrides, as the command line would compose it."""
    GlobalHydra.instance().clear()
    with readable(), initialize_config_dir(str(conf()), version_base="1.3"):
        return compose(name, list(overrides))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The config with every interpolation resolved, as plain data."""
    with readable():
        tree = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    return {str(key): value for key, value in tree.items()} if isinstance(tree, dict) else {}


def make(cfg: Any, *args: Any, **kwargs: Any) -> Any:
    """Hydra's `instantiate`, but errors for the user come out as they went in, and unknown arguments are told."""
    try:
        return instantiate(cfg, *args, **kwargs)
    except InstantiationException as error:
        for cause in _chain(error):
            if isinstance(cause, UserError):
                raise cause from None
        text = str(error)
        if found := re.search(_UNKNOWN, text, re.DOTALL):
            raise _argument(**found.groupdict()) from None
        if "locating target" in text:
            raise explain(error) from error
        raise


@contextmanager
def readable() -> Iterator[None]:
    """Turns what Hydra says about a wrong word into what the user can do about it."""
    try:
        yield
    except REFUSALS as error:
        raise explain(error) from error


def explain(error: Exception) -> ConfigError:
    """The same refusal in three parts, with the closest existing words."""
    text = "\n".join(str(part) for part in _chain(error))
    for pattern, reading in _READINGS:
        found = re.search(pattern, text, re.DOTALL)
        if found:
            return reading(**found.groupdict())
    lines = [line for line in str(error).splitlines() if line.strip()]
    return ConfigError("\n    ".join(lines), "a config that Hydra can compose", "see conf/ for what can be set")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _key(key: str) -> ConfigError:
    groups = {path.name for path in conf().iterdir() if path.is_dir()}
    candidates = sorted(_keys_of_yaml() | groups)
    return ConfigError(
        f"there is no option {key!r}",
        "an option of the config" + _near(key, candidates),
        f"correct the name, or add a new one with +{key}=...; `worldmodels train --cfg job` prints all options",
    )


def _option(choice: str) -> ConfigError:
    group, _, name = choice.rpartition("/")
    options = _options(group)
    if not options:
        groups = sorted(path.name for path in conf().iterdir() if path.is_dir())
        return ConfigError(f"there is no config group {group or name!r}", f"one of {', '.join(groups)}", "correct it")
    return ConfigError(
        f"there is no {group} named {name!r}",
        f"one of {', '.join(options)}" + _near(name, options),
        f"correct the name, or add conf/{group}/{name}.yaml",
    )


def _group(choice: str) -> ConfigError:
    groups = sorted(path.name for path in conf().iterdir() if path.is_dir())
    name = choice.split("/")[-1]
    return ConfigError(
        f"there is no config group or option {name!r} to override",
        f"one of the groups {', '.join(groups)}" + _near(name, [*groups, *_keys_of_yaml()]),
        "correct the name; what is not in the defaults is added with a plus, such as +experiment=...",
    )


_UNKNOWN = r"call to target '(?P<target>[^']*)'.*unexpected keyword argument \\*'(?P<key>\w+)"


def _argument(target: str, key: str) -> ConfigError:
    known = [name for name in inspect.signature(get_object(target)).parameters if name not in ("self", "spec")]
    do = "correct the name; in a YAML, its keys are the constructor's arguments"
    return ConfigError(f"{target} takes no {key!r}", f"one of {', '.join(known)}{_near(key, known)}", do)


def _missing(key: str) -> ConfigError:
    return ConfigError(f"the option {key!r} has no value", "a value for it", f"set {key}=... on the command line")


def _target(name: str, cause: str | None) -> ConfigError:
    module = name.rpartition(".")[0] or name
    return ConfigError(
        f"_target_: {name} can not be imported" + (f": {cause}" if cause else ""),
        f"a class or function in a module {module} that Python finds from here",
        "correct the YAML, or start from the folder that holds the module",
    )


_READINGS: list[tuple[str, Callable[..., ConfigError]]] = [
    (r"Could not override '(?P<choice>[^']*)'\.\s*No match in the defaults list", _group),
    (r"Could not find '(?P<choice>[^']*)'", _option),
    (r"Could not override '(?P<key>[^']*)'", _key),
    (r"Error locating target '(?P<name>[^']*)'(?:.*?Error loading '[^']*':\s*(?P<cause>[^\n]*))?", _target),
    (r"Missing mandatory value: (?P<key>\S+)", _missing),
]


def _options(group: str) -> list[str]:
    folder = conf() / group
    return sorted(path.stem for path in folder.glob("*.yaml")) if group and folder.is_dir() else []


def _near(word: str, candidates: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, candidates, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _keys_of_yaml() -> set[str]:
    """Dotted names of every option of the shipped training config and of each group's files."""
    keys: set[str] = set()
    for path in conf().rglob("*.yaml"):
        group = path.parent.relative_to(conf()).as_posix().replace("/", ".")
        if group == "experiment":
            continue  # sets options of the other groups
        tree = OmegaConf.load(path)
        if isinstance(tree, DictConfig):
            keys |= set(_dotted(OmegaConf.to_container(tree, resolve=False), "" if group == "." else f"{group}."))
    return keys


def _dotted(tree: Any, prefix: str) -> Iterator[str]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name not in ("defaults", "hydra", "_target_", "_partial_"):
                yield f"{prefix}{name}"
                yield from _dotted(value, f"{prefix}{name}.")
