"""The rules and the growth of trees as compiled loops: what `rules` and `reference` say, one tree after the other.

Needs numba. Nothing here allocates memory. Compiled code is kept beside this file, or in the user's cache; the first
search of an installation compiles for some seconds. Arrays come as addresses and are made here: to unwrap those of
Python takes as long as several choices, and each function that they are handed to would count references.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from worldmodels.planner.rules import GUMBEL, NEWTON, PUCT, UCB
from worldmodels.planner.tree import ACTION, CHILD, COUNT, DISCOUNT, LOGIT, PARENT, PRIOR, RAW, REWARD, VALUE, VISITS, Q

numba: Any = importlib.import_module("numba")
# Numba asks only whether this file has changed: what it compiles together lies together, and whoever changes constants
# that are imported here has to touch this file, too.
compiled: Callable[..., Any] = numba.njit(cache=True, error_model="numpy")
inlined: Callable[..., Any] = numba.njit(cache=True, error_model="numpy", forceinline=True)
TINY = float(np.finfo(np.float64).tiny)
# Where the memory tells which rules the roots and other nodes choose by.
ROOT, INTERIOR = 3, 21
# Where it tells of latents. Of each tensor: its address for all nodes, bytes of a row, and the addresses of the new
# nodes' and of copies to ask about next.
COPIES = 22

# The packed tensors of `Tree`: edges, links, nodes, places, extremes, valid.
Trees = tuple[
    Float64[np.ndarray, "B N 5 A"],
    Int32[np.ndarray, "B N 2 A"],
    Float64[np.ndarray, "B N 2"],
    Int32[np.ndarray, "B N 3"],
    Float64[np.ndarray, "B 2"],
    Bool[np.ndarray, "B A"],
]
# What `Guide` holds; intermediate numbers of one choice; the edges to grow at: places among latents, node * B + tree,
# and actions; and these once more for the model, by simulation.
Course = tuple[
    Float64[np.ndarray, "B G"],
    Int32[np.ndarray, "B S"],
    Float64[np.ndarray, "B U U"],
    Float64[np.ndarray, " A"],
    Int64[np.ndarray, "2 B"],
    Int64[np.ndarray, "n B"],
]
Rule = Float64[np.ndarray, " 5"]
Numbers = Float64[np.ndarray, "2 5"]  # of the rule of the roots, and of that of other nodes


@numba.extending.intrinsic
@no_type_check
def _pointer(_context: Any, _address: Any) -> Any:
    """An address as a pointer that `carray` takes."""

    def cast(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(numba.types.voidptr))

    return numba.types.voidptr(numba.types.int64), cast


@numba.extending.intrinsic
@no_type_check
def _copy(_context: Any, _to: Any, _source: Any, _size: Any) -> Any:
    """Bytes from one address to another."""

    def copy(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = context.get_value_type(numba.types.voidptr)
        to, source = builder.inttoptr(args[0], kind), builder.inttoptr(args[1], kind)
        numba.core.cgutils.raw_memcpy(builder, to, source, args[2], 1)
        return context.get_dummy_value()

    return numba.types.void(*[numba.types.int64] * 3), copy


@inlined
@no_type_check
def _trees(memory: Int64[np.ndarray, " M"]) -> Trees:
    at, roots, nodes, actions = memory, memory[0], memory[1], memory[2]
    return (
        numba.carray(_pointer(at[8]), (roots, nodes, 5, actions), np.float64),
        numba.carray(_pointer(at[9]), (roots, nodes, 2, actions), np.int32),
        numba.carray(_pointer(at[10]), (roots, nodes, 2), np.float64),
        numba.carray(_pointer(at[11]), (roots, nodes, 3), np.int32),
        numba.carray(_pointer(at[12]), (roots, 2), np.float64),
        numba.carray(_pointer(at[13]), (roots, actions), np.bool_),
    )


@inlined
@no_type_check
def _course(memory: Int64[np.ndarray, " M"]) -> Course:
    at, roots, simulations, actions = memory, memory[0], memory[1] - 1, memory[2]
    return (
        numba.carray(_pointer(at[14]), (roots, at[4]), np.float64),
        numba.carray(_pointer(at[15]), (roots, at[5]), np.int32),
        numba.carray(_pointer(at[16]), (roots, at[6], at[6]), np.float64),
        numba.carray(_pointer(at[17]), (actions,), np.float64),
        numba.carray(_pointer(at[18]), (2, roots), np.int64),
        numba.carray(_pointer(at[19]), (simulations, roots), np.int64),
    )


@inlined
@no_type_check
def _numbers(memory: Int64[np.ndarray, " M"]) -> Numbers:
    return numba.carray(_pointer(memory[20]), (2, 5), np.float64)


@compiled
@no_type_check
def plant(memory: Int64[np.ndarray, " M"], logit: int, value: int) -> None:
    """Writes the roots, of float64 logits (B, A) and values (B,) at these addresses, and selects for simulation 0.

    A logit of -inf is an action that can not be taken there.
    """
    trees, course, numbers = _trees(memory), _course(memory), _numbers(memory)
    edges, _, _, places, extremes, valid = trees
    logits = numba.carray(_pointer(logit), valid.shape, np.float64)
    values = numba.carray(_pointer(value), (len(edges),), np.float64)
    for tree in range(len(edges)):
        extremes[tree, 0], extremes[tree, 1] = np.inf, -np.inf
        places[tree, 0, PARENT], places[tree, 0, ACTION], places[tree, 0, COUNT] = -1, -1, 1
        _write(trees, memory[ROOT] == UCB, logits, values[tree], tree, 0)
        if edges.shape[1] > 1:
            _select(trees, course, numbers, memory, 0, tree)


@compiled
@no_type_check
def step(memory: Int64[np.ndarray, " M"], simulation: int, reward: int, discount: int, prior: int, value: int) -> int:
    """Grows each tree by what the model answered and selects for the next simulation, if there is one.

    The answers are float32 at these addresses, (B,) and prior (B, A). Returns the first tree whose numbers are not
    finite, or -1. One call for both, since a call from Python costs as much as several choices.
    """
    trees, course, numbers = _trees(memory), _course(memory), _numbers(memory)
    edges, links, _, places, _, valid = trees
    edge, kind, new = course[4], memory[ROOT], simulation + 1
    rewards = numba.carray(_pointer(reward), (len(edges),), np.float32)
    discounts = numba.carray(_pointer(discount), (len(edges),), np.float32)
    values = numba.carray(_pointer(value), (len(edges),), np.float32)
    logits = numba.carray(_pointer(prior), valid.shape, np.float32)
    for tree in range(len(edges)):
        above, taken = edge[0, tree] // len(edges), edge[1, tree]
        finite = math.isfinite(rewards[tree]) and math.isfinite(discounts[tree]) and math.isfinite(values[tree])
        finite &= _write(trees, kind == UCB, logits, values[tree], tree, new)
        if not finite:
            return tree
        places[tree, new, PARENT], places[tree, new, ACTION], places[tree, new, COUNT] = above, taken, 1
        edges[tree, above, REWARD, taken], edges[tree, above, DISCOUNT, taken] = rewards[tree], discounts[tree]
        links[tree, above, CHILD, taken] = new
        _backup(trees, kind == UCB, tree, new)
        if new + 1 < edges.shape[1]:
            _select(trees, course, numbers, memory, new, tree)
    _turn(memory, edge[0], new)
    return -1


@compiled
@no_type_check
def read(memory: Int64[np.ndarray, " M"], q: int, improved: int) -> None:
    """Writes to these addresses (B, A) the completed values of the roots, and logits of Gumbel's improved policy."""
    trees, course, numbers = _trees(memory), _course(memory), _numbers(memory)
    valid, scratch = trees[5], course[3]
    values = numba.carray(_pointer(q), valid.shape, np.float64)
    logits = numba.carray(_pointer(improved), valid.shape, np.float64)
    for tree in range(len(valid)):
        _complete(trees, tree, 0, scratch)
        values[tree] = scratch
        if memory[ROOT] == GUMBEL:
            _improve(trees, numbers[0], tree, 0, scratch)
            logits[tree] = scratch


