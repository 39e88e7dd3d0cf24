"""A whole step of a world model, forward and backward, as one compiled graph."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.launch.compose import config, make

backend, *names = sys.argv[1:]
torch.set_num_threads(1)
torch._inductor.config.fallback_random = True  # the draws of eager code
SPEC = EnvSpec("minatar", {"grid": ArraySpec((10, 10, 7), "bool", "planes")}, 6)
SMALL = ["recurrence.deter=16", "recurrence.hidden=8", "recurrence.stoch=3", "recurrence.classes=4", "encoder.depth=2"]
obs = {"grid": torch.rand(4, 3, 10, 10, 7) > 0.7}
action, reward, terminated = torch.randn(4, 3, 6), torch.randn(4, 3), torch.rand(4, 3) > 0.8
first, valid = torch.tensor([[True, False, False], [True, True, False]] * 2), torch.ones(4, 3, dtype=torch.bool)


def loss(model, obs, action, first):
    embed = model.encode(obs)
    beliefs = model.track(action, embed, first)
    latents, feature = model.rssm.latents, beliefs.feature
    post, prior = latents.distribution(beliefs.post), latents.distribution(beliefs.prior)
    parts = [latents.kl(post.detach(), prior).clamp(min=0.1), latents.kl(post, prior.detach())]
    parts += model.heads.losses(feature, reward, terminated).values()
    if model.decoder is not None:
        parts += model.decoder.losses(model.decoder(feature), obs).values()
    if model.representation is not None:
        parts += [model.representation.loss(feature, embed, valid)]
    return torch.stack([part.mean() for part in parts]).sum()


for name in names:
    torch.manual_seed(0)
    model = make(config("train", [f"model={name}", *[f"model.{each}" for each in SMALL]]).model)(SPEC)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    found = []
    for function in (loss, torch.compile(loss, backend=backend, fullgraph=True)):
        torch.manual_seed(1)
        model.zero_grad()
        total = function(model, obs, action, first)
        total.backward()
        found.append([total.detach(), *[p.grad.clone() for p in model.parameters() if p.grad is not None]])
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-4)
"""

UPDATE = """
import sys
import numpy as np
import torch
from pathlib import Path
from tempfile import TemporaryDirectory
from worldmodels.core.rng import Rng
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config, make

torch.set_num_threads(1)
torch._inductor.config.fallback_random = True
cfg = config("train", [
    f"stage={sys.argv[2]}", "env=minatar", "data.sampler={length: 4, batch: 3}", "data.warmup=48", "data.width=2",
    "model.recurrence={deter: 16, stoch: 3, classes: 4, hidden: 8}", "model.encoder.depth=2",
    "stage.imagination.horizon=3",
])
recipe, plan = make(cfg.env), make(cfg.data)
stage = build_stage(cfg, plan.spec(recipe))
with TemporaryDirectory() as folder:
    stream = plan.stream(recipe, stage, Path(folder), Rng(0))
    batch = next(iter(stream))
    stream.close()
for p in stage.parameters():
    p.data += 0.1 * torch.randn(p.shape)
kept = {name: value.clone() for name, value in stage.state_dict().items()}


def update(batch):
    return torch.stack(list(stage.losses(batch)[0].values())).sum()


found = []
for function in (update, torch.compile(update, backend=sys.argv[1])):
    stage.load_state_dict(kept)  # losses move what normalises returns
    torch.manual_seed(1)
    stage.zero_grad()
    total = function(batch)
    total.backward()
    found.append([total.detach(), *[p.grad.clone() for p in stage.parameters() if p.grad is not None]])
assert len(found[0]) == len(found[1]) > 20
for eager, compiled in zip(*found, strict=True):
    torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-4)
"""


def run(backend: str, *names: str, script: str = SCRIPT) -> None:
    # Elsewhere than in this process, for the shape checker that tests install does not compile.
    done = subprocess.run([sys.executable, "-c", script, backend, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_step_is_one_graph_without_a_break() -> None:
    run("aot_eager", "dreamerv3")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", ["dreamerv3", "dreamerv2_pydreamer_minatar"])
def test_compiled_code_computes_what_eager_code_does(name: str) -> None:
    run("inductor", name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("stage", ["dreamerv3", "dreamerv2_pydreamer_minatar"])
def test_a_whole_update_with_its_dreams_is_the_same_compiled(stage: str) -> None:
    run("inductor", stage, script=UPDATE)
