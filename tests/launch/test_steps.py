"""A study of steps as a plan: every run knows whose folder it begins with, or the study is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.launch.choices import conf
from worldmodels.launch.compose import config, plain
from worldmodels.launch.folder import run_name
from worldmodels.launch.steps import Row, Step, steps

AGENTS: dict[str, Any] = {"grid": {"env.game": ["asterix", "freeway"]}, "seeds": [0]}
PRETRAIN: dict[str, Any] = {"words": ["data.store={recording}"], "grid": {"data.shuffle": [None, "cells"]}}
STUDY: dict[str, Any] = {
    "agents": AGENTS,
    "recording": {"verb": "record", "words": ["steps=9", "policy.runs=[{agents/*}]"]},
    "pretrain": PRETRAIN,
    "tune": {"words": ["env=dummy"], "list": [{"arm": "all", "init": "{pretrain data.shuffle=null}"}]},
}


def planned(**changes: Any) -> dict[str, Step]:
    return {step.name: step for step in steps({**STUDY, **changes}, Path("runs/study"), [0, 1], {})}


def only(step: Step, seed: int, **values: str) -> Row:
    (row,) = (row for row in step.rows if row.seed == seed and {**row.values, **values} == row.values)
    return row


def test_a_run_takes_the_folder_of_its_own_seed_and_of_the_values_that_are_named() -> None:
    plan = planned()
    for seed in (0, 1):
        row = only(plan["tune"], seed)
        (need,) = row.needs
        assert need is only(plan["pretrain"], seed, **{"data.shuffle": "null"})
        assert row.words[:2] == ("arm=all", f"init='{need.folder}'")
        assert row.folder == Path(f"runs/study/tune/arm=all,seed={seed}"), "where it comes from is no part of a name"


def test_a_step_with_one_seed_serves_all_seeds_of_another() -> None:
    plan = planned(tune={"list": [{"init": "{agents env.game=freeway}"}]})
    (folder,) = {row.needs[0].folder for row in plan["tune"].rows}
    assert folder == Path("runs/study/agents") / run_name(["env.game=freeway", "seed=0"])


def test_all_runs_of_a_step_are_meant_by_a_star_and_must_be_there() -> None:
    row = planned()["recording"].rows[0]
    assert "policy.runs=['runs/study/agents/*']" in row.words
    assert len(row.needs) == 2
    assert row.common == ("steps=9",)


def test_of_a_recording_the_store_is_meant() -> None:
    plan = planned()
    recording, pretrain = plan["recording"].rows[1], only(plan["pretrain"], 1, **{"data.shuffle": "cells"})
    assert f"store='{recording.folder / 'episodes'}'" in recording.words
    assert f"data.store='{recording.folder / 'episodes'}'" in pretrain.words
    assert pretrain.needs == (recording,)


def test_the_first_seed_of_all_comes_first_and_words_of_a_step_reach_it_alone() -> None:
    plan = {step.name: step for step in steps(STUDY, Path("runs/study"), [0, 1], {"pretrain": ["budget.updates=3"]})}
    assert [row.seed for row in plan["pretrain"].rows] == [0, 0, 1, 1]
    assert all("budget.updates=3" in row.line for row in plan["pretrain"].rows)
    assert not any("budget.updates=3" in row.line for row in plan["tune"].rows)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tune": {"words": ["init={pretrian}"]}}, r"names no earlier step.*did you mean pretrain\?"),
        ({"tune": {"words": ["init={tune}"]}}, "names no earlier step"),
        ({"tune": {"words": ["init={pretrain}"]}}, "means 2 of the 4 runs of pretrain"),
        ({"tune": {"words": ["init={pretrain data.shuffle=cell}"]}}, "means none of the 4 runs"),
        ({"tune": {"words": ["init={pretrain data.shuffle=null}"], "seeds": [5]}}, "of seed 5 means"),
        ({"tune": {"wrods": []}}, r"did you mean words\?"),
        ({"tune": {"verb": "sweep"}}, "one of train, record"),
        ({"tune": {"grid": {"a": 1}}}, r"grid\.a=1"),
    ],
)
def test_a_place_that_is_none_or_several_and_a_step_that_is_none_are_refused(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){told}"):
        planned(**changes)


@pytest.mark.parametrize("name", ["transfer_minatar", "transfer_minatar_small"])
def test_every_arm_of_the_transfer_studies_begins_with_what_it_should(name: str) -> None:
    study = plain(config("sweep", [f"studies@study={name}"]))["study"]
    assert study["name"] == name
    plan = {step.name: step for step in steps(study["steps"], Path("runs", name), study["seeds"], {})}
    assert set(study["report"]) <= plan.keys()
    for step in study["report"]:
        for row in plan[step].rows:
            begun = [need for need in row.needs if need.step == "pretrain"]
            pixels = [(need.values["data.shuffle"], need.seed) for need in begun]
            kind = "cells" if row.values["arm"] == "shuffled" else "null"
            assert pixels == ([] if row.values["arm"] == "scratch" else [(kind, row.seed)]), row.name
        arms = {row.values["arm"] for row in plan[step].rows}
        assert arms <= {path.stem for path in (conf() / "arm").glob("*.yaml")}
        assert {"scratch", "all", "shuffled"} <= arms
