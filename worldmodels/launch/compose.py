"""Command-line words to a config, and a config to objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from worldmodels.core.errors import UserError
from worldmodels.launch.arguments import examine
from worldmodels.launch.choices import conf, groups
from worldmodels.launch.refusal import chain, explain, misdirected, readable
from worldmodels.launch.words import without_null


def config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """`conf/<name>.yaml` with overrides, as the command line would compose it."""
    words = without_null(overrides, groups())
    GlobalHydra.instance().clear()
    with readable(name, words), initialize_config_dir(str(conf()), version_base="1.3"):
        return compose(name, words)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The config with every interpolation resolved, as plain data."""
    with readable():
        tree = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    return {str(key): value for key, value in tree.items()} if isinstance(tree, dict) else {}


def kept(cfg: DictConfig) -> dict[str, Any]:
    """The same as a run keeps it: paths are relative to its folder, which may be moved."""
    here = OmegaConf.merge(cfg, {"paths": {"run": "."}})
    assert isinstance(here, DictConfig)
    return plain(here)


def make(cfg: Any, *args: Any, **kwargs: Any) -> Any:
    """Hydra's `instantiate`, but types are checked first, and errors for the user come out as they went in."""
    if isinstance(cfg, DictConfig):
        examine(cfg)
    try:
        return instantiate(cfg, *args, **kwargs)
    except InstantiationException as error:
        for cause in chain(error):
            if isinstance(cause, UserError):
                raise cause from None
        if "locating target" in str(error):
            raise explain(error) from error
        if told := misdirected(error):
            raise told from error
        raise
