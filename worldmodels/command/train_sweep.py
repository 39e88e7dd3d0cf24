"""A JSON list of runs on the GPUs of this machine, with the flags of the original sweep tool.

worldmodels train-sweep --gpus 0 1 2 3 [--config-file train_sweep_config.json] [--output-file train_sweep_results.json]
                        [--timeout 36000] [--max-processes-per-gpu 1] [--memory-threshold-gb 40.0]
                        [--disable-gpu-monitoring] [<word of sweep or train> ...]

    train-sweep --config-file sweep.json --gpus 0 1       two GPUs, a run on each at a time
    train-sweep --config-file sweep.json --gpus           no GPU: as many runs at once as there are cores
    train-sweep --config-file sweep.json --gpus 0 -- style=seed name=old      folders runs/old/<the original's names>

It is `worldmodels sweep config_file=...` by other words; that one can do more. Unlike the original, --timeout is kept,
a GPU that can not be read is not used, finished runs are not run again, and the exit code is 1 if a run failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from worldmodels.command import run


def main(argv: list[str]) -> int:
    if {"-h", "--help"} & set(argv):
        print((__doc__ or "").strip())
        return 0
    from worldmodels.command import sweep

    return sweep.main(words(argv))


def script() -> int:
    """The console command `train-sweep`."""
    return run("train-sweep", sys.argv[1:])


def words(argv: Sequence[str]) -> list[str]:
    """The flags as words of `sweep`."""
    from worldmodels.launch.json_list import word

    parser = argparse.ArgumentParser("train-sweep", add_help=False, allow_abbrev=False)
    parser.add_argument("--config-file", default="train_sweep_config.json")
    parser.add_argument("--gpus", nargs="*", required=True, metavar="GPU")
    parser.add_argument("--output-file", default="train_sweep_results.json")
    parser.add_argument("--timeout", type=int, default=36000)
    parser.add_argument("--max-processes-per-gpu", type=int, default=1)
    parser.add_argument("--memory-threshold-gb", type=float, default=40.0)
    parser.add_argument("--disable-gpu-monitoring", action="store_true")
    parser.add_argument("words", nargs="*")
    given = vars(parser.parse_intermixed_args(list(argv)))
    others = given.pop("words")
    given["gpus"] = [int(each) if each.isdigit() else each for each in given["gpus"]]
    return [*(f"{name}={word(value)}" for name, value in given.items()), *others]
