"""A bound on the likelihood from several draws of the latents."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def importance_weighted(loss: Float[Tensor, "B I *rest"]) -> Float[Tensor, "B *rest"]:
    """-log of the mean over I draws of exp(-loss): the more draws, the tighter on average; with one it is the loss.

    Burda et al. (2016), "Importance Weighted Autoencoders", equation 8.
    """
    return math.log(loss.shape[1]) - torch.logsumexp(-loss, 1)
