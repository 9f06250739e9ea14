"""The network `sightlines`."""

import pytest
import torch

from iris_cli.errors import UsageError
from iris_cli.reverter.reverter import Reverter


def network(channels=1, quantity="v_density"):
    """One whose blocks do something, as after a training."""
    made = Reverter(32, quantity, network="sightlines", channels=channels)
    torch.manual_seed(1)
    for weight in made.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    assert made.sightlines.blocks[0].attended.weight.any()
    return made.eval()


def test_brighter_gas_has_the_same_shares_over_distance_if_the_brightness_is_not_read():
    made, image = network(), torch.rand(2, 1, 32, 32)
    brightness = made.sightlines.spectra.enter.weight[:, 32 * 3 : 32 * 3 + 1]
    with torch.no_grad():
        assert not torch.allclose(made(5.0 * image), 5.0 * made(image), rtol=1e-2)
        brightness.zero_()
        torch.testing.assert_close(made(5.0 * image), 5.0 * made(image), rtol=1e-4, atol=1e-5)


def test_a_new_network_gives_each_longitude_mass_in_proportion_to_its_sum_over_velocity():
    made = Reverter(32, "v_density", network="sightlines")
    with torch.no_grad():
        made.sightlines.leave.weight[-1] = 0.0
        image = torch.rand(1, 1, 32, 32) * torch.rand(1, 1, 32, 1)
        columns = made(image).sum(dim=2)[0, 0]
    torch.testing.assert_close(columns, image.sum(dim=3)[0, 0], rtol=1e-4, atol=1e-4)


def test_the_map_continues_over_longitudes_that_were_not_observed():
    made, image = network(), torch.rand(1, 1, 32, 32)
    image[:, :, 10:20] = 0.0
    with torch.no_grad():
        masses = made(image).sum(dim=2)[0, 0]
        faint = image.clone()
        faint[:, :, 10:20] = 1e-12  # observed, and nothing is there
        dark = made(faint).sum(dim=2)[0, 0]
    assert masses[10:20].min() > 0.05 * masses.mean() and dark[10:20].max() < 0.01 * dark.mean()


def test_noise_below_zero_and_empty_images_give_finite_maps_and_gradients():
    made = network()
    for image in (torch.zeros(1, 1, 32, 32), torch.randn(1, 1, 32, 32), -torch.rand(1, 1, 32, 32)):
        made.zero_grad()
        density = made(image)
        density.sum().backward()
        assert density.isfinite().all() and density.min() >= 0
        assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


def test_every_channel_matters_and_other_networks_refuse_several():
    made, image = network(channels=2), torch.rand(1, 2, 32, 32)
    other = image.clone()
    other[:, 1, :, 5] *= 2.0
    with torch.no_grad():
        assert not torch.allclose(made(image), made(other), rtol=1e-3)
        torch.testing.assert_close(made(torch.cat([image, other], dim=1)), made(image))  # the first two are read
    assert Reverter(**made.table()).channels == 2
    with pytest.raises(UsageError, match="'columns' reads one image, not 2"):
        Reverter(32, network="columns", channels=2)


def test_gas_at_one_longitude_changes_the_map_at_all():
    """Attention joins all longitudes: where gas is follows from the pattern of the whole image."""
    made, image = network(), torch.rand(1, 1, 32, 32)
    other = image.clone()
    other[0, 0, 3] = other[0, 0, 3].flip(0)  # the same sum, so the same mean brightness
    with torch.no_grad():
        change = (made(image) - made(other)).abs().amax(dim=(0, 1, 2))
    assert (change > 1e-6).all() and int(change.argmax()) in range(1, 6)
