"""Names by the original sweep tool's rules. Those of its shipped list are what it gave itself when it was run."""

from __future__ import annotations

from typing import Any

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.launch.naming import seed_name, seed_names

SHIPPED: dict[str, Any] = {
    "env": "pusht",
    "frameskip": 5,
    "num_hist": 3,
    "training.epochs": 50,
    "training.batch_size": 20,
    "model.bypass_dinov2": False,
    "bisim_latent_dim": 32,
    "training.bisim_lr": 5e-7,
    "var_loss_coef": 1.0,
    "PCA1_loss_target": 1e-4,
    "PCAloss_epoch": 200,
    "num_pcs": 10,
    "VC_target": 1,
}
NAME = (
    "bisim_32_lr_5e-7_varloss_coef_1.0_numpcs_10_vctarget_1_pca1target_0.0001_pcaepoch_200_pusht_fs_5_hist_3_epochs_50"
)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (SHIPPED, NAME),
        (SHIPPED | {"bisim_latent_dim": 64}, NAME.replace("bisim_32", "bisim_64")),
        (dict(reversed(SHIPPED.items())), NAME),
        (SHIPPED | {"training.batch_size": 99, "seed": 4}, NAME),
        ({}, ""),
        ({"model.bypass_dinov2": True}, "no_dino"),
        ({"model.bypass_dinov2": "false"}, "no_dino"),
        ({"model.bypass_dinov2": 0}, ""),
        ({"bisim_hidden_dim": 256, "bisim_coef": 0.5}, "hidden_256_coef_0.5"),
        ({"training.bisim_lr": 0.000025}, "lr_3e-5"),
        ({"training.bisim_lr": 0.00003}, "lr_3e-5"),
        ({"training.bisim_lr": 1e-10}, "lr_1e-10"),
        ({"training.bisim_lr": 1}, "lr_1e+00"),
        ({"var_loss_coef": None}, "varloss_coef_None"),
        ({"env": ""}, ""),
    ],
)
def test_names_are_the_original_s(values: dict[str, Any], name: str) -> None:
    assert seed_name(values) == name


@pytest.mark.parametrize("values", [{"training.bisim_lr": "5e-7"}, {"env": 3}])
def test_what_the_original_could_not_name_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        seed_name(values)


def test_runs_that_would_share_a_folder_are_refused() -> None:
    """The original rounds rates, and lets the second run continue the first one's checkpoint."""
    rows = [{"training.bisim_lr": 2.6e-5}, {"env": "pusht"}, {"training.bisim_lr": 3e-5}]
    with pytest.raises(ConfigError, match=r"entries 1 and 3 .* lr_3e-5"):
        seed_names(rows)
    with pytest.raises(ConfigError, match="entry 1 gets an empty name"):
        seed_names([{"seed": 1}])
