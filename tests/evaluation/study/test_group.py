"""What belongs together, what counts, and what is said about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worldmodels.evaluation.study import find, notes
from worldmodels.evaluation.study.group import Grouping, best, group

STUDY = ("runs", "study")


def grouped(tmp_path: Path, **options: Any) -> Grouping:
    return group(find.runs([tmp_path.joinpath(*STUDY)]), **options)


def test_runs_that_differ_in_seeds_alone_are_one_group(make: Any, tmp_path: Path) -> None:
    for seed in range(3):
        make(f"a{seed}", seed)
        make(f"b{seed}", seed, lr=0.01)
    found = grouped(tmp_path)
    assert [len(each.runs) for each in found.groups] == [3, 3]
    assert [each.label for each in found.groups] == ["stage.lr=0.001", "stage.lr=0.01"]
    assert found.columns == ("stage.lr",)


def test_callbacks_and_threads_do_not_split_a_group(make: Any, tmp_path: Path) -> None:
    make("a", 0)
    make("b", 1, config={"threads": 8, "callback": {"score": {"every": 5}}, "name": "x", "logger": {"wandb": {}}})
    assert len(grouped(tmp_path).groups) == 1


@pytest.mark.parametrize("change", [{"evaluation": {"episodes": 50}}, {"budget": {"updates": 200}}])
def test_another_evaluation_or_budget_is_another_group(make: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    make("a", 0)
    make("b", 1, config=change)
    assert len(grouped(tmp_path).groups) == 2


def test_a_default_that_changed_is_a_column_although_no_word_tells_it(make: Any, tmp_path: Path) -> None:
    make("a", 0, words=["stage.lr=1e-3", "seed=0"])
    make("b", 0, words=["stage.lr=1e-3", "seed=0"], config={"data": {"width": 8}})
    assert [each.values for each in grouped(tmp_path).groups] == [{"data.width": "8"}, {"data.width": "\N{EN DASH}"}]


def test_words_of_the_command_line_are_the_columns(make: Any, tmp_path: Path) -> None:
    """A choice of an experiment changes many keys; the word tells it in one."""
    for name, many in (("dqn", {"x": 1, "y": 1, "z": 1}), ("ppo", {"x": 2, "y": 2, "z": 2})):
        make(name, 0, words=[f"+experiment={name}", "seed=0"], config={"data": many})
    assert grouped(tmp_path).columns == ("experiment",)


def test_environments_are_strata_of_one_group(make: Any, tmp_path: Path) -> None:
    for game in ("breakout", "asterix"):
        for seed in range(2):
            make(f"{game}{seed}", seed, env={"_target_": "x.MinAtar", "game": game})
    (only,) = grouped(tmp_path).groups
    assert [(env, len(cell.runs)) for env, cell in only.cells.items()] == [("asterix", 2), ("breakout", 2)]


def test_the_same_game_with_other_options_is_another_environment(make: Any, tmp_path: Path) -> None:
    make("a", env={"game": "breakout", "sticky": 0.1})
    make("b", env={"game": "breakout", "sticky": 0.25})
    assert grouped(tmp_path).worlds == ["breakout sticky=0.1", "breakout sticky=0.25"]


def test_studies_are_not_mixed(make: Any, tmp_path: Path) -> None:
    make("a", 0, study="before")
    make("a", 1, study="after")
    found = group(find.runs([tmp_path / "runs" / "before", tmp_path / "runs" / "after"]))
    assert [each.label for each in found.groups] == ["after", "before"]


@pytest.mark.parametrize("state", ["queued", "running", "failed", "killed"])
def test_only_finished_runs_count(make: Any, tmp_path: Path, state: str) -> None:
    make("a", 0, 1.0)
    other = make("b", 1, 9.0, state=state)
    found = grouped(tmp_path)
    assert [float(score) for score in found.groups[0].cells["breakout"].scores] == [1.0]
    (left,) = found.reasons
    assert left.folder == other
    assert "1 of 2 runs are in no average" in notes.of_study(found)[0]


def test_unfinished_runs_count_when_asked_with_their_last_evaluation_and_a_mark(make: Any, tmp_path: Path) -> None:
    make("a", 0, 1.0)
    make("b", 1, 9.0, state="killed")
    make("c", 2, 9.0, state="queued")
    found = grouped(tmp_path, unfinished=True)
    cell = found.groups[0].cells["breakout"]
    assert cell.scores.tolist() == [1.0, 9.0]
    assert "1 of 2 not finished" in notes.of_cell(cell)
    assert any("not finished count with their last evaluation" in note for note in notes.of_study(found))


def test_a_score_that_is_not_a_number_is_left_out_and_told(make: Any, tmp_path: Path) -> None:
    make("a", 0, 1.0)
    make("b", 1, float("nan"))
    found = grouped(tmp_path)
    assert list(found.reasons.values()) == ["with a score that is not a number"]


def test_of_two_runs_of_the_same_seed_the_later_counts(make: Any, tmp_path: Path) -> None:
    make("a", 0, 1.0, began="2026-02-01")
    make("b", 0, 2.0, began="2026-01-01")
    found = grouped(tmp_path)
    assert found.groups[0].cells["breakout"].scores.tolist() == [1.0]
    assert "same config and seed" in notes.of_study(found)[0]


def test_mixed_commits_are_told(make: Any, tmp_path: Path) -> None:
    make("a", 0, commit="a" * 40)
    make("b", 1, commit="b" * 40)
    found = grouped(tmp_path)
    (told,) = notes.of_cell(found.groups[0].cells["breakout"])
    assert told == "2 commits (aaaaaaaaaa, bbbbbbbbbb)"
    assert any("2 commits" in note for note in notes.of_study(found))


def test_uncommitted_changes_that_differ_are_told(make: Any, tmp_path: Path) -> None:
    make("a", 0, diff="diff --git a/x b/x\n+1\n")
    make("b", 1, diff="diff --git a/x b/x\n+2\n")
    (told,) = notes.of_cell(grouped(tmp_path).groups[0].cells["breakout"])
    assert told == "uncommitted changes in 2 of 2 runs, not all the same"


def test_evaluations_and_steps_that_differ_are_told(make: Any, tmp_path: Path) -> None:
    make("a", 0, episodes=10, steps=1000)
    make("b", 1, episodes=20, steps=2000)
    told = notes.of_cell(grouped(tmp_path).groups[0].cells["breakout"])
    assert "runs were evaluated on 10, 20 episodes" in told
    assert "from 1,000 to 2,000 env steps" in told


def test_damaged_files_of_one_run_are_named_and_stop_nothing(make: Any, tmp_path: Path) -> None:
    make("a", 0, 1.0)
    for name, text in {
        "config.yaml": "{",
        "done.json": "{",
        "metrics.csv": "a,b\n1\n",
        "evaluation.jsonl": "{}\n",
        "provenance.json": "[]",
    }.items():
        (make(name, 1, 2.0) / name).write_text(text)
    found = grouped(tmp_path)
    told = {run.folder.name: run.problems for run in found.runs}
    assert told.pop("a") == ()
    assert all(
        len(problems) == 1 and problems[0].startswith(f"{name} can not be read") for name, problems in told.items()
    )
    reasons = {run.folder.name: why for run, why in found.reasons.items()}
    assert reasons["config.yaml"] == "done, with a config that can not be read"
    assert reasons["done.json"] == "with a result that can not be read"


def test_a_queued_run_without_a_config_is_known_by_its_status(make: Any, tmp_path: Path) -> None:
    make("a", 0)
    (make("b", 1, state="queued") / "config.yaml").unlink()
    found = grouped(tmp_path)
    assert list(found.reasons.values()) == ["queued"]
    assert not any(run.problems for run in found.runs)


@pytest.mark.parametrize("absent", [False, True])
def test_a_model_that_learns_alone_is_scored_by_its_held_out_loss(make: Any, tmp_path: Path, absent: bool) -> None:
    """The recording is its world; `env` may be null or not there at all."""
    for seed, loss in enumerate((3.0, 2.0)):
        folder = make(f"a{seed}", seed, config={"env": None, "data": {"store": "recordings/x/episodes"}})
        if absent:
            text = (folder / "config.yaml").read_text()
            (folder / "config.yaml").write_text(text.replace("env: null\n", ""))
        (folder / "evaluation.jsonl").unlink()
        result = {
            "env_steps": 0,
            "updates": 9,
            "minutes": 1.0,
            "model": {"held/loss/grid": loss - 1, "held/loss/kl": 1.0},
        }
        (folder / "done.json").write_text(json.dumps(result))
    cell = grouped(tmp_path).groups[0].cells["x"]
    assert (cell.measure, cell.better, cell.scores.tolist()) == ("held-out loss", -1, [3.0, 2.0])


def test_the_best_groups_are_those_of_the_best_ranks(make: Any, tmp_path: Path) -> None:
    """Asterix pays a hundred times as much, which must not decide."""
    for lr, scores in {0.1: (100.0, 1.0), 0.2: (110.0, 0.5), 0.3: (120.0, 2.0)}.items():
        for game, score in zip(("asterix", "breakout"), scores, strict=True):
            make(f"{lr}{game}", 0, score, lr=lr, env={"game": game})
    found = grouped(tmp_path)
    assert [each.label for each in best(found.groups, 1)] == ["stage.lr=0.3"]
    assert [each.label for each in best(found.groups, 2, "breakout")] == ["stage.lr=0.1", "stage.lr=0.3"]
