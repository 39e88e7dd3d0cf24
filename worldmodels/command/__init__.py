"""`worldmodels <verb>`: every module of this folder is a verb, with its docstring as help and `main(argv) -> int`."""

from __future__ import annotations

import ast
import difflib
import errno
import importlib
import os
import pkgutil
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from worldmodels.core.errors import ConfigError, UserError, WorkerError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    Task = Callable[[DictConfig, list[str]], "Ended | None"]


class Ended(NamedTuple):
    """How a task ended: the exit code of a process that did only this, and how good the result is, if that is known."""

    code: int = 0
    score: float | None = None


_PATHS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that the first word names; errors for the user are printed alone, with exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    if words[0] == "--version":
        from worldmodels import __version__

        print(__version__)
        return 0
    if words[0] not in verbs():
        close = difflib.get_close_matches(words[0], verbs(), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        print(f"there is no verb {words[0]!r}{hint}\n\n{overview()}", file=sys.stderr)
        return 2
    return run(words[0], words[1:])


def run(verb: str, argv: Sequence[str]) -> int:
    """One verb with its words; modules of the user's own are found in the working directory."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # the console command, unlike python -m, leaves it out
    module = importlib.import_module(f"{__name__}.{verb.replace('-', '_')}")
    try:
        return int(module.main(list(argv)) or 0)
    except (UserError, WorkerError, OSError) as error:
        return _tell(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _tell(error: Exception) -> int:
    """Print what the user can mend, and nothing else; anything else is a fault of ours and keeps its traceback.

    A process that worked for us and failed has printed its own traceback; ours would only hide it.
    """
    if isinstance(error, WorkerError):
        print(f"error: {error}", file=sys.stderr)
        return 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        room = "make room, and give the same command again: what was saved so far is whole"
        error = ConfigError(f"the disk is full{where} ({error.strerror})", "room to write", room)
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    if isinstance(error, _PATHS) and error.filename:
        error = ConfigError(f"{error.filename}: {error.strerror}", "a path that can be used so", "give another one")
    if not isinstance(error, UserError):
        raise error
    print(f"error: {error}", file=sys.stderr)
    return 2


def verbs() -> list[str]:
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def overview() -> str:
    """All verbs with the first line of their docstrings."""
    width = max(map(len, verbs()))
    lines = [f"  {verb:<{width}}  {_headline(verb)}" for verb in verbs()]
    return "usage: worldmodels <verb> [...]\n\n" + "\n".join(lines) + "\n\n`worldmodels <verb> --help` says more."


def _headline(verb: str) -> str:
    """Read and not imported: some verbs import torch, which takes a second."""
    text = Path(__file__).with_name(f"{verb.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def hydra_verb(config_name: str, argv: Sequence[str], task: Task, *, help_text: str) -> int:
    """Compose `conf/<config_name>.yaml` with the words of the command line, and call `task(cfg, overrides)`.

    Hydra's own flags work: --multirun, --config-dir, --cfg, --info. In a multirun, a job's error is Hydra's to report.
    """
    from worldmodels.launch.choices import conf, groups, listing

    if {"-h", "--help"} & set(argv):
        print("\n\n".join(part for part in (help_text.strip(), listing(config_name)) if part))
        return 0
    import hydra
    from hydra.errors import InstantiationException

    from worldmodels.launch.refusal import REFUSALS, explain
    from worldmodels.launch.words import HYDRA, check_flags, without_null

    check_flags(config_name, argv, HYDRA)
    words = without_null(argv, groups())
    codes = [0]
    with _command_line(config_name, words):
        try:
            hydra.main(version_base="1.3", config_path=str(conf()), config_name=config_name)(_job(task, codes))()
        except InstantiationException:  # a fault inside a constructor, whose traceback helps
            raise
        except REFUSALS as error:
            raise explain(error, config_name, words) from error
        except ValueError as error:  # of Hydra's own, for null as the choice of a group that is not ours
            if "Config group override" not in str(error):
                raise
            group = next((word.partition("=")[0] for word in argv if word.endswith("=null")), "a group")
            raise ConfigError(f"no choice for {group}", "a group takes a name", f"set {group}=<name>") from None
        except SystemExit as left:
            return left.code if isinstance(left.code, int) else 1
    return max(codes)


def _job(task: Task, codes: list[int]) -> Callable[[DictConfig], float | None]:
    """The task as Hydra calls it. Tells what the user can mend, or else Hydra would put a line of its own before it.

    In a multirun the error goes on to the sweeper, which lets the other jobs run; a job that was stopped by a signal
    stops them, too. What a job returns is its score.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import InstantiationException
    from hydra.types import RunMode

    from worldmodels.launch.refusal import REFUSALS, explain

    def job(cfg: DictConfig) -> float | None:
        running = HydraConfig.get()
        several = running.mode == RunMode.MULTIRUN
        try:
            ended = task(cfg, list(running.overrides.task)) or Ended()
        except InstantiationException:  # a fault inside a constructor, whose traceback helps
            raise
        except (UserError, WorkerError, OSError, *REFUSALS) as error:
            told = explain(error) if isinstance(error, REFUSALS) else error
            if several:
                raise told from error
            raise SystemExit(_tell(told)) from None
        if several and ended.code:
            raise SystemExit(ended.code)
        codes.append(ended.code)
        return ended.score

    return job


def _quoted(word: str) -> str:
    """Names of run folders hold `=` and `,`, which Hydra would read; a path that exists is meant as it stands."""
    key, _, value = word.partition("=")
    special = re.search("[=,]", value) and not value.startswith(("'", '"', "[", "{"))
    return f"{key}='{value}'" if special and Path(value).exists() else word


@contextmanager
def _command_line(name: str, argv: Sequence[str]) -> Iterator[None]:
    """Hydra reads sys.argv, and tells its errors instead of printing them only when this variable is set."""
    words, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [name, *map(_quoted, argv)], "1"
    try:
        yield
    finally:
        sys.argv = words
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
