"""`worldmodels check-env`, and docs/environments.md as written."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from worldmodels.command import main
from worldmodels.data.store import EpisodeStore

DOCS = Path(__file__).parents[2] / "docs" / "environments.md"


def blocks(kind: str) -> list[str]:
    """Fenced blocks of one language, in order."""
    return re.findall(rf"```{kind}\n(.*?)```", DOCS.read_text(), re.DOTALL)


def write_files(folder: Path) -> None:
    """Each python and yaml block says in its first line which file it is."""
    for block in [*blocks("python"), *blocks("yaml")]:
        path = folder / block.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder that is not ours, with what is imported from it forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_every_command_of_the_page_finds_nothing_wrong_with_its_files(elsewhere, capsys):
    write_files(elsewhere)
    commands = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("worldmodels ")]
    assert len(commands) >= 3
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().out
        assert "0 errors" in capsys.readouterr().out


def test_the_pages_report_is_what_the_command_prints(elsewhere, capsys):
    write_files(elsewhere)
    main(["check-env", "--config-dir", "my_conf", "env=mine"])
    printed = capsys.readouterr().out.splitlines()
    for line in blocks("text")[0].splitlines():
        assert line in printed


def test_the_template_is_the_pages_example(elsewhere, capsys):
    assert main(["check-env", "--template"]) == 0
    printed = capsys.readouterr().out
    example = next(block for block in blocks("python") if block.startswith("# my_env.py"))
    assert example in printed
    assert blocks("yaml")[0] in printed


def test_the_adapters_example_runs(elsewhere):
    write_files(elsewhere)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path(str(elsewhere / "elsewhere.py"))


def test_scripts_find_a_world_in_the_working_directory(elsewhere):
    """In a process of its own, whose path begins with the script's folder, as for the console command."""
    write_files(elsewhere)
    words = ["--config-dir", "my_conf", "env=mine", "policy=random", "width=4", "steps=200", "store=mine"]
    done = subprocess.run(
        [sys.executable, str(DOCS.parents[1] / "record.py"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with EpisodeStore.open("mine") as store:
        assert store.steps == 200
        assert store.spec.name == "mine"


def test_an_error_of_the_env_is_told_and_exits_with_one(elsewhere, capsys):
    write_files(elsewhere)
    source = (elsewhere / "my_env.py").read_text()
    broken = source.replace("default_rng(seed)", "default_rng()")
    assert broken != source
    (elsewhere / "my_env.py").write_text(broken)
    assert main(["check-env", "--config-dir", "my_conf", "env=mine"]) == 1
    assert re.search(r"^error +seeds +.*\n +do: ", capsys.readouterr().out, re.MULTILINE)


def test_a_world_that_fails_in_a_subprocess_is_told(elsewhere, capsys):
    """It leans on something that only this process has done."""
    write_files(elsewhere)
    source = (elsewhere / "my_env.py").read_text()
    source = source.replace(
        "    def world(self) -> MyWorld:\n", "    def world(self) -> MyWorld:\n        assert READY\n"
    )
    source = source.replace(
        "    def __post_init__(self) -> None:\n", "    def __post_init__(self) -> None:\n        READY.append(1)\n"
    )
    (elsewhere / "my_env.py").write_text(source + "\n\nREADY: list[int] = []\n")
    assert main(["check-env", "--config-dir", "my_conf", "env=mine"]) == 1
    assert re.search(r"^error +workers", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["env=dumy"], "dummy"),
        (["env=dummy", "env.gme=dot"], "gme"),
        (["env=dummy", "env.game=maze"], "corridor"),
        (["steps=3"], "env=<name>"),
        (["--config-dir", "nowhere", "env=mine"], "create it"),
        (["--config-dir", "my_conf", "env=lost"], "no_such_module.Lost can not be imported: ModuleNotFoundError"),
        (["--config-dir", "my_conf", "env=odd"], "its keys"),
        (["env=gymnasium", "env.kwargs={lengths: 3}"], "unexpected keyword"),
        (["env=dummy", "--steps", "1"], "at least 2"),
        (["env=dummy", "--seed", "-1"], "0 or more"),
    ],
)
def test_words_that_can_not_work_are_refused_with_a_remedy(elsewhere, capsys, words, said):
    write_files(elsewhere)
    (elsewhere / "my_conf" / "env" / "lost.yaml").write_text("_target_: no_such_module.Lost\n")
    (elsewhere / "my_conf" / "env" / "odd.yaml").write_text("_target_: my_env.Mine\ncels: 3\n")
    assert main(["check-env", *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "do:" in told


def test_help_is_printed_without_words(capsys):
    assert main(["check-env"]) == 0
    assert "--config-dir" in capsys.readouterr().out


def test_a_flag_that_can_not_be_read_is_told_by_the_name_of_the_verb(capsys):
    with pytest.raises(SystemExit):
        main(["check-env", "env=dummy", "--steps", "x"])
    assert "worldmodels check-env: error" in capsys.readouterr().err
