"""What imagined latents should have in common with what was then seen: teachers of a model that decodes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural, Options, Positive
from worldmodels.model.muzero import MuZero
from worldmodels.nn.mlp import MLP, Activation, Scheme
from worldmodels.nn.norm import NormKind
from worldmodels.nn.target import Target
from worldmodels.ops.contrast import infonce, queued
from worldmodels.stage.stage import Scalars

SLOW: Mapping[str, Any] = {"rate": 0.01}  # options of the copy whose earlier words are kept


@dataclass(frozen=True)
class Seen:
    """What there was to see at M moments of B windows, where there was anything, and how a model looks at it."""

    obs: Mapping[str, Tensor]  # (B, M, ...)
    valid: Bool[Tensor, "B M"]
    look: Callable[[Mapping[str, Tensor]], Tensor]

    @property
    def later(self) -> Mapping[str, Tensor]:
        """All but the first moment."""
        return {name: x[:, 1:] for name, x in self.obs.items()}


class Consistency(nn.Module):
    """Losses of latents (B, M, *shape), of which the first was seen and the others were imagined from it."""

    def forward(self, latents: Float[Tensor, "B M ..."], seen: Seen) -> tuple[Float32[Tensor, "B M"], Scalars]:
        raise NotImplementedError

    def followers(self, model: MuZero) -> list[tuple[Target, nn.Module]]:  # noqa: ARG002 (most have none)
        """Slow copies, and what they follow."""
        return []

    def after_update(self) -> None:
        """Keep what the next update is to find."""


class Projecting(Consistency):
    """Looks at what is seen through the model and a `projector`, or through copies of both that follow slowly.

    `target`: options of `nn.target.Target`; null: no copies. No gradient reaches what is seen.
    """

    def __init__(self, whole: MuZero, projector: nn.Module, target: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.projector = projector
        self.slow = None if target is None else Target(looking(whole, projector), **target)

    @torch.no_grad()
    def project(self, seen: Seen) -> Float32[Tensor, "B K ..."]:
        """All moments but the first."""
        return (self.projector(seen.look(seen.later)) if self.slow is None else self.slow(seen.later)).float()

    def followers(self, model: MuZero) -> list[tuple[Target, nn.Module]]:
        return [] if self.slow is None else [(self.slow, looking(model, self.projector))]


class Cosine(Projecting):
    """One minus the cosine between a guess from each imagined latent and a projection of the one that is seen.

    SimSiam, as in EfficientZero: Ye et al. (2021), section 4.1. With `target`: SPR, Schwarzer et al. (2021).
    Differences: in EfficientZero projections are normed over the batch, here as everything else; SPR's is a layer of
    its Q-learner.
    """

    def __init__(
        self,
        whole: MuZero,
        *,
        hidden: Count = 128,
        projection: Count = 128,
        layers: Natural = 1,
        target: Annotated[Mapping[str, Any] | None, Options(Target)] = None,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        style: dict[str, Any] = {"norm": norm, "activation": activation, "init": init}
        flat = nn.Flatten(-len(whole.shape))
        mlp = MLP(math.prod(whole.shape), hidden, layers, projection, **style)
        super().__init__(whole, nn.Sequential(flat, mlp), target)
        self.predictor = MLP(projection, hidden, 1, projection, **style)

    def forward(self, latents: Float[Tensor, "B M ..."], seen: Seen) -> tuple[Float32[Tensor, "B M"], Scalars]:
        guess = self.predictor(self.projector(latents[:, 1:]))
        each = (1 - F.cosine_similarity(guess.float(), self.project(seen), dim=-1)) * seen.valid[:, 1:]
        return F.pad(each, (1, 0)), {}


class NCE(Consistency):
    """Each latent has to find, among those of all moments and windows of the batch, the encoding of what was seen then.

    `encoder(spec)` is another network than the model's, learned here; of grids every place is told for itself, of
    vectors there is one. `temperature` divides cosines. `use_all_targets`: other moments of the same window are
    candidates, too. Oord et al. (2018); its place in MuZero as in R2 of "abstract world models" (2020), whose
    encoder saw the last frame alone: this one sees all that an observation holds, with env.stack earlier frames, too.
    """

    def __init__(
        self,
        whole: MuZero,
        encoder: Callable[..., Any],
        *,
        temperature: Positive = 0.1,
        use_all_targets: bool = False,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        style: dict[str, Any] = {"norm": norm, "activation": activation, "init": init}
        self.encoder = encoder(whole.spec, **style)
        if self.encoder.shape[1:] != whole.shape[1:]:
            raise ConfigError(
                f"latents of {whole.shape} and encodings of {self.encoder.shape}",
                "as many places in both",
                "leave stage.consistency.encoder as it is",
            )
        self.temperature, self.use_all_targets, self.places = temperature, use_all_targets, Places(len(whole.shape))
        self.classifier = MLP(whole.shape[0], self.encoder.shape[0], 1, **{**style, "norm": "none"})

    def forward(self, latents: Float[Tensor, "B M ..."], seen: Seen) -> tuple[Float32[Tensor, "B M"], Scalars]:
        guess, target = self.classifier(self.places(latents)), self.places(self.encoder(seen.obs))
        each, found = infonce(guess, target, seen.valid, temperature=self.temperature, own=self.use_all_targets)
        return each, {"nce_accuracy": found.sum() / seen.valid.sum().clamp(min=1)}


class Buffered(Projecting):
    """Each imagined latent has to find what was seen then among what was seen in the last updates.

    What the copy that follows slowly (`target`) made of the last `queue` moments and places are the other candidates.
    Of grids every place is told for itself, among those of the same place. Where several processes learn, it is the
    first one's share that is kept. MoCo: He et al. (2020), section 3.2; "buffered NCE" in later versions of "abstract
    world models" (2020).
    """

    queue: Float32[Tensor, "L Q P"]
    at: Tensor

    def __init__(
        self,
        whole: MuZero,
        *,
        hidden: Count = 128,
        projection: Count = 128,
        layers: Natural = 1,
        queue: Count = 16384,
        temperature: Positive = 0.07,
        target: Annotated[Mapping[str, Any], Options(Target)] = SLOW,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        style: dict[str, Any] = {"norm": norm, "activation": activation, "init": init}
        places = math.prod(whole.shape[1:])
        if queue < places:
            raise ConfigError(
                f"a queue of {queue} for latents of {places} places", "one for each", f"set queue={256 * places}"
            )
        mlp = MLP(whole.shape[0], hidden, layers, projection, **style)
        super().__init__(whole, nn.Sequential(Places(len(whole.shape)), mlp), target)
        self.temperature = temperature
        # Before there is anything, directions at random, of length 1 on average.
        self.register_buffer(
            "queue", (2 * torch.rand(places, queue // places, projection) - 1) * (3 / projection) ** 0.5
        )
        self.register_buffer("at", torch.zeros((), dtype=torch.int64))
        self._new: Tensor | None = None

    def forward(self, latents: Float[Tensor, "B M ..."], seen: Seen) -> tuple[Float32[Tensor, "B M"], Scalars]:
        guess = self.projector(latents[:, 1:])
        target, valid = F.normalize(self.project(seen), dim=-1), seen.valid[:, 1:]
        each, found = queued(guess, target, self.queue, temperature=self.temperature)
        self._new = target[valid] if self.training else None
        return F.pad(each * valid, (1, 0)), {"nce_accuracy": (found * valid).sum() / valid.sum().clamp(min=1)}

    @torch.no_grad()
    def after_update(self) -> None:
        if self._new is not None:
            self.keep(self._new.transpose(0, 1))
            self._new = None

    def keep(self, new: Float32[Tensor, "L N P"]) -> None:
        """The oldest make room; of more than there is room for, the last stay."""
        size = self.queue.shape[1]
        new = new[:, -size:]
        rows = (self.at + torch.arange(new.shape[1], device=new.device)) % size
        self.queue[:, rows] = new
        self.at.add_(new.shape[1]).remainder_(size)


class Places(nn.Module):
    """Latents of so many `axes`, (..., C, *places), with the places in a row and channels last."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, latents: Float[Tensor, "..."]) -> Float[Tensor, "*batch L C"]:
        return latents.unsqueeze(-2) if self.axes == 1 else latents.flatten(1 - self.axes).transpose(-1, -2)


def looking(model: MuZero, projector: nn.Module) -> nn.Sequential:
    """Observations to projections of their latents."""
    return nn.Sequential(model.representation, model.scaler, projector)
