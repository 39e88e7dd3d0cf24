"""A searched tree as a page: what was seen, what each action at the root came to, and the tree itself."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worldmodels.analysis.tree_drawing import drawing, picture
from worldmodels.core.files import write_bytes, write_text
from worldmodels.evaluation.page import document

if TYPE_CHECKING:
    from worldmodels.analysis.search_tree import Searched

PAGE = "search-tree.html"
STYLE = """
main { max-width: 1360px; }
.seen { display: flex; gap: 12px; align-items: end; flex-wrap: wrap; }
.seen img { display: block; image-rendering: pixelated; border-radius: 6px; }
.seen figcaption { font-size: 12px; color: var(--soft); margin-top: 4px; }
.seen figure + figure { margin-top: 0; }
.tree { overflow-x: auto; }
.tree svg { width: auto; max-width: none; font: 11px ui-monospace, Menlo, Consolas, monospace; }
.tree text { fill: var(--ink); } .tree .soft { fill: var(--soft); }
.tree path { fill: none; stroke: var(--line); } .tree path.line { stroke: var(--accent); }
.tree rect { fill: var(--card); stroke: var(--line); } .tree rect.line { stroke: var(--accent); stroke-width: 2; }
.tree image { image-rendering: pixelated; }
tr.chosen td { font-weight: 700; color: var(--accent); }
"""


def write(found: Searched, folder: Path, most: int) -> dict[str, Any]:
    """Everything into the folder; the findings in short."""
    summary = _summary(found)
    write_bytes(folder / "search-tree.npz", _arrays(found))
    write_text(folder / PAGE, _page(found, summary, most))
    return summary


def name_of(found: Searched, action: int) -> str:
    names = found.subject.spec.action_names
    return names[action] if names else str(action)


def _summary(found: Searched) -> dict[str, Any]:
    plan, tree = found.plan, found.plan.tree
    root = [
        {
            "action": name_of(found, a),
            "prior": round(float(tree.prior[0, 0, a]), 4),
            "visits": int(plan.visits[0, a]),
            "value": round(float(plan.q[0, a]), 4),
            "reward": round(float(tree.reward[0, 0, a]), 4) if int(plan.visits[0, a]) else None,
            "target": round(float(plan.target[0, a]), 4),
        }
        for a in range(found.subject.spec.action_size)
    ]
    return {
        "episode": found.episode,
        "step": found.step,
        "chosen": name_of(found, int(plan.action[0])),
        "taken": None if found.taken is None else name_of(found, found.taken),
        "value": round(float(plan.value[0]), 4),
        "value_before": round(float(tree.raw[0, 0]), 4),
        "planner": found.planner,
        "simulations": int(plan.visits[0].sum()),
        "line": [name_of(found, a) for a in tree.line(0)],
        "root": root,
    }


def _arrays(found: Searched) -> bytes:
    tree, kept = found.plan.tree, io.BytesIO()
    names = ("prior", "q", "reward", "discount", "child", "visits", "value", "raw", "parent", "action", "count")
    np.savez_compressed(kept, allow_pickle=False, **{name: getattr(tree, name)[0].cpu().numpy() for name in names})
    return kept.getvalue()


def _page(found: Searched, summary: dict[str, Any], most: int) -> str:
    title = html.escape(found.subject.title)
    facts = " · ".join(
        f"{html.escape(str(key))} <b>{html.escape(str(value))}</b>" for key, value in found.subject.origin.items()
    )
    what = "What it imagines there is drawn in each box." if found.imagined[0] is not None else ""
    shown = min(most, found.plan.tree.places.shape[1])
    parts = [
        f"<header><h1>Why {html.escape(summary['chosen'])}?</h1><p class='name'>{title}, episode {found.episode}, step "
        f"{found.step}</p><p class='facts'>{facts}</p></header>",
        _tiles(summary),
        f"<section><h2>What was seen</h2><div class='seen'>{_seen(found)}</div></section>",
        "<section><h2>What each action came to</h2><p>Prior is what the search began with: the network's policy, with "
        "what the planner mixes into it (unimix; noise, where it explores), or a softmax of its values. Visits are "
        "simulations that began with the action, value is the discounted return after it, and target what there is to "
        "learn from the search. What the search chose is in bold.</p>"
        f"<div class='wide'>{_table(summary)}</div></section>",
        "<section><h2>What was imagined</h2><p>Each box is a moment that the search has come to, the root at the left: "
        "the action that leads there and the reward on arrival, how many simulations passed it (n), and its value (v). "
        f"Lines are as wide as they were often taken; the one that was taken most is coloured. {what} "
        f"{shown} of {found.plan.tree.places.shape[1]} moments are drawn.</p>"
        f"<div class='tree'>{drawing(found, most)}</div></section>",
    ]
    return document(f"Search tree of {found.subject.title}", parts, STYLE)


def _tiles(summary: dict[str, Any]) -> str:
    tiles = [
        (f"{summary['value']:.2f}", "value after the search"),
        (f"{summary['value_before']:.2f}", "value before"),
        (str(summary["simulations"]), f"simulations of {summary['planner']}"),
        (summary["taken"] or "nothing", "was done when it was lived"),
        (" ".join(summary["line"]) or "none", "line that was taken most"),
    ]
    shown = "".join(f"<div><strong>{html.escape(value)}</strong><span>{name}</span></div>" for value, name in tiles)
    return f"<section class='tiles'>{shown}</section>"


def _seen(found: Searched) -> str:
    count = len(found.seen)
    return "".join(
        f"<figure><img alt='step {found.step - count + 1 + i}' src='{picture(frame, 160)}'>"
        f"<figcaption>step {found.step - count + 1 + i}</figcaption></figure>"
        for i, frame in enumerate(found.seen)
    )


def _table(summary: dict[str, Any]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("action", "prior", "visits", "value", "reward", "target"))
    lines = []
    for row in summary["root"]:
        chosen = " class='chosen'" if row["action"] == summary["chosen"] else ""
        reward = "" if row["reward"] is None else f"{row['reward']:.2f}"
        cells = (row["action"], f"{row['prior']:.3f}", row["visits"], f"{row['value']:.3f}", reward)
        inner = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in (*cells, f"{row['target']:.3f}"))
        lines.append(f"<tr{chosen}>{inner}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"
