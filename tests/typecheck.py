"""How the tests check types: beartype, to which an int is also a float (PEP 484), as in a YAML that says 16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from beartype import BeartypeConf, beartype
from jaxtyping import config

check = beartype(conf=BeartypeConf(is_pep484_tower=True))


@contextmanager
def unwatched() -> Iterator[None]:
    """Nothing is checked within: for more of what was watched before, which then takes half the time."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", before)
