"""The reverter and the networks `paper` and `columns`: sizes, units, names and initial weights."""

import re

import pytest
import torch

from iris_cli.errors import UsageError
from iris_cli.reverter.columns import doubled
from iris_cli.reverter.layers import SIZES, heads, initialise
from iris_cli.reverter.networks import NETWORKS
from iris_cli.reverter.paper import PAPER_STAGES, stages_for
from iris_cli.reverter.reverter import Reverter
from iris_cli.units import INNER, SI


def test_the_paper_network_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in Reverter(512, network="paper").parameters() if p.requires_grad) == 14_339_641


def test_the_paper_network_attends_with_two_four_and_eight_heads_at_32_16_and_8_pixels():
    attending = {512 >> k: heads(row.channels) for k, row in enumerate(PAPER_STAGES, start=1) if row.attends}
    assert attending == {32: 2, 16: 4, 8: 8}


@pytest.mark.parametrize("size", SIZES)
def test_every_size_ends_in_one_latent_pixel(size):
    stages = stages_for(size)
    for row in stages:
        size = (size + 2 * row.padding - row.kernel) // row.stride + 1
    assert size == 1 and stages[-1].groups == 4


@pytest.mark.parametrize(
    ("size", "network"),
    [(32, "paper"), (64, "paper"), (128, "paper"), (64, "columns"), (32, "sightlines"), (128, "sightlines")],
)
def test_a_density_is_never_negative_and_has_the_size_of_its_observation(size, network):
    reverter = Reverter(size, network=network)
    for scale in (1.0, 100.0):
        density = reverter(scale * torch.randn(2, 1, size, size))
        assert density.shape == (2, 1, size, size) and density.isfinite().all()
        assert density.min() >= 0 and density.max() > 0


def test_one_image_gives_finite_gradients_and_each_of_its_pixels_has_one():
    reverter, observation = Reverter(32, network="paper"), torch.rand(1, 1, 32, 32, requires_grad=True)
    reverter(observation.detach()).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in reverter.parameters())
    Reverter(32, network="paper").eval()(observation).sum().backward()
    assert observation.grad is not None and (observation.grad != 0).all()


def test_parameters_have_the_names_of_the_paper_code():
    name = re.compile(r"(encoder|decoder)\._[1-9]_\d_(convolution|transpose_convolution|batch_norm|attention)\.\S+")
    scalars = {"temperature", "intensity", "v_density", "density"}
    assert all(name.fullmatch(key) or key in scalars for key in Reverter(512, network="paper").state_dict())


def test_a_reverter_called_in_other_units_sees_the_same_gas():
    reverter = Reverter(32, "v_density", network="paper").eval()
    inner = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    SI_image = inner / INNER.v_density_per_SI
    reverter.double()
    expected = reverter(inner) / INNER.density_per_SI
    torch.testing.assert_close(reverter.multi_unit_call(SI_image, SI, SI), expected, rtol=1e-9, atol=0.0)


def test_a_state_dict_holds_the_units():
    other = Reverter(32, units=SI, network="paper")
    other.load_state_dict(Reverter(32, units=INNER, network="paper").state_dict())
    assert float(other.density) == INNER.density_per_SI


def test_initial_weights_depend_on_the_seed_alone():
    first = Reverter(32, seed=4, network="paper")
    torch.rand(17)
    second, other = Reverter(32, seed=4, network="paper"), Reverter(32, seed=5, network="paper")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_an_unknown_size_quantity_or_network_is_refused_with_the_known_ones():
    for network in NETWORKS:
        with pytest.raises(UsageError, match="32, 64, 128, 256, 512 pixels, not 100"):
            Reverter(100, network=network)
    for wrong, known in (({"quantity": "temprature"}, "temperature"), ({"network": "colums"}, "columns")):
        with pytest.raises(UsageError) as refused:
            Reverter(32, **wrong)
        assert known in refused.value.hint


# --- columns ----------------------------------------------------------------------------------------------------------


def test_the_map_of_a_galaxy_does_not_depend_on_its_batch():
    reverter = Reverter(32, network="columns").train()
    images = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(reverter(images)[1:2], reverter(images[1:2]), rtol=1e-4, atol=1e-6)


def test_the_outermost_level_keeps_gas_at_its_longitude():
    """Without attention and deeper levels, gas at one longitude changes the map near that longitude alone."""
    reverter = Reverter(64, network="columns")
    unet = reverter.unet
    for up in unet.up:
        torch.nn.init.zeros_(up[1].weight)  # cut all but the outermost skip connection
    for norm in (m for m in unet.modules() if isinstance(m, torch.nn.GroupNorm)):
        norm.forward = lambda x: x  # a norm depends on the whole image
    dark, lit = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    lit[0, 0, 40, 20] = 5.0  # (longitude, velocity)
    change = (reverter(lit) - reverter(dark)).abs().amax(dim=(0, 1, 2))  # by longitude, the map's last axis
    seen = torch.nonzero(change > 1e-6 * change.max()).flatten()
    assert seen.min() >= 40 - 14 and seen.max() <= 40 + 14 and int(change.argmax()) in range(34, 47)


def test_a_network_is_rebuilt_from_its_table():
    reverter = Reverter(32, "v_density", network="columns")
    again = Reverter(**reverter.table())
    again.load_state_dict(reverter.state_dict())
    assert again.table() == {"image_size": 32, "quantity": "v_density", "network": "columns", "channels": 1}


def test_enlarging_leaves_no_lattice():
    layer = doubled(8, 4)
    initialise(layer, torch.Generator().manual_seed(0))
    with torch.no_grad():
        inner = layer(torch.ones(1, 8, 6, 6))[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner))
