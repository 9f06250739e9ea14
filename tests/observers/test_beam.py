import pytest
import torch

from iris_cli.observers.beam import beam_weights, convolve


def test_a_point_becomes_a_gaussian_of_the_beams_width():
    """FWHM of 60 arcsec: half the peak at 30 arcsec, a sixteenth at 60 arcsec."""
    sky = torch.zeros(101, dtype=torch.float64)
    sky[50] = 1.0
    seen = convolve(sky, beam_weights(60.0, 10.0 / 3600.0), 0)
    for side in (-1, 1):
        shares = seen[[50 + 3 * side, 50 + 6 * side]] / seen[50]
        assert shares.tolist() == pytest.approx([0.5, 0.0625], rel=1e-12)
    assert seen.sum().item() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_beam_conserves_flux_up_to_the_edges_and_of_zero_width_changes_nothing(axis):
    sky = torch.rand(12, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for fwhm_arcsec in (1.0, 30.0, 300.0):
        seen = convolve(sky, beam_weights(fwhm_arcsec, 21.0 / 3600.0), axis)
        assert seen.sum(dim=axis).numpy() == pytest.approx(sky.sum(dim=axis).numpy(), rel=1e-12)
    assert torch.equal(convolve(sky, beam_weights(0.0, 0.01), axis), sky)
