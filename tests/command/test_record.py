"""`worldmodels record`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldmodels import command
from worldmodels.core.spec import ArraySpec
from worldmodels.data.store import EpisodeStore
from worldmodels.launch.agents import agents

WORLD = ["env=dummy", "env.game=corridor", "width=4"]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_asking_for_more_continues_and_for_as_much_adds_nothing() -> None:
    for steps, held in ((200, 200), (200, 200), (400, 400)):
        assert command.main(["record", *WORLD, "policy=random", f"steps={steps}"]) == 0
        store = EpisodeStore.open("recordings/dummy-corridor-random")
        assert store.steps == held
        store.close()


def test_a_continued_recording_tells_nothing_twice() -> None:
    for steps in (400, 800):
        assert command.main(["record", *WORLD, f"steps={steps}"]) == 0
    with EpisodeStore.open("recordings/dummy-corridor-random") as store:
        half = len(store) // 2
        lengths = [len(store[n]) for n in range(len(store))]
        assert lengths[:10] != lengths[half : half + 10]
        assert len(set(map(str, (store[n].action.tolist() for n in range(len(store)))))) > len(store) * 0.8


def test_episodes_are_counted_to_the_one() -> None:
    assert command.main(["record", *WORLD, "policy=random", "episodes=13", "store=mine"]) == 0
    with EpisodeStore.open("mine") as store:
        assert len(store) == 13
        assert all(store[n].ended for n in range(13))


def test_a_store_of_other_shapes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["record", *WORLD, "steps=50", "store=mine"]) == 0
    assert command.main(["record", "env=dummy", "env.game=dot", "steps=100", "store=mine"]) == 2
    assert "expected:" in capsys.readouterr().err


def test_neither_world_nor_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["record", "steps=50"]) == 2
    assert "env=<name>, or run=<folder>" in capsys.readouterr().err


def test_a_trained_agent_is_recorded_in_its_own_world() -> None:
    words = ["env=dummy", "stage=dqn", "data.warmup=64", "data.updates=2", "data.width=2", "data.piece=4"]
    words += ["data.sampler.length=1", "budget={updates:2,env_steps:null}", "evaluation.episodes=2", "stage.n_step=1"]
    assert command.main(["train", *words]) == 0
    (run,) = (path.parent for path in Path("runs").rglob("done.json"))
    assert "=" in run.name
    assert command.main(["record", f"run={run}", "explore=false", "episodes=3"]) == 0
    (folder,) = Path("recordings").iterdir()
    with EpisodeStore.open(folder) as store:
        assert len(store) == 3
        assert folder.name.endswith("-greedy")
        assert store[0].source["policy"] == str(run)


MIXED = ["env=mixture", "env@env.base=dummy", "env.games=[corridor]", "env.base.size=5", "width=4"]


def test_random_steps_come_first_and_count_however_often_it_is_asked() -> None:
    words = ["record", *WORLD, "policy=constant", "policy.action=1", "store=mine", "prefill=120"]
    for steps in (120, 200, 200, 400):
        assert command.main([*words, f"steps={steps}"]) == 0
    with EpisodeStore.open("mine") as store:
        assert store.steps == 400
        kinds: dict[str, list[int]] = {}
        for number in store.episodes.number.tolist():
            kinds.setdefault(str(store[number].source["policy"]), []).extend(store[number].action.tolist())
        assert {policy: len(actions) for policy, actions in kinds.items()} == {"random": 120, "constant": 280}
        assert 40 < sum(kinds["random"]) < 80
        assert set(kinds["constant"]) == {1}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["steps=10", "episodes=2"], "steps=10 and episodes=2"),
        (["steps=10", "prefill=20"], "prefill=20 of steps=10"),
        (["prefill=-1"], "prefill=-1"),
    ],
)
def test_amounts_that_contradict_each_other_are_refused_before_anything_begins(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["record", *WORLD, *words]) == 2
    assert told in capsys.readouterr().err
    assert not Path("recordings").exists()


def test_a_store_of_the_same_shapes_and_other_options_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["record", *WORLD, "steps=50", "store=mine"]) == 0
    assert command.main(["record", *WORLD, "env.size=5", "steps=100", "store=mine"]) == 2
    told = capsys.readouterr().err
    assert "env.size: None in the store, 5 here" in told
    assert "store=<another folder>" in told
    with EpisodeStore.open("mine") as store:
        assert store.steps == 52


def test_a_policy_that_tells_other_things_is_refused_before_it_acts(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["record", *MIXED, "store=mine", "steps=40"]
    assert command.main(words) == 0
    with EpisodeStore.open("mine") as store:
        other = EpisodeStore.create("other", store.spec, extras={"skill": ArraySpec((), "int64")})
        other.close()
    assert command.main([*words, "store=other"]) == 2
    told = capsys.readouterr().err
    assert "keeps the extras env_id, skill; this policy and world tell env_id" in told


def test_lanes_of_a_mixture_are_shared_out_equally_or_not_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("minatar")
    words = ["record", "env=minatar_mixture", "env.games=[breakout,asterix,freeway]", "store=mine"]
    assert command.main([*words, "steps=90", "width=4"]) == 2
    assert "set width=3 or 6" in capsys.readouterr().err
    assert command.main([*words, "steps=90", "width=6"]) == 0
    assert command.main([*words, "steps=180", "width=6", "env.base.views=[]"]) == 0, "views are not stored"
    assert command.main(["inspect", "mine", "--no-sheet", "--json"]) == 0
    worlds = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))["worlds"]
    assert {name: of["steps"] for name, of in worlds.items()} == {
        "minatar/breakout": 60,
        "minatar/asterix": 60,
        "minatar/freeway": 60,
    }


def test_agents_of_several_runs_live_in_the_mixture_of_their_games(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("minatar")
    words = ["+experiment=dqn_minatar", "data.warmup=64", "budget.updates=4", "data.updates=2", "data.width=4"]
    words += ["~callback.score", "evaluation.episodes=1", "evaluation.limit=20", "callback.checkpoint.first=1"]
    for game in ("breakout", "asterix"):
        assert command.main(["train", *words, f"env.game={game}", f"name={game}"]) == 0
    record = ["record", "+experiment=record_multi_env", "env.games=[asterix,breakout]", "prefill=400", "width=4"]
    found = agents(["runs/dqn_minatar/*"], ["update_*", "last"], ["minatar/breakout"])
    assert [agent.skill for agent in found] == [1, 2, 4], "the last one is that of update 4"
    assert command.main([*record, "steps=2000", "policy.checkpoints=[update_*]"]) == 0
    with EpisodeStore.open("recordings/minatar_multi_env") as store:
        assert store.spec.worlds == ("minatar/asterix", "minatar/breakout")
        assert [int(store.episodes.length[store.labels() == world].sum()) for world in (0, 1)] == [1000, 1000]
        skills = [set(store[n].extras["skill"].tolist()) for n in store.episodes.number.tolist()]
        assert all(len(skill) == 1 for skill in skills)
        assert set.union(*skills) == {0, 1, 2, 4}
        policies = [store[n].source["policy"] for n in store.episodes.number.tolist()]
        assert all((policy == "random") == (skill == {0}) for policy, skill in zip(policies, skills, strict=True))
    assert command.main(["train", "+experiment=record_multi_env"]) == 2
    assert "record.py are named record_" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["policy.runs=[]"], "policy.runs=[]"),
        (["policy.runs=[runs/nothing*]"], "runs/nothing* names no run"),
    ],
)
def test_a_crew_without_runs_is_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["record", *MIXED, "policy=skilled", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_misspelt_game_is_told_before_an_amount_that_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("minatar")
    words = ["record", "+experiment=record_multi_env", "steps=1000"]
    assert command.main([*words, "env.games=[brekout]"]) == 2
    told = capsys.readouterr().err
    assert "game='brekout'" in told
    assert "prefill" not in told
    assert command.main(words) == 2
    assert "prefill=50000 of steps=1000" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["planner=puct", "planner.simulations=32", "planner/interior=puct"])
def test_options_of_a_search_without_one_are_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["record", *WORLD, "policy=random", word, "steps=20"]) == 2
    told = capsys.readouterr().err
    assert f"{word} without policy=planning" in told
    assert "add policy=planning" in told
    assert not Path("recordings").exists()


def test_a_model_is_no_group_of_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["record", *WORLD, "policy=planning", "model=runs/some/run", "steps=20"]) == 2
    assert "a trained run is named by run=<folder>" in capsys.readouterr().err
