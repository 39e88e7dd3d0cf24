"""`worldmodels report` and `worldmodels compare` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldmodels.command import main


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two runs of a name that holds an equals sign."""
    for seed in range(2):
        folder = tmp_path / "study" / f"seed={seed}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"seed: {seed}\nenv: {{game: maze}}\nstage: {{_target_: a.Learner}}\n")
        result = {"env_steps": 10, "updates": 5, "minutes": 1.0, "return_mean": float(seed), "return_stderr": 0.1}
        (folder / "done.json").write_text(json.dumps({**result, "episodes": 3}))
    return tmp_path / "study"


def test_report_says_what_it_wrote(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(study)]) == 0
    assert "0.50 [0.00, 1.00]" in capsys.readouterr().out
    assert (study / "report" / "report.html").is_file()


def test_report_speaks_json(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(study), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["groups"][0]["mean"] == 0.5
    assert all(Path(path).is_file() for path in told["files"])


def test_an_unknown_folder_is_an_error_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "do: give runs/<study>" in capsys.readouterr().err


def test_compare_takes_folders_whose_names_hold_equals_signs(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *(f"run={study}/seed={seed}" for seed in range(2)), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in told["config"]] == ["seed"]


def test_compare_prints_and_wants_two_runs(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(study / "seed=0"), str(study / "seed=1")]) == 0
    assert "one run each" in capsys.readouterr().out
    assert main(["compare", str(study / "seed=0")]) == 2
    assert "expected: two" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_help_shows_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert f"worldmodels {verb} " in capsys.readouterr().out
