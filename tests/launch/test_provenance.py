"""Where a run says it comes from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from worldmodels.launch import provenance as module
from worldmodels.launch.provenance import provenance, record


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree of one commit that the package seems to lie in."""
    source = tmp_path / "worldmodels" / "launch" / "provenance.py"
    source.parent.mkdir(parents=True)
    source.write_text("first\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(module, "__file__", str(source))
    return tmp_path


def test_commit_and_changes_are_those_of_the_source_tree(tree: Path) -> None:
    told = provenance()
    assert told["commit"] == git(tree, "rev-parse", "HEAD").strip()
    assert not told["dirty"]
    (tree / "worldmodels" / "launch" / "provenance.py").write_text("second\n")
    told = provenance()
    assert told["dirty"]
    assert "+second" in told["diff"]


def test_a_huge_change_is_cut(tree: Path) -> None:
    (tree / "worldmodels" / "launch" / "provenance.py").write_text("line\n" * 100_000)
    assert len(provenance()["diff"]) < module.LONGEST + 100


def test_an_installed_package_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "worldmodels" / "launch" / "provenance.py"))
    assert provenance()["commit"] is None


def test_every_session_is_kept_with_the_words_of_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):
        monkeypatch.setattr("sys.argv", ["/some/where/train.py", f"seed={seed}", "env.id=with space"])
        record(tmp_path / "provenance.json", resume="exact")
    told = json.loads((tmp_path / "provenance.json").read_text())
    assert [session["command"] for session in told["sessions"]] == [
        f"worldmodels train seed={seed} 'env.id=with space'" for seed in (1, 2)
    ]
    assert told["resume"] == "exact"
    assert "torch" in told["sessions"][0]["versions"]
