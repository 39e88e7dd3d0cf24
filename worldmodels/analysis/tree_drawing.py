"""A searched tree as SVG, its root at the left."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from worldmodels.ops.picture import encode_png, fit

if TYPE_CHECKING:
    from worldmodels.analysis.search_tree import Searched

WIDE, GAP, HIGH, APART = 118, 34, 46, 8  # of a box, between columns, of a box without a picture, between rows
PICTURE = 44


@dataclass(frozen=True)
class Node:
    """What is told of a node, and where it stands."""

    number: int
    parent: int
    depth: int
    row: float
    words: tuple[str, str]
    visits: int  # of the edge that leads there; of the root, all simulations
    on_line: bool  # of those that were visited most


def drawing(found: Searched, most: int) -> str:
    """At most so many nodes, those that were visited most, each below its parent."""
    nodes = _nodes(found, most)
    place = {node.number: node for node in nodes}
    wide = WIDE + (PICTURE + 6 if found.imagined[0] is not None else 0)
    rows = max(node.row for node in nodes) + 1
    columns = max(node.depth for node in nodes) + 1
    width, height = columns * (wide + GAP) - GAP + 4, int(rows * (HIGH + APART)) + 4
    total = max(1, nodes[0].visits)
    edges = [_edge(place[node.parent], node, wide, total) for node in nodes if node.parent >= 0]
    boxes = [_box(found, node, wide) for node in nodes]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' "
        f"role='img' aria-label='search tree'>{''.join(edges)}{''.join(boxes)}</svg>"
    )


def _nodes(found: Searched, most: int) -> list[Node]:
    tree = found.plan.tree
    parent, action, count = (getattr(tree, name)[0].tolist() for name in ("parent", "action", "count"))
    # A parent was visited at least as often as its children and has a lower number: it is never left out before them.
    kept = set(sorted(range(len(parent)), key=lambda node: (-count[node], node))[:most])
    children: dict[int, list[int]] = {node: [] for node in kept}
    for node in sorted(kept - {0}, key=lambda node: action[node]):
        children[parent[node]].append(node)
    line = _line(found)
    nodes: list[Node] = []
    free = 0.0

    def put(node: int, depth: int) -> float:
        nonlocal free
        at = len(nodes)
        nodes.append(Node(node, parent[node], depth, 0.0, ("", ""), 0, False))
        below = [put(child, depth + 1) for child in children[node]]
        row = sum(below) / len(below) if below else free
        free += 0.0 if below else 1.0
        nodes[at] = Node(node, parent[node], depth, row, _words(found, node), count[node], node in line)
        return row

    put(0, 0)
    return nodes


def _line(found: Searched) -> set[int]:
    """Nodes along the actions that were visited most."""
    tree, node, line = found.plan.tree, 0, {0}
    for action in tree.line(0):
        node = int(tree.child[0, node, action])
        line.add(node)
    return line


def _words(found: Searched, node: int) -> tuple[str, str]:
    tree = found.plan.tree
    value = float(tree.value[0, node])
    if node == 0:
        return "root", f"n {int(tree.count[0, 0]) - 1}  v {value:.2f}"
    parent, action = int(tree.parent[0, node]), int(tree.action[0, node])
    names = found.subject.spec.action_names
    reward = float(tree.reward[0, parent, action])
    paid = f"  {reward:+.2f}" if abs(reward) >= 0.005 else ""
    return f"{names[action] if names else action}{paid}", f"n {int(tree.count[0, node])}  v {value:.2f}"


def _edge(parent: Node, node: Node, wide: int, total: int) -> str:
    x, y = _corner(parent, wide)
    to_x, to_y = _corner(node, wide)
    start, end, y, to_y = x + wide, to_x, y + HIGH / 2, to_y + HIGH / 2
    half = (start + end) / 2
    stroke = 1 + 7 * node.visits / total
    marked = " class='line'" if node.on_line else ""
    curve = f"M{start} {y:.1f} C{half} {y:.1f} {half} {to_y:.1f} {end} {to_y:.1f}"
    return f"<path{marked} stroke-width='{stroke:.1f}' d='{curve}'/>"


def _box(found: Searched, node: Node, wide: int) -> str:
    x, y = _corner(node, wide)
    frame, left = found.imagined[node.number], x + 8
    image = ""
    if frame is not None:
        shown = picture(frame, 2 * PICTURE)
        image = f"<image x='{x + 2}' y='{y + 1:.1f}' width='{PICTURE}' height='{PICTURE}' href='{shown}'/>"
        left += PICTURE + 2
    marked = " class='line'" if node.on_line else ""
    first, second = (html.escape(words) for words in node.words)
    return (
        f"<rect{marked} x='{x}' y='{y:.1f}' width='{wide}' height='{HIGH}' rx='7'/>{image}"
        f"<text x='{left}' y='{y + 19:.1f}'>{first}</text>"
        f"<text class='soft' x='{left}' y='{y + 35:.1f}'>{second}</text>"
    )


def picture(frame: UInt8[np.ndarray, "h w 3"], size: int) -> str:
    """A frame as the address of an image, enlarged to about that many pixels."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(fit(frame, size))).decode()}"


def _corner(node: Node, wide: int) -> tuple[int, float]:
    return 2 + node.depth * (wide + GAP), 2 + node.row * (HIGH + APART)
