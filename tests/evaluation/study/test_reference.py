"""Published scales."""

from __future__ import annotations

import pytest

from worldmodels.evaluation.study.reference import published, reference

ATARI_ENV = {"_target_": "worldmodels.env.atari.Atari"}
PROCGEN_ENV = {"_target_": "worldmodels.env.procgen.Procgen"}


def test_there_are_57_atari_games_and_16_of_procgen() -> None:
    scales = [published(name) for name in ("atari", "procgen easy", "procgen hard")]
    assert [len(scale) for scale in scales] == [57, 16, 16]
    assert all(low < high for scale in scales for low, high in scale.values())


def test_a_human_scores_one_and_random_play_zero() -> None:
    scale = reference({**ATARI_ENV, "game": "pong"})
    assert scale is not None
    assert (scale(-20.7), scale(14.6)) == (0, 1)
    assert scale.name == "human-normalised"


@pytest.mark.parametrize(("game", "score"), [("ms_pacman", 6951.6), ("up_n_down", 11693.2), ("breakout", 30.5)])
def test_games_have_the_names_of_ale(game: str, score: float) -> None:
    scale = reference({**ATARI_ENV, "game": game})
    assert scale is not None
    assert scale(score) == 1


def test_procgen_has_a_scale_for_each_mode() -> None:
    easy, hard = (reference({**PROCGEN_ENV, "game": "starpilot", "mode": mode}) for mode in ("easy", "hard"))
    assert easy is not None
    assert hard is not None
    assert (easy(64), hard(35), easy(2.5), hard(1.5)) == (1, 1, 0, 0)
    assert easy.name != hard.name
    assert reference({**PROCGEN_ENV, "game": "starpilot", "mode": "memory"}) is None


def test_minatar_keeps_its_returns() -> None:
    assert reference({"_target_": "worldmodels.env.minatar.MinAtar", "game": "breakout"}) is None
    assert reference(None) is None
