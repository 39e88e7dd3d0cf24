"""Play an environment at random and say what is wrong with it.

usage: worldmodels check-env [--config-dir DIR] [--steps N] [--seed N] env=<name> [env.<option>=<value> ...]
       worldmodels check-env --template

  worldmodels check-env env=minatar env.game=breakout
  worldmodels check-env env=gymnasium env.id=my_module:MyEnv-v0
  worldmodels check-env --config-dir my_conf env=mine      with my_conf/env/mine.yaml and a module that Python finds

Prints one line per check: ok, warning or error, and what to do. The exit code is 1 if there is an error.

  --config-dir DIR  a folder of configs of your own, with DIR/env/<name>.yaml
  --steps N         random steps to play (300)
  --seed N          seed of the worlds and the actions (0)
  --template        print an environment of one file and one YAML, to start from
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from inspect import getsource
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException

from worldmodels.core.errors import ConfigError
from worldmodels.env import template
from worldmodels.env.check import Finding, examine
from worldmodels.env.recipe import Recipe
from worldmodels.launch.choices import conf
from worldmodels.launch.compose import make
from worldmodels.launch.refusal import explain, readable
from worldmodels.launch.words import opened

MARKS = {"ok": "32", "error": "31", "warning": "33"}  # ANSI colours


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("worldmodels check-env", add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--template", action="store_true")
    parser.add_argument("--config-dir", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_args(argv)
    if words.help or not (words.overrides or words.template):
        print(__doc__)
        return 0
    if words.template:
        print(starter())
        return 0
    if words.steps < 2:
        raise ConfigError(f"--steps {words.steps}", "at least 2", "leave it out for 300")
    if words.seed < 0:
        raise ConfigError(f"--seed {words.seed}", "0 or more", "leave it out for 0")
    findings = examine(recipe(words.overrides, words.config_dir), steps=words.steps, seed=words.seed, workers=True)
    for finding in findings:
        print(line(finding, colour=sys.stdout.isatty()))
    counts = {level: sum(finding.level == level for finding in findings) for level in MARKS}
    print(", ".join(f"{n} {level}{'' if n == 1 else 's'}" for level, n in counts.items() if level != "ok"))
    return 1 if counts["error"] else 0


def recipe(overrides: list[str], folder: Path | None) -> Recipe:
    """The environment that the words name, from our configs and those in a folder of the user's."""
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--config-dir {folder}", "a folder", "create it, with env/<name>.yaml in it")
    # Alone, without a skeleton that would name an env already, the group has to be added.
    words = [f"+{word}" if word.startswith("env=") else opened(word) for word in overrides]
    if not any(word.startswith("+env=") for word in words):
        raise ConfigError(f"no environment in {' '.join(overrides)!r}", "env=<name>", "say env=minatar, for example")
    words += [f"hydra.searchpath=[file://{folder.resolve()}]"] if folder else []
    GlobalHydra.instance().clear()
    with readable(), initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose(None, words)
    return _instantiated(cfg.env)


def _instantiated(cfg: Any) -> Recipe:
    try:
        made = make(cfg)
    except InstantiationException as error:
        if "locating target" in str(error):
            raise explain(error) from error
        found = " ".join(str(error).split())
        do = "mend the YAML: its keys are the recipe's fields"
        raise ConfigError(found, "a _target_ that takes these options", do) from error
    if not isinstance(made, Recipe):
        do = "derive it from worldmodels.env.recipe.Recipe; see worldmodels check-env --template"
        raise ConfigError(f"{cfg._target_} is a {type(made).__name__}", "a recipe with world()", do)
    return made


def line(finding: Finding, *, colour: bool = False) -> str:
    mark = f"{finding.level:<8}"
    mark = f"\033[{MARKS[finding.level]}m{mark}\033[0m" if colour else mark
    remedy = f"\n{'':<18} do: {finding.do}" if finding.do else ""
    return f"{mark} {finding.check:<10}{finding.found}{remedy}"


def starter() -> str:
    """The two files of an environment of one's own."""
    options = "\n".join(f"{field.name}: {field.default}" for field in fields(template.Mine))
    yaml = f"_target_: my_env.Mine\n{options}"
    return f"# my_env.py\n{getsource(template)}\n# my_conf/env/mine.yaml\n{yaml}"
