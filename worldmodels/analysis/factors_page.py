"""What `latent_factors` found, as figures and a page."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from worldmodels.analysis import drawing, factors_table, grouping
from worldmodels.analysis.factors import COMPARED, Found, times
from worldmodels.analysis.linear import Scale
from worldmodels.core.files import write_bytes, write_text
from worldmodels.evaluation.page import document
from worldmodels.ops.picture import encode_png

MOST_DRAWN = 24  # variables in one figure, those that are read best
PAGE = "latent-factors.html"
STYLE = "figure img { display: block; max-width: 100%; height: auto; background: white; border-radius: 8px; }"


def write(found: Found, folder: Path, seed: int) -> dict[str, Any]:
    """Everything into the folder; the findings in short."""
    summary = factors_table.summary(found)
    figures = _figures(found, seed)
    for name, data in figures.items():
        write_bytes(folder / f"{name}.png", data)
    write_bytes(folder / "latents.npz", factors_table.arrays(found))
    write_text(folder / "latent-factors.csv", factors_table.table(found))
    write_text(folder / PAGE, _page(found, summary, figures))
    return summary


def _figures(found: Found, seed: int) -> dict[str, bytes]:
    names = found.variables.names
    readout, single = ({kind: found.each(kind, way) for kind in COMPARED} for way in ("readout", "single"))
    shown = np.argsort([-np.nan_to_num(each.value) for each in readout["trained"]], kind="stable")[:MOST_DRAWN]
    drawn = [names[at] for at in shown]
    ratio = [times(single["trained"][at].value, single["untrained"][at].value) for at in shown]
    remarks = ["" if each is None else f"{each:.1f} times" for each in ratio]
    canonical = {kind: [reading.canonical for reading in found.readings[kind]] for kind in COMPARED}
    first = found.readings["trained"][0]
    pairs = [f"{at + 1}" for at in range(min(8, len(first.canonical)))]
    largest = max(found.groups["trained"])
    separated = {
        name: {k: (each.silhouette, each.spread) for k, each in by.items()} for name, by in found.groups.items()
    }
    explained = np.stack([found.groups["trained"][k].explained[shown] for k in found.groups["trained"]], 1)
    picked = {kind: [values[at] for at in shown] for kind, values in readout.items()}
    alone = {kind: [single[kind][at] for at in shown] for kind in ("trained", "untrained", "shuffled")}
    sheets = {
        f"clusters-{k}": encode_png(grouping.sheet(found.moments, found.inside, each.clusters, found.chosen.episode))
        for k, each in found.groups["trained"].items()
    }
    loadings = first.loadings[shown, : len(pairs)] if pairs else np.full((len(shown), 1), np.nan)
    return {
        "parts": drawing.heat(drawn, ["h and z", "h", "z"], _parts(found)[shown], "Read from h, from z, from both"),
        "readout": drawing.bars(drawn, picked, "What straight lines read from all features (correlation, held out)"),
        "single": drawing.bars(drawn, alone, "What the best single feature tells (correlation, held out)", remarks),
        "scatter": _scatter(found, seed),
        "canonical": drawing.spectrum(canonical, "Canonical correlations"),
        "loadings": drawing.heat(drawn, pairs or ["none"], loadings, "Variables in each pair of directions"),
        "separation": drawing.separation(separated),
        "explained": drawing.heat(
            drawn, [f"k={k}" for k in found.groups["trained"]], explained, "Variance between clusters"
        ),
        **dict(sorted(sheets.items(), key=lambda item: item[0] != f"clusters-{largest}")),
    }


def _parts(found: Found) -> Float[np.ndarray, "V 3"]:
    kinds = ("trained", "trained h", "trained z")
    return np.array([[each.value for each in found.each(kind, "readout")] for kind in kinds]).T


def _scatter(found: Found, seed: int) -> bytes:
    at, held = found.variables.at(found.scatter), found.sides.held
    drawn = {}
    for kind, name in (("trained", "trained"), ("untrained", "untrained 0")):
        reading, x = found.readings[kind][0], found.features[name]
        number = int(reading.feature[at])
        column = x[:, number : number + 1].astype(np.float64)
        value = Scale.of(column[found.sides.fit])(column)[held, 0]
        where = "h" if number < found.latents.deter.shape[1] else "z"
        told = f"feature {number} ({where}), r = {reading.single[at].value:.2f}"
        drawn[kind] = (found.variables.values[held, at], value, told)
    return drawing.scatter(drawn, found.scatter, seed)


def _page(found: Found, summary: dict[str, Any], figures: dict[str, bytes]) -> str:
    def figure(name: str) -> str:
        data = base64.b64encode(figures[name]).decode()
        return f"<figure><img alt='{name}' src='data:image/png;base64,{data}'></figure>"

    name = found.scatter
    alone, lines = summary["single"][name], summary["readout"][name]
    facts = " · ".join(
        f"{html.escape(str(key))} <b>{html.escape(str(value))}</b>" for key, value in found.subject.origin.items()
    )
    title, numbers = html.escape(found.subject.title), html.escape(json.dumps(summary, indent=1))
    networks = len(found.readings["untrained"])
    parts = [
        f"<header><h1>What the latents of {title} hold</h1><p class='facts'>{facts}</p></header>",
        _tiles(summary, name, alone, lines),
        "<section><h2>What straight lines read</h2><p>Ridge regression of each variable on h and z, fitted to some "
        f"episodes and judged on {summary['held_out_episodes']} others, none of whose frames it was fitted to. Thin "
        "lines are 95&nbsp;% intervals over held-out episodes, or the range over untrained networks "
        f"({networks}) and shifts of the variables in time ({len(found.readings['shuffled'])}). What can be read from "
        "the observation itself needs no model; what can be read from an untrained network has come through it."
        f"</p>{figure('readout')}{figure('parts')}</section>",
        "<section><h2>Single features</h2><p>For each variable the one feature that goes with it most where it was "
        "fitted, judged on the held-out episodes. On the right: how many times as strong as in an untrained network. "
        f"With {html.escape(name)} a feature taken by chance has a correlation of {_number(alone['typical'])} on "
        f"average, the best one {_number(alone['times_typical'])} times as much."
        f"</p>{figure('single')}{figure('scatter')}</section>",
        "<section><h2>Canonical correlations</h2><p>Pairs of directions, one in the features and one in the variables, "
        "that go together most; the amount of regularisation is chosen on episodes that are held out within those "
        "that are fitted to. Where a variable is not defined its mean stands in.</p>"
        f"{figure('canonical')}{figure('loadings')}</section>",
        "<section><h2>Groups</h2><p>k-means on h and z. A silhouette that is no higher than that of one normal cloud "
        "with the same covariance means that the clusters cut up something that has no groups.</p>"
        f"{figure('separation')}{figure('explained')}"
        + "".join(
            f"<details><summary>{k} clusters</summary>{figure(f'clusters-{k}')}</details>"
            for k in found.groups["trained"]
        )
        + "</section>",
        f"<details><summary>Findings in numbers</summary><pre>{numbers}</pre></details>",
    ]
    return document(f"Latent factors of {found.subject.title}", parts, STYLE)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _tiles(summary: dict[str, Any], name: str, alone: dict[str, Any], lines: dict[str, Any]) -> str:
    ratio = alone["times_untrained"]
    tiles = [
        (f"{summary['frames']:,}", f"frames of {summary['episodes']} episodes"),
        (f"{summary['features']['h']} + {summary['features']['z']}", "features, h + z"),
        (_number(lines["trained"]), f"correlation of {name} with what lines read"),
        (_number(alone["trained"]), f"of {name} with its best single feature"),
        (_number(ratio), "times as strong as in an untrained network"),
    ]
    shown = "".join(f"<div><strong>{value}</strong><span>{html.escape(words)}</span></div>" for value, words in tiles)
    return f"<section class='tiles'>{shown}</section>"
