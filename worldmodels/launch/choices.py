"""What there is to choose from: the groups of conf/, their files, and the options in these."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from worldmodels.core.errors import ConfigError


def conf() -> Path:
    """The folder of configs: beside the package in a source tree, inside it when installed."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"no conf/ in {package} or {package.parent}", "conf/train.yaml", "reinstall the package")


def groups() -> list[str]:
    """Names of the config groups."""
    return sorted(path.name for path in conf().iterdir() if path.is_dir())


def choices_of(group: str) -> list[str]:
    """Names of its files, and of what Hydra and its plugins bring; none if there is no such group."""
    folder = conf() / group
    ours = [path.stem for path in folder.glob("*.yaml")] if group and folder.is_dir() else []
    return sorted({*ours, *(_stored(group) if group.startswith("hydra/") else [])})


def listing(verb: str) -> str:
    """For its help: what can be chosen from each group in the defaults of `conf/<verb>.yaml`, and the experiments."""
    defaults: Any = OmegaConf.to_container(OmegaConf.load(conf() / f"{verb}.yaml"), resolve=False)
    held = [name for each in defaults["defaults"] if isinstance(each, dict) for name in each]
    experiments = [name for name in choices_of("experiment") if name.startswith("record_") == (verb == "record")]
    chosen = {"+experiment": experiments} if verb in ("train", "record") else {}
    chosen |= {name.rpartition("@")[2]: choices_of(name.partition("@")[0]) for name in held if " " not in name}
    width = max(map(len, chosen), default=0) + 1
    lines = [
        textwrap.fill(f"  {group + '=':<{width}} {' '.join(names)}", 112, subsequent_indent=" " * (width + 3))
        for group, names in chosen.items()
        if names
    ]
    return "\n".join(["Choices:", *lines]) if lines else ""


def _stored(group: str) -> list[str]:
    """Choices that Hydra and its plugins bring themselves, such as the launcher joblib."""
    tree: Any = ConfigStore.instance().repo
    for part in group.split("/"):
        tree = tree.get(part, {}) if isinstance(tree, dict) else {}
    return [name.removesuffix(".yaml") for name in tree if name.endswith(".yaml")]


def every_option() -> set[str]:
    """Dotted names of every option of the shipped training config and of each group's files."""
    own = OmegaConf.to_container(OmegaConf.load(conf() / "train.yaml"), resolve=False)
    return {*dotted(own, ""), *(key for _, _, keys in every_choice() for key in keys)}


def every_choice() -> Iterator[tuple[str, str, set[str]]]:
    """Every group, its choices, and their options; experiments only set options of the others."""
    for path in sorted(conf().rglob("*.yaml")):
        group = path.parent.relative_to(conf()).as_posix()
        tree = OmegaConf.load(path)
        if group not in (".", "experiment") and isinstance(tree, DictConfig):
            keys = dotted(OmegaConf.to_container(tree, resolve=False), f"{group.replace('/', '.')}.")
            yield group, path.stem, set(keys)


def dotted(tree: Any, prefix: str) -> Iterator[str]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name not in ("defaults", "hydra", "_target_", "_partial_"):
                yield f"{prefix}{name}"
                yield from dotted(value, f"{prefix}{name}.")


def offers(path: Path, group: str) -> bool:
    """Whether a config's defaults choose from that group below it."""
    tree: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return any(isinstance(each, dict) and group in each for each in tree.get("defaults", []))
