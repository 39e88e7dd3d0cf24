"""Which job does which run is known after any crash."""

from __future__ import annotations

from pathlib import Path

from worldmodels.launch.cluster.ledger import Entry, Ledger


def entry(job: str, *words: str, executor: str = "slurm") -> Entry:
    return Entry(job, executor, "/runs/s/.submitit/now/%j", words, 1.5)


def test_the_newest_job_of_a_run_counts_whatever_the_order_of_its_words(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / ".submitit")
    ledger.add([entry("1_0", "seed=1", "x=2"), entry("1_1", "seed=2", "x=2")])
    ledger.add([entry("2", "x=2", "seed=1")])
    found = Ledger(tmp_path / ".submitit").newest("slurm")
    assert {key: each.job for key, each in found.items()} == {("seed=1", "x=2"): "2", ("seed=2", "x=2"): "1_1"}


def test_jobs_of_another_scheduler_are_not_ours(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add([entry("1", "seed=1", executor="lsf")])
    assert ledger.newest("slurm") == {}
    assert len(ledger.newest("lsf")) == 1


def test_a_line_that_was_cut_by_a_crash_costs_only_itself(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add([entry("1", "seed=1"), entry("2", "seed=2")])
    ledger.path.write_text(ledger.path.read_text()[:-20])
    assert [each.job for each in ledger.newest("slurm").values()] == ["1"]


def test_without_a_file_there_are_no_jobs(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "none").newest("slurm") == {}
