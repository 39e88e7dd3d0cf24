"""What imagined latents should have in common with what was then seen: teachers of a model that decodes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural, Rate
from worldmodels.core.spec import EnvSpec
from worldmodels.nn.mlp import MLP, Activation, Scheme
from worldmodels.nn.norm import NormKind
from worldmodels.ops.contrast import infonce
from worldmodels.stage.stage import Scalars


@dataclass(frozen=True)
class Seen:
    """What there was to see at M moments of B windows, where there was anything, and how a model looks at it."""

    obs: Mapping[str, Tensor]  # (B, M, ...)
    valid: Bool[Tensor, "B M"]
    look: Callable[[Mapping[str, Tensor]], Tensor]


class Consistency(nn.Module):
    """Losses of latents (B, M, *shape), of which the first was seen and the others were imagined from it."""

    def forward(self, latents: Float[Tensor, "B M ..."], seen: Seen) -> tuple[Float32[Tensor, "B M"], Scalars]:
        raise NotImplementedError


class Cosine(Consistency):
    """One minus the cosine between a guess from each imagined latent and a projection of the one that is seen.

    No gradient reaches the seen side. SimSiam, as in EfficientZero: Ye et al. (2021), section 4.1. Difference: there
    projections are normed over the batch, here as everything else.
    """

    def __init__(
        self,
        spec: EnvSpec,  # noqa: ARG002 (as all consistencies are made)
        shape: tuple[int, ...],
        *,
        hidden: Count = 128,
        projection: Count = 128,
        layers: Natural = 1,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        style: dict[str, Any] = {"norm": norm, "activation": activation, "init": init}
        self.axes = len(shape)
        self.projector = MLP(math.prod(shape), hidden, layers, projection, **style)
        self.predictor = MLP(projection, hidden, 1, projection, **style)

    def forward(self, latents: Float[Tensor, "B M ..."], seen: Seen) -> tuple[Float32[Tensor, "B M"], Scalars]:
        guess = self.predictor(self.projector(latents[:, 1:].flatten(-self.axes)))
        with torch.no_grad():
            real = seen.look({name: x[:, 1:] for name, x in seen.obs.items()})
            target = self.projector(real.flatten(-self.axes))
        each = (1 - F.cosine_similarity(guess.float(), target.float(), dim=-1)) * seen.valid[:, 1:]
        return F.pad(each, (1, 0)), {}


class NCE(Consistency):
    """Each latent has to find, among those of all moments and windows of the batch, the encoding of what was seen then.

    `encoder(spec)` is another network than the model's, learned here; of grids every place is told for itself, of
    vectors there is one. `temperature` divides cosines. `use_all_targets`: other moments of the same window are
    candidates, too. Oord et al. (2018); its place in MuZero as in R2 of "abstract world models" (2020).
    """

    def __init__(
        self,
        spec: EnvSpec,
        shape: tuple[int, ...],
        encoder: Callable[..., Any],
        *,
        temperature: Rate = 0.1,
        use_all_targets: bool = False,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        init: Scheme = "dreamer",
    ) -> None:
        super().__init__()
        style: dict[str, Any] = {"norm": norm, "activation": activation, "init": init}
        self.encoder = encoder(spec, **style)
        if self.encoder.shape[1:] != shape[1:]:
            raise ConfigError(
                f"latents of {shape} and encodings of {self.encoder.shape}",
                "as many places in both",
                "leave stage.consistency.encoder as it is",
            )
        self.temperature, self.use_all_targets, self.axes = temperature, use_all_targets, len(shape)
        self.classifier = MLP(shape[0], self.encoder.shape[0], 1, **{**style, "norm": "none"})

    def forward(self, latents: Float[Tensor, "B M ..."], seen: Seen) -> tuple[Float32[Tensor, "B M"], Scalars]:
        guess, target = self.classifier(self._places(latents)), self._places(self.encoder(seen.obs))
        each, found = infonce(guess, target, seen.valid, temperature=self.temperature, own=self.use_all_targets)
        return each, {"nce_accuracy": found.sum() / seen.valid.sum().clamp(min=1)}

    def _places(self, latents: Float[Tensor, "B M C ..."]) -> Float[Tensor, "B M L C"]:
        """Channels last, places in a row."""
        return latents.flatten(3).transpose(2, 3) if self.axes > 1 else latents.unsqueeze(2)
