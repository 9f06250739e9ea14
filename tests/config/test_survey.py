"""Surveys as presets: their lines exist, their grids and noise are those of the table."""

import math

import pytest

from iris_cli.commands.options import Settings
from iris_cli.config.grid import grid_preset
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.survey import survey, survey_grid, surveys
from iris_cli.config.train import Noise
from iris_cli.errors import UsageError
from iris_cli.observers.coverage import covered
from iris_cli.observers.molecules import load_molecule
from iris_cli.pairs.noise import ImageNoise

GRID = grid_preset("tiny")


@pytest.mark.parametrize("name", surveys())
def test_the_line_of_a_survey_is_built_in(name):
    row = survey(name)
    molecule = load_molecule(row.molecule)
    assert molecule.line(row.transition).frequency_Hz == pytest.approx(row.frequency_GHz * 1e9, rel=2e-7)
    config = row.preobserve_config()
    assert config.synthetic.populations == ("lvg" if molecule.partners else "lte")
    assert row.lon_deg[0] < row.lon_deg[1] and row.lat_deg[0] < row.lat_deg[1] and row.v_km_s[0] < row.v_km_s[1]
    assert (config.coverage.lon_deg is None) == (name.startswith(("cohrs", "grs", "fugin")))


def test_the_grid_of_a_survey_is_the_covered_part_of_a_preset():
    grid = survey_grid("mopra-hnco", GRID)
    assert (grid.lon_steps, grid.lat_steps, grid.v_steps, grid.distance) == (64, 16, 64, GRID.distance)
    lon, lat = grid.longitude.edges(), grid.latitude.edges()
    assert lon[0] == pytest.approx(-0.7) and lon[-1] == pytest.approx(GRID.longitude.edges()[-1])
    assert (lat[0], lat[-1]) == pytest.approx((-0.3, 0.2))
    assert covered(grid.longitude, survey("mopra-hnco").lon_deg) == pytest.approx(1.0)
    with pytest.raises(UsageError, match="not the Galactic Centre"):
        survey_grid("grs-13co10", GRID)


def test_noise_falls_with_the_beams_and_channels_in_a_voxel():
    row = survey("mopra-hnco")
    beams = 3600.0**2 * GRID.longitude.step * GRID.latitude.step / (1.1331 * 40.0**2)
    expected = 0.12 / math.sqrt(beams * GRID.velocity.step / 0.9)
    assert row.voxel_noise_K(GRID) == pytest.approx(expected, rel=1e-3)
    fine = GRID.scaled(512, 4096, 1024, 4096)
    assert row.voxel_noise_K(fine) == 0.12
    noise = ImageNoise.of(Noise(survey="mopra-hnco"), "temperature", GRID, "mean")
    assert noise.sigma == pytest.approx(expected / 4.0, rel=1e-3)


def test_a_survey_and_a_sigma_are_one_too_many():
    with pytest.raises(UsageError, match="its own sigma"):
        Noise(survey="mopra-hnco", sigma_K=1.0)
    with pytest.raises(UsageError, match="unknown survey 'mopra-hncq'"):
        Noise(survey="mopra-hncq")


def test_a_file_brings_collision_rates_to_a_survey(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[synthetic]\npopulations = "lvg"\nexcitation_K = 0\n[[synthetic.lines]]\nmolecule = "hnco.dat"\n')
    made = Settings(PreobserveConfig, file).resolve(survey("mopra-hnco").preobserving())
    assert made.synthetic.lines[0].molecule == "hnco.dat" and made.synthetic.beam_fwhm_arcsec == 40.0
    file.write_text('[synthetic]\npopulations = "lvg"\n')
    with pytest.raises(UsageError, match="excitation_K = 15 does not apply"):
        Settings(PreobserveConfig, file).resolve(survey("mopra-hnco").preobserving())