@inlined
@no_type_check
def _turn(memory: Int64[np.ndarray, " M"], place: Int64[np.ndarray, " B"], new: int) -> None:
    """Keeps the latents of new nodes, and copies those at each place."""
    for at in range(COPIES, COPIES + 4 * memory[7], 4):
        kept, size, source, to = memory[at], memory[at + 1], memory[at + 2], memory[at + 3]
        _copy(kept + new * len(place) * size, source, len(place) * size)
        if new + 1 < memory[1]:
            for tree in range(len(place)):
                _copy(to + tree * size, kept + place[tree] * size, size)


@inlined
@no_type_check
def _select(
    trees: Trees, course: Course, numbers: Numbers, memory: Int64[np.ndarray, " M"], simulation: int, tree: int
) -> None:
    """Goes down a tree to an edge without a child, which is what to ask the model about."""
    edges, links, _, places, _, valid = trees
    gumbel, schedule, uniform, scratch, edge, asked = course
    node, depth, chosen, child = 0, 0, 0, 0
    kind, rule = memory[ROOT], numbers[0]
    while child >= 0:
        node = child
        if kind == PUCT:
            chosen = _puct(trees, rule, tree, node)
        elif kind == UCB:
            chosen = _ucb(trees, rule, tree, node)
        elif kind == GUMBEL:
            if node == 0 or places[tree, node, COUNT] > 1:
                _improve(trees, rule, tree, node, scratch)
            if node == 0:
                chosen = _leading(links, valid, gumbel, tree, schedule[tree, simulation], scratch)
            else:
                chosen = _nearest(trees, tree, node, scratch)
        else:
            total = _regularize(trees, rule, tree, node, scratch)
            drawn = uniform[tree, simulation, depth] if rule[3] > 0 else -1.0
            chosen = _drawn(links, places, tree, node, scratch, total, drawn)
        child = links[tree, node, CHILD, chosen]
        depth += 1
        kind, rule = memory[INTERIOR], numbers[1]
    edge[0, tree], edge[1, tree], asked[simulation, tree] = node * len(edges) + tree, chosen, chosen


