"""What a MuZero costs: milliseconds of CPU time per update, and decisions per second of acting by search, on one core.

    python benchmarks/muzero.py [+experiment=gumbel_muzero] [option=<value> ...]

Updates learn from the same recorded batch over and over; acting steps real worlds, with the search that the experiment
has. Medians, since other work on the machine only ever adds. The table of parts is torch's own profile of ten updates.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from worldmodels.core.allocator import keep_freed_memory
from worldmodels.core.experience import Batch
from worldmodels.core.protocols import EnvRecipe
from worldmodels.core.rng import Rng
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config, make
from worldmodels.stage.stage import Stage

UPDATES, STEPS, AGE = 30, 60, 900  # measured; and the update whose batch it is
CONSISTENCIES = {
    "cosine": ["stage/consistency=cosine"],
    "nce": ["stage/consistency=nce"],
    "none": ["stage.consistency=null"],
}


def learner(words: list[str]) -> tuple[Stage, Batch, EnvRecipe]:
    """A fresh stage, and a batch of which its own policy lived nearly all, as in the greater part of a run."""
    cfg = config("train", [*words, "data.warmup=500"])
    recipe, plan = make(cfg.env), make(cfg.data)
    stage = build_stage(cfg, plan.spec(recipe))
    with TemporaryDirectory() as folder:
        stream = plan.stream(recipe, stage, Path(folder), Rng(0, "data"))
        batch = next(islice(stream, AGE, None))  # the first ones hold little but steps lived at random
        stream.close()
    return stage, batch, recipe


def update(stage: Stage, batch: Batch) -> Callable[[], None]:
    optimizer = stage.configure_optimizers()

    def once() -> None:
        losses, _ = stage.losses(batch)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        stage.configure_gradient_clipping(optimizer)
        optimizer.step()
        stage.after_update()

    return once


def spent(work: Callable[[], None], count: int) -> float:
    """Median CPU seconds of a call."""
    for _ in range(5):
        work()
    times = list[float]()
    for _ in range(count):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return median(times)


def acting(stage: Stage, recipe: EnvRecipe, width: int) -> float:
    """Decisions per CPU second, worlds included."""
    env, policy, rng = recipe.make(width), stage.policy(), Rng(0, "act")
    state = {"obs": env.reset(list(range(width)))}
    first = np.zeros(width, bool)

    def once() -> None:
        action, _, _ = policy.act(state["obs"], first, None, explore=True, rng=rng)
        state["obs"] = env.step(action).obs

    with torch.no_grad():
        seconds = spent(once, STEPS)
    env.close()
    return width / seconds


def main() -> None:
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    words = words if any("experiment=" in word for word in words) else ["+experiment=gumbel_muzero", *words]
    for name, more in CONSISTENCIES.items():
        stage, batch, recipe = learner([*words, *more])
        print(f"update, consistency {name:<8}{1e3 * spent(update(stage, batch), UPDATES):8.1f} ms", flush=True)
    for width in (1, 8, 32, 128):
        print(f"acting, {width:>4} worlds {acting(stage, recipe, width):14,.0f} decisions/s", flush=True)
    stage, batch, _ = learner(words)
    once = update(stage, batch)
    once()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(10):
            once()
    print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40))


if __name__ == "__main__":
    main()
