"""Figures of an analysis, as PNG on white: they stand on the page, and in a paper."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldmodels.analysis.linear import Correlation

TRAINED, UNTRAINED, CHANCE, PLAIN, FAINT = "#0072b2", "#e69f00", "#999999", "#009e73", "#d8d8d8"
LOOKS: dict[str, dict[str, Any]] = {
    "trained": {"color": TRAINED, "label": "trained"},
    "untrained": {"color": UNTRAINED, "label": "the same network, untrained"},
    "shuffled": {"color": CHANCE, "label": "trained, variables of other moments"},
    "frame": {"color": PLAIN, "label": "the observation itself"},
    "cloud": {"color": CHANCE, "label": "one normal cloud"},
}
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#eeeeee",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def bars(
    names: Sequence[str], by: Mapping[str, Sequence[Correlation]], title: str, remarks: Sequence[str] = ()
) -> bytes:
    """Correlations of each variable, one bar per set of features, with their intervals."""
    with mpl.rc_context(STYLE):
        high = 0.9 / len(by)
        figure = Figure(figsize=(7.2, 1.1 + len(names) * (0.15 * len(by) + 0.12)), layout="constrained")
        axes = figure.subplots()
        for at, (which, values) in enumerate(by.items()):
            place = np.arange(len(names)) + (at - (len(by) - 1) / 2) * high
            middle = np.array([each.value for each in values])
            reach = np.array([[each.value - each.low, each.high - each.value] for each in values]).T
            style = {"ecolor": "#333333", "elinewidth": 0.8}
            axes.barh(
                place,
                np.nan_to_num(middle),
                high * 0.92,
                xerr=np.maximum(np.nan_to_num(reach), 0),
                error_kw=style,
                **LOOKS[which],
            )
        axes.axvline(0, color="#333333", linewidth=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_xlim(min(-0.05, axes.get_xlim()[0]), 1.02)
        axes.grid(axis="y", visible=False)
        axes.set_title(title)
        for at, remark in enumerate(remarks):
            axes.annotate(
                remark,
                (1.0, at),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color="#555555",
            )
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        return _png(figure)


def spectrum(by: Mapping[str, Sequence[Float[np.ndarray, " K"]]], title: str) -> bytes:
    """Canonical correlations by rank, one line per set of features; of several alike, their mean and range."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.8, 3.6), layout="constrained")
        axes = figure.subplots()
        for which, several in by.items():
            least = min(map(len, several))
            values = np.stack([each[:least] for each in several])
            rank = np.arange(1, least + 1)
            axes.plot(rank, values.mean(0), marker="o", markersize=3.5, linewidth=1.4, **LOOKS[which])
            if len(values) > 1:
                axes.fill_between(
                    rank, values.min(0), values.max(0), color=LOOKS[which]["color"], alpha=0.18, linewidth=0
                )
        axes.set_xlabel("pair of directions")
        axes.set_ylabel("correlation, held out")
        axes.set_title(title)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(8, integer=True))
        axes.axhline(0, color="#333333", linewidth=0.8)
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        return _png(figure)


def scatter(
    pairs: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], str]], name: str, seed: int
) -> bytes:
    """The feature that goes with a variable most, over the variable: held-out moments, and their means where it is.

    Where the variable takes few values its dots are spread a little sidewards.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5 * len(pairs), 3.2), layout="constrained")
        for axes, (which, (variable, feature, title)) in zip(
            figure.subplots(1, len(pairs), squeeze=False)[0], pairs.items(), strict=True
        ):
            _scatter(axes, variable, feature, LOOKS[which]["color"], np.random.default_rng(seed))
            axes.set_title(f"{LOOKS[which]['label']}\n{title}", fontsize=8.5)
            axes.set_xlabel(name)
            axes.set_ylabel("feature (standardised)")
        return _png(figure)


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, rng: np.random.Generator) -> None:
    known = ~np.isnan(x)
    x, y = x[known], y[known]
    if not len(x):
        return
    values = np.unique(x)
    gaps = np.diff(values)
    wide = float(np.median(gaps)) if 0 < len(gaps) < 40 else 0.0
    shown = rng.permutation(len(x))[:4000]
    jitter = wide * 0.3 * rng.uniform(-1, 1, len(shown))
    axes.plot(x[shown] + jitter, y[shown], ".", markersize=2.5, alpha=0.35, color=colour, markeredgewidth=0)
    edges = values if wide else np.linspace(values[0], values[-1], 21)
    near = np.abs(x[:, None] - edges).argmin(1)
    count = np.bincount(near, minlength=len(edges))
    mean = np.bincount(near, y, len(edges)) / np.maximum(count, 1)
    axes.plot(edges[count > 0], mean[count > 0], "-o", color="#222222", linewidth=1.2, markersize=3)


def separation(by: Mapping[str, Mapping[int, tuple[float, float]]]) -> bytes:
    """Silhouette, and inertia as a share of the variance, over the number of clusters."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        titles = ("silhouette (1: far apart, 0: no groups)", "inertia, share of the variance")
        for which, axes in enumerate(figure.subplots(1, 2)):
            for name, found in by.items():
                axes.plot(
                    list(found), [pair[which] for pair in found.values()], marker="o", markersize=4, **LOOKS[name]
                )
            axes.set_title(titles[which])
            axes.set_xlabel("clusters")
            axes.set_xticks(sorted({k for found in by.values() for k in found}))
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
        return _png(figure)


def heat(rows: Sequence[str], columns: Sequence[str], values: Float[np.ndarray, "r c"], title: str) -> bytes:
    """A table of numbers in colours, from -1 to 1, or from 0 if there are none below; nan is left white."""
    signed = bool(np.nanmin(values, initial=0) < -0.05)
    look: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -1} if signed else {"cmap": "Blues", "vmin": 0}
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(1.9 + 0.55 * len(columns), 1.0 + 0.24 * len(rows)), layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(values, vmax=1, aspect="auto", **look)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                ink = "white" if abs(value) > 0.6 else "#222222"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
        axes.set_title(title)
        figure.colorbar(drawn, shrink=0.8)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
    return file.getvalue()
