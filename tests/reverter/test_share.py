"""The network `share`: the gas of a longitude follows its brightness."""

from __future__ import annotations

import torch

from iris_cli.reverter.layers import DENSITY
from iris_cli.reverter.reverter import Reverter
from iris_cli.reverter.share import FAINTEST, Share


def predicted(image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return Reverter(32, network="share").eval()(image)


def test_a_longitude_without_brightness_has_next_to_no_gas() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[:, :, 10:20] = 0.2
    column = predicted(image)[0, 0].mean(dim=0)
    assert column[12:18].min() > 100 * column[22:].max() and column[10:20].min() > 0


def test_the_mass_of_a_longitude_is_its_brightness_times_a_correction() -> None:
    network = Share(32, (0.03, 0.3, 3.0)).eval()
    for parameter in network.unet.leave.parameters():
        parameter.data.zero_()
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        density = network(image)
    expected = 5.0 * DENSITY * image.mean(dim=3) / 0.3
    torch.testing.assert_close(density, expected[:, :, None].expand(2, 1, 32, 32))


def test_negative_noise_gives_a_faint_column_and_a_gradient() -> None:
    network = Reverter(32, network="share")
    density = network(torch.full((1, 1, 32, 32), -1.0))
    assert float(density.detach().min()) >= 0 and float(density.detach().mean()) < 100 * FAINTEST * DENSITY
    density.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
