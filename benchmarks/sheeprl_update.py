"""sheeprl's side of `benchmarks/dreamer.py`, which starts it with the Python of an environment that holds sheeprl.

    python sheeprl_update.py <batch.npz> <sheeprl override> ...

Builds the agent as sheeprl's own `main` does, from sheeprl's own config, and calls its `train()` on one batch again and
again. It first writes a JSON line with the version and the parameters of each part; then, for every number that comes
on its input, it takes as many updates and writes their CPU and wall seconds. Metrics are off, as sheeprl has them with
`metric.log_level=0`, which also spares it the entropies.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import gymnasium
import hydra
import numpy as np
import torch
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from sheeprl.algos.dreamer_v2.utils import build_optimizer
from sheeprl.algos.dreamer_v3.utils import Moments
from sheeprl.utils.metric import MetricAggregator
from sheeprl.utils.timer import timer
from sheeprl.utils.utils import dotdict
from torch.distributions import Distribution

ACTIONS = 6


def configured(overrides: list[str]) -> Any:
    with hydra.initialize_config_module("sheeprl.configs", version_base="1.3"):
        cfg = hydra.compose("config", [*overrides, "run_name=none"])  # its name would come from the Hydra of a command
    return dotdict(OmegaConf.to_container(cfg, resolve=True))


def prepared(file: str) -> dict[str, torch.Tensor]:
    """The batch, time first and in float32, as `sample_batches` hands it out."""
    arrays = np.load(file)
    batch = {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}
    pictures = batch.pop("pictures").permute(1, 0, 4, 2, 3).contiguous()
    actions = torch.nn.functional.one_hot(batch.pop("actions").T.long(), ACTIONS).float()
    rest = {name: value.T.unsqueeze(-1).contiguous() for name, value in batch.items()}
    return {"rgb": pictures, "actions": actions, **rest}


def optimizers(fabric: Fabric, cfg: Any, modules: dict[str, torch.nn.Module]) -> dict[str, Any]:
    """By the names that `train` has for them."""
    parts = ("world_model", "actor", "critic")
    if "optimizer" in cfg.algo:
        params = [p for part in parts for p in modules[part].parameters()]
        made = hydra.utils.instantiate(cfg.algo.optimizer, params=params, _convert_="all")
        return {"optimizer": fabric.setup_optimizers(made)}
    short = {"world_model": "world_optimizer", "actor": "actor_optimizer", "critic": "critic_optimizer"}
    made = {short[part]: build_optimizer(cfg.algo[part].optimizer, modules[part].parameters()) for part in parts}
    return {name: fabric.setup_optimizers(each) for name, each in made.items()}


def counted(modules: dict[str, torch.nn.Module]) -> dict[str, int]:
    model = modules["world_model"]
    parts = {
        "encoder": model.encoder,
        "recurrence": model.rssm,
        "decoder": model.observation_model,
        "reward": model.reward_model,
        "continue": model.continue_model,
        "actor": modules["actor"],
        "critic": modules["critic"],
    }
    return {name: 0 if part is None else sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def updater(cfg: Any, batch: dict[str, torch.Tensor]) -> tuple[Callable[[], None], dict[str, int]]:
    """One update, with the slow critic's move, and the parameters of each part."""
    fabric = Fabric(devices=1, accelerator="cpu", precision="32-true")
    fabric.launch()
    package = f"sheeprl.algos.{cfg.algo.name}"
    algo = importlib.import_module(f"{package}.{cfg.algo.name}")
    space = gymnasium.spaces.Dict({"rgb": gymnasium.spaces.Box(0, 255, (3, 64, 64), np.uint8)})
    world_model, actor, critic, target, _ = algo.build_agent(fabric, (ACTIONS,), False, cfg, space)
    modules = {"world_model": world_model, "actor": actor, "critic": critic}
    given: dict[str, Any] = {
        **{"fabric": fabric, "cfg": cfg, "aggregator": None, "is_continuous": False, "actions_dim": (ACTIONS,)},
        **{**modules, "target_critic": target, **optimizers(fabric, cfg, modules)},
    }
    moments = cfg.algo.actor.get("moments")
    if moments:
        given["moments"] = Moments(moments.decay, moments.max, moments.percentile.low, moments.percentile.high)
    wanted = [name for name in inspect.signature(algo.train).parameters if name != "data"]
    fast, slow = list(critic.parameters()), list(target.parameters())
    taken, every, rate = 0, cfg.algo.critic.per_rank_target_network_update_freq, cfg.algo.critic.get("tau", 1.0)

    def update() -> None:
        nonlocal taken
        if taken % every == 0:
            with torch.no_grad():
                torch._foreach_lerp_(slow, fast, rate)
        algo.train(**{name: given[name] for name in wanted}, data=dict(batch))
        taken += 1

    return update, counted(modules)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever sheeprl prints goes beside the answers
    file, *overrides = sys.argv[1:]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    cfg = configured([*overrides, "metric.log_level=0"])
    Distribution.set_default_validate_args(cfg.distribution.validate_args)
    torch.set_float32_matmul_precision(cfg.float32_matmul_precision)
    MetricAggregator.disabled = timer.disabled = True
    torch.manual_seed(0)
    update, parameters = updater(cfg, prepared(file))

    def answer(what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    answer({"versions": {name: version(name) for name in ("sheeprl", "torch")}, "parameters": parameters})
    for line in sys.stdin:
        began = time.process_time(), time.perf_counter()
        for _ in range(int(line)):
            update()
        answer([time.process_time() - began[0], time.perf_counter() - began[1]])


if __name__ == "__main__":
    main()
