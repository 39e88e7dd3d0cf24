"""A search in the latent space of a trained world model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typecheck import unwatched

from worldmodels import command
from worldmodels.core.rng import Rng
from worldmodels.data.store import EpisodeStore
from worldmodels.launch.agents import trained
from worldmodels.launch.restore import Run, load
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.puct import Puct
from worldmodels.policy.planning import Planning, planning

BRIEF = ["budget.updates=2", "data.updates=2", "data.warmup=200", "data.sampler.batch=4", "evaluation.episodes=1"]
SMALL = ["model.recurrence.deter=16", "model.recurrence.hidden=16", "stage.imagination.starts=8", "callback.film=null"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dreamer of two updates."""
    place = tmp_path_factory.mktemp("planning")
    with pytest.MonkeyPatch.context() as patch, unwatched():
        patch.chdir(place)
        words = [*BRIEF, *SMALL, "evaluation.limit=20", "callback.score=null", "name=small"]
        assert command.main(["train", *words]) == 0
    return place / "runs" / "dreamer_minatar" / "small"


def act(run: Run, policy: Planning, width: int, *, explore: bool) -> tuple[np.ndarray, tuple]:
    env = run.env(width)
    obs = env.reset(list(range(width)))
    env.close()
    action, memory, _ = policy.act(
        obs, np.ones(width, bool), policy.initial(width), explore=explore, rng=Rng(0, "test")
    )
    return action, memory


def test_a_dreamers_latents_are_searched(run: Path) -> None:
    opened = load(run)
    policy = planning(opened.spec, load=trained, run=str(run), checkpoint="last", planner=Puct(simulations=8))
    action, (belief, chosen) = act(opened, policy, 3, explore=True)
    assert action.shape == (3,)
    assert np.array_equal(chosen.argmax(1).numpy(), action)  # the next belief knows what was done
    assert belief.feature.shape[0] == 3


def test_without_simulations_it_acts_as_the_actor(run: Path) -> None:
    opened = load(run)
    policy = planning(opened.spec, load=trained, run=str(run), checkpoint="last", planner=Gumbel(simulations=0))
    searched, _ = act(opened, policy, 8, explore=False)
    acted, _ = act(opened, opened.policy(), 8, explore=False)
    assert np.array_equal(searched, acted)


def test_what_is_searched_is_what_the_heads_say(run: Path) -> None:
    stage = load(run).stage
    simulator = stage.simulator(torch.Generator().manual_seed(0))
    with torch.no_grad():
        root = simulator.root(stage.model.initial(2))
        move = simulator.recurrent(root.latent, torch.tensor([0, 1]))
        feature = move.latent.feature
        assert torch.equal(move.reward, stage.model.reward(feature))
        assert torch.equal(move.discount, stage.imagination.discount * stage.model.cont(feature))
        assert torch.equal(move.prior, stage.actor(feature))
        assert torch.equal(move.value, stage.critic.mean(stage.critic(feature)))


def test_a_search_is_recorded_by_one_command(run: Path, tmp_path: Path) -> None:
    words = [f"run={run}", "policy=planning", "planner=puct", "planner.simulations=4", "steps=40", "width=4"]
    with unwatched():
        assert command.main(["record", *words, f"store={tmp_path / 'store'}"]) == 0
    store = EpisodeStore.open(tmp_path / "store")
    assert store.steps >= 40
    store.close()


def test_planning_without_a_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["record", "env=dummy", "policy=planning"]) == 2
    assert "policy=planning without a run" in capsys.readouterr().err
