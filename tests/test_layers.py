"""Imports go down, never up or sideways; Hydra and Lightning stay where they belong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "worldmodels"
LAYERS = [
    {"core"},
    {"ops"},
    {"nn", "env"},
    {"model", "planner", "data"},
    {"policy"},
    {"stage"},
    {"evaluation"},
    {"callback", "analysis"},
    {"launch"},
    {"command"},
]
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, at the top or within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_only_go_down(path: Path) -> None:
    folder = name(path).split("/")[0]
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "worldmodels" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != folder:
            assert LEVEL[parts[1]] < LEVEL[folder], f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_hydra_and_lightning_stay_in_their_folders(path: Path) -> None:
    folder, roots = name(path).split("/")[0], {module.split(".")[0] for module in imports(path)}
    if folder not in ("launch", "command"):
        assert not roots & {"hydra", "omegaconf"}
    if folder not in ("stage", "callback", "launch", "command") and name(path) != "data/module.py":
        assert not roots & {"pytorch_lightning", "lightning"}


def test_every_folder_has_a_layer() -> None:
    assert {path.parent.relative_to(PACKAGE).parts[0] for path in FILES} == set(LEVEL)
