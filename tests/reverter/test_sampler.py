import pytest
import torch

from iris_cli.evaluation.calibration import along_rows
from iris_cli.reverter.reverter import Reverter
from iris_cli.reverter.sampler import FIRST_WIDTH, LATENTS, Sampler, noise_of

KEYS = [11, 12, 13]


@pytest.fixture(scope="module")
def sampler():
    return Sampler(32, "v_density", "", channels=2, seed=1).eval()


@pytest.fixture(scope="module")
def images():
    """Images of two lines, the first with little gas at longitude 3, and first maps."""
    generator = torch.Generator().manual_seed(0)
    image, first = (10.0 * torch.rand(3, channels, 32, 32, generator=generator) for channels in (2, 1))
    image[:, 0, 3] *= 1e-3
    return image, first


def test_noise_depends_on_the_key_and_the_number_of_the_sample_alone():
    latents, grains = noise_of(32, KEYS, range(6))
    assert latents.shape == (3, 6, 32) and grains.shape == (3, 6, 32, 32)
    for some in (noise_of(32, [12], range(6)), noise_of(32, [13, 12], range(6))):
        assert torch.equal(some[0][-1], latents[1]) and torch.equal(some[1][-1], grains[1])
    later = noise_of(32, KEYS, range(4, 6))
    assert torch.equal(later[1], grains[:, 4:])
    numbers = torch.cat([latents.flatten(), grains.flatten()])
    assert abs(float(numbers.mean())) < 0.03 and float(numbers.std()) == pytest.approx(1.0, abs=0.03)
    assert len({float(x) for x in latents[..., 0].flatten()}) == 18


@torch.no_grad()
def test_a_sample_is_the_same_in_any_batch(sampler, images):
    whole = sampler(*images, *noise_of(32, KEYS, range(4)))
    assert whole.shape == (3, 4, 32, 32) and bool((whole >= 0).all())
    alone = sampler(*(x[1:2] for x in images), *noise_of(32, KEYS[1:2], range(2, 4)))
    torch.testing.assert_close(alone[0], whole[1, 2:], rtol=1e-4, atol=1e-6)
    assert bool((whole[:, 0] != whole[:, 1]).any())


@torch.no_grad()
def test_the_total_of_a_longitude_follows_the_image_of_the_first_line(sampler, images):
    totals = sampler(*images, *noise_of(32, KEYS, range(40))).sum(dim=2)
    assert float((totals[..., 3] / totals.mean(dim=2)).max()) < 0.01
    assert float(totals.mean() / images[0][:, 0].sum(dim=2).mean()) == pytest.approx(1.0, rel=0.5)
    widths = totals.log().std(dim=1)
    assert bool((widths > 0.5 * FIRST_WIDTH).all()) and float(widths.mean()) < 10 * FIRST_WIDTH


@torch.no_grad()
def test_the_noise_that_all_longitudes_share_draws_no_stripes(images):
    sampler, (latents, grains) = Sampler(32, "v_density", "", channels=2, seed=1), noise_of(32, KEYS, range(40))
    for block in sampler.noisy_blocks:  # at first they change nothing
        torch.nn.init.normal_(block.narrow.weight, std=0.1, generator=torch.Generator().manual_seed(2))
    found = []
    for waves in (sampler.waves.clone(), torch.ones(32, LATENTS)):
        sampler.waves.copy_(waves)
        samples = sampler(*images, latents, 0.0 * grains).transpose(0, 1)[:, :, None].log()
        sums = along_rows(samples, samples[0])
        found.append(float(sums["row_products"][:, 0].sum() / sums["row_squares"][:, 0].sum()))
    assert abs(found[0]) < 0.2 and found[1] > 0.5, found


@torch.no_grad()
def test_every_channel_changes_the_samples(sampler, images):
    noise, other = noise_of(32, KEYS, range(2)), images[0].clone()
    other[:, 1, 7] *= 2.0
    assert bool((sampler(other, images[1], *noise) != sampler(*images, *noise)).any())


def test_the_encoder_begins_with_the_weights_of_a_sightlines():
    sampler, first = Sampler(32, "v_density", "", 2, seed=1), Reverter(32, "v_density", seed=5, channels=2)
    sampler.begin_with(first)
    for name, value in sampler.state_dict().items():
        if name.startswith(("spectra", "blocks")):
            assert torch.equal(value, first.state_dict()[f"sightlines.{name}"])
    before = {name: value.clone() for name, value in sampler.state_dict().items()}
    sampler.begin_with(Reverter(32, "v_density", network="columns"))
    assert all(torch.equal(value, before[name]) for name, value in sampler.state_dict().items())


def test_gradients_reach_every_weight(sampler, images):
    sampler(*images, *noise_of(32, KEYS, range(2))).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in sampler.parameters())
