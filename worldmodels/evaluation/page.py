"""report.html: one run on one page, which needs no network and no other file."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from worldmodels.evaluation import figures
from worldmodels.evaluation.table import others, read_csv, read_json

STYLE = (Path(__file__).parent / "page.css").read_text


def write_page(folder: Path) -> Path:
    """Write report.html from what lies in a run folder; parts that are not there are left out."""
    metrics, scores = read_csv(folder / "metrics.csv"), read_json(folder / "evaluation.jsonl")
    result = _json(folder / "done.json")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    sessions = _json(folder / "provenance.json").get("sessions", [])
    parts = [
        _header(folder, config, sessions),
        _tiles(result),
        _learning(metrics, scores),
        _imagination(folder),
        _evaluations(scores),
        details("Config", yaml.safe_dump(config, sort_keys=False)),
        details("Provenance", json.dumps(_json(folder / "provenance.json"), indent=2)),
    ]
    page = folder / "report.html"
    passing = page.with_suffix(".tmp")
    passing.write_text(document(f"{folder.parent.name}/{folder.name}", parts))
    passing.replace(page)
    return page


def document(title: str, parts: Sequence[str], style: str = "") -> str:
    """A whole page of these parts, in the look that all pages share; `style` is added to it."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE()}{style}</style></head>\n<body><main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main></body></html>\n"
    )


def _header(folder: Path, config: Mapping[str, Any], sessions: list[dict[str, Any]]) -> str:
    first, last = (sessions[0], sessions[-1]) if sessions else ({}, {})
    facts = [
        ("began", first.get("time", "")[:16].replace("T", " ")),
        ("sessions", str(len(sessions))),
        ("commit", (last.get("commit") or "")[:10] + (" + changes" if last.get("dirty") else "")),
        ("seed", str(config["seed"])),
        ("host", last.get("host", "")),
    ]
    line = " · ".join(f"{name} <b>{html.escape(value)}</b>" for name, value in facts if value)
    command = html.escape(first.get("command", ""))
    choices = " on ".join(filter(None, (_kind(config.get("stage")), _world(config.get("env")))))
    return (
        f"<header><h1>{html.escape(choices)}</h1><p class='name'>{html.escape(folder.parent.name)} / "
        f"{html.escape(folder.name)}</p><p class='facts'>{line}</p><pre class='command'>{command}</pre></header>"
    )


def _kind(node: Mapping[str, Any] | None) -> str:
    return str(node["_target_"]).rpartition(".")[2] if node else ""


def _world(node: Mapping[str, Any] | None) -> str:
    game = next((str(node[key]) for key in ("game", "id", "level") if node and node.get(key)), "")
    return " ".join(filter(None, (_kind(node), game)))


def _tiles(result: Mapping[str, Any]) -> str:
    tiles = []
    if "return_mean" in result:
        text = f"{result['return_mean']:.2f}<small> ± {result['return_stderr']:.2f}</small>"
        tiles.append((text, f"mean return, {result['episodes']} episodes"))
        tiles += [(f"{result[f'return_mean/{name}']:.2f}", f"mean return, {name} alone") for name in others(result)]
    if result:
        tiles += [(f"{result['env_steps']:,}", "env steps")] if result["env_steps"] else []
        tiles += [(f"{result['updates']:,}", "updates"), (f"{result['minutes']:.1f}", "minutes of training")]
    if result.get("updates_per_second"):
        tiles.append((f"{result['updates_per_second']:.1f}", "updates per second"))
    shown = "".join(f"<div><strong>{value}</strong><span>{name}</span></div>" for value, name in tiles)
    return f"<section class='tiles'>{shown}</section>" if tiles else ""


def _learning(metrics: list[dict[str, Any]], scores: list[dict[str, Any]]) -> str:
    if not metrics:
        return ""
    drawn = ""
    if scores or any("return" in row for row in metrics):
        drawn = f"<h2>Return</h2><figure>{figures.returns(metrics, scores)}</figure>"
    losses, others = figures.columns(metrics)
    drawn += f"<h2>Losses</h2><figure>{figures.small(metrics, losses)}</figure>" if losses else ""
    more = figures.small(metrics, others)
    folded = f"<details><summary>Other measurements</summary><figure>{more}</figure></details>" if more else ""
    return f"<section>{drawn}{folded}</section>"


def _imagination(folder: Path) -> str:
    """The newest film, and its errors by horizon, that `callback.film` left; a model without a decoder has no film."""
    films, tables = (sorted((folder / "films").glob(f"*.{kind}")) for kind in ("gif", "json"))
    rows = _json(tables[-1]).get("rows") if tables else None
    if not films and not rows:
        return ""
    shown = (
        "<p>What happened, and what the model thought of it. While its eyes are open (green) it sees every frame; then "
        "they close (orange), and it imagines what follows the actions that were taken.</p><figure><img class='film' "
        f"alt='open-loop film' src='data:image/gif;base64,{encoded(films[-1])}'></figure>"
        if films
        else ""
    )
    told = (
        "<p>By the number of steps since the eyes were closed. Surprise is the negative log-likelihood of what came, "
        "summed over an observation; of squared errors, up to a constant.</p>"
    )
    drawn = f"<h3>Error by horizon</h3>{told}<figure>{figures.horizon(rows)}</figure>" if rows else ""
    return f"<section><h2>Imagination</h2>{shown}{drawn}</section>"


def _evaluations(scores: list[dict[str, Any]]) -> str:
    if not scores:
        return ""
    beside = [f"return_mean/{name}" for name in others(scores[0])]
    names = ("env_steps", "updates", "episodes", "return_mean", *beside, "return_std", "return_min", "return_max")
    names = (*names, "length_mean")
    head = "".join(f"<th>{name.replace('_', ' ').replace('/', ', ')}</th>" for name in names)
    lines = "".join(_line(row, names) for row in scores)
    note = "The last line is the evaluation of the finished run." if scores[-1].get("final") else ""
    table = f"<div class='wide'><table><tr>{head}</tr>{lines}</table></div>"
    return f"<section><h2>Evaluations</h2>{table}<p>{note}</p></section>"


def _line(row: Mapping[str, Any], names: Sequence[str]) -> str:
    cells = "".join(f"<td>{_number(row[name]) if name in row else ''}</td>" for name in names)
    return f"<tr class='final'>{cells}</tr>" if row.get("final") else f"<tr>{cells}</tr>"


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def details(title: str, text: str) -> str:
    """Text that is folded away."""
    return f"<details><summary>{title}</summary><pre>{html.escape(text)}</pre></details>"


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def encoded(path: Path) -> str:
    """A file's bytes in base64."""
    return base64.b64encode(path.read_bytes()).decode()
