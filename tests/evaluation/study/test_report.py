"""The report of a study: what is written, and what a reader sees."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pages import assert_self_contained, assert_well_formed
from PIL import Image
from rich.console import Console

from worldmodels.core.errors import ConfigError
from worldmodels.evaluation.study.report import report


@pytest.fixture
def study(make: Any, tmp_path: Path) -> Path:
    """Two groups of three seeds, one of one seed, and runs that do not count; one has a film and a hostile name."""
    for seed in range(3):
        make(f"a{seed}", seed, 1.0 + seed)
        make(f"b{seed}", seed, 4.0 + seed, lr=0.01)
    make("c", 0, 9.0, lr=0.1)
    make("killed", 3, 100.0, state="killed")
    (make("damaged<b>", 4, 50.0) / "done.json").write_text("{")
    films = tmp_path / "runs" / "study" / "a1" / "films"
    films.mkdir()
    (films / "00000100.gif").write_bytes(b"GIF89a")
    rows = [{"horizon": h, "windows": 4, "mse/obs/open": h / 10, "mse/obs/copy": 0.5} for h in range(1, 6)]
    (films / "00000100.json").write_text(json.dumps({"rows": rows}))
    return tmp_path / "runs" / "study"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_run_is_a_row_and_only_finished_ones_are_averaged(study: Path) -> None:
    report([study])
    runs = {row["folder"]: row for row in rows(study / "report" / "runs.csv")}
    assert len(runs) == 9
    assert runs["killed"]["used"] == "no: killed"
    assert runs["damaged<b>"]["used"] == "no: with a result that can not be read"
    groups = {row["group"]: row for row in rows(study / "report" / "groups.csv")}
    assert [groups[f"stage.lr={lr}"]["mean"] for lr in ("0.001", "0.01", "0.1")] == ["2.0", "5.0", "9.0"]
    assert groups["stage.lr=0.001"]["left_out"] == "2"


def test_one_seed_has_no_interval_in_any_table(study: Path) -> None:
    report([study])
    groups = {row["group"]: row for row in rows(study / "report" / "groups.csv")}
    assert (groups["stage.lr=0.1"]["mean_low"], groups["stage.lr=0.1"]["mean_high"]) == ("", "")
    assert groups["stage.lr=0.01"]["mean_low"] == "4.0"
    assert "9.00 [\N{EN DASH}]" in (study / "report" / "groups.md").read_text()
    assert "9.00 [--]" in (study / "report" / "groups.tex").read_text()
    pairs = [row for row in rows(study / "report" / "pairs.csv") if "stage.lr=0.1" in (row["group"], row["other"])]
    assert [row["probability"] for row in pairs] == ["", ""]


def test_unfinished_runs_are_averaged_only_when_asked_and_marked_everywhere(study: Path) -> None:
    made = report([study], include_unfinished=True)
    (group,) = (row for row in rows(study / "report" / "groups.csv") if row["group"] == "stage.lr=0.001")
    assert group["mean"] == str((1 + 2 + 3 + 100) / 4)
    assert "1 of 4 not finished" in group["remarks"]
    assert "100.0*" in (study / "report" / "runs.md").read_text()
    assert "not finished count with their last evaluation" in (study / "report" / "report.html").read_text()
    assert "not finished" in printed(made)


def printed(made: Any) -> str:
    console = Console(width=200)
    with console.capture() as caught:
        console.print(made.console())
    return caught.get()


def test_the_console_tells_what_is_left_out_and_where_the_page_is(study: Path) -> None:
    text = printed(report([study]))
    assert "2 of 9 runs are in no average" in text
    assert "done.json can not be read" in text
    assert str(study / "report" / "report.html") in text


def test_the_page_asks_for_nothing_else(study: Path) -> None:
    report([study])
    assert_self_contained((study / "report" / "report.html").read_text())


def test_the_page_is_well_formed_and_shows_every_part(study: Path) -> None:
    report([study])
    text = (study / "report" / "report.html").read_text()
    assert_well_formed(text)
    for words in (
        "Before you read",
        "Scores",
        "Learning",
        "Probability of improvement",
        "Imagination",
        "Films",
        "Runs",
    ):
        assert words in text
    assert "damaged<b>" not in text
    assert "damaged&lt;b&gt;" in text


def test_the_same_runs_give_the_same_bytes(study: Path, tmp_path: Path) -> None:
    first, second = (report([study], tmp_path / name) for name in ("one", "two"))
    for a, b in zip(first.files, second.files, strict=True):
        if a.name != "report.json":  # it tells its own place
            assert a.read_bytes() == b.read_bytes(), a.name


def test_a_report_replaces_its_older_self_and_nothing_else(study: Path, tmp_path: Path) -> None:
    report([study])
    report([study])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="not of a report"):
        report([study], tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_several_studies_need_a_place(study: Path, make: Any, tmp_path: Path) -> None:
    make("x", study="other")
    both = [study, study.parent / "other"]
    with pytest.raises(ConfigError, match=r"add --out .*report-study-other"):
        report(both)
    made = report(both, tmp_path / "out")
    assert {row["study"] for row in rows(made.out / "groups.csv")} == {"study", "other"}


def test_a_study_without_a_finished_run_still_has_a_page(make: Any, tmp_path: Path) -> None:
    make("a", 0, state="running")
    made = report([tmp_path / "runs" / "study"])
    assert "No run counts yet" in (made.out / "report.html").read_text()
    assert rows(made.out / "groups.csv")[0]["mean"] == ""


def test_runs_without_any_config_still_have_a_page(make: Any, tmp_path: Path) -> None:
    (make("a", 0, state="queued") / "config.yaml").unlink()
    made = report([tmp_path / "runs" / "study"])
    assert made.to_json()["groups"] == []


def test_games_with_published_scores_are_averaged_on_their_scale_alone(make: Any, tmp_path: Path) -> None:
    for game, score in (("pong", 14.6), ("breakout", 1.7)):
        for seed in range(2):
            make(f"{game}{seed}", seed, score, env={"_target_": "worldmodels.env.atari.Atari", "game": game})
    made = report([tmp_path / "runs" / "study"])
    raw = [row for row in made.to_json()["groups"] if not row["scale"]]
    assert [(row["environment"], row["mean"]) for row in raw] == [("breakout", 1.7), ("pong", 14.6)]
    (over,) = (row for row in made.to_json()["groups"] if row["scale"])
    assert over["mean"] == pytest.approx(0.5)
    assert (over["environment"], over["scale"]) == ("2 environments", "human-normalised")


def test_raw_returns_of_different_games_are_never_averaged(make: Any, tmp_path: Path) -> None:
    for game in ("breakout", "asterix"):
        make(game, 0, env={"_target_": "worldmodels.env.minatar.MinAtar", "game": game})
    groups = report([tmp_path / "runs" / "study"]).to_json()["groups"]
    assert [row["environment"] for row in groups] == ["asterix", "breakout"]


def test_latex_and_markdown_survive_special_signs(make: Any, tmp_path: Path) -> None:
    make("a_b", 0, config={"stage": {"kind": "x_y|50%"}})
    make("c", 0, config={"stage": {"kind": "z"}})
    made = report([tmp_path / "runs" / "study"])
    assert r"x\_y\textbar{}50\%" in (made.out / "groups.tex").read_text()
    assert r"x_y\|50%" in (made.out / "groups.md").read_text()


def test_json_has_no_nan(make: Any, tmp_path: Path) -> None:
    make("a", 0, float("nan"))
    made = report([tmp_path / "runs" / "study"])
    json.loads((made.out / "report.json").read_text(), parse_constant=pytest.fail)


def test_groups_of_one_seed_are_not_compared(make: Any, tmp_path: Path) -> None:
    make("a", 0)
    make("b", 0, lr=0.1)
    made = report([tmp_path / "runs" / "study"])
    assert "It takes two groups of at least two seeds" in (made.out / "report.html").read_text()
    assert [row["probability"] for row in made.to_json()["pairs"]] == [None]


def test_groups_that_share_no_environment_are_not_compared(make: Any, tmp_path: Path) -> None:
    for seed in range(2):
        make(f"a{seed}", seed, env={"game": "breakout"})
        make(f"b{seed}", seed, env={"game": "asterix"}, lr=0.1)
    made = report([tmp_path / "runs" / "study"])
    assert "Probability of improvement" not in (made.out / "report.html").read_text()


def test_errors_by_horizon_of_different_environments_are_drawn_apart(study: Path, make: Any) -> None:
    films = make("other", 0, env={"game": "asterix"}) / "films"
    films.mkdir()
    (films / "00000100.gif").write_bytes(b"GIF89a")
    rows = [{"horizon": h, "windows": 4, "mse/obs/open": 9.0} for h in range(1, 6)]
    (films / "00000100.json").write_text(json.dumps({"rows": rows}))
    text = (report([study]).out / "report.html").read_text()
    after = text[text.index("<h2>Imagination") :]
    assert re.findall(r"<h3>(\w+)</h3><div class='figure'>", after) == ["asterix", "breakout"]


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_page_opens_in_a_browser_without_a_network(study: Path, tmp_path: Path) -> None:
    """No name of a host resolves, and everything is drawn all the same."""
    page, picture = report([study]).out / "report.html", tmp_path / "page.png"
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    words += ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking"]
    words += ["--window-size=1100,2600", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    colours = Image.open(picture).convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 200  # text, bars, bands and lines, not an empty sheet
