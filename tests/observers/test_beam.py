from __future__ import annotations

import pytest
import torch

from iris_cli.observers.beam import FWHM_PER_SIGMA, beam_weights, convolve


def test_a_point_becomes_a_gaussian_of_the_beams_width() -> None:
    sky = torch.zeros(101, dtype=torch.float64)
    sky[50] = 1.0
    seen = convolve(sky, beam_weights(60.0, 10.0 / 3600.0), 0)
    x = torch.arange(-50, 51, dtype=torch.float64) * 10.0
    assert (seen * x**2).sum().sqrt().item() * FWHM_PER_SIGMA == pytest.approx(60.0, rel=2e-3)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("fwhm_arcsec", [1.0, 30.0, 300.0])
def test_the_beam_conserves_flux_up_to_the_edges(axis: int, fwhm_arcsec: float) -> None:
    sky = torch.rand(12, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen = convolve(sky, beam_weights(fwhm_arcsec, 21.0 / 3600.0), axis)
    assert seen.sum(dim=axis).numpy() == pytest.approx(sky.sum(dim=axis).numpy(), rel=1e-12)


def test_no_beam_leaves_the_sky_as_it_is() -> None:
    sky = torch.rand(12, 9)
    assert torch.equal(convolve(sky, beam_weights(0.0, 0.01), 0), sky)
