from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORD = ["env=dummy", "steps=200", "width=4", "workers=2", "store=kept"]


def test_the_script_spreads_worlds_over_subprocesses(tmp_path):
    """Each subprocess imports the script anew, which must not begin the job once more."""
    done = subprocess.run([sys.executable, ROOT / "record.py", *RECORD], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "holds    200 env steps" in done.stdout


@pytest.mark.parametrize("script", ["record.py", "train.py"])
def test_importing_a_script_begins_nothing(script, tmp_path):
    code = f"import runpy; runpy.run_path({str(ROOT / script)!r}, run_name='__mp_main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
