"""Published agents of MinAtar: files as they are, against a plain forward pass, and refusals of what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("minatar", reason="the extra 'minatar' is not installed")

from worldmodels.core.errors import ConfigError
from worldmodels.core.rng import Rng
from worldmodels.env.minatar import ACTIONS, MinAtar
from worldmodels.env.mixture import Mixture
from worldmodels.env.planes import shape_of
from worldmodels.launch.compose import config, make
from worldmodels.policy.minatar_dqn import MLP, minatar_dqn
from worldmodels.policy.minatar_dqn import agent as minatar_agent


class Optimizer:
    """What a file of PyTorch may hold beside tensors."""


def minatar_weights(channels: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(channels)
    shapes = {"layer1": (128, 100 * channels), "layer2": (128, 128), "layer3": (6, 128)}
    weights = {f"{name}.weight": torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    return weights | {f"{name}.bias": torch.randn(shape[0], generator=rng) for name, shape in shapes.items()}


def test_a_minatar_agent_reads_cells_row_by_row_with_their_planes_innermost(tmp_path):
    weights = minatar_weights(7)
    path = tmp_path / "freeway_100k.pt"
    torch.save(weights, path)
    made = minatar_agent("freeway", path)
    grid = np.random.default_rng(0).random((4, 10, 10, 7)) < 0.1
    for n in range(4):
        x = torch.tensor(
            [float(grid[n, row, column, plane]) for row in range(10) for column in range(10) for plane in range(7)]
        )
        for name in ("layer1", "layer2"):
            x = (weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]).clamp(min=0)
        q = weights["layer3.weight"] @ x + weights["layer3.bias"]
        found = made.policy.values({"grid": torch.from_numpy(grid[[n]])})[0]
        torch.testing.assert_close(found, q, rtol=1e-4, atol=1e-3)
    assert (made.skill, made.spec.action_names) == (100_000, ACTIONS)


def test_minatar_agents_play_their_games_however_they_are_shown(tmp_path):
    for game, channels in (("freeway", 7), ("breakout", 4)):
        torch.save(minatar_weights(channels), tmp_path / f"{game}.pt")
    files = {game: [str(tmp_path / f"{game}*.pt")] for game in ("freeway", "breakout")}
    games = ("freeway", "breakout")
    chosen = []
    for unify in ("pad", "semantic", "categorical"):
        mixed = Mixture(MinAtar(unify=unify, actions="full", views=("planes",)), games)
        policy, env = minatar_dqn(mixed.spec(), files=files), mixed.make(2)
        obs, memory, first, lived = env.reset([0, 1]), policy.initial(2), np.ones(2, bool), []
        for _ in range(20):
            action, memory, _ = policy.act(obs, first, memory, explore=False, rng=Rng(0))
            step = env.step(action)
            obs, first = step.obs, step.terminated
            lived.append(action.tolist())
        chosen.append(lived)
    assert chosen[0] == chosen[1] == chosen[2]


@pytest.mark.parametrize(
    ("game", "told"),
    [
        ("breakout", "7 planes of 10 x 10\n  expected: 4, as breakout has"),
        ("pong", "policy.files of pong"),
        ("asterix", r"no file .*asterix"),
    ],
)
def test_minatar_files_that_do_not_fit_are_refused(tmp_path, game, told):
    torch.save(minatar_weights(7), tmp_path / "breakout.pt")
    with pytest.raises(ConfigError, match=told):
        minatar_dqn(MinAtar("breakout", actions="full").spec(), files={game: [str(tmp_path / f"{game}.pt")]})


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    weights = {name: tensor * torch.nan for name, tensor in minatar_weights(4).items()}
    torch.save(weights, tmp_path / "breakout.pt")
    with pytest.raises(ConfigError, match="no finite floats"):
        minatar_agent("breakout", tmp_path / "breakout.pt")


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_folder_among_the_files_of_agents_is_refused(path):
    with pytest.raises(ConfigError, match="which is a folder"):
        minatar_dqn(MinAtar("breakout", actions="full").spec(), files={"breakout": [path]})


def test_a_minatar_file_that_is_called_after_another_game_is_refused(tmp_path):
    """Asterix has as many planes as Breakout, so that its tensors fit."""
    path = tmp_path / "asterix_10M.pt"
    torch.save(MLP(shape_of("none", "asterix")).state_dict(), path)
    with pytest.raises(ConfigError, match=r"called after asterix[\s\S]*an agent of breakout"):
        minatar_agent("breakout", path)
    assert minatar_agent("asterix", path).skill == 10_000_000


def test_a_game_without_minatar_files_is_told_where_they_are_published():
    with pytest.raises(ConfigError, match=r"policy\.files=\{<game>: \[<path>\]\}; \S+"):
        minatar_dqn(MinAtar("breakout", actions="full").spec(), files={})


def test_a_minatar_file_may_be_trusted_as_its_refusal_says(tmp_path):
    torch.save({**minatar_weights(4), "optimizer": Optimizer()}, tmp_path / "breakout.pt")
    spec, files = MinAtar("breakout", actions="full").spec(), {"breakout": [str(tmp_path / "breakout.pt")]}
    with pytest.raises(ConfigError, match=r"policy\.trusted=true"):
        minatar_dqn(spec, files=files)
    with pytest.raises(ConfigError, match="optimizer: Optimizer in the file"):
        minatar_dqn(spec, files=files, trusted=True)


def test_minatar_files_are_given_on_the_command_line(tmp_path):
    torch.save(minatar_weights(4), tmp_path / "breakout_1k.pt")
    words = ["env=minatar", "env.actions=full", "policy=minatar_dqn", f"policy.files={{breakout: [{tmp_path}/*.pt]}}"]
    for each in (words, [*words[:-1], f"policy.files.breakout=[{tmp_path}/*.pt]"]):
        cfg = config("record", each)
        assert make(cfg.policy)(make(cfg.env).spec()).agents[0].skill == 1000


def test_weights_that_were_saved_on_a_gpu_are_read_on_the_cpu(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(minatar_weights(4), path)
    # What a GPU leaves in the file is the word cuda:0 in place of cpu.
    import zipfile

    moved = tmp_path / "moved.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(moved, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith("data.pkl"):
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            new.writestr(item.filename, data)
    assert moved.read_bytes() != path.read_bytes()
    made = minatar_agent("breakout", moved)
    assert {p.device.type for p in made.policy.values.parameters()} == {"cpu"}
