"""What a run says on the console."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from worldmodels.evaluation.table import others
from worldmodels.launch.folder import Folder
from worldmodels.launch.preflight import Preflight

CONSOLE = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    CONSOLE.print(text, markup=False)


def begin(folder: Folder, resumed: Path | None, check: Preflight) -> None:
    """Where the run lies, whether it goes on from a checkpoint, and what it needs."""
    say(f"run      {folder.path}{' (resumed)' if resumed else ''}")
    for line in check.lines:
        say(line)
    for line in check.warnings:
        CONSOLE.print(f"[yellow]warning[/]  {line}")


def show(folder: Folder, result: dict[str, Any]) -> None:
    """The result as a small table, and where everything lies."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows(result):
        table.add_row(f"[bold]{name}[/]", value)
    CONSOLE.print()
    CONSOLE.print(table)
    CONSOLE.print()
    for name, path in (("report", folder.report), ("metrics", folder.metrics), ("checkpoint", folder.last)):
        if path.exists():
            say(f"{name:<10} {path}")


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The result in a reader's words."""
    found: list[tuple[str, str]] = []
    if "return_mean" in result:
        spread = f"± {result['return_stderr']:.2f} (standard error, {result['episodes']} episodes)"
        found.append(("return", f"{result['return_mean']:.2f} {spread}"))
        for name in others(result):
            mean, error = result[f"return_mean/{name}"], result[f"return_stderr/{name}"]
            found.append((f"{name} alone", f"{mean:.2f} ± {error:.2f}"))
        found.append(("lowest, highest", f"{result['return_min']:.2f}, {result['return_max']:.2f}"))
        found.append(("spread", f"{result['return_std']:.2f} (standard deviation of the episodes)"))
        found.append(("steps per episode", f"{result['length_mean']:.0f}"))
    found += [(name, f"{value:.4g}") for name, value in result.get("model", {}).items()]
    found += [("env steps", f"{result['env_steps']:,}")] if result["env_steps"] else []
    found.append(("updates", f"{result['updates']:,}"))
    found.append(("training", f"{result['minutes']:.1f} minutes"))
    if result.get("updates_per_second"):
        found.append(("speed", f"{result['updates_per_second']:.1f} updates/s"))
    return found
