"""The search that a run acts by, as words of a command line, so that options beside it change that one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from worldmodels.core.errors import ConfigError
from worldmodels.launch.choices import conf
from worldmodels.launch.folder import Folder
from worldmodels.launch.json_list import word


def with_own_search(words: Sequence[str], beside: str, explores: str, *, default: bool) -> list[str]:
    """The words with `own_search` of their run next to the word `beside`, if that is one of them."""
    if beside not in words:
        return list(words)
    at = words.index(beside)  # between two words that are no flags, or Hydra would not take them
    return [*words[:at], *own_search(words, explores, default=default), *words[at:]]


def own_search(words: Sequence[str], explores: str, *, default: bool) -> list[str]:
    """`planner=<name>` and its options of `run=<folder>` among the words; none if they choose a planner themselves.

    Nor those options that they set; and none for a run that has no search of its own, such as a Dreamer's. It is the
    search that explores, or the one that does not, as the option `explores` says, or else its default.
    """
    told = {key: value for key, _, value in (word.partition("=") for word in words)}
    folder = Folder(Path(told.get("run", "").strip("'\"")))
    if "planner" in told or not told.get("run") or not folder.config.is_file():
        return []
    config = folder.read_config()
    name, options = _known("planner", config.get("planner"))
    if not name:
        return []
    told_inside = "planner/interior" in told
    inside, more = ("", {}) if told_inside else _known("planner/interior", config["planner"].get("interior"))
    options |= {f"interior.{key}": value for key, value in more.items()}
    judged = (config.get("stage") or {}).get("eval_simulations")
    if judged is not None and told.get(explores, str(default)).lower() != "true":
        options["simulations"] = judged
    left = {f"planner.{key}": value for key, value in options.items() if f"planner.{key}" not in told}
    chosen = [f"planner={name}", *([f"planner/interior={inside}"] if inside else [])]
    return [*chosen, *(f"{key}={word(value)}" for key, value in left.items())]


def demand_search(cfg: Mapping[str, Any], words: Sequence[str]) -> None:
    """ConfigError where words choose a search and the policy has none: it would act as if they were not there."""
    typed = [each for each in words if each.lstrip("+~").partition("=")[0].startswith("planner")]
    if typed and "planner" not in (cfg.get("policy") or {}):
        raise ConfigError(
            f"{' '.join(typed)} without policy=planning: who acts does not read it",
            "the policy that searches by a planner, or no options of one",
            "add policy=planning with run=<folder>, or leave them out",
        )


def _known(group: str, made: Any) -> tuple[str, dict[str, Any]]:
    """Which one of a group it is, and its options of those that are there; nothing if it is none of them."""
    for path in sorted((conf() / group).glob("*.yaml")) if isinstance(made, Mapping) else []:
        tree: Any = OmegaConf.to_container(OmegaConf.load(path))
        if tree["_target_"] == made.get("_target_"):
            return path.stem, {key: made[key] for key in tree if key in made and not key.startswith("_")}
    return "", {}
