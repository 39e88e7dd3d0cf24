"""A searched tree as a page: every moment is drawn once, and the numbers are those of the search."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.analysis.search_tree import SearchTree
from worldmodels.analysis.subject import Subject
from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.errors import ConfigError
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver
from worldmodels.data.recorder import Recorder
from worldmodels.data.store import EpisodeStore
from worldmodels.env.dummy import Dummy
from worldmodels.launch.compose import config, plain
from worldmodels.launch.own_search import own_search
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.puct import Puct
from worldmodels.planner.sampled import Sampled
from worldmodels.planner.simulator import Simulator, from_model
from worldmodels.policy.scripted import Random


@dataclass(frozen=True)
class Place(Belief):
    at: Float[Tensor, "*batch 1"]


class Corridor(nn.Module):
    """Knows its way: place from -1 to 1, a seventh of 2 a step, the right end pays."""

    def __init__(self, *, tells: bool) -> None:
        super().__init__()
        self.tells = tells

    def initial(self, batch: int) -> Place:
        return Place(torch.full((batch, 1), -1.0))

    def encode(self, obs: Any) -> Tensor:
        return next(iter(obs.values())).float()

    def observe(self, belief: Place, action: Tensor, embed: Tensor, *, rng: Any = None) -> Place:
        return Place(embed)

    def imagine(self, belief: Place, action: Tensor, *, rng: Any = None) -> Place:
        return Place((belief.at + (action[..., 1:] - action[..., :1]) * 2 / 7).clamp(-1, 1))

    def decode(self, belief: Place) -> Prediction:
        return Prediction(obs={"vector": belief.at}) if self.tells else Prediction()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "store"
    env = Dummy("corridor").make(2)
    driver = Driver(env, Random(env.spec), Rng(0))
    with EpisodeStore.create(folder, env.spec) as made:
        Recorder(driver, made).record(steps=300)
    env.close()
    return folder


def subject(store: EpisodeStore, *, tells: bool = False) -> Subject:
    model = Corridor(tells=tells)
    heads = {
        "reward": lambda belief: (belief.at[..., 0] > 0.99).float(),
        "value": lambda belief: torch.zeros(len(belief.at)),
        "prior": lambda belief: torch.zeros(len(belief.at), 2),
    }

    def simulator(rng: torch.Generator) -> Simulator:
        return from_model(model, heads, actions=2, discount=0.9, rng=rng)

    return Subject("toy/corridor", store.spec, model, lambda _: model, store, {"run": "<toy>"}, simulator)


@pytest.mark.parametrize("tells", [False, True], ids=["blind", "telling"])
def test_every_moment_of_the_tree_is_drawn_with_its_numbers(store: Path, tmp_path: Path, tells: bool) -> None:
    with EpisodeStore.open(store) as opened:
        told = SearchTree(planner=Puct(simulations=20), step=2)(subject(opened, tells=tells), tmp_path, lambda *_: None)
    page = (tmp_path / "search-tree.html").read_text()
    with np.load(tmp_path / "search-tree.npz") as kept:
        tree = dict(kept)
    assert len(re.findall("<rect", page)) == 21
    assert len(re.findall("<path", page)) == 20
    assert len(re.findall("<image", page)) == (21 if tells else 0)
    assert len(re.findall("alt='step", page)) == 3  # the moment and the two before it
    for node in range(1, 21):
        assert f"n {tree['count'][node]}  v {tree['value'][node]:.2f}</text>" in page
    assert sum(row["visits"] for row in told["root"]) == 20 == told["simulations"]
    for row, action in zip(told["root"], range(2), strict=True):
        assert row["visits"] == tree["visits"][0, action]
    assert "&lt;toy&gt;" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_only_so_many_are_drawn_and_none_without_its_parent(store: Path, tmp_path: Path) -> None:
    with EpisodeStore.open(store) as opened:
        SearchTree(planner=Puct(simulations=40), step=2, nodes=9)(subject(opened), tmp_path, lambda *_: None)
    page = (tmp_path / "search-tree.html").read_text()
    assert len(re.findall("<rect", page)) == 9
    assert len(re.findall("<path", page)) == 8
    assert "9 of 41 moments are drawn" in page


def test_the_same_question_has_the_same_answer_and_the_end_can_be_asked_about(store: Path, tmp_path: Path) -> None:
    with EpisodeStore.open(store) as opened:
        world, found = subject(opened), []
        for name in "ab":
            (tmp_path / name).mkdir()
            found.append(SearchTree(planner=Gumbel(), explore=True)(world, tmp_path / name, lambda *_: None))
        longest = int(opened.episodes.length.max())
        last = SearchTree(planner=Gumbel(), step=longest).find(world)
    assert found[0] == found[1]
    assert last.taken is None


def test_what_can_not_be_asked_says_what_can(store: Path) -> None:
    with EpisodeStore.open(store) as opened:
        world = subject(opened)
        with pytest.raises(ConfigError, match=r"step 999 of episode 0"):
            SearchTree(planner=Gumbel(), episode=0, step=999).find(world)
        with pytest.raises(ConfigError, match=r"no episode 999"):
            SearchTree(planner=Gumbel(), episode=999).find(world)
        with pytest.raises(ConfigError, match=r"stage\.unroll above 0"):
            SearchTree(planner=Gumbel()).find(replace(world, simulator=None))
        with pytest.raises(ConfigError, match=r"numbered actions(.|\n)*planner=gumbel"):
            SearchTree(planner=Sampled()).find(world)


def search_of(words: Sequence[str]) -> list[str]:
    return own_search(words, "analysis.explore", default=False)


def test_a_run_is_asked_about_the_search_that_it_acts_by(tmp_path: Path) -> None:
    def kept(*words: str) -> None:
        cfg = config("train", words)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain(cfg)))

    def asked(*words: str) -> dict[str, Any]:
        words = (f"run={tmp_path}", *words)
        return plain(config("analyse", ["analysis=search_tree", *search_of(words), *words]).planner)

    kept("+experiment=gumbel_muzero", "planner=puct", "planner.simulations=4", "stage.eval_simulations=9")
    assert asked()["_target_"].endswith(".Puct")
    assert asked()["simulations"] == 9, "as it acts without exploring"
    assert asked("analysis.explore=true")["simulations"] == 4
    assert asked("planner.simulations=32")["simulations"] == 32
    assert asked("planner=gumbel")["_target_"].endswith(".Gumbel")
    kept("+experiment=dreamer_minatar")
    assert asked()["_target_"].endswith(".Gumbel"), "it has no search of its own"
    assert search_of(["planner.simulations=2"]) == [] == search_of(["run=nowhere"])
