"""Train what a config describes; the same command resumes, and a finished run shows its result.

worldmodels train [+experiment=<name>] [group=<choice> ...] [option=<value> ...]

    worldmodels train                                  the demo: Dreamer on MinAtar Breakout
    worldmodels train +experiment=dqn_minatar seed=1   a named experiment with another seed
    worldmodels train budget.updates=100 name=short    fewer updates, in a folder named "short"
    worldmodels train init=runs/<study>/<name>         begin with its weights; init.modules=[encoder,rssm] with some
    worldmodels train force=true                       start over; the old folder is kept beside the new one
    worldmodels train --cfg job                        print the config and leave
    worldmodels train --config-dir <folder>            also look for configs in a folder of yours
    worldmodels train trainer=gpu                      on a GPU; trainer.devices=4 on four
    worldmodels train -m seed=0,1 hydra/launcher=...   several runs: basic, joblib, gpu_queue, submitit_slurm,
                                                       submitit_lsf, submitit_local (docs/clusters.md)

Exit codes: 0 finished, 1 a run of several failed, 2 something to mend, 130 or 143 stopped by Ctrl-C or SIGTERM (the
same command goes on).
"""

from __future__ import annotations

from omegaconf import DictConfig

from worldmodels.command import Ended, hydra_verb
from worldmodels.launch.words import with_demo


def main(argv: list[str]) -> int:
    def task(cfg: DictConfig, overrides: list[str]) -> Ended:
        from worldmodels.launch.train import train

        outcome = train(cfg, overrides)
        return Ended(outcome.code, outcome.score)

    return hydra_verb("train", with_demo(argv), task, help_text=__doc__ or "")
