"""The rules and the growth of trees as compiled loops: what `rules` and `reference` say, one tree after the other.

Needs numba. Nothing here allocates memory. Compiled code is kept beside this file, or in the user's cache; the first
search of an installation compiles for some seconds. Elements are always read from the whole arrays: views of a node,
or tuples of arrays handed on from function to function, made a Gumbel search twice as slow.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Int64

from worldmodels.planner.rules import GUMBEL, NEWTON, PUCT, UCB
from worldmodels.planner.tree import ACTION, CHILD, COUNT, DISCOUNT, LOGIT, PARENT, PRIOR, RAW, REWARD, VALUE, VISITS, Q

numba: Any = importlib.import_module("numba")
# Numba asks only whether this file has changed: what it compiles together lies together, and whoever changes constants
# that are imported here has to touch this file, too.
compiled: Callable[..., Any] = numba.njit(cache=True, error_model="numpy")
TINY = float(np.finfo(np.float64).tiny)


Edges = Float64[np.ndarray, "B N 5 A"]
Links = Int32[np.ndarray, "B N 2 A"]
Nodes = Float64[np.ndarray, "B N 2"]
Places = Int32[np.ndarray, "B N 3"]
Extremes = Float64[np.ndarray, "B 2"]
Valid = Bool[np.ndarray, "B A"]
Numbers = Float64[np.ndarray, " 5"]  # of the rule
Scratch = Float64[np.ndarray, " A"]  # intermediate numbers of one choice
Trees = tuple[Edges, Links, Nodes, Places, Extremes, Valid]
# The rule, what `Guide` holds, and what to ask the model, by simulation: node, action, the node's place among latents,
# and the action again, for the model to do with as it likes.
Course = tuple[
    int,
    Numbers,
    Float64[np.ndarray, "B G"],
    Int32[np.ndarray, "B S"],
    Float64[np.ndarray, "B U U"],
    Scratch,
    Int64[np.ndarray, "4 n B"],
]


@compiled
@no_type_check
def plant(trees: Trees, kind: int, logit: Float64[np.ndarray, "B A"], value: Float64[np.ndarray, " B"]) -> None:
    """Writes the roots; a logit of -inf is an action that can not be taken there."""
    edges, links, nodes, places, extremes, _ = trees
    for tree in range(len(edges)):
        extremes[tree, 0], extremes[tree, 1] = np.inf, -np.inf
        places[tree, 0, PARENT], places[tree, 0, ACTION], places[tree, 0, COUNT] = -1, -1, 1
        _write(edges, links, nodes, extremes, kind == UCB, logit, value[tree], tree, 0)


@compiled
@no_type_check
def select(trees: Trees, course: Course, simulation: int) -> None:
    """Goes down each tree to an edge without a child, which is what to ask the model about."""
    edges, links, nodes, places, extremes, valid = trees
    kind, numbers, gumbel, schedule, uniform, scratch, asked = course
    for tree in range(len(edges)):
        node, depth, chosen, child = 0, 0, 0, 0
        while child >= 0:
            node = child
            if kind == PUCT:
                chosen = _puct(edges, links, nodes, places, extremes, valid, numbers, tree, node)
            elif kind == UCB:
                chosen = _ucb(edges, links, extremes, valid, numbers, tree, node)
            elif kind == GUMBEL:
                if node == 0 or places[tree, node, COUNT] > 1:
                    _improve(edges, links, nodes, places, numbers, tree, node, scratch)
                if node == 0:
                    chosen = _leading(links, valid, gumbel, tree, schedule[tree, simulation], scratch)
                else:
                    chosen = _nearest(edges, links, places, tree, node, scratch)
            else:
                total = _regularize(edges, links, places, extremes, numbers, tree, node, scratch)
                drawn = uniform[tree, simulation, depth] if numbers[3] > 0 else -1.0
                chosen = _drawn(links, places, tree, node, scratch, total, drawn)
            child = links[tree, node, CHILD, chosen]
            depth += 1
        asked[0, simulation, tree], asked[1, simulation, tree] = node, chosen
        asked[2, simulation, tree], asked[3, simulation, tree] = node * len(edges) + tree, chosen


@compiled
@no_type_check
def step(
    trees: Trees,
    course: Course,
    simulation: int,
    reward: Float[np.ndarray, " B"],
    discount: Float[np.ndarray, " B"],
    prior: Float[np.ndarray, "B A"],
    value: Float[np.ndarray, " B"],
) -> int:
    """Grows each tree by what the model answered and selects for the next simulation, if there is one.

    Returns the first tree whose numbers are not finite, or -1. One call for both, since a call from Python costs as
    much as several choices.
    """
    edges, links, nodes, places, extremes, _ = trees
    ucb, asked, new = course[0] == UCB, course[6], simulation + 1
    for tree in range(len(edges)):
        above, taken = asked[0, simulation, tree], asked[1, simulation, tree]
        finite = math.isfinite(reward[tree]) and math.isfinite(discount[tree]) and math.isfinite(value[tree])
        finite &= _write(edges, links, nodes, extremes, ucb, prior, value[tree], tree, new)
        if not finite:
            return tree
        places[tree, new, PARENT], places[tree, new, ACTION], places[tree, new, COUNT] = above, taken, 1
        edges[tree, above, REWARD, taken], edges[tree, above, DISCOUNT, taken] = reward[tree], discount[tree]
        links[tree, above, CHILD, taken] = new
        _backup(edges, links, nodes, places, extremes, ucb, tree, new)
    if new < asked.shape[1]:
        select(trees, course, new)
    return -1


@compiled
@no_type_check
def _write(
    edges: Edges, links: Links, nodes: Nodes, extremes: Extremes, ucb: bool,
    logit: Float[np.ndarray, "B A"], value: float, tree: int, node: int,
) -> bool:  # fmt: skip
    """Edges and values of a new node; False if a logit is not finite."""
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


@compiled
@no_type_check
def _backup(
    edges: Edges, links: Links, nodes: Nodes, places: Places, extremes: Extremes, ucb: bool, tree: int, node: int
) -> None:
    """From a new node up to the root; the mean of a node begins with its own evaluation."""
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


@compiled
@no_type_check
def _puct(
    edges: Edges, links: Links, nodes: Nodes, places: Places, extremes: Extremes, valid: Valid, numbers: Numbers,
    tree: int, node: int,
) -> int:  # fmt: skip
    value, min_range = nodes[tree, node, VALUE], numbers[2]
    low, high = extremes[tree, 0], extremes[tree, 1]
    actions = edges.shape[3]
    if numbers[3] > 0:
        low = high = value
        for a in range(actions):
            if links[tree, node, VISITS, a] > 0:
                low, high = min(low, edges[tree, node, Q, a]), max(high, edges[tree, node, Q, a])
    count = float(places[tree, node, COUNT])
    bonus = math.sqrt(count) * (numbers[0] + math.log((count + numbers[1] + 1) / numbers[1]))
    missing = _scaled(value, low, high, min_range) if numbers[4] > 0 else 0.0
    chosen, top = 0, -np.inf
    for a in range(actions):
        if node > 0 or valid[tree, a]:
            visits = links[tree, node, VISITS, a]
            score = _scaled(edges[tree, node, Q, a], low, high, min_range) if visits > 0 else missing
            score += edges[tree, node, PRIOR, a] * bonus / (1 + visits)
            if score > top:
                chosen, top = a, score
    return chosen


@compiled
@no_type_check
def _scaled(q: float, low: float, high: float, min_range: float) -> float:
    if high < low:
        return 0.0
    return min(max((q - low) / max(high - low, min_range), 0.0), 1.0)


@compiled
@no_type_check
def _ucb(
    edges: Edges, links: Links, extremes: Extremes, valid: Valid, numbers: Numbers, tree: int, node: int
) -> int:  # fmt: skip
    total, actions = 0, edges.shape[3]
    for a in range(actions):
        if node > 0 or valid[tree, a]:
            total += 1 + links[tree, node, VISITS, a]
    log = math.log(total)
    chosen, top = 0, -np.inf
    for a in range(actions):
        if node > 0 or valid[tree, a]:
            score = _scaled(edges[tree, node, Q, a], extremes[tree, 0], extremes[tree, 1], numbers[2])
            score += numbers[0] * math.sqrt(log / (1 + links[tree, node, VISITS, a]))
            if score > top:
                chosen, top = a, score
    return chosen


@compiled
@no_type_check
def _improve(
    edges: Edges, links: Links, nodes: Nodes, places: Places, numbers: Numbers, tree: int, node: int, scratch: Scratch
) -> None:
    """Logits of the improved policy into scratch, which must have room for all actions."""
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
    low, high = np.inf, -np.inf
    for a in range(actions):
        q = edges[tree, node, Q, a] if links[tree, node, VISITS, a] > 0 else mixed
        scratch[a] = q
        low, high = min(low, q), max(high, q)
    scale = (numbers[0] + most) * numbers[1]
    span = max(high - low, numbers[2])
    for a in range(actions):
        scratch[a] = edges[tree, node, LOGIT, a] + scale * ((scratch[a] - low) / span)


@compiled
@no_type_check
def _leading(
    links: Links, valid: Valid, gumbel: Float64[np.ndarray, "B A"], tree: int, wanted: int, scratch: Scratch
) -> int:
    """The root's action: of those visited as often as wanted, the one of highest noise + scratch."""
    chosen, top = 0, -np.inf
    for a in range(len(scratch)):
        if valid[tree, a] and links[tree, 0, VISITS, a] == wanted and gumbel[tree, a] + scratch[a] > top:
            chosen, top = a, gumbel[tree, a] + scratch[a]
    return chosen


@compiled
@no_type_check
def _nearest(edges: Edges, links: Links, places: Places, tree: int, node: int, scratch: Scratch) -> int:
    """The action whose share of the visits is furthest below its probability, of which scratch has the logits."""
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


@compiled
@no_type_check
def _regularize(
    edges: Edges, links: Links, places: Places, extremes: Extremes, numbers: Numbers,
    tree: int, node: int, scratch: Scratch,
) -> float:  # fmt: skip
    """The regularised policy into scratch, up to its sum."""
    actions = edges.shape[3]
    factor = numbers[0] / math.sqrt(places[tree, node, COUNT])
    alpha = -np.inf
    for a in range(actions):
        weight = edges[tree, node, PRIOR, a] * factor
        q = 0.0
        if links[tree, node, VISITS, a] > 0:
            q = _scaled(edges[tree, node, Q, a], extremes[tree, 0], extremes[tree, 1], numbers[2])
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


@compiled
@no_type_check
def _drawn(links: Links, places: Places, tree: int, node: int, scratch: Scratch, total: float, uniform: float) -> int:
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
