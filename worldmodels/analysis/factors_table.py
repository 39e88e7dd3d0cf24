"""What `latent_factors` found, as plain data, arrays and a tidy table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from worldmodels.analysis.factors import COMPARED, Found, times

COLUMNS = ("what", "features", "at", "variable", "value", "low", "high", "feature")


def summary(found: Found) -> dict[str, Any]:
    """In short; None where a number is not defined."""
    names = found.variables.names
    readout, single = ({kind: found.each(kind, way) for kind in COMPARED} for way in ("readout", "single"))
    canonical = {kind: zip(*(each.canonical for each in found.readings[kind]), strict=False) for kind in COMPARED}
    return {
        "title": found.subject.title,
        "world": found.subject.spec.name,
        "frames": found.chosen.total,
        "episodes": len(found.chosen.count),
        "held_out_episodes": len(np.unique(found.chosen.episode[found.sides.held])),
        "features": {"h": found.latents.deter.shape[1], "z": found.latents.stoch.shape[1]},
        "constant": list(found.variables.constant),
        "readout": {
            name: {kind: _round(readout[kind][at].value) for kind in COMPARED} for at, name in enumerate(names)
        },
        "single": {
            name: _single({kind: single[kind][at].value for kind in COMPARED}, found.readings["trained"][0].typical[at])
            for at, name in enumerate(names)
        },
        "canonical": {kind: [_round(float(np.mean(pair))) for pair in pairs] for kind, pairs in canonical.items()},
        "silhouette": {
            name: {str(k): _round(each.silhouette) for k, each in by.items()} for name, by in found.groups.items()
        },
    }


def _single(told: Mapping[str, float], typical: float) -> dict[str, float | None]:
    """Of the best feature, and how many times as strong that is as untrained, and as a feature taken by chance."""
    more = {
        "typical": typical,
        "times_untrained": times(told["trained"], told["untrained"]),
        "times_typical": times(told["trained"], typical),
    }
    return {name: _round(value) for name, value in {**told, **more}.items()}


def _round(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), 4)


def arrays(found: Found) -> bytes:
    """Features, variables, clusters and directions, as a compressed npz."""
    first = found.readings["trained"][0]
    arrays: dict[str, np.ndarray] = {
        "h": found.latents.deter,
        "z": found.latents.stoch.astype(np.uint8) if _one_hot(found.latents.stoch) else found.latents.stoch,
        "variables": found.variables.values,
        "names": np.array(found.variables.names),
        "episode": found.chosen.number[found.chosen.episode],
        "step": found.chosen.step,
        "held_out": found.sides.held,
        "canonical": first.canonical,
        "loadings": first.loadings,
        "best_feature": first.feature,
    }
    for k, groups in found.groups["trained"].items():
        arrays[f"cluster_{k}"] = groups.clusters.label.astype(np.int16)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _one_hot(z: np.ndarray) -> bool:
    return bool(np.isin(z[:1000], (0, 1)).all())


def table(found: Found) -> str:
    """CSV with one number a line, and COLUMNS."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _rows(found):
        writer.writerow(["" if value is None or value != value else _cell(value) for value in row])
    return file.getvalue()


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def _rows(found: Found) -> Iterator[tuple[object, ...]]:
    """What was measured, of which features, at which number (network or shift, pair, k), of which variable."""
    names = found.variables.names
    for kind, several in found.readings.items():
        for at, reading in enumerate(several):
            for which, name in enumerate(names):
                line = reading.readout[which]
                yield "readout", kind, at, name, line.value, line.low, line.high, None
                line = reading.single[which]
                yield "single", kind, at, name, line.value, line.low, line.high, int(reading.feature[which])
                yield "typical", kind, at, name, float(reading.typical[which]), None, None, None
            for pair, value in enumerate(reading.canonical.tolist()):
                yield "canonical", f"{kind} {at}" if len(several) > 1 else kind, pair + 1, None, value, None, None, None
    for kind, by in found.groups.items():
        for k, groups in by.items():
            yield "silhouette", kind, k, None, groups.silhouette, None, None, None
            yield "inertia_share", kind, k, None, groups.spread, None, None, None
            for which, name in enumerate(names):
                yield "explained", kind, k, name, float(groups.explained[which]), None, None, None
