"""A mock configuration that no gas has is refused before a galaxy is drawn, and what is drawn is finite."""

import numpy as np
import pytest

from iris_cli.config.grid import Grid
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.mock.draw import draw_galaxy
from iris_cli.mock.generate import Galaxies, write_mock

GRID = Grid().scaled(8, 8, 4, 8)


@pytest.mark.parametrize(
    "broken",
    [
        {"scale": (0.0, 0.0)},
        {"scale": (-1.0, 1.0)},
        {"scale": (1.0, float("nan"))},
        {"scale": (1.0, float("inf"))},
        {"axis_ratio": (0.0, 0.5)},
        {"semi_major_pc": (0.0, 1.0)},
        {"cloud_n_H_cm3": (0.0, 1e3)},
        {"envelope_mass_Msun": (-50.0, -10.0)},
        {"view": "edge-on"},
        {"lane_km_s": (0.0, 100.0)},
        {"streams": (0, 2), "open_streams": (0, 1)},
        {"turbulence_cell_pc": 0.0},
        {"turbulence_cell_pc": 100.0, "largest_eddy_pc": 400.0},
        {"largest_eddy_pc": 7.0},
        {"lane_imbalance": (-2.0, 2.0)},
        {"clouds": (-3, -1)},
        {"sheets": (-3, -1)},
        {"thickness_pc": (0.0, 0.0)},
        {"n_H_cm3": (-5.0, -1.0)},
    ],
)
def test_gas_that_cannot_be_is_refused(broken):
    key = next(iter(broken))
    with pytest.raises(UsageError, match=key):
        (ForegroundConfig if key in ("sheets", "thickness_pc", "n_H_cm3") else MockConfig)(**broken)


@pytest.mark.parametrize(
    "extreme",
    [
        {
            "clouds": (0, 0),
            "stream_mass_Msun": (0.0, 0.0),
            "envelope_mass_Msun": (0.0, 0.0),
            "complex_mass_Msun": (0.0, 0.0),
            "lane_inflow_Msun_yr": (0.0, 0.0),
        },
        {"streams": (0, 0), "open_streams": (0, 0), "stream_mass_Msun": (0.0, 0.0), "complex_mass_Msun": (0.0, 0.0)},
        {"streams": (0, 0), "open_streams": (2, 2), "open_length_turns": (3.0, 4.0)},
        {"turbulence_contrast": (0.0, 0.0), "turbulence_km_s": (0.0, 0.0), "stream_contrast": (0.0, 0.0)},
        {"turbulence_cell_pc": 64.0, "largest_eddy_pc": 192.0},
        {"height_pc": (0.0, 0.0), "v0_km_s": (0.0, 0.0), "drift_km_s": (-5.0, -5.0), "lane_imbalance": (-1.0, 1.0)},
        {"cloud_mass_Msun": (1e3, 1e3), "cloud_mass_slope": 1.0, "cloud_n_H_cm3": (1e5, 1e5)},
        {"bar_angle_deg": (30.0, 30.0), "tilt_deg": (-20.0, -20.0), "view": "any"},
    ],
)
def test_the_extremes_that_are_allowed_give_finite_gas(extreme):
    assert np.isfinite(draw_galaxy(MockConfig(**extreme), 0, 0).tensor(GRID, 0.0)).all()


@pytest.mark.filterwarnings("ignore:overflow")
def test_more_than_float32_can_hold_leaves_no_data_set(tmp_path):
    with pytest.raises(DataError, match="mock-0-000000 holds values that are not finite"):
        write_mock(Galaxies(MockConfig(envelope_mass_Msun=(1e60, 1e60)), GRID, 0, 1), tmp_path / "out", 1, quiet=True)
    assert list(tmp_path.iterdir()) == []
