"""Noise of l-v images: its sigma, its correlation along longitude, and that it is drawn by position."""

import numpy as np
import pytest

from iris_cli.config.grid import Grid
from iris_cli.config.train import MASS_PER_K_KM_S, Noise
from iris_cli.errors import UsageError
from iris_cli.pairs.noise import FWHM_PER_SIGMA, ImageNoise, independent_latitudes, noise_key, pixel_sigma

GRID = Grid().scaled(64, 64, 16, 64)


def test_the_mean_over_latitude_divides_noise_by_the_root_of_the_latitudes():
    cube = np.random.default_rng(0).normal(0.0, 3.0, (64, 16, 64))
    noise = ImageNoise.of(Noise(sigma_K=3.0), "temperature", GRID, "mean")
    assert noise.sigma == pytest.approx(cube.mean(axis=1).std(), rel=0.05)
    assert pixel_sigma(3.0, 16, "max") == 3.0


def test_the_mean_over_latitude_of_beam_correlated_noise_divides_by_fewer():
    from scipy.ndimage import gaussian_filter1d

    rng = np.random.default_rng(1).normal(size=(4000, 200))
    correlated = gaussian_filter1d(rng, 2.0, axis=1)[:, 80:96]
    correlated /= correlated.std()
    assert independent_latitudes(np.ones(16), 2.0) == pytest.approx(1.0 / correlated.mean(axis=1).var(), rel=0.1)
    assert independent_latitudes(np.ones(16), 0.0) == 16


def test_a_beam_correlates_neighbouring_longitudes_and_keeps_the_sigma():
    image = ImageNoise(2.0, fade=False, beam_sigma_cells=2.0).draw((1, 512, 512), key=1, position=0)[0]
    assert image.std() == pytest.approx(2.0, rel=0.03) and abs(image.mean()) < 0.02
    neighbours = np.corrcoef(image[:-1].ravel(), image[1:].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 2.0**2)), abs=0.02)
    assert abs(np.corrcoef(image[:, :-1].ravel(), image[:, 1:].ravel())[0, 1]) < 0.02


def test_noise_one_beam_apart_is_correlated_by_a_quarter():
    """The autocorrelation of a Gaussian beam is a Gaussian sqrt(2) wider: at its own FWHM it has fallen to 2^-2."""
    beam_arcsec = 6 * GRID.longitude.step * 3600.0
    noise = ImageNoise.of(Noise(sigma_K=1.0, beam_fwhm_arcsec=beam_arcsec, fade=False), "temperature", GRID, "mean")
    image = noise.draw((1, 512, 512), key=3, position=0)[0]
    assert np.corrcoef(image[:-6].ravel(), image[6:].ravel())[0, 1] == pytest.approx(0.25, abs=0.02)


def test_fade_scales_each_sample_by_one_factor_between_zero_and_one():
    faded = ImageNoise(1.0, mean=5.0)
    draws = [faded.draw((1, 64, 64), key=2, position=p) for p in range(200)]
    factors = np.array([d.mean() / 5.0 for d in draws])
    assert 0 <= factors.min() < 0.1 and 0.9 < factors.max() <= 1.01
    assert factors.mean() == pytest.approx(0.5, abs=0.07)
    np.testing.assert_allclose([d.std() for d in draws], factors, atol=0.05)


def test_noise_is_a_function_of_key_and_position_alone():
    noise = ImageNoise(1.0)
    first = noise.draw((1, 8, 8), key=7, position=3)
    noise.draw((1, 8, 8), key=7, position=9)
    np.testing.assert_array_equal(noise.draw((1, 8, 8), key=7, position=3), first)
    for key, position in ((7, 4), (noise_key(0, "train", 1), 3)):
        assert not np.intersect1d(noise.draw((1, 8, 8), key=key, position=position), first).size


def test_a_kelvin_is_converted_to_the_velocity_density_of_equal_brightness():
    noise = ImageNoise.of(Noise(sigma_K=2.0), "v_density", GRID, "mean")
    assert noise.sigma == pytest.approx(2.0 * MASS_PER_K_KM_S / 4.0)
    own = ImageNoise.of(Noise(sigma_K=2.0, observed_per_K=0.5), "v_density", GRID, "mean")
    assert own.sigma == pytest.approx(0.25)
    with pytest.raises(UsageError, match="intensity"):
        ImageNoise.of(Noise(sigma_K=1.0), "intensity", GRID, "mean")


@pytest.mark.parametrize("beam_cells", [0.0, 1.5])
def test_latitude_moments_have_the_noise_of_the_moments_of_a_noisy_cube(beam_cells):
    from scipy.ndimage import gaussian_filter1d

    cube = np.random.default_rng(2).normal(size=(20_000, 60))
    cube = gaussian_filter1d(cube, beam_cells, axis=1)[:, 22:38] if beam_cells else cube[:, 22:38]
    moments = 3.0 * cube / cube.std() @ GRID.latitude_weights().T
    fwhm = beam_cells * FWHM_PER_SIGMA * GRID.latitude.step * 3600.0
    noise = ImageNoise.of(Noise(3.0, 2.0, beam_fwhm_arcsec=fwhm, fade=False), "temperature", GRID, "moments")
    drawn = noise.draw((6, 256, 256), key=4, position=0)
    found = np.cov(drawn.reshape(6, -1))
    np.testing.assert_allclose(found[:3, :3], np.cov(moments.T), atol=0.05 * found[0, 0])
    np.testing.assert_allclose(found[3:, :3], 0.0, atol=0.02 * found[0, 0])  # another line has noise of its own
    np.testing.assert_allclose(drawn.mean(axis=(1, 2))[:3], 2.0 * GRID.latitude_weights().sum(axis=1), atol=0.05)
