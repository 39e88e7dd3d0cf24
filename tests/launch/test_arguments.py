"""Values of another type than a constructor declares are told by their key, before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from omegaconf import OmegaConf

from worldmodels import command
from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Options, Share
from worldmodels.launch.arguments import examine
from worldmodels.launch.choices import conf
from worldmodels.launch.compose import config, make
from worldmodels.launch.hints import fits, told


@dataclass
class Inner:
    size: int = 1


@dataclass
class Taker:
    """Has one argument of every kind that a constructor of ours may have."""

    count: int = 1
    share: float | None = 0.5
    kind: Literal["a", "b"] = "a"
    rates: Mapping[str, float] | None = None
    pair: tuple[int, str] = (1, "a")
    sides: Sequence[int] = ()
    on: bool = False
    inner: Inner | None = None
    call: Callable[[], int] | None = None
    options: Annotated[Mapping[str, Any], Options(Inner)] | None = None
    anything: Any = None
    path: Path | None = None
    many: Count = 1
    shares: Mapping[str, Share] | None = None


TAKER = f"{__name__}.Taker"


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are imported by path; Hydra looks classes up by name."""
    monkeypatch.setattr("worldmodels.launch.arguments.get_object", {TAKER: Taker, "Inner": Inner}.__getitem__)


def taker(**options: Any) -> Any:
    return OmegaConf.create({"part": {"_target_": TAKER, **options}, "there": 3, "word": "abc"})


@pytest.mark.parametrize(
    "options",
    [
        {"count": 3, "share": None, "kind": "b", "rates": {"x": 1, "y": 2.5}, "pair": [1, "b"], "sides": [1, 2]},
        {"share": 1, "on": True, "inner": {"_target_": "Inner", "size": 3}, "options": {"size": 2}, "path": "a/b"},
        {"count": "${there}", "anything": {"a": [1, None]}, "rates": None, "call": {"_target_": "Inner"}},
    ],
)
def test_values_of_the_declared_types_pass(options: dict[str, Any]) -> None:
    examine(taker(**options))


@pytest.mark.parametrize(
    ("options", "found", "expected"),
    [
        ({"count": "x"}, "part.count=x", "a whole number"),
        ({"count": None}, "part.count=null", "a whole number"),
        ({"count": True}, "part.count=true", "a whole number"),
        ({"count": 1.5}, "part.count=1.5", "a whole number"),
        ({"share": "x"}, "part.share=x", "a number or null"),
        ({"kind": "c"}, "part.kind=c", "one of a, b"),
        ({"rates": {"x": 1, "y": "z"}}, "part.rates.y=z", "a number"),
        ({"rates": 3}, "part.rates=3", "options in braces, such as {a: 1} or null"),
        ({"pair": [1, 2]}, "part.pair=[1, 2]", "a list"),
        ({"pair": [1]}, "part.pair=[1]", "a list"),
        ({"sides": 3}, "part.sides=3", "a list"),
        ({"sides": [1, "x"]}, "part.sides=[1, 'x']", "a list"),
        ({"on": 1}, "part.on=1", "true or false"),
        ({"inner": "x"}, "part.inner=x", "a config with a _target_ that makes an Inner"),
        ({"inner": {"_target_": "Inner", "size": "x"}}, "part.inner.size=x", "a whole number"),
        ({"call": "x"}, "part.call=x", "a config with a _target_"),
        ({"options": {"size": "x"}}, "part.options.size=x", "a whole number"),
        ({"options": {"syze": 1}}, "part.options.syze: Inner takes no 'syze'", "did you mean size?"),
        ({"cuont": 1}, f"part.cuont: {TAKER} takes no 'cuont'", "did you mean count?"),
        ({"many": 0}, "part.many=0", "a whole number of at least 1"),
        ({"shares": {"x": 0.5, "y": 1.5}}, "part.shares.y=1.5", "a number from 0 to 1"),
        ({"count": "${word}"}, "word=abc", "a whole number"),
        ({"count": "${nowhere}"}, "part.count is ${nowhere}, but there is no nowhere", "a value for nowhere"),
    ],
)
def test_a_value_of_another_type_is_told_by_the_key_that_a_user_types(
    options: dict[str, Any], found: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as told_:
        examine(taker(**options))
    assert told_.value.found == found
    assert expected in told_.value.expected


def test_a_partial_part_is_checked_as_well_as_a_whole_one() -> None:
    with pytest.raises(ConfigError, match=r"part\.count=x"):
        examine(taker(_partial_=True, count="x"))


def test_a_whole_number_that_was_written_as_a_fraction_is_given_back_whole() -> None:
    with pytest.raises(ConfigError, match=r"do: write part\.count=100000"):
        examine(taker(count=1e5))


def test_what_comes_late_may_be_missing_and_what_can_not_be_imported_is_for_others_to_tell() -> None:
    examine(taker(count=None), late=("part.count",))


def test_types_that_nobody_knows_here_take_anything() -> None:
    assert fits("x", "Unresolved")
    assert fits({"_target_": "x"}, int)
    assert told(Path | None) == "a path or null"


WRONG = [
    "env.sticky=abc", "stage.optim.lr.model=abc", "data.sampler.length=x", "data.sampler=x",
    "model.recurrence.hidden=abc", "callback.film.windows=0", "stage.optim.lr.actor=-1", "model.recurrence.deter=-3",
    "trainer.devices={}", "stage.model=null", "force=abc", "callback.heartbeat.every=-1", "paths.runs=null",
    "paths.runs=3", "data.sampler.length=0",
]  # fmt: skip


@pytest.mark.parametrize("word", WRONG)
def test_a_wrong_value_anywhere_leaves_no_run_behind(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert command.main(["train", "+experiment=dreamer_minatar", word]) == 2
    error = capsys.readouterr().err
    assert f"error: {word}" in error
    assert "expected: " in error
    assert "do: " in error
    assert not list(tmp_path.iterdir())


def wordy(note: Any, count: Any) -> None:
    """Of a user who writes types as notes."""


wordy.__annotations__ = {"note": "any number", "count": "int"}


def test_annotations_that_are_no_types_take_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldmodels.launch.arguments.get_object", lambda _: wordy)
    cfg = OmegaConf.create({"part": {"_target_": "mine.wordy", "note": [], "count": 2}})
    examine(cfg)
    cfg.part.count = "x"
    with pytest.raises(ConfigError, match=r"part\.count=x"):
        examine(cfg)


def test_a_type_that_is_imported_for_type_checkers_alone_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    cfg = config("train", ["logger=wandb", "logger.wandb.offline=perhaps", f"paths.run={tmp_path}"])
    with pytest.raises(ConfigError) as told:
        examine(cfg)
    assert told.value.found == "logger.wandb.offline=perhaps"


@pytest.mark.parametrize("word", ["stage.net.units=x", "stage.epsilon.steps=0", "stage.target.every=0"])
def test_options_that_travel_as_a_mapping_are_checked_too(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=word):
        make(config("train", ["stage=dqn", word]).stage)


def test_everything_that_is_shipped_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for path in sorted(conf().rglob("*.yaml")):
        group = path.parent.relative_to(conf()).as_posix()
        recorded = path.stem.startswith("record_")  # for record.py
        if group in ("env", "data", "trainer", "logger", "experiment") and not recorded:
            plus = "+" if group == "experiment" else ""
            examine(config("train", [f"{plus}{group}={path.stem}"]), late=("paths.run",))
