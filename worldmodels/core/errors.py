"""Errors that a user can act on: what was found, what was expected, what to do."""

from __future__ import annotations

from typing import Any


class UserError(ValueError):
    """Something that the user gave us can not work; the message says how to mend it.

    The command line prints the message alone, without a traceback.
    """

    def __init__(self, found: str, expected: str, do: str) -> None:
        super().__init__(found, expected, do)
        self.found, self.expected, self.do = found, expected, do

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels between processes whatever a subclass's constructor takes."""
        return _same, (type(self), self.args)

    def __str__(self) -> str:
        return f"{self.found}\n  expected: {self.expected}\n  do: {self.do}"


class SpecError(UserError):
    """An observation, action or extra has another shape, dtype or name than declared."""


class ConfigError(UserError):
    """An option has a value that can not work."""


class StoreError(UserError):
    """An episode store can not be read or written as asked."""


class ResumeError(UserError):
    """A checkpoint or snapshot does not belong to what it should continue."""


class LockError(UserError):
    """Another process owns the folder."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is not installed. `instead` is what can be done without it."""

    def __init__(self, package: str, extra: str, instead: str = "") -> None:
        super().__init__(
            f"the package {package!r} is not installed",
            f"the optional dependencies of {extra!r}",
            f"pip install '.[{extra}]' in the checkout" + (f", or {instead}" if instead else ""),
        )


class WorkerError(RuntimeError):
    """A process that worked for this one failed or died."""


def _same(kind: type[UserError], parts: tuple[str, str, str]) -> UserError:
    error = kind.__new__(kind)
    UserError.__init__(error, *parts)
    return error
