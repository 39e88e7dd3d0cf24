"""A batched tree search: B trees grow by one node each per call of the model.

Latents stay with the model. Trees live on the CPU where they grow by compiled loops (backend `numba`), else beside the
model (`torch`, the slow reference); both choose alike but where two scores differ by no more than rounding. Only nodes
and actions go to the model, and rewards, discounts, logits and values come back.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from worldmodels.core.errors import ConfigError, MissingExtraError, SpecError
from worldmodels.planner.latents import Bank, demand_rows
from worldmodels.planner.reference import Reference
from worldmodels.planner.rules import Guide, Rules
from worldmodels.planner.simulator import Latent, Move, Root, Simulator, check_finite, check_shapes, single
from worldmodels.planner.tree import Grown, Tree

Backend = Literal["numba", "torch"]


@dataclass(frozen=True)
class Opening:
    """What B searches begin with: the model's words, on the device where the trees will grow, in double precision."""

    latent: Latent
    logit: Float64[Tensor, "B A"]  # -inf where not valid
    value: Float64[Tensor, " B"]
    valid: Bool[Tensor, "B A"]

    @property
    def prior(self) -> Float64[Tensor, "B A"]:
        return self.logit.softmax(1)


@runtime_checkable
class Engine(Protocol):
    """Grows trees by turns with the model. `select` gives copies of latents, and actions, to ask the model about."""

    def plant(self, logit: Float64[Tensor, "B A"], value: Float64[Tensor, " B"]) -> None: ...

    def select(self, simulation: int) -> tuple[Latent, Int64[Tensor, " B"]]: ...

    def expand(self, simulation: int, move: Move) -> None: ...

    def read(self) -> Grown: ...


def opened(simulator: Simulator, obs: Any, invalid: Bool[Tensor, "B A"] | None, backend: Backend) -> Opening:
    """Asks the model for its roots and masks what can not be done there. SpecError, SearchError."""
    root = simulator.root(obs)
    if root.prior.ndim != 2 or 0 in root.prior.shape:
        raise SpecError(
            f"the simulator's root gave prior of shape {tuple(root.prior.shape)}",
            "(B, A): at least one root and one action",
            "mend the function that the Simulator was made with",
        )
    check_shapes(root, (root.prior.shape[0], root.prior.shape[1]), "root")
    check_finite(root, None)
    demand_rows(root.latent, len(root.prior))
    device = torch.device("cpu") if backend == "numba" else root.prior.device
    logit, value = root.prior.to(device, torch.float64), root.value.to(device, torch.float64)
    if invalid is None:
        return Opening(root.latent, logit, value, torch.ones(logit.shape, dtype=torch.bool, device=device))
    valid = _valid(root, invalid).to(device)
    return Opening(root.latent, torch.where(valid, logit, -torch.inf), value, valid)


def _valid(root: Root, invalid: Bool[Tensor, "B A"]) -> Bool[Tensor, "B A"]:
    if invalid.shape != root.prior.shape:
        raise SpecError(
            f"invalid of shape {tuple(invalid.shape)}",
            f"{tuple(root.prior.shape)}: a row of actions for each root",
            "give one mask per root",
        )
    if bool(invalid.all(1).any()):
        raise SpecError(
            f"no valid action at root {int(invalid.all(1).nonzero()[0])}",
            "at least one action that `invalid` does not mask",
            "leave roots out whose episode has ended, or mask nothing there",
        )
    return (~invalid).contiguous()  # kernels read it row by row


def grow(
    simulator: Simulator, opening: Opening, rules: Rules, guide: Guide, *, simulations: int, backend: Backend
) -> Grown:
    """Trees of `simulations` + 1 nodes. SearchError at the first answer of the model that is not finite."""
    tree = cleared(opening, simulations)
    shape = (opening.logit.shape[0], opening.logit.shape[1])
    engine = _engine(tree, rules, guide, backend)
    engine.plant(opening.logit, opening.value)
    for simulation in range(simulations):
        latent, action = engine.select(simulation)
        engine.expand(simulation, single(simulator.recurrent(latent, action), shape))
    return engine.read()


def cleared(opening: Opening, simulations: int) -> Tree:
    """Room for trees; an engine plants their roots. What is not yet a node holds any numbers."""
    (roots, actions), nodes, device = opening.logit.shape, simulations + 1, opening.logit.device
    return Tree(
        edges=torch.empty(roots, nodes, 5, actions, dtype=torch.float64, device=device),
        links=torch.empty(roots, nodes, 2, actions, dtype=torch.int32, device=device),
        nodes=torch.empty(roots, nodes, 2, dtype=torch.float64, device=device),
        places=torch.empty(roots, nodes, 3, dtype=torch.int32, device=device),
        extremes=torch.empty(roots, 2, dtype=torch.float64, device=device),
        valid=opening.valid,
        latents=Bank(opening.latent, nodes),
    )


def demand_backend(backend: Backend) -> None:
    """ConfigError unless it is one; MissingExtraError for `numba` where that is not installed."""
    if backend not in ("numba", "torch"):
        raise ConfigError(f"backend={backend!r}", "numba or torch", "choose one of them")
    if backend == "numba" and importlib.util.find_spec("numba") is None:
        raise MissingExtraError("numba", "search", "set planner.backend=torch, which takes many times as long")


def _engine(tree: Tree, rules: Rules, guide: Guide, backend: Backend) -> Engine:
    if backend == "torch":
        return Reference(tree, rules, guide)
    from worldmodels.planner.compiled import Compiled  # numba takes a second to import, and may be missing

    return Compiled(tree, rules, guide)