@inlined
@no_type_check
def _write(trees: Trees, ucb: bool, logit: Float32[np.ndarray, "B A"], value: float, tree: int, node: int) -> bool:
    """Edges and values of a new node; False if a logit is not finite."""
    edges, links, nodes, _, extremes, _ = trees
    high, total, finite = -np.inf, 0.0, True
    for a in range(edges.shape[3]):
        finite &= math.isfinite(logit[tree, a])
        high = max(high, logit[tree, a])
    for a in range(edges.shape[3]):
        edges[tree, node, LOGIT, a] = logit[tree, a]
        edges[tree, node, PRIOR, a] = math.exp(edges[tree, node, LOGIT, a] - high)
        total += edges[tree, node, PRIOR, a]
        edges[tree, node, Q, a] = edges[tree, node, REWARD, a] = edges[tree, node, DISCOUNT, a] = 0.0
        links[tree, node, CHILD, a], links[tree, node, VISITS, a] = -1, 0
        if ucb and logit[tree, a] > -np.inf:
            edges[tree, node, Q, a] = logit[tree, a]
            extremes[tree, 0] = min(extremes[tree, 0], logit[tree, a])
            extremes[tree, 1] = max(extremes[tree, 1], logit[tree, a])
    for a in range(edges.shape[3]):
        edges[tree, node, PRIOR, a] /= total
    nodes[tree, node, VALUE] = nodes[tree, node, RAW] = high if ucb else value
    return finite


