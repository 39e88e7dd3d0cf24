"""A whole experiment, as a user types it, that has to reach what is said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = Path(__file__).parents[1] / "train.py"


@pytest.mark.slow
def test_gumbel_muzero_solves_cartpole_within_thirty_thousand_steps(tmp_path: Path) -> None:
    words = ["+experiment=gumbel_muzero_cartpole", "evaluation.episodes=100", "callback.score=null", "name=run"]
    # Elsewhere than in this process, which checks shapes and so takes several times as long.
    subprocess.run([sys.executable, str(ENTRY), *words], cwd=tmp_path, check=True, env={**os.environ})
    result = json.loads((tmp_path / "runs/gumbel_muzero_cartpole/run/done.json").read_text())
    assert result["env_steps"] <= 30_000
    assert result["return_mean"] >= 475
