"""The words of a command line, before Hydra reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from worldmodels.core.errors import ConfigError
from worldmodels.launch.near import near

DEMO = "+experiment=dreamer_minatar"
LISTED = "hydra/sweeper=json_list"
NULLABLE = ("env", "model", "logger", "policy", "arm")  # groups of which there may be none
OPEN = ("env.kwargs", "env.base.kwargs", "policy.files")  # options in whose braces the names are the user's own
HYDRA = {
    *("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--run", "-r"),
    *("--multirun", "-m", "--shell-completion", "-sc", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun", "--info", "-i"),
}


def without_null(words: Sequence[str], groups: Collection[str]) -> list[str]:
    """`model=null` as Hydra wants to hear it, `~model`, and so on; ConfigError for a group that every run needs."""
    return [opened(_without_null(word, groups)) for word in with_init(words)]


def with_init(words: Sequence[str]) -> list[str]:
    """`init=<folder>` as `init.run=<folder>`, so that init.modules and its like may stand beside it."""
    return [f"init.run={word[len('init=') :]}" if word.startswith("init=") else word for word in words]


def opened(word: str) -> str:
    """With the two pluses that let Hydra take names which no YAML lists."""
    key = word.partition("=")[0]
    return f"++{word}" if any(key == each or key.startswith(f"{each}.") for each in OPEN) else word


def _without_null(word: str, groups: Collection[str]) -> str:
    group, _, value = word.lstrip("+").partition("=")
    if group not in groups or value.lower() != "null" or word.startswith("~"):
        return word
    if group in NULLABLE:
        return f"~{group}"
    raise ConfigError(
        f"{word}: no choice for {group}",
        f"a name, since a group takes a name; only {', '.join(NULLABLE)} may be null",
        f"set {group}=<name>",
    )


def check_flags(verb: str, words: Sequence[str], allowed: Collection[str]) -> None:
    """ConfigError for a flag that the verb does not take, with the closest ones that it does."""
    for word in words:
        flag = word.partition("=")[0]
        if not flag.startswith("-") or flag in allowed:
            continue
        shown = sorted(each for each in allowed if each.startswith("--"))
        raise ConfigError(
            f"worldmodels {verb} does not take {flag}",
            f"options as words, such as seed=1, and the flags {', '.join(shown)}{near(flag, shown)}",
            f"correct or leave out {flag}; `worldmodels {verb} --help` says more",
        )


def with_demo(argv: Sequence[str]) -> list[str]:
    """Without an experiment, and without a choice of what to learn from, training means the demo.

    Where a list of runs is given, that holds for each line of it, and nothing is added here.
    """
    argv = with_init(argv)
    chosen = {word.lstrip("+~").partition("=")[0] for word in argv}
    if chosen & {"experiment", "env", "model", "data", "stage"} or LISTED in argv:
        return [*argv]
    # Beside the other overrides: Hydra takes them in one row, not on both sides of a flag.
    place = next((i for i, word in enumerate(argv) if "=" in word and not word.startswith("-")), len(argv))
    return [*argv[:place], DEMO, *argv[place:]]
