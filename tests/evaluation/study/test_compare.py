"""Two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.evaluation.study.beside import write_page
from worldmodels.evaluation.study.compare import compare, overlaid


def test_keys_that_differ_are_named_and_those_of_watching_come_apart(make: Any) -> None:
    found = compare(make("a", 0), make("b", 0, lr=0.1, config={"threads": 4}))
    assert [(each.name, each.a, each.b, each.watching) for each in found.config] == [
        ("stage.lr", "0.001", "0.1", False),
        ("threads", "1", "4", True),
    ]


def test_the_same_code_says_nothing_and_other_code_is_told(make: Any) -> None:
    one = make("a")
    assert compare(one, make("b")).code == ()
    diff = "diff --git a/x/y.py b/x/y.py\n--- a/x/y.py\n+++ b/x/y.py\n@@ -1 +1,2 @@\n-old\n+new\n+more\n"
    assert compare(one, make("c", diff=diff)).code == (
        "a: no uncommitted changes",
        "b: uncommitted changes",
        " x/y.py  +2 -1",
    )
    assert compare(one, make("d", commit="b" * 40)).code[0] == "commit aaaaaaaaaa -> bbbbbbbbbb"


def test_results_stand_side_by_side(make: Any) -> None:
    found = compare(make("a", 0, 1.5), make("b", 1, 7.0, state="killed"))
    told = {each.name: (each.a, each.b) for each in found.results}
    assert told["return"] == ("1.50 ± 0.10", "7.00 (last evaluation)")
    assert told["state"] == ("done", "killed")


def test_what_is_not_a_run_is_refused(make: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run folder"):
        compare(make("a"), tmp_path)


def test_the_page_overlays_both_curves_and_spares_other_files(make: Any, tmp_path: Path) -> None:
    found = compare(make("a", 0), make("b", 1))
    assert set(overlaid(found)) == {"return, evaluated without exploration", "return of training episodes"}
    page = tmp_path / "page.html"
    write_page(found, page)
    write_page(found, page)
    assert "<svg" in page.read_text()
    page.write_text("something else")
    with pytest.raises(ConfigError, match="there already"):
        write_page(found, page)
