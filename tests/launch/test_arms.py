"""What each arm of the transfer experiment takes over, and what of that may learn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from worldmodels.core.errors import ConfigError
from worldmodels.launch import arm, init
from worldmodels.launch.build import build_stage
from worldmodels.launch.choices import conf
from worldmodels.launch.compose import config, make, plain

# arm: modules that are the other run's, modules that never learn, updates of the world model
ARMS: dict[str, tuple[set[str], set[str], int | None]] = {
    "scratch": (set(), set(), None),
    "all": ({"encoder", "rssm", "decoder", "heads"}, set(), None),
    "frozen_rssm": ({"encoder", "rssm", "decoder", "heads"}, {"rssm"}, None),
    "frozen_world_model": ({"encoder", "rssm", "decoder", "heads"}, set(), 0),
    "encoder_decoder": ({"encoder", "decoder"}, set(), None),
    "rssm_only": ({"rssm"}, set(), None),
    "shuffled": ({"encoder", "rssm", "decoder", "heads"}, set(), None),
}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `init` needs of a run: its config, its world, its weights, which are those of another seed."""
    folder = tmp_path_factory.mktemp("runs") / "other"
    cfg = config("train", ["+experiment=pretrain_multi_env", "seed=9"])
    spec = make(config("train", ["+experiment=finetune_dreamer", "arm=scratch"]).env).spec()
    (folder / "checkpoints").mkdir(parents=True)
    _trained(folder, None)
    (folder / "spec.json").write_text(json.dumps(spec.to_json()))
    stage = build_stage(cfg, spec)
    torch.save({"state_dict": stage.state_dict(), "global_step": 1}, folder / "checkpoints" / "last.ckpt")
    return folder


def _trained(folder: Path, shuffle: str | None) -> None:
    cfg = plain(config("train", ["+experiment=pretrain_multi_env", f"data.shuffle={shuffle or 'null'}"]))
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": cfg["model"], "data": cfg["data"]}))


def test_there_are_no_other_arms() -> None:
    assert {path.stem for path in (conf() / "arm").glob("*.yaml")} == ARMS.keys()


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_takes_over_and_lets_learn_what_it_says(name: str, other: Path) -> None:
    loaded, frozen, model_updates = ARMS[name]
    _trained(other, "cells" if name == "shuffled" else None)
    cfg = config("train", ["+experiment=finetune_dreamer", f"arm={name}", f"init={other}"])
    assert cfg.arm == name, "runs are told apart by it"
    spec = make(cfg.env).spec()
    stage = build_stage(cfg, spec)
    theirs = torch.load(other / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    begun = init.begin(plain(cfg), stage, spec)
    assert (set(begun.modules) if begun else set()) == loaded
    for key, tensor in stage.state_dict().items():
        if key.startswith("model.") and tensor.std(correction=0) > 0.01:  # others begin alike whatever the seed
            assert torch.equal(tensor, theirs[key]) == (key.split(".")[1] in loaded), key
    still = {key.split(".")[1] for key, p in stage.named_parameters() if not p.requires_grad and "model." in key[:6]}
    assert still == frozen
    assert stage.model_updates == model_updates


@pytest.mark.parametrize(
    "words",
    [
        ["arm=scratch", "init.modules=[encoder]"],
        ["arm=frozen_rssm", "stage.freeze=[rssm,encoder]"],
        ["arm=frozen_world_model", "stage.model_updates=5"],
        *(
            [f"arm={name}", option]
            for name in ARMS
            for option in ("init.modules=[encoder,heads]", "stage.freeze=[heads]", "stage.model_updates=7")
        ),
    ],
)
def test_an_arm_that_was_made_another_is_refused_and_none_is_not(words: list[str]) -> None:
    words = ["+experiment=finetune_dreamer", *words]
    with pytest.raises(ConfigError, match=r"which is what that arm means"):
        arm.demand(plain(config("train", words)))
    arm.demand(plain(config("train", [words[0], words[1]])))
    arm.demand(plain(config("train", [words[0], "arm=null", words[2]])))


def test_an_arm_for_other_stages_does_not_lose_what_it_is_about() -> None:
    cfg = config("train", ["+experiment=finetune_world_model", "arm=frozen_world_model"])
    spec = make(config("train", ["+experiment=finetune_dreamer"]).env).spec()
    with pytest.raises(ConfigError, match=r"arm=frozen_world_model .*choose another arm") as refused:
        build_stage(cfg, spec)
    assert "~stage.model_updates" not in str(refused.value)


@pytest.mark.parametrize(("arm", "shuffle", "wanted"), [("shuffled", None, "cells"), ("all", "cells", "null")])
def test_a_run_of_another_pre_training_does_not_pass_for_an_arms(
    arm: str, shuffle: str | None, wanted: str, other: Path
) -> None:
    _trained(other, shuffle)
    cfg = config("train", ["+experiment=finetune_dreamer", f"arm={arm}", f"init={other}"])
    spec = make(cfg.env).spec()
    found = f"data.shuffle={shuffle or 'null'}\n.*data.shuffle={wanted} for arm={arm}"
    with pytest.raises(ConfigError, match=found):
        init.begin(plain(cfg), build_stage(cfg, spec), spec)
