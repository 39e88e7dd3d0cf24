import json

import numpy as np
import pytest
from PIL import Image

from worldmodels.command import run
from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.store import EpisodeStore


@pytest.fixture
def folder(tmp_path):
    """Twenty episodes of 3 to 22 steps in a store inside a run folder; the last one runs on."""
    spec = EnvSpec("toy", {"v": ArraySpec((2,), "float32"), "image": ArraySpec((8, 8, 3), "uint8", "image")}, 3)
    with EpisodeStore.create(tmp_path / "run" / "episodes", spec) as store:
        for number in range(20):
            steps = number + 3
            obs = {
                "v": np.zeros((steps + 1, 2), np.float32),
                "image": np.full((steps + 1, 8, 8, 3), 10 * number, np.uint8),
            }
            reward, action = np.full(steps, 0.5, np.float32), np.zeros(steps, np.int64)
            source = {"policy": "random", "seed": number}
            store.extend([Episode(obs, action, reward, number < 19, False, source=source, number=number)])
    return tmp_path / "run"


def test_a_person_sees_episodes_returns_shapes_size_and_split(folder, capsys):
    assert run("inspect", [str(folder)]) == 0
    shown = capsys.readouterr().out
    for words in ("image uint8 (8, 8, 3)", "19 terminated", "1 not over", "250", "max 11", "held out", "MB", "10 more"):
        assert words in shown
    assert run("inspect", [str(folder / "episodes"), "--all"]) == 0
    assert "more" not in capsys.readouterr().out


def test_a_program_gets_the_same_facts_as_json(folder, capsys):
    assert run("inspect", [str(folder), "--json", "--held-out", "0.3"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["count"], facts["running"], facts["steps"]) == (20, 1, 250)
    assert facts["episodes"][4]["return"] == 3.5
    assert facts["split"]["train"] + facts["split"]["held"] == 20
    assert facts["sources"] == {"policy": {"random": 20}, "seed": {"20 different": 20}}
    assert not facts["verified"]


def test_verify_names_the_damaged_block_and_fails(folder, capsys):
    assert run("inspect", [str(folder), "--verify"]) == 0
    assert "every checksum is right" in capsys.readouterr().out
    path = folder / "episodes" / "obs.image.raw"
    data = bytearray(path.read_bytes())
    data[5 * 192] ^= 4  # episode 1 begins at row 4
    path.write_bytes(data)
    assert run("inspect", [str(folder), "--verify"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "some of episodes 1 (line 2 of index.jsonl): checksum of obs.image" in told


def test_the_contact_sheet_has_an_episode_per_row(folder, tmp_path):
    target = tmp_path / "sheet.png"
    assert run("inspect", [str(folder), "--sheet", str(target), "--rows", "3", "--columns", "5"]) == 0
    picture = np.asarray(Image.open(target).convert("RGB"))
    side = picture.shape[0] // 3
    middles = picture[side // 2 :: side, side // 2 :: side][:3, :5, 0]
    assert (middles == np.array([0, 100, 190])[:, None]).all()


def test_a_contact_sheet_is_drawn_beside_the_store_and_not_into_it(folder, capsys):
    inside = sorted(path.name for path in (folder / "episodes").iterdir())
    for _ in range(2):  # the second replaces the first
        assert run("inspect", [str(folder), "--verify"]) == 0
    sheet = folder / "episodes-sheet.png"
    assert f"contact sheet: {sheet}" in "".join(capsys.readouterr().out.split("\n"))
    assert Image.open(sheet).size[0] > 100
    assert sorted(path.name for path in (folder / "episodes").iterdir()) == inside


def test_no_sheet_is_drawn_for_those_who_want_none_or_where_there_is_nothing_to_draw(folder, tmp_path, capsys):
    for words in (["--no-sheet"], ["--json"]):
        assert run("inspect", [str(folder), *words]) == 0
    EpisodeStore.create(tmp_path / "empty", EnvSpec("toy", {"v": ArraySpec((2,), "float32")}, 3)).close()
    capsys.readouterr()
    assert run("inspect", [str(tmp_path / "empty")]) == 0
    assert "no contact sheet: " in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("words", [["--sheet", "x.jpg"], ["--sheet", "nowhere/x.png"]])
def test_a_sheet_that_can_not_be_drawn_is_refused_before_the_store_is_read(folder, capsys, words):
    assert run("inspect", [str(folder), *words]) == 2
    told = capsys.readouterr()
    assert "do: " in told.err
    assert not told.out


@pytest.mark.parametrize("words", [["nowhere"], ["{}", "--sheet", "x.png", "--obs", "sound"]])
def test_what_is_not_there_is_an_error_to_mend(folder, capsys, words):
    assert run("inspect", [word.format(folder) for word in words]) == 2
    assert "expected:" in capsys.readouterr().err
