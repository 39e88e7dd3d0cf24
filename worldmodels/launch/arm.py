"""An arm of a transfer experiment is what its YAML says, or its name would mislead where arms are compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from worldmodels.core.errors import ConfigError
from worldmodels.launch.choices import conf
from worldmodels.launch.folder import flat
from worldmodels.launch.json_list import word

# What arms are told apart by, and what it is where an arm says nothing of it.
PLAIN: dict[str, Any] = {"init.modules": None, "stage.freeze": [], "stage.model_updates": None}


def demand(config: Mapping[str, Any]) -> None:
    """ConfigError if a run has the name of an arm, and other options; what an arm takes from elsewhere is free."""
    arm = config.get("arm")
    paths = [folder / "arm" / f"{arm}.yaml" for folder in _folders()]
    path = next((path for path in paths if arm is not None and path.is_file()), None)
    if path is None:
        return
    here, own = flat(config), flat(OmegaConf.to_container(OmegaConf.load(path), resolve=False))
    own = {**{key: value for key, value in PLAIN.items() if key in here}, **own}
    for key, value in own.items():
        own_word = key.partition(".")[0] != "defaults" and not (isinstance(value, str) and "${" in value)
        if own_word and here.get(key) != value:
            raise ConfigError(
                f"arm={arm} with {key}={word(here.get(key))}",
                f"{key}={word(value)}, which is what that arm means",
                "leave one of them out (arm=null is no arm), or write a YAML of its own: <folder>/arm/<name>.yaml, and "
                "--config-dir <folder>",
            )


def _folders() -> list[Path]:
    """Where configs are looked for, the user's folder first, as Hydra does."""
    if not HydraConfig.initialized():
        return [conf()]
    sources = [source for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
    return [*(Path(source.path) for source in sources if source.provider != "main"), conf()]
