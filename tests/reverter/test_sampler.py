from __future__ import annotations

import pytest
import torch

from iris_cli.reverter.sampler import Sampler, noise_of

KEYS = [11, 12, 13]


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler(32, "v_density", "", seed=1).eval()


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Images with nothing at longitude 3, and first maps."""
    generator = torch.Generator().manual_seed(0)
    image, first = (10.0 * torch.rand(3, 1, 32, 32, generator=generator) for _ in range(2))
    image[:, :, 3] = 0.0
    return image, first


def test_noise_depends_on_the_key_and_the_number_of_the_sample_alone() -> None:
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
def test_a_sample_is_the_same_in_any_batch(sampler: Sampler, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    whole = sampler(*images, *noise_of(32, KEYS, range(4)))
    assert whole.shape == (3, 4, 32, 32) and bool((whole >= 0).all())
    alone = sampler(*(x[1:2] for x in images), *noise_of(32, KEYS[1:2], range(2, 4)))
    torch.testing.assert_close(alone[0], whole[1, 2:], rtol=1e-4, atol=1e-6)
    assert bool((whole[:, 0] != whole[:, 1]).any())


@torch.no_grad()
def test_the_total_of_a_longitude_follows_the_image(
    sampler: Sampler, images: tuple[torch.Tensor, torch.Tensor]
) -> None:
    image, first = images
    noise = noise_of(32, KEYS, range(2))
    totals = sampler(image, first, *noise).sum(dim=2)
    assert float((totals[..., 3] / totals.mean(dim=2)).max()) < 0.01
    assert float(totals.mean() / image.sum(dim=3).mean()) == pytest.approx(1.0, rel=0.5)


def test_gradients_reach_every_weight(sampler: Sampler, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    sampler(*images, *noise_of(32, KEYS, range(2))).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in sampler.parameters())
