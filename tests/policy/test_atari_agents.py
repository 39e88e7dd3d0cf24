"""Published agents of Atari: files as they are, against a plain forward pass, and refusals of what does not fit."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

pytest.importorskip("ale_py", reason="the extra 'atari' is not installed")
pytest.importorskip("minatar", reason="the extra 'minatar' is not installed")

from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.rng import Rng
from worldmodels.env.ale import minimal_actions
from worldmodels.env.atari import Atari
from worldmodels.env.minatar import MinAtar
from worldmodels.env.mixture import Mixture
from worldmodels.launch.compose import config, make
from worldmodels.policy.atari_agents import agent, atari_agents

GAMES = {4: "breakout", 6: "pong", 18: "boxing"}


def save(path: Path, held: object, *, legacy: bool = False) -> Path:
    """As published: torch.save in gzip."""
    whole = io.BytesIO()
    torch.save(held, whole, _use_new_zipfile_serialization=not legacy)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(whole.getvalue(), 0))
    return path


def atari_weights(actions: int, atoms: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = {
        "features.0": (32, 4, 8, 8),
        "features.2": (64, 32, 4, 4),
        "features.4": (64, 64, 3, 3),
        "head.0": (512, 3136),
        "head.2": (actions * max(atoms, 1), 512),
    }
    weights = {f"_AtariNet__{name}.weight": torch.randn(shape, generator=rng) / 30 for name, shape in shapes.items()}
    weights |= {f"_AtariNet__{name}.bias": torch.randn(shape[0], generator=rng) for name, shape in shapes.items()}
    return weights | ({"_AtariNet__support": torch.linspace(-10, 10, atoms)} if atoms else {})


def plain_forward(weights: dict[str, torch.Tensor], frames: np.ndarray) -> torch.Tensor:
    """Q values (N, n) of frames (N, 4, 84, 84), step by step."""
    w = {name.removeprefix("_AtariNet__"): value for name, value in weights.items()}
    x = torch.from_numpy(frames).float().div(255)
    for layer, stride in ((0, 4), (2, 2), (4, 1)):
        x = functional.conv2d(x, w[f"features.{layer}.weight"], w[f"features.{layer}.bias"], stride).clamp(min=0)
    x = (x.reshape(len(x), -1) @ w["head.0.weight"].T + w["head.0.bias"]).clamp(min=0)
    out = x @ w["head.2.weight"].T + w["head.2.bias"]
    if "support" not in w:
        return out
    parts = [out[:, k : k + 51].softmax(-1) @ w["support"] for k in range(0, out.shape[1], 51)]
    return torch.stack(parts, 1)


@pytest.mark.parametrize(
    ("actions", "atoms", "legacy"), [(4, 0, False), (6, 0, True), (18, 0, False), (4, 51, True), (18, 51, False)]
)
def test_a_published_file_gives_the_values_of_a_plain_forward_pass(tmp_path, actions, atoms, legacy):
    weights = atari_weights(actions, atoms)
    path = save(tmp_path / "model_00300000.gz", {"estimator_state": weights, "step": 300_000}, legacy=legacy)
    made = agent(GAMES[actions], path)
    frames = np.random.default_rng(0).integers(256, size=(5, 4, 84, 84), dtype=np.uint8)
    shown = {"grey84": torch.from_numpy(frames.transpose(0, 2, 3, 1).copy())}
    expected = plain_forward(weights, frames)
    torch.testing.assert_close(made.policy.values(shown), expected, rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in made.policy.values.parameters()) == 1_684_128 + 513 * actions * max(atoms, 1)
    shown = {"grey84": frames.transpose(0, 2, 3, 1).copy()}
    chosen, _, _ = made.policy.act(shown, np.ones(5, bool), None, explore=False, rng=Rng(0))
    assert chosen.tolist() == expected.argmax(-1).tolist()
    assert (made.skill, made.spec.name) == (300_000, f"atari/{GAMES[actions]}")


def test_minimal_actions_are_ales_own_also_where_the_tables_of_others_are_wrong():
    import ale_py

    ale = ale_py.ALEInterface()
    ale.loadROM(ale_py.roms.get_rom_path("boxing"))
    full = [action.name.lower() for action in ale.getLegalActionSet()]
    assert minimal_actions("boxing") == tuple(full)
    true = {"demon_attack": [0, 1, 3, 4, 11, 12], "enduro": [0, 1, 3, 4, 5, 8, 9, 11, 12], "freeway": [0, 2, 5]}
    true |= {"gopher": [0, 1, 2, 3, 4, 10, 11, 12], "double_dunk": list(range(18)), "star_gunner": list(range(18))}
    for game, numbers in true.items():
        assert minimal_actions(game) == tuple(full[k] for k in numbers)
    for game in ("ms_pacman", "air_raid"):
        ale.loadROM(ale_py.roms.get_rom_path(game))
        assert [name.upper() for name in minimal_actions(game)] == [a.name for a in ale.getMinimalActionSet()]


def test_a_game_for_two_is_refused_before_ale_ends_the_process():
    with pytest.raises(ConfigError, match="play alone"):
        minimal_actions("combat")
    with pytest.raises(ConfigError, match="play alone"):
        Atari("warlords").spec()


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """Ages 1 to 9 of two seeds for two games, whose folders are written as they come."""
    place = tmp_path_factory.mktemp("models")
    for folder, actions in (("Pong", 6), ("Breakout", 4)):
        weights = atari_weights(actions)
        path = save(place / "DQN" / folder / "0" / "model_00000001.gz", {"estimator_state": weights})
        for step in range(2, 10):
            path.with_name(f"model_{step:08d}.gz").hardlink_to(path)
    return place / "DQN"


def test_the_mixture_that_they_play_opens_as_what_they_were_trained_on() -> None:
    """No idle frames, but sticky actions. github.com/floringogianu/atari-agents, "modern"."""
    recipe = make(config("train", ["env=atari_mixture"]).env)
    assert (recipe.base.noops, recipe.base.sticky) == (0, 0.25)


def test_agents_of_a_mixture_play_their_own_games_by_full_actions(downloads):
    mixed = Mixture(Atari(full_actions=True, views=("grey84",), noops=0), ("pong", "breakout"))
    policy = atari_agents(mixed.spec(), folder=str(downloads), each=3, epsilon=0.0)
    assert [agent.skill for agent in policy.agents] == [1, 5, 9, 1, 5, 9]
    env = mixed.make(4)
    obs, memory, first = env.reset([0, 1, 2, 3]), policy.initial(4), np.ones(4, bool)
    full = mixed.spec().action_names
    for _ in range(3):
        action, memory, _ = policy.act(obs, first, memory, explore=True, rng=Rng(0))
        for lane, (game, actions) in enumerate([("pong", 6), ("breakout", 4)] * 2):
            frames = obs["grey84"][lane].transpose(2, 0, 1)[None].copy()
            best = int(plain_forward(atari_weights(actions), frames).argmax())
            assert full[action[lane]] == minimal_actions(game)[best]
        obs, first = env.step(action).obs, np.zeros(4, bool)


@pytest.mark.parametrize(
    ("env", "options", "told"),
    [
        (Atari("pong", views=("grey84",)), {"folder": None}, "policy.folder is not set(.|\n)*atari-agents"),
        (Atari("pong", views=("grey84",)), {"folder": "nowhere"}, "is no folder(.|\n)*atari-agents"),
        (Atari("qbert", views=("grey84",)), {}, r"no .*DQN/Qbert/\*/model_\*\.gz(.|\n)*README(.|\n)*agents of qbert"),
        (Atari("pong"), {}, r"views=\[grey84\]"),
        (MinAtar("breakout"), {}, "agents for Atari in minatar/breakout"),
        (Atari("pong", views=("grey84",)), {"files": "/models/*.gz"}, r"policy\.files=/models/\*\.gz"),
        (Atari("pong", views=("grey84",)), {"files": ""}, r"policy\.files=nothing"),
    ],
)
def test_missing_files_and_worlds_that_do_not_fit_are_refused(downloads, env, options, told):
    with pytest.raises((ConfigError, SpecError), match=told):
        atari_agents(env.spec(), **{"folder": str(downloads), **options})


class Optimizer:
    """What a file of PyTorch may hold beside tensors."""


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({"estimator_state": atari_weights(4)}, r"4 actions\n  expected: 6, which pong has \(noop, fire, right"),
        ({"estimator_state": atari_weights(4, 51)}, "was trained with 4 actions"),
        (
            {"estimator_state": {**atari_weights(6), "_AtariNet__head.0.weight": torch.zeros(256, 3136)}},
            r"\(256, 3136\)",
        ),
        (
            {"estimator_state": {**atari_weights(6), "_AtariNet__head.0.bias": torch.full((512,), torch.nan)}},
            r"head\.0\.bias holds no finite floats",
        ),
        (
            {"estimator_state": {name: tensor.long() for name, tensor in atari_weights(6).items()}},
            "and 4 more hold no finite floats",
        ),
        (
            {"estimator_state": {**atari_weights(6), "_AtariNet__head.2.weight": torch.tensor(1.0)}},
            r"head\.2\.weight: \(\) in the file",
        ),
        (
            {"estimator_state": {**atari_weights(6, 51), "_AtariNet__support": torch.tensor(1.0)}},
            "was trained with 306 actions",
        ),
        ({"estimator_state": {}}, r"the file names nothing\n +expected are features\.0\.weight"),
        ({"estimator_state": {"net.0.weight": torch.zeros(2)}}, r"the file names net\.0\.weight\n"),
        ({"weights": 3}, "another network"),
        ({"estimator_state": 3}, "estimator_state is a int"),
        ([1, 2], "holds a list"),
        (
            {"estimator_state": atari_weights(6), "optimizer": Optimizer()},
            r"more than tensors(.|\n)*policy.trusted=true",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_never_played_at_random(tmp_path, held, told):
    with pytest.raises(ConfigError, match=told):
        agent("pong", save(tmp_path / "model_1.gz", held))


def test_a_trusted_file_may_hold_other_things_and_a_cut_one_is_named(tmp_path):
    path = save(tmp_path / "model_1.gz", {"estimator_state": atari_weights(6), "optimizer": Optimizer()})
    assert agent("pong", path, trusted=True).skill == 1
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"model_1.gz can not be read"):
        agent("pong", path)
    for page in (b"not found", b"<html>404</html>"):
        path.write_bytes(page)
        with pytest.raises(ConfigError, match=r"model_1.gz can not be read") as refused:
            agent("pong", path)
        assert "weights_only" not in str(refused.value), "to run its code is no advice"
