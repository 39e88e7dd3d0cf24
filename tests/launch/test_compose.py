"""What the command line makes of words: no choice, another choice than an experiment's, and misspelt ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from worldmodels import command
from worldmodels.core.errors import ConfigError, ResumeError
from worldmodels.launch.arguments import examine
from worldmodels.launch.compose import config, make, plain
from worldmodels.launch.folder import run_name
from worldmodels.launch.numbers import TRAIN, demand
from worldmodels.launch.train import train


@pytest.mark.parametrize("group", ["model", "env", "logger"])
def test_null_means_none_of_a_group_that_a_run_can_do_without(group: str) -> None:
    cfg = config("train", ["+experiment=dqn_minatar", f"{group}=null"])
    assert cfg.get(group) is None
    demand(cfg, TRAIN)


def test_null_is_no_choice_for_a_group_that_every_run_needs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"only env, model, logger, policy.* may be null"):
        config("train", ["stage=null"])
    assert command.main(["train", "trainer=null"]) == 2
    assert "trainer=null: no choice for trainer" in capsys.readouterr().err


def test_a_stage_without_the_model_that_it_needs_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["train", "model=null"]) == 2
    error = capsys.readouterr().err
    assert "stage.model is ${model}, but there is no model" in error
    assert "set model=..." in error


def test_a_stage_with_a_model_of_another_kind_says_what_goes_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["count", "model=muzero"]) == 2
    error = capsys.readouterr().err
    assert "stage.actor.units is that of model.recurrence.hidden, and there is no model.recurrence.hidden" in error
    assert "stage=muzero with model=muzero" in error


def test_a_run_without_a_model_is_named_as_it_was_typed() -> None:
    assert run_name(["~model", "stage=dqn"]) == run_name(["model=null", "stage=dqn"]) == "model=null,stage=dqn"


@pytest.mark.parametrize("name", ["dqn_minatar", "ppo_minatar", "dreamer_minatar"])
@pytest.mark.parametrize("env", ["minigrid", "gymnasium", "atari"])
def test_an_experiment_takes_another_env_with_that_envs_own_defaults(name: str, env: str) -> None:
    cfg = config("train", [f"+experiment={name}", f"env={env}"])
    demand(cfg, TRAIN)
    assert cfg.env == config("train", [f"env={env}"]).env


def test_an_option_that_the_chosen_part_lacks_is_told_with_how_to_leave_it_out() -> None:
    words = ["+experiment=dqn_minatar", "data=segment"]
    with pytest.raises(ConfigError, match=r"data\.\w+: .*Segment takes no .*(.|\n)*leave it out with ~data\.\w+"):
        demand(config("train", words), TRAIN)
    demand(
        config("train", [*words, *(f"~data.{key}" for key in ("width", "warmup", "steps_per_update", "sampler"))]),
        TRAIN,
    )


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("env.gme=x", "did you mean env.game"),
        ("model.deter=3", "did you mean model.recurrence.deter?"),
        ("data.batch=3", "did you mean data.sampler.batch?"),
        ("model.dynamics=grid", "model/dynamics=<one of grid, "),
        ("env.levels=3", "env=procgen has one of that name"),
        ("~env.gme", "did you mean env.game"),
    ],
)
def test_neighbours_of_a_misspelt_key_are_taken_from_the_chosen_parts(word: str, near: str) -> None:
    with pytest.raises(ConfigError) as told:
        config("train", [word])
    assert near in told.value.expected
    assert "levels?" not in told.value.expected


def test_an_option_whose_holder_another_word_took_away_is_not_called_misspelt() -> None:
    with pytest.raises(ConfigError, match=r"makes its holder null(.|\n)*the word that sets callback\.score"):
        config("train", ["callback.score=null", "callback.score.every=1"])


def test_a_misspelt_key_of_another_verb_is_told_in_its_words() -> None:
    with pytest.raises(ConfigError, match=r"did you mean analysis\.world\?.*\n.*`worldmodels analyse --cfg job`"):
        config("analyse", ["analysis=latent_factors", "world=pong"])


@pytest.mark.parametrize(
    ("word", "do"),
    [
        ("budget=3", "do: write budget.updates=..., or budget={updates: ...}"),
        ("seed=1,2", "do: add -m for several runs, or write seed=[1,2] for a list"),
        ("experiment=dqn_minatar", "do: write +experiment=<name>; one of dqn_minatar"),
    ],
)
def test_a_word_of_the_wrong_form_is_told_with_the_right_one(
    word: str, do: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["train", "env=dummy", word]) == 2
    assert do in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cfg", "found"),
    [
        ({"_target_": "json.dumps", "length": 3}, r"a\.b\._target_: dumps\(\) missing 1 required .* 'obj'"),
        ({"_target_": "math.pi"}, r"a\.b\._target_: Expected a callable target, got '3.14"),
        ({"_target_": None}, r"a\.b\._target_=null"),
    ],
)
def test_a_target_that_can_not_be_called_so_is_told_by_its_key(cfg: dict[str, object], found: str) -> None:
    tree = OmegaConf.create({"a": {"b": cfg}})
    with pytest.raises(ConfigError, match=found):
        make(tree.a)


def test_a_fault_within_what_a_target_names_keeps_its_traceback() -> None:
    with pytest.raises(InstantiationException, match="ZeroDivisionError"):
        make(OmegaConf.create({"_target_": "operator.truediv", "_args_": [1, 0]}))


def test_an_unknown_key_within_braces_is_named_itself() -> None:
    with pytest.raises(ConfigError) as told:
        config("train", ["stage.optim.lr={modle:1e-3}"])
    assert "'stage.optim.lr.modle'" in told.value.found
    assert "did you mean stage.optim.lr.model " in told.value.expected


@pytest.mark.parametrize("word", ["env.kwargs={render_fps: 3}", "env.kwargs.render_fps=3"])
def test_braces_whose_names_are_the_users_own_take_any(word: str) -> None:
    assert config("train", ["env=gymnasium", word]).env.kwargs == {"render_fps": 3}


def test_a_list_of_texts_is_shown_as_one() -> None:
    with pytest.raises(ConfigError, match=r"policy\.checkpoints=best\n.*such as \[a, b\]"):
        examine(config("record", ["+experiment=record_multi_env", "policy.checkpoints=best"]).policy)


@pytest.mark.parametrize("env", ["gymnasium", "minigrid"])
def test_keys_of_envs_that_were_not_chosen_are_not_suggested(env: str) -> None:
    with pytest.raises(ConfigError) as told:
        config("train", [f"env={env}", "env.time_limt=3"])
    assert "did you mean env.time_limit" in told.value.expected
    with pytest.raises(ConfigError) as told:
        config("train", [f"env={env}", "env.gam=3"])
    assert "env.game" not in told.value.expected.partition("(did you mean")[2]


@pytest.mark.parametrize(("flag", "near"), [("--multirn", "--multirun"), ("--cgf", "--cfg")])
def test_an_unknown_flag_gets_the_closest_one_and_no_usage_of_hydra(
    flag: str, near: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["train", flag]) == 2
    error = capsys.readouterr().err
    assert f"does not take {flag}" in error
    assert f"did you mean {near}" in error
    assert "usage:" not in error


def test_the_rate_of_ppo_falls_over_the_budget_and_a_larger_budget_does_not_change_it_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["env=dummy", "data.width=2", "data.steps=8", "data.passes=1", "data.minibatches=1"]
    words = ["+experiment=ppo_minatar", *small, "evaluation.episodes=1", "name=fading"]
    for updates in (2, 3):
        assert plain(config("train", [*words, f"budget.updates={updates}"]))["stage"]["anneal"] == updates
    train(config("train", [*words, "budget.updates=2"]))
    with pytest.raises(ResumeError, match=r"stage\.anneal: 2 -> 3"):
        train(config("train", [*words, "budget.updates=3"]))
    longer = train(config("train", [*words, "budget.updates=3", "stage.anneal=2"]))
    assert longer.result is not None
    assert longer.result["updates"] == 3
