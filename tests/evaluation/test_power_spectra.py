"""Power spectra of waves and filters whose spectra are known."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from iris_cli.config.grid import Grid
from iris_cli.evaluation.power_spectra import Wavenumbers
from iris_cli.standard.top_down_plane import Plane

GRID = Grid().scaled(128, 128, 16, 128)
BINS = Wavenumbers.of(GRID)


def noise(seed, maps=4):
    return torch.rand(maps, 1, 128, 128, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_wave_has_its_power_at_its_own_wavelength():
    step_r, step_l = Plane.of(GRID).step_pc
    for along in (0, 1):
        place = np.arange(128)[:, None] * step_r if along == 0 else np.arange(128)[None, :] * step_l
        wave = torch.from_numpy(np.cos(2 * np.pi * place / 40.0) * np.ones((128, 128)))[None, None]
        power = BINS.powers(wave, wave).true[0]
        assert abs(np.log10(BINS.k_per_pc[int(power.argmax())] * 40.0)) < 0.5 / 8


def test_a_map_that_is_half_as_strong_has_a_quarter_of_the_power_at_every_size():
    true = noise(0)
    powers = BINS.powers(0.5 * true, true)
    torch.testing.assert_close(powers.ratio, torch.full_like(powers.ratio, 0.25))
    torch.testing.assert_close(powers.correlation, torch.ones_like(powers.ratio))
    torch.testing.assert_close(BINS.powers(true + 7.0, true).ratio, torch.ones_like(powers.ratio))  # without its mean


def test_a_beam_removes_power_by_its_transform():
    """White noise smoothed by a Gaussian of sigma s keeps exp(-4 pi^2 s^2 k^2) of its power, and all correlation."""
    sigma_pc = 6.0
    true = noise(1, 16)
    pixels = [0, 0, *(sigma_pc / step for step in Plane.of(GRID).step_pc)]
    powers = BINS.powers(torch.from_numpy(gaussian_filter(true.numpy(), pixels, mode="wrap")), true)
    expected = np.exp(-4.0 * np.pi**2 * sigma_pc**2 * BINS.k_per_pc**2)
    kept = expected > 0.05
    assert kept.sum() >= 5
    np.testing.assert_allclose((powers.pred.mean(0) / powers.true.mean(0))[kept], expected[kept], rtol=0.1)
    assert (powers.correlation.mean(0)[torch.from_numpy(kept)] > 0.95).all()


def test_large_structure_that_the_edge_cuts_does_not_leak_to_small_sizes():
    ramp = torch.linspace(0.0, 1.0, 128, dtype=torch.float64).expand(1, 1, 128, 128)
    power = BINS.powers(ramp, ramp).true[0]
    assert power[-1] < 1e-6 * power[0]


def test_the_spectrum_of_white_noise_is_flat():
    power = BINS.powers(noise(2, 32), noise(2, 32)).true.mean(0).numpy()
    assert power[3:].std() / power[3:].mean() < 0.1


def test_unrelated_maps_do_not_correlate():
    correlation = BINS.powers(noise(3, 32), noise(4, 32)).correlation.mean(0)
    assert (correlation[4:].abs() < 0.05).all() and (correlation.abs() < 0.5).all()


def test_power_is_that_of_the_whole_transform():
    """rfft omits half of the modes; the weighted sum of the others is that of the full transform."""
    true = noise(5, 1)
    mean = (true * BINS.window).sum() / BINS.window.sum()
    whole = torch.fft.fft2((true - mean) * BINS.window).abs().square()[0, 0].numpy()
    k = np.hypot(*np.meshgrid(*(np.fft.fftfreq(128, s) for s in Plane.of(GRID).step_pc), indexing="ij"))
    modes = torch.zeros(len(BINS) + 1, dtype=torch.float64).index_add_(0, BINS.bin.flatten(), BINS.weight.flatten())
    total = (BINS.powers(true, true).true[0] * modes[:-1]).sum().item()
    inside = (k >= 1 / (128 * min(Plane.of(GRID).step_pc)) * 0.9) & (k <= 0.5 / max(Plane.of(GRID).step_pc))
    np.testing.assert_allclose(total, whole[inside & (k > 0)].sum(), rtol=0.02)


def test_an_empty_prediction_has_no_power_and_an_empty_truth_no_ratio():
    true, nothing = noise(0, 1), torch.zeros(1, 1, 128, 128, dtype=torch.float64)
    assert (BINS.powers(nothing, true).ratio == 0).all() and (BINS.powers(nothing, true).correlation == 0).all()
    assert BINS.powers(true, nothing).ratio.isnan().all() and BINS.powers(true, nothing).correlation.isnan().all()