@inlined
@no_type_check
def _backup(trees: Trees, ucb: bool, tree: int, node: int) -> None:
    """From a new node up to the root; the mean of a node begins with its own evaluation."""
    edges, links, nodes, places, extremes, _ = trees
    back = nodes[tree, node, VALUE]
    while node > 0:
        above, taken = places[tree, node, PARENT], places[tree, node, ACTION]
        reward, discount = edges[tree, above, REWARD, taken], edges[tree, above, DISCOUNT, taken]
        back = reward + discount * back
        count = places[tree, above, COUNT]
        nodes[tree, above, VALUE] = (nodes[tree, above, VALUE] * count + back) / (count + 1)
        places[tree, above, COUNT] = count + 1
        visits = links[tree, above, VISITS, taken] + 1
        links[tree, above, VISITS, taken] = visits
        q = reward + discount * nodes[tree, node, VALUE]
        if ucb:
            q = (edges[tree, above, LOGIT, taken] + visits * q) / (1 + visits)
        edges[tree, above, Q, taken] = q
        extremes[tree, 0], extremes[tree, 1] = min(extremes[tree, 0], q), max(extremes[tree, 1], q)
        node = above


@inlined
@no_type_check
def _puct(trees: Trees, rule: Rule, tree: int, node: int) -> int:
    edges, links, nodes, places, extremes, valid = trees
    value, min_range = nodes[tree, node, VALUE], rule[2]
    low, high = extremes[tree, 0], extremes[tree, 1]
    actions = edges.shape[3]
    if rule[3] > 0:
        low = high = value
        for a in range(actions):
            if links[tree, node, VISITS, a] > 0:
                low, high = min(low, edges[tree, node, Q, a]), max(high, edges[tree, node, Q, a])
    count = float(places[tree, node, COUNT])
    bonus = math.sqrt(count) * (rule[0] + math.log((count + rule[1] + 1) / rule[1]))
    missing = _scaled(value, low, high, min_range) if rule[4] > 0 else 0.0
    chosen, top = 0, -np.inf
    for a in range(actions):
        if node > 0 or valid[tree, a]:
            visits = links[tree, node, VISITS, a]
            score = _scaled(edges[tree, node, Q, a], low, high, min_range) if visits > 0 else missing
            score += edges[tree, node, PRIOR, a] * bonus / (1 + visits)
            if score > top:
                chosen, top = a, score
    return chosen


@inlined
@no_type_check
def _scaled(q: float, low: float, high: float, min_range: float) -> float:
    if high < low:
        return 0.0
    return min(max((q - low) / max(high - low, min_range), 0.0), 1.0)


@inlined
@no_type_check
def _ucb(trees: Trees, rule: Rule, tree: int, node: int) -> int:
    edges, links, _, _, extremes, valid = trees
    total, actions = 0, edges.shape[3]
    for a in range(actions):
        if node > 0 or valid[tree, a]:
            total += 1 + links[tree, node, VISITS, a]
    log = math.log(total)
    chosen, top = 0, -np.inf
    for a in range(actions):
        if node > 0 or valid[tree, a]:
            score = _scaled(edges[tree, node, Q, a], extremes[tree, 0], extremes[tree, 1], rule[2])
            score += rule[0] * math.sqrt(log / (1 + links[tree, node, VISITS, a]))
            if score > top:
                chosen, top = a, score
    return chosen


@inlined
@no_type_check
def _complete(trees: Trees, tree: int, node: int, scratch: Float64[np.ndarray, " A"]) -> int:
    """Action values into scratch, the mixed value where not visited; the most visits that an action has."""
    edges, links, nodes, places, _, _ = trees
    actions, most = edges.shape[3], 0
    weight, mean = 0.0, 0.0
    for a in range(actions):
        visits = links[tree, node, VISITS, a]
        if visits > 0:
            prior = max(edges[tree, node, PRIOR, a], TINY)
            weight += prior
            mean += prior * edges[tree, node, Q, a]
            most = max(most, visits)
    count = places[tree, node, COUNT]
    mixed = nodes[tree, node, RAW]
    if weight > 0:
        mixed = (mixed + (count - 1) * (mean / weight)) / count
    for a in range(actions):
        scratch[a] = edges[tree, node, Q, a] if links[tree, node, VISITS, a] > 0 else mixed
    return most


@inlined
@no_type_check
def _improve(trees: Trees, rule: Rule, tree: int, node: int, scratch: Float64[np.ndarray, " A"]) -> None:
    """Logits of the improved policy into scratch."""
    edges, actions = trees[0], trees[0].shape[3]
    most = _complete(trees, tree, node, scratch)
    low, high = np.inf, -np.inf
    for a in range(actions):
        low, high = min(low, scratch[a]), max(high, scratch[a])
    scale = (rule[0] + most) * rule[1]
    span = max(high - low, rule[2])
    for a in range(actions):
        scratch[a] = edges[tree, node, LOGIT, a] + scale * ((scratch[a] - low) / span)


