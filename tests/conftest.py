"""Every test checks every shape: jaxtyping and beartype watch the whole package. Runs pay nothing for it."""

from __future__ import annotations

import os

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

HOOK = install_import_hook("worldmodels", "beartype.beartype")

import torch

torch.set_num_threads(1)
