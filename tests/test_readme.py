"""README's commands are executed as they are written, in one folder, and what else it claims is looked up."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from typecheck import unwatched

from worldmodels import command
from worldmodels.launch.choices import conf
from worldmodels.launch.compose import config
from worldmodels.launch.words import with_demo

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
# Words that make training short, put behind those of README. Recordings are made as written.
BRIEF = ["budget.updates=2", "data.updates=2", "evaluation.episodes=2", "evaluation.limit=50"]
ACTING = ["data.warmup=200", "data.sampler.batch=4"]
MORE = {
    "world_model_offline": [*BRIEF, "data.batch=4", "data.held_batches=1"],
    "dqn_minatar": [*BRIEF, *ACTING],
    "gumbel_muzero": [*BRIEF, *ACTING, "callback.score.every=1"],
    "ppo_minatar": [*BRIEF[:1], *BRIEF[2:], "data.steps=16", "data.passes=1"],
    "dreamer_minatar": [*BRIEF, *ACTING, "callback.film.batches=1", "callback.score.every=1"],
}


def block(kind: str) -> str:
    """The fenced blocks of a language, one after the other."""
    return "".join(re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL))


def lengthened(line: str) -> list[str]:
    """The words of a line, and for training those that make it short."""
    words = shlex.split(line)
    if words[:2] not in (["python", "train.py"], ["python", "sweep.py"]):
        return words
    experiment = next((w.partition("=")[2] for w in words if w.startswith("+experiment=")), "dreamer_minatar")
    return [*words, *MORE[experiment]]


def give(line: str, place: Path) -> None:
    """As a user would. What starts no processes is called in this one; a fresh one takes seconds to import torch."""
    words = lengthened(line)
    if "launcher=" in line or words[:2] in (["worldmodels", "jobs"], ["worldmodels", "report"]):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr, line
        return
    called = words[1:] if words[0] in ("python", "worldmodels") else words
    with pytest.MonkeyPatch.context() as patch, unwatched():
        patch.chdir(place)
        assert command.main([called[0].removesuffix(".py"), *called[1:]]) == 0, line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command of README has been given, one after the other."""
    place = tmp_path_factory.mktemp("readme")
    for script in ("train.py", "record.py", "sweep.py"):
        (place / script).symlink_to(REPOSITORY / script)
    for line in block("bash").splitlines():
        give(line, place)
    return place


def test_the_commands_leave_what_they_promise(place: Path) -> None:
    assert (place / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (place / "recordings").iterdir()} > {"minatar-breakout-random"}
    finished = {path.parent.parent.name for path in (place / "runs").rglob("done.json")}
    assert finished == {name for _, name in table()} | {"demo_seeds"}
    for study, runs in (("dqn_minatar", 5), ("demo_seeds", 2)):
        assert len(list((place / "runs" / study).glob("*/done.json"))) == runs
        assert (place / "runs" / study / "report" / "report.html").is_file()


def test_the_snippet_loads_the_run_and_acts(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    exec(compile(block("python"), "README.md", "exec"), {})
    assert len(ast.literal_eval(capsys.readouterr().out)) == 5


def test_a_runs_folder_looks_as_it_is_drawn(place: Path) -> None:
    (tree,) = re.findall(r"```\nruns/<study>/<name>/[^\n]*\n(.*?)```", README, re.DOTALL)
    run = place / "runs" / "dreamer_minatar" / "mine"
    lines = [
        line.split() for line in tree.splitlines() if line.startswith("  ") and line[2] != " " and " only " not in line
    ]
    drawn = [name for name, *_ in lines]
    assert len(drawn) >= 8
    for name in drawn:
        assert (run / name).exists(), name


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    named = re.findall(r"^    make (\w+)", README, re.MULTILINE)
    assert named == ["demo", "test"]
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def table() -> list[tuple[str, str]]:
    """Stage and experiment of each row in README's table."""
    return re.findall(r"^\| `(\w+)` \|[^|]*\| `(\w+)` \|", README, re.MULTILINE)


def test_the_table_of_stages_tells_what_the_experiments_choose() -> None:
    assert len(table()) == 5
    for stage, name in table():
        assert f"override /stage: {stage}\n" in (conf() / "experiment" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("group", ["stage", "experiment", "studies"])
def test_every_stage_experiment_and_study_is_told_of(group: str) -> None:
    pages = "".join(path.read_text() for path in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])
    names = {path.stem for path in (conf() / group).glob("*.yaml")}
    assert {name for name in names if not re.search(rf"\b{name}\b", pages)} == set()


def test_the_extras_are_those_of_the_package() -> None:
    (named,) = re.findall(r"any of the extras `([^`]*)`", README)
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(named.split()) == set(extras) - {"dev", "bench", "all"}


def test_the_layers_are_the_folders_of_the_package() -> None:
    (named,) = re.findall(r"imports only go down: (`core`.*?`command`)", README, re.DOTALL)
    folders = {path.parent.name for path in (REPOSITORY / "worldmodels").glob("*/__init__.py")}
    assert set(re.findall(r"\w+", named)) == folders


def trainings(page: Path) -> list[list[str]]:
    """The words of each `python train.py` in a page's blocks that names no file of the reader's own."""
    blocks = "".join(re.findall(r"```(?:bash|sh)\n(.*?)```", page.read_text(), re.DOTALL)).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in blocks.splitlines()]
    return [words[2:] for words in lines if words[:2] == ["python", "train.py"] and "--config-dir" not in words]


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_what_the_pages_type_are_options_that_there_are(page: Path) -> None:
    """Of several values for a sweep the first; launchers and sweepers have configs of their own."""
    for words in trainings(page):
        words = [word for word in words if not word.startswith(("hydra", "-m"))]
        words = [re.sub(r"(?<==)([\w.-]+),.*", r"\1", word) for word in words]
        words = [re.sub(r"=(tag|choice|range|interval)\(.*", "=1", word) for word in words]
        config("train", with_demo(words))
    assert sum(len(trainings(each)) for each in (REPOSITORY / "docs").glob("*.md")) > 15


def test_the_flags_of_abstract_world_models_lead_to_options_that_there_are() -> None:
    text = (REPOSITORY / "docs/muzero.md").read_text().partition("### Its flags")[2].partition("\n## ")[0]
    found = {key for row in text.splitlines() for key in re.findall(r"`((?:[a-z]+\.)+[a-z_]+)", row)}
    worlds = (
        ["+experiment=muzero_nce", "env=atari", "model=muzero_grid", "data/sampler=prioritised"],
        ["+experiment=q_learning"],
    )
    there = [config("train", words) for words in (*worlds, ["+experiment=muzero", "data/sampler=uniform"])]
    assert len(found) > 30
    assert not {key for key in found if all(OmegaConf.select(cfg, key, default="none") == "none" for cfg in there)}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)]*)\)", README):
        if not target.startswith("http"):
            assert (REPOSITORY / target).exists(), target
