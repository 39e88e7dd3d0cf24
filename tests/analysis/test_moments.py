"""What a model believes at each moment of recorded episodes, and what was there: nothing is shifted, nor mixed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from worldmodels.analysis.moments import believe, choose, collect
from worldmodels.analysis.variables import frame, plane_names, variables
from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.errors import ConfigError, StoreError
from worldmodels.core.experience import Episode
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.store import EpisodeStore

SPEC = EnvSpec("counting", {"place": ArraySpec((1,), "float32")}, 3, extras={"level": ArraySpec((), "float64")})
EXTRAS = {**SPEC.extras, "told": ArraySpec((), "float64")}  # the last one is a policy's
LENGTHS = (5, 70, 130, 1, 64, 65, 63, 200, *[12] * 30)


@dataclass(frozen=True)
class Trace(Belief):
    deter: Tensor  # (B, 2): a fading sum of what was seen, and the last action, counted from 1
    stoch: Tensor  # (B, 1, 1): what is seen


class Tracing(nn.Module):
    spec = SPEC

    def initial(self, batch):
        return Trace(torch.zeros(batch, 2), torch.zeros(batch, 1, 1))

    def encode(self, obs):
        return obs["place"].float()

    def observe(self, belief, action, embed, *, rng=None):
        which = (action * torch.arange(1, 4)).sum(-1)
        return Trace(torch.stack([0.5 * belief.deter[:, 0] + embed[:, 0], which], -1), embed[..., None])

    def imagine(self, belief, action, *, rng=None):
        return belief

    def decode(self, belief):
        return Prediction()


def episode(number: int, length: int) -> Episode:
    rng = np.random.default_rng(number)
    return Episode(
        {"place": rng.standard_normal((length + 1, 1)).astype(np.float32)},
        rng.integers(3, size=length),
        rng.standard_normal(length).astype(np.float32),
        terminated=True,
        truncated=False,
        extras={"level": rng.standard_normal(length), "told": rng.standard_normal(length)},  # of the world; of a policy
        number=number,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    store = EpisodeStore.create(tmp_path_factory.mktemp("store") / "s", SPEC, extras=EXTRAS)
    store.extend([episode(number, length) for number, length in enumerate(LENGTHS)])
    return store


def test_beliefs_follow_each_episode_from_its_beginning(store: EpisodeStore):
    chosen = choose(store, 10_000, 1, Rng(0))
    told: list[int] = []
    found = believe(Tracing(), store, chosen, Rng(0), told.append)
    assert sum(told) == chosen.total == sum(LENGTHS) + len(LENGTHS)
    at = 0
    for number in chosen.number.tolist():
        lived, total = episode(number, LENGTHS[number]), 0.0
        for t in range(LENGTHS[number] + 1):
            total = 0.5 * total + float(lived.obs["place"][t, 0])
            led = 0 if t == 0 else int(lived.action[t - 1]) + 1
            assert found.deter[at].tolist() == pytest.approx([total, led], abs=1e-5), (number, t)
            assert found.stoch[at, 0] == lived.obs["place"][t, 0]
            at += 1
    assert at == len(found.deter)


def test_rewards_and_extras_stand_at_the_moment_on_which_they_came(store: EpisodeStore):
    chosen = choose(store, 300, 1, Rng(1))
    assert chosen.total == 300
    moments = collect(store, chosen)
    for at, (place, step) in enumerate(zip(chosen.episode, chosen.step, strict=True)):
        lived = episode(int(chosen.number[place]), LENGTHS[int(chosen.number[place])])
        assert moments.obs["place"][at] == lived.obs["place"][step]
        assert moments.first[at] == (step == 0)
        if step:
            assert moments.reward[at] == lived.reward[step - 1]
            assert moments.extras["level"][at] == lived.extras["level"][step - 1]
        if step < len(lived.reward):
            assert moments.extras["told"][at] == lived.extras["told"][step]
    found = variables(moments)
    assert set(found.names) == {"place.0", "reward", "level", "told"}
    for name, unknown in (("level", moments.first), ("reward", moments.first), ("told", moments.last)):
        assert np.array_equal(np.isnan(found.values[:, found.at(name)]), unknown)
    assert moments.last.sum() == sum(chosen.count == np.array(LENGTHS)[chosen.number] + 1)


def test_which_episodes_depends_on_the_seed_alone(store: EpisodeStore):
    a, b, c = (choose(store, 400, 1, Rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(a.number, b.number)
    assert not np.array_equal(a.number, c.number)
    assert len(set(a.number.tolist())) == len(a.number)


def test_too_few_moments_or_episodes_are_refused(store: EpisodeStore, tmp_path: Path):
    with pytest.raises(StoreError, match="100 frames"):
        choose(store, 100, 500, Rng(0))
    few = EpisodeStore.create(tmp_path / "few", SPEC, extras=EXTRAS)
    few.extend([episode(number, 900) for number in range(3)])
    with pytest.raises(StoreError, match="in 3 episodes"):
        choose(few, 20_000, 500, Rng(0))


def test_one_world_of_a_mixture_can_be_looked_at(tmp_path: Path):
    label = {"env_id": ArraySpec((), "int64")}
    grid = {"grid": ArraySpec((10, 10, 10), "bool", "planes")}
    spec = EnvSpec("two", grid, 3, extras=label, worlds=("minatar/asterix", "minatar/breakout"))
    mixed = EpisodeStore.create(tmp_path / "mixed", spec)
    for number in range(12):
        planes = np.zeros((5, 10, 10, 10), bool)
        planes[:, 9, number % 7, 0] = True
        told = {"env_id": np.full(4, number % 2)}
        mixed.extend(
            [
                Episode(
                    {"grid": planes}, np.zeros(4, np.int64), np.zeros(4, np.float32), True, False, told, number=number
                )
            ]
        )
    chosen = choose(mixed, 10_000, 1, Rng(0), "breakout")
    assert sorted(chosen.number.tolist()) == [1, 3, 5, 7, 9, 11]
    found = variables(collect(mixed, chosen, "breakout"))
    assert found.names == ("paddle_x",)
    assert len(choose(mixed, 10_000, 1, Rng(0)).number) == 12
    with pytest.raises(ConfigError, match="asterix, breakout"):
        choose(mixed, 10_000, 1, Rng(0), "pong")


def grids(spec: EnvSpec, obs: dict[str, np.ndarray], tmp_path: Path):
    """Moments of four equal episodes of these observations."""
    store = EpisodeStore.create(tmp_path / "grids", spec)
    steps = len(next(iter(obs.values()))) - 1
    for number in range(4):
        reward = np.zeros(steps, np.float32)
        store.extend([Episode(obs, np.zeros(steps, np.int64), reward, True, False, number=number)])
    return collect(store, choose(store, 10_000, 1, Rng(0)))


def test_places_and_counts_of_planes_are_those_of_their_cells(tmp_path: Path):
    planes = np.zeros((3, 4, 5, 2), bool)
    planes[0, 1, 3, 0] = planes[1, 3, 4, 0] = planes[1, 1, 0, 0] = True  # one cell; two; none
    planes[:, 0, 0, 1] = True
    moments = grids(EnvSpec("x", {"grid": ArraySpec((4, 5, 2), "bool", "planes")}, 1), {"grid": planes}, tmp_path)
    found = variables(moments)
    assert found.names == ("0_x", "0_y", "0_count")
    assert found.values[:3].tolist()[:2] == [[3, 1, 1], [2, 2, 2]]
    assert np.isnan(found.values[2, :2]).all()
    assert found.values[2, 2] == 0
    assert set(found.constant) == {"1_x", "1_y", "1_count", "reward"}
    with pytest.raises(ConfigError, match="0_x"):
        found.at("paddle_x")


def test_classes_of_symbols_are_planes_and_nothing_is_none(tmp_path: Path):
    symbols = np.zeros((2, 3, 3, 2), np.uint8)
    symbols[0, 2, 1, 0], symbols[1, 0, 2, 0], symbols[:, 0, 0, 1] = 2, 2, 1
    spec = EnvSpec("x", {"grid": ArraySpec((3, 3, 2), "uint8", "symbols", (3, 2))}, 1)
    moments = grids(spec, {"grid": symbols}, tmp_path)
    found = variables(moments)
    assert found.names == ("2_x", "2_y")
    assert found.values[:2].tolist() == [[1, 2], [2, 0]]
    seen = frame(moments)
    assert seen.shape == (8, 9 * 2 + 9 * 1)
    assert seen[0].sum() == 2


def test_planes_of_minatar_have_their_names():
    own = EnvSpec("minatar/breakout", {"grid": ArraySpec((10, 10, 4), "bool", "planes")}, 3)
    assert plane_names(own, "grid") == ["paddle", "ball", "trail", "brick"]
    padded = EnvSpec("minatar/breakout", {"grid": ArraySpec((10, 10, 10), "bool", "planes")}, 3)
    assert plane_names(padded, "grid")[:5] == ["paddle", "ball", "trail", "brick", "empty_4"]
    numbered = EnvSpec("minatar/breakout", {"grid": ArraySpec((10, 10, 1), "uint8", "symbols", (11,))}, 3)
    assert plane_names(numbered, "grid")[:4] == ["paddle", "ball", "trail", "brick"]


def test_objects_of_minigrid_have_their_names():
    spec = EnvSpec("minigrid/x", {"symbols": ArraySpec((7, 7, 3), "uint8", "symbols", (11, 6, 3))}, 7)
    assert plane_names(spec, "symbols")[7] == "goal"
    assert len(plane_names(spec, "symbols")) == 10


def test_images_are_features_of_mean_colours_and_no_variables(tmp_path: Path):
    image = np.random.default_rng(0).integers(256, size=(4, 48, 32, 3)).astype(np.uint8)
    moments = grids(EnvSpec("x", {"image": ArraySpec((48, 32, 3), "uint8", "image")}, 1), {"image": image}, tmp_path)
    seen = frame(moments).reshape(-1, 16, 10, 3)
    assert seen[1, 2, 3] == pytest.approx(image[1, 6:9, 9:12].mean((0, 1)) / 255, abs=1e-5)
    with pytest.raises(ConfigError, match="nothing that could be a variable"):
        variables(moments)
