"""Curves for the report page, as SVG that takes its colours from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldmodels.evaluation.table import others

Rows = Sequence[Mapping[str, Any]]

# Stand-ins that the page replaces by its own colours, so one drawing serves light and dark.
COLOURS = {"#010203": "var(--ink)", "#040506": "var(--line)", "#070809": "var(--accent)", "#0a0b0c": "var(--second)"}
INK, LINE, ACCENT, SECOND = COLOURS
PREDICTORS: dict[str, dict[str, Any]] = {
    "open": {"label": "imagined (eyes closed)", "color": ACCENT, "linewidth": 2.0},
    "onestep": {"label": "imagined one step", "color": ACCENT, "linewidth": 1.2, "linestyle": "-."},
    "closed": {"label": "seen (eyes open)", "color": SECOND, "linewidth": 1.6},
    "copy": {"label": "last frame repeated", "color": INK, "linewidth": 1.0, "linestyle": "--"},
    "mean": {"label": "average frame", "color": INK, "linewidth": 1.0, "linestyle": ":"},
}
TITLES = {"mse": "squared error: {}", "wrong": "wrong cells per frame: {}", "nll": "surprise (nats): {}"}
RARE = {"reward_nonzero": "reward, not 0", "cont_terminal": "cont, at ends"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "svg.hashsalt": "worldmodels",
}


def returns(metrics: Rows, scores: Rows) -> str:
    """Return of training episodes, and of evaluations with their standard errors, over env steps."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.0), layout="constrained")
        axes = figure.subplots()
        x, y = _column(metrics, "return")
        axes.plot(x, y, color=SECOND, linewidth=0.9, alpha=0.45)
        axes.plot(x, smooth(y), color=SECOND, linewidth=1.8, label="training episodes, with exploration")
        if scores:
            middle = [row["return_mean"] for row in scores]
            error = [row["return_stderr"] for row in scores]
            at = [_moment(row) for row in scores]
            style = {"marker": "o", "markersize": 4, "linewidth": 1.8, "elinewidth": 1, "capsize": 0}
            axes.errorbar(at, middle, error, color=ACCENT, label="evaluation, greedy (± standard error)", **style)
            for name in others(scores[0]):
                beside = [row.get(f"return_mean/{name}", np.nan) for row in scores]
                axes.plot(at, beside, color=ACCENT, linewidth=1.2, linestyle=":", label=f"{name} alone")
        figure.legend(loc="outside upper left", ncols=3, frameon=False, labelcolor=INK, fontsize=8.5)
        finish(axes, _axis(metrics), "return")
        return svg(figure)


def columns(metrics: Rows) -> tuple[list[str], list[str]]:
    """Names of the losses, and of whatever else was measured along the way, that have at least two values."""
    shown_above = {"env_steps", "updates", "seconds", "episodes", "return", "length"}
    names = [name for name in (metrics[0] if metrics else {}) if name not in shown_above]
    names = [name for name in names if len(_column(metrics, name)[0]) > 1]
    losses = [name for name in names if "loss/" in name]
    return losses, [name for name in names if name not in losses]


def small(metrics: Rows, names: Sequence[str]) -> str:
    """Each column in a frame of its own, over env steps."""
    if not names:
        return ""
    across = 4
    lines = -(-len(names) // across)
    with mpl.rc_context({**STYLE, "font.size": 7.5, "axes.titlesize": 8}):
        figure = Figure(figsize=(8.6, 1.45 * lines), layout="constrained")
        frames = figure.subplots(lines, across, squeeze=False).flat
        for axes, name in zip(frames, names, strict=False):
            x, y = _column(metrics, name)
            axes.plot(x, y, color=ACCENT, linewidth=0.7, alpha=0.4)
            axes.plot(x, smooth(y), color=ACCENT, linewidth=1.3)
            axes.set_title(name.removeprefix("loss/").replace("_", " "))
            finish(axes)
        for axes in figure.axes[len(names) :]:
            axes.set_visible(False)
        return svg(figure)


def horizon(rows: Rows) -> str:
    """Prediction error by how many steps ago the eyes were closed; one frame per quantity, one line per predictor."""

    def draw(axes: Axes, quantity: str) -> None:
        for predictor, style in PREDICTORS.items():
            pairs = [(row["horizon"], row.get(f"{quantity}/{predictor}")) for row in rows]
            x, y = np.array([pair for pair in pairs if pair[1] is not None], float).reshape(-1, 2).T
            axes.plot(x, y, **style)

    known = {name.rpartition("/")[0] for row in rows for name, value in row.items() if value is not None}
    with mpl.rc_context({**STYLE, "font.size": 8}):
        figure = by_horizon(sorted(known - {""}), draw)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=5, frameon=False, labelcolor=INK, fontsize=8)
        return svg(figure)


def by_horizon(quantities: Sequence[str], draw: Callable[[Axes, str], None]) -> Figure:
    """A frame for each quantity of the open loop, which `draw` fills, over the steps since the eyes were closed."""
    across = min(3, len(quantities))
    lines = -(-len(quantities) // across)
    figure = Figure(figsize=(8.6, 2.1 * lines + 0.3), layout="constrained")
    frames = list(figure.subplots(lines, across, squeeze=False).flat)
    for axes, quantity in zip(frames, quantities, strict=False):
        draw(axes, quantity)
        axes.set_title(entitle(quantity))
        axes.set_ylim(bottom=0)
        finish(axes)
    for axes in frames[len(quantities) :]:
        axes.set_visible(False)
    figure.supxlabel("steps with closed eyes", color=INK, fontsize=8.5)
    return figure


def entitle(quantity: str) -> str:
    """A quantity of the open loop in words."""
    kind, _, name = quantity.partition("/")
    return TITLES.get(kind, "{}").format(RARE.get(name, name.removeprefix("obs/")))


def smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a centred window of a twentieth of the points, shorter at the ends."""
    reach = len(values) // 40
    if reach == 0:
        return values
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def _column(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(_moment(row), row[name]) for row in rows if np.isfinite(row.get(name, np.nan))]
    x, y = np.array(pairs, float).reshape(-1, 2).T
    return x, y


def _moment(row: Mapping[str, Any]) -> float:
    return float(row["env_steps"] or row["updates"])


def _axis(rows: Rows) -> str:
    return "env steps" if any(row["env_steps"] for row in rows) else "updates"


def finish(axes: Axes, xlabel: str = "", ylabel: str = "") -> None:
    """Titles and ticks as all drawings have them."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(_short))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))


def _short(value: float, _: int) -> str:
    """12000 as 12k, 1500000 as 1.5M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def svg(figure: Figure, colours: Mapping[str, str] = COLOURS) -> str:
    """The drawing as part of a page, with its stand-ins replaced by the page's own colours."""
    text = _drawn(figure, colours, transparent=True)
    text = text[text.index("<svg") :]
    # The page scales the drawing; ids are made unique by the salt, not by the drawing, so they are made so here.
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', text, count=1)
    return _own_ids(text)


def alone(figure: Figure, colours: Mapping[str, str]) -> str:
    """The drawing as a file of its own, on white."""
    return _drawn(figure, colours, facecolor="white")


def _drawn(figure: Figure, colours: Mapping[str, str], **how: Any) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None}, **how)
    text = file.getvalue()
    for stand_in, colour in colours.items():
        text = text.replace(stand_in, colour)
    return text


def _own_ids(text: str) -> str:
    import zlib

    mark = f"f{zlib.crc32(text.encode()):x}-"
    text = re.sub(r'\bid="([^"]+)"', rf'id="{mark}\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{mark}\1"', text)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}\1)", text)
