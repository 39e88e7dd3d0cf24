"""A run begins with another run's weights: module by module, or not at all."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from runs import assert_same_run
from torch import Tensor

from worldmodels.core.errors import ConfigError, ResumeError, SpecError
from worldmodels.launch import init
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config, make, plain
from worldmodels.launch.folder import run_name
from worldmodels.launch.train import train
from worldmodels.launch.words import with_init

WORDS = ["env=dummy", "data=replay", "model.encoder.units=8", "model.encoder.layers=1", "model.encoder.depth=2"]
WORDS += [f"model.recurrence.{size}" for size in ("deter=8", "blocks=2", "stoch=2", "classes=4", "hidden=8")]
WORDS += ["data.warmup=64", "data.width=2", "data.updates=2", "data.sampler.length=4", "data.sampler.batch=2"]
WORDS += ["evaluation.episodes=2", "evaluation.limit=20", "callback.film=null", "callback.score=null"]
ACTING = [*WORDS, "stage=dreamer"]
WATCHING = [*WORDS, "stage=world_model", "env=dummy", "data=replay"]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def built(words: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    """Stage, spec and config of a command line."""
    cfg = config("train", words)
    spec = make(cfg.env).spec()
    return build_stage(cfg, spec), spec, plain(cfg)


def kept(name: str, words: list[str]) -> dict[str, Tensor]:
    """The folder of a run that has these weights in its last checkpoint, as far as `init` reads it."""
    stage, spec, told = built([*words, "seed=7"])
    folder = Path(name)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(told))
    (folder / "spec.json").write_text(json.dumps(spec.to_json()))
    torch.save({"state_dict": stage.state_dict(), "global_step": 5}, folder / "checkpoints" / "last.ckpt")
    return stage.state_dict()


def begun(*words: str) -> tuple[dict[str, Tensor], dict[str, Tensor], init.Begun | None]:
    """Weights before and after, and what was told."""
    stage, spec, told = built(list(words))
    before = {name: tensor.clone() for name, tensor in stage.state_dict().items()}
    return before, stage.state_dict(), init.begin(told, stage, spec)


def test_the_modules_that_are_named_are_the_others_and_all_else_is_as_it_was() -> None:
    theirs = kept("other", ACTING)
    before, after, told = begun(*ACTING, "init=other", "init.modules=[encoder,rssm]")
    for name, tensor in after.items():
        loaded = name.startswith(("model.encoder.", "model.rssm."))
        assert torch.equal(tensor, (theirs if loaded else before)[name]), name
    moved = [name for name in after if not torch.equal(after[name], before[name])]
    assert any("encoder" in name for name in moved)
    assert any("rssm" in name for name in moved)
    assert told is not None
    assert (told.modules, told.updates) == (("encoder", "rssm"), 5)
    assert set(told.fresh) == {"decoder", "heads", "actor", "critic", "slow_critic", "normaliser"}


def test_a_part_of_a_module_is_taken_over_by_the_name_that_freezes_it() -> None:
    theirs = kept("other", ACTING)
    words = ["init=other", "init.modules=[heads.reward,actor]", "stage.freeze=[heads.reward]"]
    before, after, told = begun(*ACTING, *words)
    for name, tensor in after.items():
        loaded = name.startswith(("model.heads.reward.", "actor."))
        assert torch.equal(tensor, (theirs if loaded else before)[name]), name
    assert told is not None
    assert told.modules == ("heads.reward", "actor")
    assert set(told.fresh) == {"encoder", "rssm", "decoder", "heads.cont", "critic", "slow_critic", "normaliser"}
    whole = begun(*ACTING, "init=other", "init.modules=[heads.reward,heads]")[2]
    assert whole is not None
    assert whole.modules == ("heads",)


def test_a_slow_copy_begins_as_what_it_follows() -> None:
    theirs = kept("other", ACTING)
    before, after, _ = begun(*ACTING, "init=other", "init.modules=[critic]")
    slow = {name.removeprefix("slow_critic.module."): x for name, x in after.items() if "slow_critic.module." in name}
    assert slow
    for name, tensor in slow.items():
        assert torch.equal(tensor, theirs[f"critic.{name}"]), name
    assert any(not torch.equal(after[name], before[name]) for name in after if name.startswith("slow_critic.module."))


def test_actions_that_mean_other_things_are_remarked_upon() -> None:
    kept("other", [*ACTING, "env=minatar", "env.game=breakout", "env.unify=pad"])
    told = begun(*ACTING, "env=minatar", "env.game=freeway", "env.unify=pad", "init=other")[2]
    assert told is not None
    assert any("noop, up, down here, noop, left, right there" in remark for remark in told.remarks)


def test_a_part_that_fits_is_told_where_the_whole_does_not() -> None:
    kept("other", [*ACTING, "model.reward.units=12"])
    with pytest.raises(SpecError) as refused:
        begun(*ACTING, "init=other")
    assert "init.modules=[encoder,rssm,decoder,heads.cont] takes those that fit" in str(refused.value)
    assert begun(*ACTING, "init=other", "init.modules=[encoder,rssm,decoder,heads.cont]")[2] is not None


@pytest.mark.parametrize(("there", "here"), [(WATCHING, ACTING), (ACTING, WATCHING)])
def test_without_names_it_is_the_world_model_whatever_stage_has_it(there: list[str], here: list[str]) -> None:
    theirs = kept("other", there)
    before, after, _ = begun(*here, "init=other")
    for name, tensor in after.items():
        assert torch.equal(tensor, (theirs if name.startswith("model.") else before)[name]), name


@pytest.mark.parametrize("words", [["init=null"], ["init=other", "init.modules=[]"]])
def test_nothing_is_loaded_where_nothing_is_asked_for(words: list[str]) -> None:
    before, after, told = begun(*ACTING, *words)
    assert told is None
    assert all(torch.equal(after[name], before[name]) for name in after)


def test_what_does_not_fit_is_told_by_module_and_tensor_with_a_list_that_works() -> None:
    kept("other", [*ACTING, "model.recurrence.deter=12"])
    stage, spec, told = built([*ACTING, "init=other"])
    before = {name: tensor.clone() for name, tensor in stage.state_dict().items()}
    with pytest.raises(SpecError) as refused:
        init.begin(told, stage, spec)
    text = str(refused.value)
    assert re.search(r"rssm: [\w.]+\.weight is \(8, 12\) in the checkpoint and \(8, 8\) here", text)
    assert "init.modules=[encoder]" in text
    assert "model.recurrence.deter=12" in text
    assert all(torch.equal(tensor, before[name]) for name, tensor in stage.state_dict().items()), "half was loaded"
    assert begun(*ACTING, "init=other", "init.modules=[encoder]")[2] is not None
    assert begun(*ACTING, "init=other", "model.recurrence.deter=12")[2] is not None


def test_a_checkpoint_may_be_named_as_its_file_is() -> None:
    kept("other", ACTING)
    assert begun(*ACTING, "init=other", "init.checkpoint=last.ckpt")[2] is not None


def test_a_checkpoint_of_another_world_says_what_differs_there() -> None:
    kept("other", [*ACTING, "env.game=dot"])
    with pytest.raises(SpecError, match=r"(?s)another one: obs\['image'\]: absent here, .*encoder: .*rssm") as refused:
        begun(*ACTING, "init=other")
    assert "take its world: env.game=dot" in str(refused.value)
    _, _, told = begun(*ACTING, "init=other", "init.modules=[heads]")
    assert told is not None
    assert "obs[" in told.remarks[0], "it fits, but a reader should know"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["init.modules=[encodr]"], r"did you mean encoder or decoder\?"),
        (["init.modules=[heads.rewrd]"], r"or parts of those, such as heads\.reward .*did you mean heads\.reward\?"),
        (["init.modules=[heads.reward.mlp.0.weight]"], r"has no module 'heads\.reward\.mlp\.0\.weight'"),
        (["init.modules=encoder"], r"write init\.modules=\[encoder,rssm\]"),
        (["init.checkpoint=best"], r"no best\.ckpt\n.*one of last"),
        (["init=nowhere"], r"nowhere is not a run folder"),
        (["init.run=3"], r"init\.run=3"),
        (["init=null", "init.modules=[rssm]"], r"init\.modules=\[rssm\] of no run"),
    ],
)
def test_what_can_not_be_begun_with_is_told(words: list[str], told: str) -> None:
    kept("other", ACTING)
    with pytest.raises(ConfigError, match=rf"(?s){told}"):
        begun(*ACTING, "init=other", *words)


def test_where_nothing_fits_it_is_told_what_does() -> None:
    kept("other", WATCHING)
    with pytest.raises(SpecError, match=r"init\.modules=\[encoder,rssm,decoder,heads\] takes those that fit"):
        begun(*ACTING, "init=other", "init.modules=[actor]")


@pytest.mark.parametrize(
    ("words", "modules", "told"),
    [
        (["model.activation=relu"], "model", "model.activation=silu"),
        (["model.reward.limit=5.0"], "heads", "model.reward.limit=20.0"),
        (["stage.loss.contdisc=0.99"], "heads.cont", "stage.loss.contdisc=null"),
        (["stage.loss.clip_rewards=tanh"], "heads.reward", "stage.loss.clip_rewards=null"),
        (["model.reward.limit=5.0"], "encoder,rssm", None),
        (["stage.loss.contdisc=0.99"], "heads.reward", None),
        (["model.recurrence.unimix=0.1"], "heads", None),
        (["stage.optim.lr.model=1e-3"], "model", None),
        (["stage.critic.limit=10.0"], "critic", "stage.critic.limit=20.0"),
        (["stage.actor.activation=tanh"], "actor", "stage.actor.activation=silu"),
        (["stage.loss.clip_rewards=tanh"], "critic", "stage.loss.clip_rewards=null"),
        (["stage.imagination.discount=0.9"], "critic", "stage.imagination.discount=0.997"),
        (["stage.imagination.discount=0.9"], "model", None),
    ],
)
def test_weights_that_fit_but_say_something_else_are_remarked_upon_and_not_frozen(
    words: list[str], modules: str, told: str | None
) -> None:
    kept("other", ACTING)
    words = [*ACTING, "init=other", f"init.modules=[{modules}]", *words]
    *_, found = begun(*words)
    assert found is not None
    assert len(found.remarks) == (told is not None)
    if told is None:
        begun(*words, "stage.model_updates=0")
        return
    assert told in found.remarks[0]
    if modules in ("actor", "critic"):  # they learn in any case
        begun(*words, "stage.model_updates=0", "stage.freeze=[rssm]")
        return
    part = "heads" if "heads" in modules else "rssm"
    for still in ("stage.model_updates=0", f"stage.freeze=[{part}]"):
        with pytest.raises(ConfigError, match=rf"(?s)what is frozen can not learn it.*set {re.escape(told)}"):
            begun(*words, still)
    if part == "heads":
        begun(*words, "stage.freeze=[decoder]")


def test_half_a_checkpoint_is_refused() -> None:
    kept("other", ACTING)
    file = Path("other/checkpoints/last.ckpt")
    for part in (file.read_bytes()[:500], b"not found", b""):
        file.write_bytes(part)
        with pytest.raises(ResumeError, match=r"give another run or init\.checkpoint") as refused:
            begun(*ACTING, "init=other")
        assert "weights_only" not in str(refused.value), "to run its code is no advice"


def test_a_run_goes_on_from_its_own_checkpoint_even_if_the_first_one_has_gone() -> None:
    kept("other", ACTING)
    words = [*ACTING, "init=other", "seed=1"]

    def run(name: str, updates: int) -> Path:
        return train(config("train", [*words, f"name={name}", f"budget.updates={updates}"])).folder.path

    whole = run("whole", 4)
    cut = run("cut", 2)
    shutil.rmtree("other")
    assert_same_run(whole, run("cut", 4))
    told = json.loads((cut / "provenance.json").read_text())
    assert len(told["sessions"]) == 2
    assert told["init"] == json.loads((whole / "provenance.json").read_text())["init"]
    assert {"folder", "checkpoint", "sha256", "modules", "commit"} <= told["init"].keys()


def test_init_stands_for_init_run_and_is_part_of_a_name() -> None:
    words = with_init(["stage=dreamer", "init=runs/a"])
    assert words == ["stage=dreamer", "init.run=runs/a"]
    assert run_name(words) != run_name(words[:1])
