"""The network `columns`."""

import torch

from iris_cli.reverter.columns import doubled
from iris_cli.reverter.layers import initialise
from iris_cli.reverter.reverter import Reverter


def test_the_map_of_a_galaxy_does_not_depend_on_its_batch() -> None:
    reverter = Reverter(32, network="columns").train()
    images = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(reverter(images)[1:2], reverter(images[1:2]), rtol=1e-4, atol=1e-6)


def test_the_outermost_level_keeps_gas_at_its_longitude() -> None:
    """Without attention and deeper levels, gas at one longitude changes the map near that longitude alone."""
    reverter = Reverter(64, network="columns")
    unet = reverter.unet
    for up in unet.up:  # type: ignore[union-attr]
        torch.nn.init.zeros_(up[1].weight)  # cut all but the outermost skip connection
    for norm in (m for m in unet.modules() if isinstance(m, torch.nn.GroupNorm)):  # type: ignore[union-attr]
        norm.forward = lambda x: x  # type: ignore[method-assign]  # a norm depends on the whole image
    dark, lit = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    lit[0, 0, 40, 20] = 5.0  # (longitude, velocity)
    change = (reverter(lit) - reverter(dark)).abs().amax(dim=(0, 1, 2))  # by longitude, the map's last axis
    seen = torch.nonzero(change > 1e-6 * change.max()).flatten()
    assert seen.min() >= 40 - 14 and seen.max() <= 40 + 14 and int(change.argmax()) in range(34, 47)


def test_a_network_is_rebuilt_from_its_table() -> None:
    reverter = Reverter(32, "v_density", network="columns")
    again = Reverter(**reverter.table())
    again.load_state_dict(reverter.state_dict())
    assert again.table() == {"image_size": 32, "quantity": "v_density", "network": "columns", "channels": 1}


def test_enlarging_leaves_no_lattice() -> None:
    layer = doubled(8, 4)
    initialise(layer, torch.Generator().manual_seed(0))
    with torch.no_grad():
        inner = layer(torch.ones(1, 8, 6, 6))[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner))
