import tomllib

import pytest

from iris_cli.config.grid import GRID_PRESETS, Grid, grid_preset
from iris_cli.config.mock import MockConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.toml import from_dict, to_toml
from iris_cli.errors import UsageError


@pytest.mark.parametrize("config", [Grid(), MockConfig(), PreobserveConfig(views_per_source=3)])
def test_a_configuration_comes_back_from_its_own_toml(config):
    text = to_toml(config)
    again = from_dict(type(config), tomllib.loads(text))
    assert again == config
    assert to_toml(again) == text


def test_presets_scale_the_papers_grid_over_the_same_sky():
    assert GRID_PRESETS["paper"].tensor_shape == (6, 512, 512, 128)
    assert GRID_PRESETS["tiny"].tensor_shape == (6, 64, 64, 16)
    assert {g.r_max_pc for name, g in GRID_PRESETS.items() if name != "full-cone"} == {8502.0}
    cone = GRID_PRESETS["full-cone"]
    cropped = cone.distance.centres()[cone.r_crop_min : cone.r_crop_max]
    assert cropped[[0, -1]] == pytest.approx([8052.0, 8502.0], abs=1.0)
    with pytest.raises(UsageError) as error:
        grid_preset("tinny")
    assert "tiny" in error.value.hint


@pytest.mark.parametrize(
    "broken",
    [
        {"r_min_pc": 9000.0},
        {"lat_steps": 1},
        {"r_crop_max": 600},
        {"v_min_km_s": 300.0},
        {"r_min_pc": 0.0},
        {"observer_distance_pc": -8277.0},
        {"lat_max_deg": 120.0},
        {"lon_min_deg": -360.0},
        {"v_max_km_s": float("inf")},
    ],
)
def test_a_grid_that_cannot_be_is_refused(broken):
    with pytest.raises(UsageError):
        Grid(**broken)
