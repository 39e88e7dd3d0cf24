"""What Hydra says about a wrong word, as what the user can do about it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodels.core.errors import ConfigError
from worldmodels.launch.choices import choices_of, conf, dotted, every_choice, every_option, groups, offers
from worldmodels.launch.near import near

REFUSALS = (HydraException, OmegaConfBaseException)
SINGULAR = {"studies": "study"}  # the one group that holds what is typed under another name


@contextmanager
def readable(name: str = "train", words: Sequence[str] = ()) -> Iterator[None]:
    """Turns what Hydra says about a wrong word into what the user can do about it."""
    try:
        yield
    except REFUSALS as error:
        raise explain(error, name, words) from error


def explain(error: Exception, name: str = "train", words: Sequence[str] = ()) -> ConfigError:
    """The same refusal in three parts, with the closest existing words; `name` and `words` are what was composed."""
    text = "\n".join(str(part) for part in chain(error))
    for pattern, reading in _READINGS:
        found = re.search(pattern, text, re.DOTALL)
        if found:
            return reading(**found.groupdict())
    for pattern in _UNKNOWN:
        if found := re.search(pattern, text):
            return _key(found["key"], _composed(name, words), name)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return ConfigError("\n    ".join(lines), "a config that Hydra can compose", "see conf/ for what can be set")


def misdirected(error: InstantiationException) -> ConfigError | None:
    """What is wrong with a `_target_` that can not be called at all, or not with the options beside it.

    None for what went wrong inside it, whose traceback helps.
    """
    cause, text = error.__cause__, str(error)
    if cause is not None:
        *_, (frame, _) = traceback.walk_tb(cause.__traceback__)
        if not isinstance(cause, TypeError) or frame.f_globals["__name__"] != instantiate.__module__:
            return None
        text = str(cause)
    found = re.search(r"full_key: (\S+)", str(error))
    key = f"{found[1]}._target_" if found else "_target_"
    return ConfigError(
        f"{key}: {text.partition(chr(10))[0]}",
        "the import path of a class or function that takes the options beside it",
        f"correct {key}, or those options",
    )


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# The first one is the cause that the second may have, and names an unknown key within braces, too.
_UNKNOWN = (
    r"is not in struct\s+full_key: (?P<key>\S+)",
    r"Could not override '(?P<key>[^']*)'",
    r"Could not delete from config\. '(?P<key>[^']*)' does not exist",
)


def _key(key: str, composed: Collection[str], verb: str) -> ConfigError:
    """`composed` are the options of the chosen env, model and so on; others are only named if nothing there is near."""
    if key in composed:  # without the other words it is there
        holder = key.rpartition(".")[0]
        do = f"leave out {key}, or the word that sets {holder}, or what holds that, to null"
        return ConfigError(f"there is no {key!r} where another word makes its holder null", "one of the two words", do)
    choice = key.replace(".", "/")
    if "/" in choice and (options := choices_of(choice)):
        options = f"{choice}=<one of {', '.join(options)}>"
        return ConfigError(f"{key} is a choice, not an option", options, f"write {choice}= with a slash")
    others = [f"{group}={choice}" for group, choice, keys in every_choice() if key in keys]
    has = f"; {', '.join(others)} {'have' if len(others) > 1 else 'has'} one of that name" if others else ""
    group, _, last = key.partition(".")[0], *key.rpartition(".")[1:]
    deeper = [
        each for each in composed if each.endswith(f".{last}") and (group == last or each.startswith(f"{group}."))
    ]
    hint = f" (did you mean {' or '.join(deeper[:3])}?)" if deeper else near(key, composed)
    return ConfigError(
        f"there is no option {key!r}" + (" in this config" if others else ""),
        "an option of the config" + (hint or near(key, {*every_option(), *groups()})) + has,
        f"correct the name, or add a new one with +{key}=...; `worldmodels {verb} --cfg job` prints all options",
    )


def _composed(name: str, words: Sequence[str]) -> list[str]:
    """Options of the config with these choices of groups, without the other words; none if they are wrong, too."""
    known = {*groups(), "experiment"}
    chosen = [word for word in words if word.lstrip("+~").partition("=")[0] in known]
    folders = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("--config-dir", "-cd")]
    search = [f"hydra.searchpath=[file://{Path(folder).resolve()}]" for folder in folders[:1]]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf()), version_base="1.3"):
            cfg = compose(name, [*chosen, *search])
    except REFUSALS:
        return []
    return [*dotted(OmegaConf.to_container(cfg, resolve=False), "")]


def _option(choice: str) -> ConfigError:
    group, _, name = choice.rpartition("/")
    options = choices_of(group)
    if not options:
        return ConfigError(f"there is no config group {group or name!r}", f"one of {', '.join(groups())}", "correct it")
    return ConfigError(
        f"there is no {SINGULAR.get(group, group)} named {name!r}",
        f"one of {', '.join(options)}" + near(name, options),
        f"correct the name, or add conf/{group}/{name}.yaml",
    )


def _group(choice: str) -> ConfigError:
    parent, _, name = choice.rpartition("/")
    if parent and (holders := [each for each in choices_of(parent) if offers(conf() / parent / f"{each}.yaml", name)]):
        return ConfigError(
            f"{choice} is set, but the chosen {parent} has no {name}",
            f"one of {', '.join(f'{parent}={each}' for each in holders)}",
            f"choose such a {parent}, or leave {choice} out",
        )
    if name == "experiment":
        return ConfigError(
            "the defaults hold no experiment that another could replace",
            "a plus before what is added",
            f"write +{name}=<name>; one of {', '.join(choices_of(name))}",
        )
    if name in groups():
        return ConfigError(
            f"this command has no {name} to choose",
            "its own groups; of experiments, those for record.py are named record_..., all others are for train.py",
            "leave it out, or give the words to the other command; a trained run is named by run=<folder>",
        )
    return ConfigError(
        f"there is no config group or option {name!r} to override",
        f"one of the groups {', '.join(groups())}" + near(name, [*groups(), *every_option()]),
        "correct the name; what is not in the defaults is added with a plus, such as +experiment=...",
    )


def _several(word: str) -> ConfigError:
    key, _, value = word.partition("=")
    return ConfigError(
        f"{word}: several values for one run",
        "one value; or -m, which makes one run of each",
        f"add -m for several runs, or write {key}=[{value}] for a list, or \"{key}='{value}'\" for a text",
    )


def _flat(key: str, node: str) -> ConfigError:
    return ConfigError(
        f"{node} was set to a single value, but it holds options, such as {key}",
        "options in braces, or each by its own name",
        f"write {key}=..., or {node}={{{key.rpartition('.')[2]}: ...}}",
    )


def _missing(key: str) -> ConfigError:
    return ConfigError(f"the option {key!r} has no value", "a value for it", f"set {key}=... on the command line")


def _target(name: str, cause: str | None) -> ConfigError:
    module = name.rpartition(".")[0] or name
    return ConfigError(
        f"_target_: {name} can not be imported" + (f": {cause}" if cause else ""),
        f"a class or function in a module {module} that Python finds from here",
        "correct the YAML, or start from the folder that holds the module",
    )


def _unmatched(there: str, key: str) -> ConfigError:
    """An option that takes its value from one that another choice would have."""
    return ConfigError(
        f"{key} is that of {there}, and there is no {there}",
        "choices that belong together, such as stage=dreamer with model=rssm, and stage=muzero with model=muzero",
        f"choose the {key.partition('.')[0]} alone, which brings its {there.partition('.')[0]}, or set {key}",
    )


_READINGS: list[tuple[str, Callable[..., ConfigError]]] = [
    (r"Could not override '(?P<choice>[^']*)'\.\s*No match in the defaults list", _group),
    (r"Could not find '(?P<choice>[^']*)'", _option),
    (r"Error locating target '(?P<name>[^']*)'(?:.*?Error loading '[^']*':\s*(?P<cause>[^\n]*))?", _target),
    (r"Missing mandatory value: (?P<key>\S+)", _missing),
    (r"Ambiguous value for argument '(?P<word>[^'\n]*)'", _several),
    (r"Interpolation key '(?P<there>[^']*)' not found\s+full_key: (?P<key>\S+)", _unmatched),
    (r"Error trying to access (?P<key>\S+): node `(?P<node>[^`]*)` is not a container", _flat),
]
