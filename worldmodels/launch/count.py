"""How many parameters a stage has, and where."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

WRAPPERS = ("model", "net")  # parts that only hold other parts: their own parts are told apart


@dataclass(frozen=True)
class Count:
    """Parameters of one part; the frozen ones among them do not learn."""

    name: str
    parameters: int
    frozen: int


def count(stage: nn.Module) -> list[Count]:
    """Parameters by part, `total` last. A parameter that several parts share counts in the first of them."""
    seen: set[int] = set()
    rows = [_count(name, part, seen) for name, part in _parts(stage)]
    loose = _count("own", stage, seen)
    rows = [row for row in [*rows, loose] if row.parameters]
    return [*rows, Count("total", sum(r.parameters for r in rows), sum(r.frozen for r in rows))]


def layers(stage: nn.Module) -> list[Count]:
    """The same layer by layer; a layer is what has parameters of its own."""
    seen: set[int] = set()
    rows = list[Count]()
    for path, layer in stage.named_modules():
        own = [p for p in layer.parameters(recurse=False) if id(p) not in seen]
        seen |= {id(p) for p in own}
        if own:
            head, _, rest = path.partition(".")
            shapes = " ".join(str(tuple(p.shape)) for p in own)
            name = f"{rest if head in WRAPPERS and rest else path} {type(layer).__name__} {shapes}"
            frozen = sum(p.numel() for p in own if not p.requires_grad)
            rows.append(Count(name, sum(p.numel() for p in own), frozen))
    return rows


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for name, part in module.named_children():
        found += _parts(part) if name in WRAPPERS and any(True for _ in part.children()) else [(name, part)]
    return found


def _count(name: str, part: nn.Module, seen: set[int]) -> Count:
    new = [p for p in part.parameters() if id(p) not in seen]
    seen |= {id(p) for p in new}
    return Count(name, sum(p.numel() for p in new), sum(p.numel() for p in new if not p.requires_grad))
