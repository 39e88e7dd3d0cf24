"""What a search may ask of a world model: two functions, and no network is known beyond them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from worldmodels.core.belief import Belief
from worldmodels.core.errors import SpecError, UserError
from worldmodels.core.protocols import WorldModel

B_ = TypeVar("B_", bound=Belief)

Latent = Any  # a tree of tensors (B, ...): a tensor, a dataclass such as a Belief, or lists, tuples and dicts of them


class SearchError(UserError):
    """A model answered a search with numbers that can not be searched."""


class Root(NamedTuple):
    """What a model says of B moments to search from."""

    latent: Latent
    prior: Float[Tensor, "B A"]  # logits; of a search over action values (`ucb_q`), those values
    value: Float[Tensor, " B"]  # discounted return from here on, in the units of the rewards


class Move(NamedTuple):
    """What a model says of B imagined actions."""

    latent: Latent
    reward: Float[Tensor, " B"]  # on arrival
    discount: Float[Tensor, " B"]  # weight of what comes after: gamma, or 0 where the world has ended
    prior: Float[Tensor, "B A"]  # of the moment of arrival, as in Root
    value: Float[Tensor, " B"]


@dataclass(frozen=True)
class Simulator:
    """A world model as a search sees it: `root` reads observations or beliefs, `recurrent` follows actions (B,).

    The search calls both without gradients; dropout and batch statistics are the caller's to switch off. Latents come
    back to `recurrent` as copies, in the shapes, dtypes and on the device that the model gave them.
    """

    root: Callable[[Any], Root]
    recurrent: Callable[[Latent, Int64[Tensor, " B"]], Move]


class Drawn(NamedTuple):
    """A latent of a world with continuous actions, and the candidates that were drawn there."""

    belief: Latent
    action: Float[Tensor, "B K D"]


def from_model(
    model: WorldModel[B_],
    heads: Mapping[str, Callable[[B_], Tensor]],
    *,
    actions: int,
    discount: float,
    rng: torch.Generator | None = None,
) -> Simulator:
    """A search through the beliefs of a world model, of which `observe` gave the roots (B, ...).

    heads, functions of a belief: `reward` of arriving there (B,), `value`, the discounted return from there (B,), and
    `prior`, logits of a policy or, for `ucb_q`, action values (B, A). `cont`, the probability that the world goes on
    from there (B,), is 1 where it is missing. actions: how many, A. rng: of what the model draws while imagining.
    Raises SpecError.
    """
    _demand(heads, ("reward", "value", "prior"))
    vectors = OneHot(actions)

    def root(belief: B_) -> Root:
        return Root(belief, heads["prior"](belief), heads["value"](belief))

    def recurrent(belief: B_, action: Int64[Tensor, " B"]) -> Move:
        after = model.imagine(belief, vectors(action), rng=rng)
        reward, going = _paid(heads, after)
        return Move(after, reward, discount * going, heads["prior"](after), heads["value"](after))

    return Simulator(root, recurrent)


def from_candidates(
    model: WorldModel[B_],
    heads: Mapping[str, Callable[[B_], Tensor]],
    draw: Callable[[B_], Float[Tensor, "B K D"]],
    *,
    discount: float,
    rng: torch.Generator | None = None,
) -> Simulator:
    """The same where actions are vectors: `draw` gives K candidates at a belief, for `planner.sampled` to search among.

    Their prior is uniform, as they are draws of the policy. Latents are `Drawn`.
    """
    _demand(heads, ("reward", "value"))

    def root(belief: B_) -> Root:
        action = draw(belief)
        return Root(Drawn(belief, action), action.new_zeros(action.shape[:2]), heads["value"](belief))

    def recurrent(latent: Drawn, chosen: Int64[Tensor, " B"]) -> Move:
        rows = torch.arange(len(chosen), device=chosen.device)
        after = model.imagine(latent.belief, latent.action[rows, chosen], rng=rng)
        action = draw(after)
        reward, going = _paid(heads, after)
        prior = action.new_zeros(action.shape[:2])
        return Move(Drawn(after, action), reward, discount * going, prior, heads["value"](after))

    return Simulator(root, recurrent)


class OneHot:
    """Numbers of actions (B,) as vectors (B, A); many times as fast as torch's, which looks at all of them first."""

    def __init__(self, actions: int) -> None:
        self.rows = torch.eye(actions)

    def __call__(self, action: Int64[Tensor, " B"]) -> Float[Tensor, "B A"]:
        if self.rows.device != action.device:
            self.rows = self.rows.to(action.device)
        return self.rows.index_select(0, action)


def _paid(heads: Mapping[str, Callable[[Any], Tensor]], after: Any) -> tuple[Tensor, Tensor]:
    """Reward on arrival, and the probability that the world goes on."""
    reward = heads["reward"](after)
    return reward, heads["cont"](after) if "cont" in heads else torch.ones_like(reward)


def _demand(heads: Mapping[str, Any], needed: Sequence[str]) -> None:
    lacking = [name for name in needed if name not in heads]
    if lacking:
        raise SpecError(
            f"a model without a head for {' and '.join(lacking)}; it has {', '.join(heads) or 'none'}",
            "heads for reward, value and prior, and for cont where worlds end",
            "search in a model whose stage learned them, such as stage=dreamer or stage=muzero",
        )


def check_shapes(answer: Root | Move, shape: tuple[int, int], who: str) -> None:
    """SpecError unless prior is `shape`, (B, A), and all else (B,)."""
    for name in answer._fields[1:]:
        expected = shape if name == "prior" else shape[:1]
        found: Tensor = getattr(answer, name)
        if found.shape != expected:
            raise SpecError(
                f"the simulator's {who} gave {name} of shape {tuple(found.shape)}",
                f"{expected}: {'a row of A numbers' if name == 'prior' else 'one number'} for each of the B roots",
                "mend the function that the Simulator was made with",
            )
        if not found.is_floating_point():
            raise SpecError(f"the simulator's {who} gave {name} of {found.dtype}", "floats", f"convert {name}")


def single(move: Move, shape: tuple[int, int]) -> Move:
    """The numbers in single precision, as both backends take them. SpecError as `check_shapes` has it."""
    _, reward, discount, prior, value = move
    shaped = shape[:1] == reward.shape == discount.shape == value.shape and prior.shape == shape
    if shaped and torch.float32 is reward.dtype is discount.dtype is prior.dtype is value.dtype:
        return move
    check_shapes(move, shape, "recurrent")
    return Move(move.latent, reward.float(), discount.float(), prior.float(), value.float())


def check_finite(answer: Root | Move, simulation: int | None) -> None:
    """SearchError if any number is not finite; simulation is None at the root."""
    if math.isfinite(sum(part.sum().item() for part in answer[1:])):
        return  # in no time, and as a sum may also overflow, otherwise it is looked for
    for name in answer._fields[1:]:
        good = torch.isfinite(getattr(answer, name))
        rows = good.flatten(1).all(1) if good.ndim > 1 else good
        if not bool(rows.all()):
            refuse(name, simulation, int((~rows).nonzero()[0]))


def refuse(name: str, simulation: int | None, root: int) -> None:
    """Raises SearchError."""
    when = "for the root itself" if simulation is None else f"at simulation {simulation}"
    raise SearchError(
        f"the model gave {name} that is not finite, {when}, root {root} of the batch",
        "finite numbers; actions that can not be taken at a root are masked by `invalid`, not by infinite logits",
        "look at what the model was given there; its weights may have diverged",
    )
