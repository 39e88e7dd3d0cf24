"""Names of run folders, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodels.core.errors import ConfigError, ResumeError
from worldmodels.launch.compose import config
from worldmodels.launch.folder import LONGEST, Folder, check_place, differences, run_name
from worldmodels.launch.train import train

WORD = st.tuples(st.sampled_from(["a", "b.c", "d"]), st.text(max_size=8).filter(lambda t: "=" not in t))


def test_the_order_of_overrides_does_not_matter() -> None:
    assert run_name(["seed=1", "+experiment=x"]) == run_name(["+experiment=x", "seed=1"]) == "experiment=x,seed=1"


def test_the_later_of_two_equal_keys_counts() -> None:
    assert run_name(["seed=1", "seed=2"]) == "seed=2"


def test_how_a_run_is_watched_does_not_name_it() -> None:
    assert run_name(["logger=wandb", "logger.wandb.offline=true", "force=true", "threads=4"]) == "default"


def test_a_budget_names_a_run() -> None:
    assert run_name(["budget.updates=5"]) == "budget.updates=5"


@given(st.lists(WORD, max_size=4), st.lists(WORD, max_size=4))
def test_names_are_safe_and_differ_where_overrides_differ(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    names = [run_name([f"{key}={value}" for key, value in words]) for words in (one, other)]
    for name in names:
        assert name
        assert not set(name) & set(" /\\:*?\"'<>|$`\n")
        assert not name.startswith(".")
        assert len(name) <= LONGEST + 9
    assert (names[0] == names[1]) == (dict(one) == dict(other))


def test_a_long_name_is_cut_and_stays_apart() -> None:
    names = {run_name([f"key={'x' * 300}{i}"]) for i in range(3)}
    assert len(names) == 3
    assert max(map(len, names)) < 255


def test_differences_name_nested_keys_and_leave_out_the_free_ones() -> None:
    old = {"a": {"b": 1, "c": 2}, "budget": {"updates": 1}, "force": False}
    new = {"a": {"b": 3, "c": 2}, "budget": {"updates": 2}, "force": True, "d": None}
    assert differences(old, new) == ["a.b: 1 -> 3", "d: absent -> None"]


def test_a_checkpoint_without_a_config_is_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.last.parent.mkdir()
    folder.last.touch()
    with pytest.raises(ResumeError, match=r"no config\.yaml"):
        folder.claim({"seed": 0})


def test_a_name_belongs_to_a_config_from_the_first_checkpoint_on(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.claim({"seed": 0})
    folder.claim({"seed": 1})
    assert folder.read_config() == {"seed": 1}
    folder.last.parent.mkdir()
    folder.last.touch()
    with pytest.raises(ResumeError, match=r"(?s)another config.*seed: 1 -> 2"):
        folder.claim({"seed": 2})


def test_moving_aside_never_takes_a_place_that_is_taken(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        folder = Folder(tmp_path / "run")
        folder.path.mkdir()
        (folder.path / "number").write_text(str(number))
        assert folder.move_aside() == tmp_path / f"run.old-{number}"
    assert [(tmp_path / f"run.old-{n}" / "number").read_text() for n in (1, 2, 3)] == ["1", "2", "3"]


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run folder"):
        Folder(tmp_path).read_config()


def test_a_folder_of_runs_and_a_file_of_a_run_lead_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "study" / "mine" / "checkpoints").mkdir(parents=True)
    (tmp_path / "study" / "mine" / "config.yaml").write_text("seed: 0\n")
    for near in ("study", "study/mine/checkpoints/last.ckpt"):
        with pytest.raises(ConfigError, match=rf"such as {tmp_path}/study/mine$"):
            Folder(tmp_path / near).read_config()


@pytest.mark.parametrize("text", ["garbage: [", "", "{", None])
def test_a_file_of_a_run_that_is_damaged_is_named(text: str | None, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.config.write_text(text or "")
    with pytest.raises(ConfigError, match=r"config\.yaml can not be read"):
        folder.read_config()
    if text is not None:
        folder.spec.write_text(text)
    with pytest.raises(ConfigError, match=r"spec\.json can not be read"):
        folder.read_spec()


@pytest.mark.parametrize(
    "words",
    [
        *(["name=../x"], ["name=a/b"], ["name=.."], ["name=/tmp/x"], ["name=''"], ["study=../x"], ["study=/tmp/x"]),
        *(["study=a//b"], ["study=a/../../b"], [f"name={'x' * 201}"]),
    ],
)
def test_a_run_can_not_leave_the_folder_of_runs(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no place inside the folder of runs"):
        train(config("train", ["+experiment=dqn_minatar", *words]), words)
    assert not list(tmp_path.iterdir())


def test_studies_may_lie_in_one_another_and_names_may_be_numbers():
    check_place("paper/ablation", 3)
    check_place("paper", None)
