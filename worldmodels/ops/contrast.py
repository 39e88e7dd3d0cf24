"""Telling what belongs together from what does not."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn import functional as F


def infonce(
    guess: Float[Tensor, "B M L C"],
    target: Float[Tensor, "B M L C"],
    valid: Bool[Tensor, "B M"],
    *,
    temperature: float,
    own: bool = False,
) -> tuple[Float32[Tensor, "B M"], Float32[Tensor, "B M"]]:
    """Cross-entropy, in nats, of telling which target belongs to each guess; and how often the likeliest one does.

    B windows of M moments at L places. Candidates are the targets at the same place: the guess's own, and those of
    other windows at any moment; with `own` also those of other moments of the same window. What is not valid is no
    candidate and costs nothing. Vectors are compared by their cosine over `temperature`; which guess belongs to a
    target counts as much as the reverse. Oord et al. (2018), equation 4; over places as in Anand et al. (2019).
    """
    batch, moments = valid.shape
    rows = torch.arange(batch * moments, device=valid.device)
    sides = (F.normalize(x.float().flatten(0, 1).transpose(0, 1), dim=-1, eps=1e-3) for x in (guess, target))
    scores = torch.bmm(next(sides), next(sides).transpose(1, 2)) / temperature  # (L, B M, B M)
    window, alike = rows // moments, rows[:, None] == rows
    other = valid.flatten() if own else valid.flatten() & (window[:, None] != window)
    out = ~(other | alike)
    right = scores.diagonal(dim1=1, dim2=2)
    each = torch.stack([x.masked_fill(out, -torch.inf).logsumexp(-1) - right for x in (scores, scores.transpose(1, 2))])
    found = scores.detach().masked_fill(out, -torch.inf).argmax(-1) == rows
    loss, hit = each.mean((0, 1)), found.float().mean(0)
    return loss.view(batch, moments) * valid, hit.view(batch, moments) * valid


def queued(
    guess: Float[Tensor, "B M L C"],
    target: Float[Tensor, "B M L C"],
    queue: Float[Tensor, "L Q C"],
    *,
    temperature: float,
) -> tuple[Float32[Tensor, "B M"], Float32[Tensor, "B M"]]:
    """Cross-entropy, in nats, of telling a guess's own target from what is in the queue of its place; and how often.

    Guesses and targets are compared by their cosine over `temperature`, what is queued as long as it is. He et al.
    (2020), equation 1.
    """
    guess, target = (F.normalize(x.float(), dim=-1, eps=1e-3) for x in (guess, target))
    right = (guess * target).sum(-1) / temperature
    with torch.autocast(guess.device.type, enabled=False):  # as precise as `right`
        others = torch.einsum("bmlc,lqc->bmlq", guess, queue.float()) / temperature
    loss = torch.logaddexp(right, others.logsumexp(-1)) - right
    return loss.mean(-1), (right > others.detach().amax(-1)).float().mean(-1)
