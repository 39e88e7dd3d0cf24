"""A MuZero acts by its search, tells what the search found, and is scored beside its prior."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typecheck import unwatched

from worldmodels import command
from worldmodels.core.rng import Rng
from worldmodels.data.store import EpisodeStore
from worldmodels.launch.agents import trained
from worldmodels.launch.folder import Folder
from worldmodels.launch.restore import load
from worldmodels.model.latent import LatentBelief
from worldmodels.planner.puct import Puct
from worldmodels.policy.planning import planning
from worldmodels.policy.searching import POLICY, VALUE, Searching

BRIEF = ["budget.updates=2", "data.updates=2", "data.warmup=200", "data.sampler.batch=4", "evaluation.episodes=2"]
SMALL = [
    "model.representation.size=16",
    "model.dynamics.units=16",
    "planner.simulations=3",
    "data.width=4",
    "data.piece=2",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MuZero of two updates."""
    place = tmp_path_factory.mktemp("searching")
    with pytest.MonkeyPatch.context() as patch, unwatched():
        patch.chdir(place)
        words = ["+experiment=gumbel_muzero", *BRIEF, *SMALL, "evaluation.limit=20", "callback.score.every=1"]
        assert (
            command.main(["train", *words, "callback.score.episodes=1", "callback.score.limit=20", "name=small"]) == 0
        )
    return place / "runs" / "gumbel_muzero" / "small"


def moments(run: Path, width: int) -> dict[str, np.ndarray]:
    env = load(run).env(width)
    obs = {name: array.copy() for name, array in env.reset(list(range(width))).items()}
    env.close()
    return obs


def test_it_tells_what_its_search_found(run: Path) -> None:
    policy = load(run).policy()
    assert isinstance(policy, Searching)
    obs = moments(run, 3)
    action, memory, told = policy.act(obs, np.ones(3, bool), policy.initial(3), explore=True, rng=Rng(0, "test"))
    belief = LatentBelief(policy.model.encode({name: torch.from_numpy(x) for name, x in obs.items()}))
    plan = policy.planner.plan(policy.simulator, belief, rng=Rng(0, "test").numpy)
    assert memory is None
    assert np.array_equal(action, plan.action.numpy())
    assert np.array_equal(told[POLICY], plan.target.float().numpy())
    assert np.array_equal(told[VALUE], plan.value.float().numpy())
    for name, spec in policy.extras.items():
        assert told[name].shape == (3, *spec.shape)
        assert told[name].dtype == spec.dtype


def test_worlds_side_by_side_are_searched_as_alone(run: Path) -> None:
    policy, obs = load(run).policy(), moments(run, 5)
    _, _, together = policy.act(obs, np.ones(5, bool), None, explore=False, rng=Rng(0, "test"))
    for i in range(5):
        one = {name: array[i : i + 1] for name, array in obs.items()}
        _, _, alone = policy.act(one, np.ones(1, bool), None, explore=False, rng=Rng(0, "test"))
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], together[name][i], atol=1e-5)


def test_what_was_lived_at_random_has_no_policy_to_learn_from(run: Path) -> None:
    with EpisodeStore.open(run / "episodes") as store:
        policy = np.concatenate([store[int(number)].extras[POLICY] for number in store.episodes.number])
    total = policy.sum(-1)
    searched = np.isclose(total, 1, atol=1e-5)
    assert (searched | (total == 0)).all()
    assert (total == 0).sum() == 200
    assert searched.any()


def test_every_evaluation_also_scores_the_prior_alone(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "evaluation.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert row["return_mean/prior"] >= 0
        assert row["return_stderr/prior"] >= 0
    assert "mean return, prior alone" in (run / "report.html").read_text()


def test_another_planner_searches_in_its_latents(run: Path, tmp_path: Path) -> None:
    opened = load(run)
    policy = planning(opened.spec, load=trained, run=str(run), checkpoint="last", planner=Puct(simulations=8))
    assert isinstance(policy, Searching)
    assert isinstance(policy.planner, Puct)
    words = [f"run={run}", "policy=planning", "planner=puct", "planner.simulations=4", "explore=false", "steps=40"]
    assert command.main(["record", *words, "width=2", f"store={tmp_path / 'store'}"]) == 0
    with EpisodeStore.open(tmp_path / "store") as store:
        assert store.steps >= 40
        assert {POLICY, VALUE} <= set(store.extras)


def test_a_recording_by_its_own_search_changes_only_what_is_asked_for(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Folder(run).read_config()["planner"]
    words = ["record", f"run={run}", "planner.simulations=0", "policy=planning", "--cfg", "job"]
    assert command.main(words) == 0
    assert yaml.safe_load(capsys.readouterr().out)["planner"] == {**kept, "simulations": 0}
    assert command.main([*words[:4], "steps=20", "width=2", f"store={tmp_path / 'store'}"]) == 0
    assert "searches nothing: with planner.simulations=0" in capsys.readouterr().out


def test_a_recording_by_its_own_search_has_its_interior_rule(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "runs" / "gumbel_muzero" / "inside"
    shutil.copytree(run, copied)
    config = Folder(copied).read_config()
    rule = {"_target_": "worldmodels.planner.rules.RegularizedRule", "c": 2.0, "min_range": 1e-8}
    config["planner"]["interior"] = rule
    Folder(copied).config.write_text(yaml.safe_dump(config))
    words = ["record", f"run={copied}", "policy=planning"]
    assert command.main([*words, "--cfg", "job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["planner"]["interior"] == rule
    assert command.main([*words, "planner/interior=puct", "--cfg", "job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["planner"]["interior"]["_target_"].endswith("PuctRule")
    assert command.main([*words, "steps=20", "width=2", f"paths.recordings={tmp_path}"]) == 0
    assert "gumbel+regularized-3" in capsys.readouterr().out


def test_more_considered_actions_than_there_are_leave_no_store(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["record", f"run={run}", "policy=planning", "planner.max_considered=9", f"paths.recordings={tmp_path}"]
    assert command.main(words) == 2
    assert "max_considered=9" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_other_planners_play_goes_into_other_stores(run: Path, tmp_path: Path) -> None:
    words = ["record", f"run={run}", "policy=planning", "episodes=1", "width=1", f"paths.recordings={tmp_path}"]
    for more in (["planner.simulations=2"], ["planner.simulations=3"], ["planner=puct", "planner.simulations=2"]):
        assert command.main([*words, *more]) == 0
    names = sorted(folder.name for folder in tmp_path.iterdir())
    assert [name.partition("planning-")[2] for name in names] == [
        f"{run.name}-gumbel-2", f"{run.name}-gumbel-3", f"{run.name}-puct-2"
    ]  # fmt: skip


def test_a_planner_of_action_values_is_refused_for_a_run_with_a_policy(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"run={run}", "policy=planning", "planner=ucb_q", "steps=40"]
    assert command.main(["record", *words]) != 0
    assert "set planner=gumbel or puct" in capsys.readouterr().err
