"""A config group is a folder, a choice is a file, a key is an argument."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from worldmodels.core.errors import MissingExtraError
from worldmodels.launch.arguments import examine
from worldmodels.launch.choices import conf
from worldmodels.launch.compose import config, plain

MIRRORED = ("env", "model", "policy", "planner", "data", "stage", "callback", "evaluation", "analysis")
PARTS = (
    "data/sampler",
    "stage/consistency",
    "model/representation",
    "model/dynamics",
    "model/neck",
    "planner/interior",
)  # choices within a choice
FILES = sorted(path for group in (*MIRRORED, *PARTS) for path in (conf() / group).glob("*.yaml"))
MANNER = {"norm", "activation", "init", "_"}  # what parts of a model are given by the whole, or pass over
LATE = {"spec", "shape", "actions", "whole"}  # what a partial config is given when it is called
SET = {"among"}  # what streams set of their samplers: the episodes of a split
# Choices that are other choices of their group with other values.
PRESETS = [
    path
    for path in FILES
    if (path.parent / f"{((yaml.safe_load(path.read_text()) or {}).get('defaults') or [''])[0]}.yaml").is_file()
]


def name(path: Path) -> str:
    return path.relative_to(conf()).as_posix()


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every part of a config that names a class, the whole first."""
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield tree
        for value in tree.values():
            yield from nodes(value)


def keywords(node: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Keys of a config, and keyword arguments of what it names."""
    module, _, attribute = node["_target_"].rpartition(".")
    target = getattr(importlib.import_module(module), attribute)
    late = LATE if node.get("_partial_") else set()
    keys = {key for key in node if not key.startswith("_") and key != "defaults"}
    return keys, set(inspect.signature(target).parameters) - late - SET


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_choice_names_its_module_and_all_its_arguments(path: Path) -> None:
    tree = yaml.safe_load(path.read_text()) or {}
    if "_target_" not in tree:
        assert path.stem in ("default", "none") or path in PRESETS, "only a list of other configs names no class"
        return
    folder, module, cls = tree["_target_"].rsplit(".", 2)
    assert folder == f"worldmodels.{path.relative_to(conf()).parts[0]}"
    names = (module, cls.lower(), cls.lower().removesuffix("rule"))
    assert path.stem in names, "a choice is named after its module, or its class if that has several"
    keys, arguments = keywords(tree)
    arguments -= MANNER - keys if path.parent.parent.name == "model" else set()
    arguments -= {"sampled"} if path.parent.name == "interior" else set()  # only roots draw
    parts = [each for each in tree.get("defaults", ()) if each != "_self_"]
    keys |= {key for part in parts if isinstance(part, dict) for key in part if key.isidentifier()}
    for base in (part for part in parts if isinstance(part, str)):
        keys |= keywords(yaml.safe_load((path.parent / f"{base}.yaml").read_text()))[0]
    assert keys == arguments


@pytest.mark.parametrize("path", sorted(conf().rglob("*.yaml")), ids=name)
def test_a_part_of_a_config_has_no_unknown_argument(path: Path) -> None:
    for node in nodes(yaml.safe_load(path.read_text())):
        if node["_target_"].startswith("worldmodels."):
            keys, arguments = keywords(node)
            assert keys <= arguments, node["_target_"]


@pytest.mark.parametrize("path", [path for path in PRESETS if path.parent.name in ("env", "policy")], ids=name)
def test_a_preset_sets_only_what_it_is_a_preset_of_has(path: Path) -> None:
    group = path.parent.name
    examine(config("record", [f"{group}={path.stem}"])[group])


@pytest.mark.parametrize("group", ["trainer", "logger"])
def test_every_trainer_and_logger_composes(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train"])
    for path in (conf() / group).glob("*.yaml"):
        assert plain(config("train", [f"{group}={path.stem}"]))


def test_a_missing_optional_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util

    from worldmodels.launch.logger import wandb

    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[wandb\]'"):
        wandb(str(tmp_path), "any", True)


@pytest.mark.parametrize("interior", ["puct", "gumbel", "regularized"])
def test_values_are_stretched_no_further_below_the_roots_than_at_them(interior: str) -> None:
    planner = config("train", ["+experiment=gumbel_muzero", f"planner/interior={interior}"]).planner
    assert planner.interior.min_range == planner.min_range == 1.0
