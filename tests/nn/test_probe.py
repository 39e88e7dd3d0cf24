"""Probes learn what a feature holds, measure it as a naive loop does, and teach nobody but themselves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.nn.probe import AGES, GoalsProbe, MapProbe, Probes

EXTRAS = {
    "map": ArraySpec((3, 4, 2), "uint8", "symbols", (3, 2)),
    "map_seen": ArraySpec((3, 4, 1), "bool", "planes"),
    "agent": ArraySpec((4,), "float32"),
    "goal_direction": ArraySpec((2,), "float32"),
    "goals_direction": ArraySpec((3, 2), "float32"),
    "goals_age": ArraySpec((3,), "int64"),
}
SPEC = EnvSpec("grid", {"x": ArraySpec((1,), "float32")}, 2, extras=EXTRAS)
B, T = 4, 5


def told(seed: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    rng = np.random.default_rng(seed)
    extras = {
        "map": np.stack([rng.integers(3, size=(B, T, 3, 4)), rng.integers(2, size=(B, T, 3, 4))], -1).astype(np.uint8),
        "map_seen": rng.random((B, T, 3, 4, 1)) < 0.4,
        "agent": rng.random((B, T, 4)).astype(np.float32),
        "goals_direction": rng.integers(-3, 4, size=(B, T, 3, 2)).astype(np.float32),
        "goals_age": rng.choice([-1, 0, 3, 7, 30, 5000], size=(B, T, 3)),
    }
    extras["map_seen"][1] = False
    tensors = {name: torch.from_numpy(value) for name, value in extras.items()}
    return tensors | {"goal_direction": tensors["goals_direction"][:, :, 0]}, torch.from_numpy(rng.random((B, T)) < 0.8)


@torch.no_grad()
def test_a_map_is_measured_cell_by_cell():
    torch.manual_seed(0)
    extras, mask = told()
    probe, feature = MapProbe(SPEC, 7, units=16, layers=1), torch.randn(B, T, 7)
    loss, found = probe(feature, extras, mask)
    losses, right, seen = [], [], []
    for b, t in mask.nonzero().tolist():
        out = probe.net(torch.cat([feature[b, t], extras["agent"][b, t]]))[None].unflatten(-1, (3, 4, 5))[0]
        total, good, known = 0.0, [], []
        for row in range(3):
            for column in range(4):
                kind, colour = out[row, column, :3], out[row, column, 3:]
                truth = extras["map"][b, t, row, column].long()
                total += float(F.cross_entropy(kind, truth[0]) + F.cross_entropy(colour, truth[1]))
                good.append(float(kind.argmax() == truth[0] and colour.argmax() == truth[1]))
                known.append(bool(extras["map_seen"][b, t, row, column, 0]))
        losses.append(total)
        right.append(sum(good) / 12)
        if any(known):
            seen.append(sum(g for g, k in zip(good, known, strict=True) if k) / sum(known))
    assert float(loss) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert float(found["acc_map"]) == pytest.approx(sum(right) / len(right))
    assert float(found["acc_map_seen"]) == pytest.approx(sum(seen) / len(seen))


@torch.no_grad()
def test_goals_are_measured_one_by_one_and_those_that_do_not_exist_not_at_all():
    torch.manual_seed(0)
    extras, mask = told()
    probe, feature = GoalsProbe(SPEC, 7, units=16, layers=1), torch.randn(B, T, 7)
    loss, found = probe(feature, extras, mask)
    guess = probe.nets["goals_direction"](feature).unflatten(-1, (3, 2))
    first = probe.nets["goal_direction"](feature)
    apart, ages, places = [], [], {g: [] for g in range(3)}
    total, alone = 0.0, []
    for b, t in mask.nonzero().tolist():
        for g in range(3):
            if extras["goals_age"][b, t, g] >= 0:
                apart.append(float(((guess[b, t, g] - extras["goals_direction"][b, t, g]) ** 2).sum()))
                ages.append(int(extras["goals_age"][b, t, g]))
                places[g].append(extras["goals_direction"][b, t, g])
                total += apart[-1] / 2
        if extras["goals_age"][b, t, 0] >= 0:
            alone.append(float(((first[b, t] - extras["goal_direction"][b, t]) ** 2).sum()) / 2)
    assert float(loss) == pytest.approx(total / int(mask.sum()) + sum(alone) / len(alone), rel=1e-5)
    assert float(found["mse_goals"]) == pytest.approx(sum(apart) / len(apart), rel=1e-5)
    spread = [float(((p - torch.stack(places[g]).mean(0)) ** 2).sum()) for g in range(3) for p in places[g]]
    assert float(found["var_goals"]) == pytest.approx(sum(spread) / len(spread), rel=1e-5)
    for low, high in pairwise(AGES):
        here = [error for error, age in zip(apart, ages, strict=True) if low < age <= high]
        value = float(found[f"mse_goal_age{high}"])
        assert value == pytest.approx(sum(here) / len(here), rel=1e-5) if here else np.isnan(value)


@pytest.mark.parametrize("kind", [MapProbe, GoalsProbe])
def test_a_probe_learns_what_a_feature_holds_and_not_what_it_does_not(kind: type):
    """The same moments, once with features that contain the answer, once with noise: errors on new moments."""
    torch.manual_seed(0)
    mask = torch.ones(B, T, dtype=torch.bool)
    error: dict[bool, float] = {}
    for holds in (True, False):
        probe = kind(SPEC, 30, units=64, layers=1)
        optimizer = torch.optim.Adam(probe.parameters(), lr=1e-2)
        loss = torch.zeros(())
        for seed in range(80):
            extras, _ = told(seed)
            answer = extras["map"][..., 0] if kind is MapProbe else extras["goals_direction"]
            known = torch.cat([answer.flatten(2).float(), torch.zeros(B, T, 30)], -1)[..., :30]
            extras["map"][..., 1] = 0  # the feature tells the first symbol alone
            extras["goals_age"] = extras["goals_age"].clamp(min=0)
            loss, _ = probe(known if holds else torch.randn(B, T, 30), extras, mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        error[holds] = float(loss.detach())
    assert error[True] < 0.35 * error[False]


def test_probes_are_made_of_options_and_draw_nothing_from_others():
    before = torch.get_rng_state()
    probes = Probes(map={"units": 8, "layers": 1}, goals={}).make(SPEC, 5)
    assert list(probes) == ["map", "goals"]
    assert torch.equal(torch.get_rng_state(), before)
    assert not Probes().make(EnvSpec("plain", {"x": ArraySpec((1,), "float32")}, 2), 5)


def test_a_world_that_does_not_tell_is_refused_by_the_extra_that_it_lacks():
    with pytest.raises(ConfigError, match="'map'") as caught:
        Probes(map={}).make(EnvSpec("plain", {"x": ArraySpec((1,), "float32")}, 2), 5)
    assert "env.privileged=true" in caught.value.do