@inlined
@no_type_check
def _leading(
    links: Int32[np.ndarray, "B N 2 A"], valid: Bool[np.ndarray, "B A"], gumbel: Float64[np.ndarray, "B A"],
    tree: int, wanted: int, scratch: Float64[np.ndarray, " A"],
) -> int:  # fmt: skip
    """The root's action: of those visited as often as wanted, the one of highest noise + scratch."""
    chosen, top = 0, -np.inf
    for a in range(len(scratch)):
        if valid[tree, a] and links[tree, 0, VISITS, a] == wanted and gumbel[tree, a] + scratch[a] > top:
            chosen, top = a, gumbel[tree, a] + scratch[a]
    return chosen


@inlined
@no_type_check
def _nearest(trees: Trees, tree: int, node: int, scratch: Float64[np.ndarray, " A"]) -> int:
    """The action whose share of the visits is furthest below its probability, of which scratch has the logits."""
    edges, links, _, places, _, _ = trees
    actions, count = edges.shape[3], places[tree, node, COUNT]
    chosen, top = 0, -np.inf
    if count == 1:  # nothing was visited, all values are alike
        for a in range(actions):
            if edges[tree, node, PRIOR, a] > top:
                chosen, top = a, edges[tree, node, PRIOR, a]
        return chosen
    high = -np.inf
    for a in range(actions):
        high = max(high, scratch[a])
    total = 0.0
    for a in range(actions):
        scratch[a] = math.exp(scratch[a] - high)
        total += scratch[a]
    for a in range(actions):
        score = scratch[a] / total - links[tree, node, VISITS, a] / count
        if score > top:
            chosen, top = a, score
    return chosen


@inlined
@no_type_check
def _regularize(trees: Trees, rule: Rule, tree: int, node: int, scratch: Float64[np.ndarray, " A"]) -> float:
    """The regularised policy into scratch, up to its sum."""
    edges, links, _, places, extremes, _ = trees
    actions = edges.shape[3]
    factor = rule[0] / math.sqrt(places[tree, node, COUNT])
    alpha = -np.inf
    for a in range(actions):
        weight = edges[tree, node, PRIOR, a] * factor
        q = 0.0
        if links[tree, node, VISITS, a] > 0:
            q = _scaled(edges[tree, node, Q, a], extremes[tree, 0], extremes[tree, 1], rule[2])
        scratch[a] = q
        if weight > 0:
            alpha = max(alpha, q + weight)
    for _ in range(NEWTON):
        total, slope = 0.0, 0.0
        for a in range(actions):
            weight = edges[tree, node, PRIOR, a] * factor
            if weight > 0:
                pi = weight / (alpha - scratch[a])
                total += pi
                slope += pi / (alpha - scratch[a])
        if total - 1 < 1e-14:
            break
        alpha += (total - 1) / slope
    total = 0.0
    for a in range(actions):
        weight = edges[tree, node, PRIOR, a] * factor
        scratch[a] = weight / (alpha - scratch[a]) if weight > 0 else 0.0
        total += scratch[a]
    return total


@inlined
@no_type_check
def _drawn(
    links: Int32[np.ndarray, "B N 2 A"], places: Int32[np.ndarray, "B N 3"], tree: int, node: int,
    scratch: Float64[np.ndarray, " A"], total: float, uniform: float,
) -> int:  # fmt: skip
    """By its probability, scratch / total; if uniform is negative, the one furthest below its probability."""
    chosen, top, below = 0, -np.inf, 0.0
    for a in range(len(scratch)):
        pi = scratch[a] / total
        if pi > 0:
            if uniform >= 0:
                below += pi
                chosen = a
                if below > uniform:
                    return chosen
            else:
                score = pi - links[tree, node, VISITS, a] / places[tree, node, COUNT]
                if score > top:
                    chosen, top = a, score
    return chosen
