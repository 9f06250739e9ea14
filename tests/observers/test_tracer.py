"""The abundance of a tracer within and between galaxies, and the part of the sky that a survey covers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from iris_cli.axes import RHO, X_CO
from iris_cli.config.grid import Coverage, Grid, grid_preset
from iris_cli.config.observer import LineConfig, SyntheticConfig, TracerConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.train import Noise
from iris_cli.errors import DataError, UsageError
from iris_cli.observers.coverage import covered, image_share, shares
from iris_cli.observers.registry import make_observer
from iris_cli.observers.tracer import abundance, galaxy_dex
from iris_cli.pairs.noise import ImageNoise
from iris_cli.standard.grid import cells

GRID = grid_preset("tiny")
SMALL = GRID.scaled(12, 10, 6, 24)
VARIED = TracerConfig(galaxy_dex=0.2, cloud_dex=0.3, correlation_pc=20.0)


def test_an_abundance_is_decided_by_seed_and_galaxy():
    first = abundance(VARIED, SMALL, "a", 0.0)
    assert np.array_equal(abundance(VARIED, SMALL, "a", 0.0), first)
    for other in (abundance(VARIED, SMALL, "b", 0.0), abundance(replace(VARIED, seed=1), SMALL, "a", 0.0)):
        assert abs(np.log10(other / first)).mean() > 0.1


def test_galaxies_scatter_as_configured():
    drawn = [galaxy_dex(VARIED, f"galaxy {k}") for k in range(2000)]
    assert np.std(drawn) == pytest.approx(0.2, rel=0.05) and abs(np.mean(drawn)) < 0.02
    alone = abundance(replace(VARIED, cloud_dex=0.0), SMALL, "galaxy 7", 0.0)
    assert np.log10(alone) == pytest.approx(drawn[7], abs=1e-6)


def test_the_scatter_within_galaxies_is_as_wide_and_as_far_correlated_as_configured():
    within = [np.log10(abundance(replace(VARIED, galaxy_dex=0.0), GRID, str(k), 0.0)) for k in range(12)]
    assert np.mean([w.std() for w in within]) == pytest.approx(0.3, rel=0.05)
    step = GRID.distance.step
    for shift in (1, 3, 5):
        product = np.mean([(w[shift:] * w[:-shift]).mean() / (w**2).mean() for w in within])
        assert product == pytest.approx(np.exp(-((shift * step / 20.0) ** 2)), abs=0.06)


def test_a_galaxy_keeps_its_abundances_when_it_is_seen_from_elsewhere():
    """Cells of the two views that are nearest in the galaxy have nearly the same factor."""
    config = replace(VARIED, galaxy_dex=0.0, correlation_pc=40.0)
    seen = []
    for view in (0.0, 90.0):
        where = cells(GRID, view)
        positions = np.stack(np.broadcast_arrays(where.x, where.y, where.z), -1).reshape(-1, 3)
        seen.append((positions, np.log10(abundance(config, GRID, "a", view)).ravel()))
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(seen[0][0]).query(seen[1][0][::50])
    close = distance < 4.0
    difference = (seen[1][1][::50] - seen[0][1][nearest])[close]
    assert close.sum() > 300 and difference.std() < 0.06 < 0.2 < seen[0][1].std()


@pytest.mark.parametrize("name", ["simple", "synthetic"])
def test_an_observation_follows_the_abundance_and_the_density_does_not(name):
    thin = SyntheticConfig(regime="thin", populations="lte", beam_fwhm_arcsec=0.0)
    config = PreobserveConfig(name, smooth_velocity=False, synthetic=thin, tracer=TracerConfig(galaxy_dex=0.5))
    observer = make_observer(SMALL, config)
    tensor = torch.zeros(SMALL.tensor_shape)
    tensor[RHO], tensor[X_CO], tensor[2], tensor[3] = 5.0, 1e-4, 40.0, 0.5
    varied = observer.with_abundance(tensor, "a", None)
    factor = 10.0 ** galaxy_dex(config.tracer, "a")
    torch.testing.assert_close(observer.observe(varied), factor * observer.observe(tensor), rtol=1e-4, atol=0)
    assert tensor[RHO].unique().item() == 5.0 and "tracer" in observer.describe()


def test_an_abundance_per_H2_replaces_that_per_CO():
    made = make_observer(SMALL, PreobserveConfig(tracer=TracerConfig(per_H2=8.5e-7)))
    assert made.describe()["lines"][0]["tracer_per_CO"] == pytest.approx(0.01)
    with pytest.raises(UsageError, match="per_H2"):
        PreobserveConfig("simple", tracer=TracerConfig(per_H2=1e-9))
    with pytest.raises(UsageError, match="per_H2"):
        lines = SyntheticConfig(lines=(LineConfig(), LineConfig("c18o")))
        PreobserveConfig(synthetic=lines, tracer=TracerConfig(per_H2=1e-9))


# --- coverage ---------------------------------------------------------------------------------------------------------


def test_cells_are_covered_by_the_share_that_is_inside():
    axis = Grid().scaled(4, 4, 4, 4).longitude  # cells of 1 degree, edges at -2, -1, 0, 1, 2
    assert covered(axis, (-1.25, 1.0)) == pytest.approx([0.25, 1.0, 1.0, 0.0])
    assert covered(axis, None) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["simple", "synthetic"])
def test_an_image_is_the_mean_over_latitude_of_what_was_observed(name):
    seen = Coverage(lon_deg=(-0.6, 1.1), lat_deg=(-0.25, 0.2), v_km_s=(-100.0, 150.0))
    config = PreobserveConfig(name, synthetic=SyntheticConfig(populations="lte"), coverage=seen)
    tensor = torch.zeros(SMALL.tensor_shape)
    tensor[RHO], tensor[X_CO], tensor[2], tensor[3] = torch.rand(SMALL.tensor_shape[1:]), 1e-4, 40.0, 0.5
    tensor[0] = 80.0 * torch.randn(SMALL.tensor_shape[1:])
    observer = make_observer(SMALL, config)
    whole = make_observer(SMALL, replace(config, coverage=Coverage())).cube(observer.smoothed(tensor))
    lon, lat, v = (torch.from_numpy(s) for s in shares(seen, SMALL))
    expected = (whole * lon[:, None, None] * lat[:, None] * v).mean(dim=2)
    torch.testing.assert_close(observer.observe(tensor), expected, rtol=1e-4, atol=1e-6)
    assert not observer.observe(tensor)[0, 0].any() and observer.describe()["coverage"]["lat_deg"] == [-0.25, 0.2]


def test_noise_is_that_of_the_observed_part():
    seen = Coverage(lon_deg=(-0.6, 1.1), lat_deg=(-0.3, 0.1))
    lon, lat, _ = shares(seen, GRID)
    cube = np.random.default_rng(0).normal(size=(64, 16, 4000)) * lon[:, None, None] * lat[:, None]
    noise = ImageNoise.of(Noise(sigma_K=1.0), "temperature", GRID, "mean", seen)
    assert noise.sigma < 0.8 / np.sqrt(16)
    np.testing.assert_allclose(cube.mean(axis=1).std(axis=1), noise.sigma * image_share(seen, GRID)[:, 0], atol=0.02)
    moments = ImageNoise.of(Noise(sigma_K=1.0), "temperature", GRID, "moments", seen)
    assert moments.sigma * moments.mixing[0][0] == pytest.approx(noise.sigma, rel=1e-5)


def test_a_coverage_elsewhere_is_refused():
    with pytest.raises(DataError, match="no longitude"):
        make_observer(SMALL, PreobserveConfig("simple", coverage=Coverage(lon_deg=(18.0, 55.0))))
