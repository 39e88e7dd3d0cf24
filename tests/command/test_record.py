"""`worldmodels record`."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldmodels import command
from worldmodels.data.store import EpisodeStore

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
