"""What happened, what the model thought, and where the two part ways, as a film that a person can judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec
from worldmodels.evaluation.openloop import Model, look, unit
from worldmodels.ops import picture

SEEING, BLIND = (0, 158, 115), (230, 159, 0)  # the marks of open and of closed eyes
FAINT = (120, 124, 130)
ROWS = ("real", "imagined", "difference")


@dataclass(frozen=True)
class Shot:
    """N sequences of M moments: what was there, and what the model thought of it, in the layout of `spec`."""

    spec: ArraySpec
    real: Shaped[np.ndarray, "N M ..."]
    imagined: Shaped[np.ndarray, "N M ..."]
    context: int  # moments with open eyes
    valid: Bool[np.ndarray, "N M"]  # False where the episode was over

    @property
    def error(self) -> Float[np.ndarray, "N M"]:
        """Squared error per entry (for symbols the share that is wrong), nan where the episode was over."""
        real = unit(self.spec, torch.from_numpy(self.real)).numpy()
        each = real != self.imagined if self.spec.kind == "symbols" else np.square(real - self.imagined)
        return np.where(self.valid, each.reshape(*self.valid.shape, -1).mean(-1), np.nan)


def shoot(
    model: Model, batch: Batch, *, context: int, horizon: int, rng: torch.Generator, windows: int = 3, name: str = ""
) -> Shot:
    """Film the windows of a batch that stay longest in one episode; `name` is the observation, if there are several."""
    if name not in model.spec.obs and (name or len(model.spec.obs) > 1):
        raise ConfigError(f"observation {name!r}", f"one of {', '.join(model.spec.obs)}", "name what to film")
    name = name or next(iter(model.spec.obs))
    found = look(model, batch, context=context, horizon=horizon, rng=rng)
    if found.blind.obs is None or found.seeing.obs is None or name not in found.blind.obs:
        raise ConfigError(f"a model that does not decode {name!r}", "a decoder", "train it with a decoder for it")
    longest = found.valid.sum(1).argsort(descending=True, stable=True)[:windows]
    imagined = torch.cat([found.seeing.obs[name][longest, :context], found.blind.obs[name][longest]], 1)
    valid = torch.cat([torch.ones_like(found.valid[longest, :1]).expand(-1, context), found.valid[longest]], 1)
    real = batch.obs[name][longest, : context + horizon]
    return Shot(model.spec.obs[name], real.cpu().numpy(), imagined.float().cpu().numpy(), context, valid.cpu().numpy())


def filmable(model: Model, name: str) -> bool:
    """Whether the model decodes that observation."""
    return name in (model.decode(model.initial(1)).obs or {})


def film(shot: Shot, size: int = 120) -> UInt8[np.ndarray, "M H W 3"]:
    """Sequences side by side: real, imagined, difference, and the error as it grows; each picture `size` pixels wide.

    A green frame around what was imagined means open eyes, an orange one closed eyes.
    """
    real, imagined, difference = _pictures(shot, size)
    closed = np.arange(real.shape[1]) >= shot.context
    error = shot.error
    top = float(np.nanmax(error, initial=1e-12))
    columns = [
        picture.above(
            [
                _frame(real[n], closed, (None, None)),
                _frame(imagined[n], closed, (SEEING, BLIND)),
                _frame(difference[n], closed, (None, None)),
                curve(error[n] / top, shot.context, width=real.shape[-2] + 4),
            ],
            gap=4,
        )
        for n in range(len(real))
    ]
    body = picture.beside([_margin(real.shape[-3], top), *columns], gap=8)
    body = picture.above([_banner(shot.context, len(closed), body.shape[-2]), body], gap=2)
    return picture.pad(body, top=6, bottom=6, left=6, right=6)


def strip(shot: Shot, moments: int = 10, size: int = 80) -> UInt8[np.ndarray, "H W 3"]:
    """The same as one picture: the last moment with open eyes, then moments up to the end, for each sequence."""
    pictures = _pictures(shot, size)
    total = pictures[0].shape[1]
    chosen = np.unique(np.linspace(shot.context - 1, total - 1, min(moments, total - shot.context + 1)).round())
    blocks: list[np.ndarray] = []
    for n in range(len(shot.real)):
        columns: list[np.ndarray] = []
        for m in chosen.astype(int):
            closed = np.array([m >= shot.context])
            marks = ((None, None), (SEEING, BLIND), (None, None))
            cells = [_frame(row[n, m : m + 1], closed, mark)[0] for row, mark in zip(pictures, marks, strict=True)]
            ahead = m - shot.context + 1
            title = picture.text(f"+{ahead}" if ahead else "seen", 12, BLIND if ahead else SEEING)
            columns.append(picture.above([title, *cells], gap=3))
        labels = picture.pad(_labels(pictures[0].shape[-3], gap=3), top=19)
        blocks.append(picture.beside([labels, *columns], gap=4))
    return picture.pad(picture.above(blocks, gap=10), top=6, bottom=6, left=6, right=6)


def curve(
    values: Float[np.ndarray, " M"], context: int, width: int, height: int = 44
) -> UInt8[np.ndarray, "M height width 3"]:
    """A curve in [0, 1] that grows with each moment, with a line where the eyes close; nan leaves a gap."""
    count = len(values)
    at = np.linspace(0, count - 1, width)
    there = ~np.isnan(values)
    shown = np.interp(at, np.flatnonzero(there), values[there]) if there.any() else np.zeros(width)
    known = there[at.round().astype(int)]
    level = (1 - shown.clip(0, 1)) * (height - 2)
    rows = np.arange(height)[:, None]
    colour = np.where((at > context - 1)[:, None], BLIND, SEEING).astype(np.float32)
    panel = np.broadcast_to(picture.GROUND.astype(np.float32) + 10, (height, width, 3)).copy()
    panel[:, int(np.searchsorted(at, context - 1, side="right")) - 1] = FAINT
    before = np.concatenate([level[:1], level[:-1]])  # the line has no gaps where it is steep
    line = (rows > np.minimum(level, before) - 1) & (rows < np.maximum(level, before) + 1) & known
    area = (rows >= level) & known
    full = np.where(area[..., None], 0.35 * colour + 0.65 * panel, panel)
    full = np.where(line[..., None], colour, full)
    grown = at[None, None, :, None] <= np.arange(count)[:, None, None, None] + 1e-6
    return np.where(grown, full, panel).astype(np.uint8)


def _pictures(shot: Shot, size: int) -> list[UInt8[np.ndarray, "N M h w 3"]]:
    """Real, imagined and difference, enlarged alike, and dim where the episode was over."""
    real, imagined = picture.draw(shot.spec, shot.real), picture.draw(shot.spec, shot.imagined)
    apart = np.abs(real.astype(np.float32) - imagined).max(-1) / 255
    rows = [picture.fit(frames, size) for frames in (real, imagined, picture.ramp(apart))]
    for frames in rows:
        past = frames[~shot.valid] // 4 + picture.GROUND // 4 * 3
        line = picture.text("episode over", 11, FAINT)[: past.shape[1], : past.shape[2]]
        past[:, : line.shape[0], : line.shape[1]] = np.maximum(past[:, : line.shape[0], : line.shape[1]], line)
        frames[~shot.valid] = past
    return rows


def _frame(
    frames: UInt8[np.ndarray, "M h w 3"],
    closed: Bool[np.ndarray, " M"],
    marks: tuple[tuple[int, int, int] | None, tuple[int, int, int] | None],
) -> UInt8[np.ndarray, "M H W 3"]:
    """Frames with a border of two pixels, coloured by whether the eyes are closed."""
    out = picture.pad(frames, 2, 2, 2, 2)
    grey = (52, 56, 63)
    border = np.where(closed[:, None], marks[1] or grey, marks[0] or grey).astype(np.uint8)[:, None, None]
    for edge in (np.s_[:, :2], np.s_[:, -2:], np.s_[:, :, :2], np.s_[:, :, -2:]):
        out[edge] = border
    return out


def _labels(height: int, gap: int) -> UInt8[np.ndarray, "H W 3"]:
    """Names of the rows, each beside the middle of its pictures."""
    lines = [picture.text(words) for words in ROWS]
    above = [(height + 4 - line.shape[0]) // 2 for line in lines]
    cells = [
        picture.pad(line, top=top, bottom=height + 4 - line.shape[0] - top)
        for line, top in zip(lines, above, strict=True)
    ]
    return picture.above(cells, gap)


def _margin(height: int, top: float) -> UInt8[np.ndarray, "H W 3"]:
    error = picture.above([picture.text("error"), picture.text(f"to {top:.2g}", 11, FAINT)], gap=0)
    return picture.above([_labels(height, gap=4), error], gap=4)


def _banner(context: int, total: int, width: int) -> UInt8[np.ndarray, "M H W 3"]:
    """One line above each moment that tells whether the eyes are open, with a bar of the time gone by."""
    frames: list[np.ndarray] = []
    for m in range(total):
        ahead = m - context + 1
        words = f"eyes closed, imagined {ahead} of {total - context}" if ahead > 0 else f"eyes open, seen {m + 1}"
        line = np.broadcast_to(picture.GROUND, (23, width, 3)).copy()
        label = picture.text(words, 13, BLIND if ahead > 0 else SEEING)[:, :width]
        line[: label.shape[0], : label.shape[1]] = label
        closing, now = round(width * context / total), round(width * (m + 1) / total)
        line[-3:, :width] = (52, 56, 63)
        line[-3:, : min(closing, now)] = SEEING
        line[-3:, closing : max(closing, now)] = BLIND
        frames.append(line)
    return np.stack(frames)
