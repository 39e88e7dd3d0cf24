"""report.html of a study: many runs on one page, which needs no network and no other file."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from worldmodels.evaluation.page import document, encoded
from worldmodels.evaluation.study import curves, drawing, films, judged, original, tables
from worldmodels.evaluation.study.config import NONE
from worldmodels.evaluation.study.group import Group, Grouping, best
from worldmodels.evaluation.study.results import EVERY_PAIR, Results
from worldmodels.evaluation.study.statistics import COVERAGE, RESAMPLES, SEED
from worldmodels.evaluation.study.tables import Table

STYLE = (Path(__file__).parent / "page.css").read_text
_DASHES = {"-": "", (0, (5, 2)): "5 2", (0, (1.5, 1.5)): "2 2", (0, (6, 2, 1, 2)): "6 2 1 2"}
FOLDED = 40  # rows; longer tables are folded away
_LONG = ("folder", "remarks")  # texts that have a line of their own below the numbers


def page(
    title: str,
    grouping: Grouping,
    results: Results,
    notes: Sequence[str],
    most_films: int,
    more: Sequence[Table] = (),
    reference: str | None = None,
) -> str:
    parts = [
        _header(title, grouping),
        _notes(notes),
        _scores(grouping, results),
        _learning(grouping),
        _more(more, reference, grouping),
        _pairs(grouping, results),
        _imagination(grouping, most_films),
        _runs(grouping),
        _method(grouping),
    ]
    return document(title, parts, STYLE())


def _header(title: str, grouping: Grouping) -> str:
    states = Counter(run.state for run in grouping.runs)
    facts = [f"<b>{count}</b> <span class='{state}'>{state}</span>" for state, count in states.most_common()]
    counted = [run for run in grouping.runs if run not in grouping.reasons]
    commits = dict.fromkeys(commit[:10] for run in counted for commit in run.commits if commit)
    dirty = " with uncommitted changes" if any(run.dirty for run in counted) else ""
    facts += [f"commit <b>{html.escape(', '.join(list(commits)[:4]))}</b>{dirty}"] if commits else []
    begun = sorted(run.began for run in grouping.runs if run.began)
    facts += [f"begun <b>{html.escape(begun[0][:10])}</b>"] if begun else []
    minutes = sum(run.count("minutes") or 0 for run in grouping.runs)
    tiles = [
        (str(len(grouping.runs)), "runs"),
        (str(len(counted)), "count in the averages"),
        (str(len(grouping.groups)), "groups: configs apart from the seed"),
        (str(len(grouping.worlds)), "environments"),
        (f"{minutes / 60:,.1f}", "hours of training") if minutes >= 120 else (f"{minutes:.1f}", "minutes of training"),
    ]
    shown = "".join(f"<div><strong>{value}</strong><span>{name}</span></div>" for value, name in tiles)
    return (
        f"<header><h1>{html.escape(title)}</h1><p class='facts'>{' · '.join(facts)}</p></header>"
        f"<section class='tiles'>{shown}</section>"
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    lines = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f"<section class='notes'><h2>Before you read the numbers</h2><ul>{lines}</ul></section>"


def _scores(grouping: Grouping, results: Results) -> str:
    counted = [each for each in (*results.cells, *results.scaled) if each.scores]
    if not counted:
        return "<section><h2>Scores</h2><p>No run counts yet, so there is nothing to average.</p></section>"
    told = (
        f"Per group: mean, median and interquartile mean (IQM) over seeds, each with its {COVERAGE:.0%} interval. "
        "In the drawing a line is the mean, a bar its interval, and a dot one run. Seeds: how many runs count, and of "
        "how many if some do not."
    )
    more = len(grouping.groups) - drawing.ROWS
    told += f" Of {len(grouping.groups)} groups the {drawing.ROWS} best are drawn." if more > 0 else ""
    drawn = drawing.intervals(counted, grouping)
    table = _table(tables.groups(results, grouping.columns, labelled=True), grouping)
    return f"<section><h2>Scores</h2><p>{told}</p><div class='figure'><figure>{drawn}</figure></div>{table}</section>"


def _learning(grouping: Grouping) -> str:
    parts = []
    for env in grouping.worlds:
        cells = [group.cells[env] for group in grouping.groups if env in group.cells and group.cells[env].runs]
        found = [(line, title, drawing.learning(grouping, env, line)) for title, line in curves.sources(cells)]
        drawn = [(title, figure) for line, title, figure in found if figure and line is not curves.judged]
        parts += [
            f"<h3>{html.escape(env)}: {title}</h3>{_figure(figure)}"
            for line, title, figure in found
            if figure and line is curves.judged
        ]
        for at, (title, figure) in enumerate(drawn):
            head = f"{html.escape(env)}: {title}"
            one = _figure(figure)
            parts.append(f"<details><summary>{head}</summary>{one}</details>" if at else f"<h3>{head}</h3>{one}")
    if not parts:
        return ""
    told = (
        "A line is the mean over the runs of a group, each linear between its own points on one common grid; the band "
        f"is the {COVERAGE:.0%} bootstrap interval of that mean over runs. A line ends where its first run ends, a "
        "single run has no band, and a group whose runs have no stretch in common is not drawn."
    )
    drawn_at_all = [group for env in grouping.worlds for group in best(grouping.groups, drawing.CURVES, env)]
    few = len(grouping.groups) <= drawing.CURVES
    more = "" if few else f" In each environment the {drawing.CURVES} best groups are drawn."
    return f"<section><h2>Learning</h2><p>{told}{more}</p>{_legend(grouping, drawn_at_all)}{''.join(parts)}</section>"


def _figure(drawn: str) -> str:
    return f"<div class='figure'><figure>{drawn}</figure></div>"


def _more(more: Sequence[Table], reference: str | None, grouping: Grouping) -> str:
    """What only some studies have: models on a recording that none of them learns from, and published numbers."""
    told = {**judged.TOLD, "original": ("Beside the original", original.TOLD.get(reference or "", ""))}
    return "".join(
        f"<section><h2>{title}</h2><p>{html.escape(text)}</p>{_table(table, grouping)}</section>"
        for table in more
        for title, text in [told[table.name]]
    )


def _pairs(grouping: Grouping, results: Results) -> str:
    if not any(pair.envs for pair in results.pairs):
        return ""
    if not any(pair.probability for pair in results.pairs):
        return "<section><h2>Probability of improvement</h2><p>It takes two groups of at least two seeds.</p></section>"
    told = (
        "How probable it is that a run of the first group does better than one of the other in the same environment, "
        "ties counting half; 0.5 means no difference. An interval that holds 0.5 does not tell the two "
        "apart; one without any width says that all pairs of these few runs agree, not that all runs would."
    )
    able = sum(bool(group.runs) for group in grouping.groups)
    told += " Each group is compared with the best one." if able > EVERY_PAIR else ""
    table = _table(tables.pairs(results), grouping)
    return f"<section><h2>Probability of improvement</h2><p>{told}</p>{table}</section>"


def _imagination(grouping: Grouping, most: int) -> str:
    drawn, imagining = "", list[Group]()
    for env in grouping.worlds:
        quantities = drawing.measured(grouping, env)
        if quantities:
            figure = drawing.horizons(grouping, env, quantities)
            drawn += f"<h3>{html.escape(env)}</h3><div class='figure'><figure>{figure}</figure></div>"
            imagining += drawing.imagining(grouping, env)
    shown = films.chosen(grouping, most) if most else []
    if not drawn and not shown:
        return ""
    told = (
        "The world models' errors by the number of steps since their eyes were closed: mean over the runs of a group, "
        "with the same band as above, each at its newest film. Dotted: the last seen frame, repeated."
    )
    pictures = "".join(
        f"<figure><img class='film' alt='open-loop film' src='data:image/gif;base64,{encoded(run.film)}'>"
        f"<figcaption>{html.escape(title)}<br>seed {run.seed}, score {tables.number(run.score)}</figcaption></figure>"
        for title, run in shown
        if run.film
    )
    every = sum(run.film is not None for group in grouping.groups for run in group.runs)
    rest = f"<p>{len(shown)} of {every} films; the others are in the folders of their runs.</p>"
    gallery = f"<h3>Films</h3>{rest if every > len(shown) else ''}<div class='films'>{pictures}</div>"
    gallery = gallery if pictures else ""
    return f"<section><h2>Imagination</h2><p>{told}</p>{_legend(grouping, imagining)}{drawn}{gallery}</section>"


def _runs(grouping: Grouping) -> str:
    starred = any(not run.finished and run.score is not None for run in grouping.runs)
    told = "Every run, and whether it counts in the averages above."
    told += " A star marks the last evaluation of a run that is not finished." if starred else ""
    table = tables.runs(grouping)
    out = [row for row in table.shown if row["counted"].startswith("no")]
    missing = _table(Table("out", [], out[:FOLDED]), grouping) if len(table.shown) > FOLDED else ""
    missing = f"<h3>Runs that do not count</h3>{missing}" if missing else ""
    return f"<section><h2>Runs</h2><p>{told}</p>{missing}{_table(table, grouping)}</section>"


def _method(grouping: Grouping) -> str:
    scales = sorted({scale.name for group in grouping.groups for cell in group.cells.values() if (scale := cell.scale)})
    lines = [
        "A group holds the runs whose configs differ in nothing but seeds, the environment, and how they were watched "
        "(callbacks, loggers, threads, names).",
        "A score is the mean return of the final evaluation; of a model that learns alone, its loss on held-out "
        "episodes, of which less is better.",
        f"Intervals are {COVERAGE:.0%} percentile intervals of {RESAMPLES:,} stratified bootstrap resamples: runs are "
        f"drawn with replacement within each environment (Agarwal et al. 2021). The random seed is {SEED}, so the same "
        "runs give the same numbers.",
        "IQM: the mean of the middle half of the runs; of fewer than four runs it is the mean.",
        "Two runs of the same config and seed are not independent: one of them counts.",
    ]
    if scales:
        lines.append(
            f"Published scales ({', '.join(scales)}): Atari by random play and a human tester (Mnih et al. 2015, Wang "
            "et al. 2016), Procgen by the constants of Cobbe et al. (2020). Of several environments: mean of their "
            "means, median of their means, IQM of all runs."
        )
    body = "".join(f"<li>{line}</li>" for line in lines)
    return f"<section class='small'><h2>How these numbers are made</h2><ul>{body}</ul></section>"


def _legend(grouping: Grouping, groups: Sequence[Group]) -> str:
    """Colours and lines of these groups."""
    items = "".join(
        f"<li>{_swatch(grouping, group)}<span>{html.escape(group.label)}</span></li>"
        for group in grouping.groups
        if group in groups
    )
    return f"<ul class='legend'>{items}</ul>" if len(grouping.groups) > 1 else ""


def _swatch(grouping: Grouping, group: Group) -> str:
    look = drawing.style(drawing.numbers(grouping)[id(group)])
    dash = f" stroke-dasharray='{_DASHES[look['linestyle']]}'" if _DASHES[look["linestyle"]] else ""
    colour = drawing.GROUPS[look["color"]]
    return (
        "<svg class='swatch' viewBox='0 0 26 8'>"
        f"<line x1='0' y1='4' x2='26' y2='4' stroke='{colour}' stroke-width='3'{dash}/></svg>"
    )


def _table(table: Table, grouping: Grouping) -> str:
    if not table.shown:
        return ""
    heads = [name for name in table.shown[0] if name not in _LONG]
    text = {head for head in heads if not tables.numeric(table.shown, head)}
    head = "".join(f"<th{_side(name, text)}>{html.escape(name)}</th>" for name in heads)
    swatches = {group.label: _swatch(grouping, group) for group in grouping.groups}
    lines = "".join(_row(row, text, swatches) for row in table.shown)
    drawn = f"<div class='wide'><table><tr>{head}</tr>{lines}</table></div>"
    many = len(table.shown) > FOLDED
    return f"<details><summary>All {len(table.shown)} rows</summary>{drawn}</details>" if many else drawn


def _row(row: Mapping[str, str], text: set[str], swatches: Mapping[str, str]) -> str:
    cells = ""
    for name, value in ((name, value) for name, value in row.items() if name not in _LONG):
        kind = f" class='text {html.escape(value)}'" if name == "state" else _side(name, text)
        mark = swatches.get(value, "") if name in ("group", "other") and len(swatches) > 1 else ""
        cells += f"<td{kind}>{mark}{html.escape(value)}</td>"
    long = [f"<td colspan='{len(row)}'>{html.escape(row[name])}</td>" for name in _LONG if row.get(name, NONE) != NONE]
    kinds = [*(["out"] if row.get("counted", "").startswith("no") else []), *(["over"] if long else [])]
    below = "".join(f"<tr class='long'>{cell}</tr>" for cell in long)
    return f"<tr class='{' '.join(kinds)}'>{cells}</tr>{below}"


def _side(name: str, text: set[str]) -> str:
    if name in ("counted", "commit"):
        return " class='text why'"
    return " class='text'" if name in text else ""
