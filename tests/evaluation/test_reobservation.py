"""Consistency of a map with its image: true maps agree best, uniform ones least, on galaxies made by one rule."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import multivariate_normal

from iris_cli.evaluation.reobservation import Reobservation, Seen, contrast, log_density, pooled, ridge
from iris_cli.reverter.reverter import Reverter

RARE = 0.01


def galaxies(count, seed, size=32):
    """(n, R', L) clumpy rings of various sizes and (n, L, V) their images: gas at the far side approaches."""
    rng = np.random.default_rng(seed)
    r, lon = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    a, b, level = (rng.uniform(low, high, (count, 1, 1)) for low, high in ((0.4, 0.8), (0.3, 0.7), (0.5, 2.0)))
    clumps = np.exp(gaussian_filter(rng.standard_normal((count, size, size)), (0, 1.2, 1.2)) * 3.0)
    maps = level * clumps * np.exp(-0.5 * ((np.hypot(r / b, lon / a) - 1) / 0.25) ** 2)
    spread = np.exp(-0.5 * ((np.linspace(-1, 1, size)[:, None] + np.linspace(-1, 1, size)) / 0.15) ** 2)  # (R', V)
    images = np.einsum("nrl,rv->nlv", maps, spread) + 0.05 * rng.standard_normal((count, size, size))
    return maps.astype(np.float32), images.astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    return Reobservation.fit(*(Seen.of(*galaxies(count, seed)) for count, seed in ((200, 0), (60, 1))))


def nats(fitted, maps, images):
    checked = [fitted.check(m[None], i, np.ones_like(i), RARE) for m, i in zip(maps, images, strict=True)]
    return np.array([found.nats for found in checked if found])


def area_under_curve(better, worse):
    """The probability that one of the first is larger than one of the second."""
    return float(np.mean(better[:, None] > worse))


def test_true_maps_differ_from_random_uniform_shuffled_and_wrongly_turning_ones(fitted):
    maps, images = galaxies(60, 2)
    order = np.random.default_rng(0).permutation(32)
    true = nats(fitted, maps, images)
    wrong = {
        "uniform": np.broadcast_to(maps.mean(axis=(1, 2), keepdims=True), maps.shape),
        "of another galaxy": np.roll(maps, 1, axis=0),
        "distances shuffled": maps[:, order],
        "longitudes shuffled": maps[:, :, order],
        "turns the other way": maps[:, ::-1],  # gas at the far side approaches: reversed, it recedes
    }
    for name in ("columns", "paper"):
        with torch.no_grad():
            network = Reverter(32, seed=3, network=name).eval()
            wrong[f"random weights, {name}"] = network(torch.from_numpy(images)[:, None])[:, 0].numpy()
    for name, changed in wrong.items():
        assert area_under_curve(true, nats(fitted, changed, images)) > 0.95, name
    assert area_under_curve(true, nats(fitted, maps, images[:, :, ::-1])) > 0.95  # the image of the other rotation


def test_true_maps_pass_and_a_smooth_map_is_known_by_its_fine_structure(fitted):
    maps, images = galaxies(60, 2)
    found = [fitted.check(m[None], i, np.ones_like(i), RARE) for m, i in zip(maps, images, strict=True)]
    assert np.mean([each.unlike for each in found if each]) < 0.1
    smooth = fitted.check(gaussian_filter(maps[:1], (0, 1, 1)), images[0], np.ones((32, 32)), RARE)
    assert found[0] and smooth and smooth.fine_structure < 0.6 < 0.8 < found[0].fine_structure < 1.25
    board = 1.0 + np.indices((32, 32)).sum(axis=0) % 2
    rough = fitted.check(maps[:1] * board, images[0], np.ones((32, 32)), RARE)
    assert not found[0].unlike and rough and rough.unlike and rough.nats > 0.5 * found[0].nats


def test_of_samples_the_median_counts(fitted):
    maps, images = galaxies(3, 5)
    alone = nats(fitted, maps, np.repeat(images[:1], 3, axis=0))
    together = fitted.check(maps, images[0], np.ones((32, 32)), RARE)
    assert together is not None and together.nats == pytest.approx(np.median(alone))


def test_the_rank_is_among_true_maps_on_the_same_part_of_the_image(fitted):
    maps, images = galaxies(60, 3)
    half = np.zeros((32, 32))
    half[8:24] = 1.0
    found = [fitted.check(m[None], i * half, half, RARE) for m, i in zip(maps, images, strict=True)]
    percentiles = [each.percentile for each in found if each]
    assert 30 < np.median(percentiles) < 70 and np.mean([each.unlike for each in found if each]) < 0.1
    assert fitted.check(maps[:1], images[0], np.zeros((32, 32)), RARE) is None


def test_the_sentence_has_the_numbers(fitted):
    maps, images = galaxies(1, 4)
    found = fitted.check(maps, images[0], np.ones((32, 32)), RARE)
    assert found is not None and f"{found.nats:.0f} nats" in str(found) and f"{found.uniform:.0f})" in str(found)


def test_few_and_empty_maps_have_finite_numbers():
    few = Reobservation.fit(Seen.of(*galaxies(2, 0)), Seen.of(*galaxies(1, 1)))
    nothing = np.zeros((32, 32), np.float32)
    for maps in (galaxies(1, 2)[0][0], nothing):
        found = few.check(maps[None], nothing, np.ones((32, 32)), RARE)
        assert found is not None and np.isfinite([found.nats, found.uniform, found.fine_structure]).all()
    empty = Reobservation.fit(*(Seen.of(np.zeros((3, 32, 32)), np.zeros((3, 32, 32))) for _ in range(2)))
    found = empty.check(nothing[None], nothing, np.ones((32, 32)), RARE)
    assert found is not None and np.isfinite(found.nats)


def test_pooling_contrast_and_ridge():
    image = np.arange(32 * 32, dtype=float).reshape(1, 32, 32)
    assert pooled(image)[0, 0] == pytest.approx(image[0, :2, :2].mean())
    board = np.indices((32, 32)).sum(axis=0) % 2
    assert contrast(np.stack([np.ones((32, 32)), board, 7.0 * board])) == pytest.approx([0, 0.65, 0.65], abs=0.01)
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((300, 5)), rng.standard_normal((5, 2))
    x -= x.mean(axis=0)
    np.testing.assert_allclose(ridge(x, x @ weights)[0], weights, atol=1e-2)
    y = rng.standard_normal((300, 2))
    found, left = ridge(x, y - y.mean(axis=0))
    assert np.abs(found).max() < 0.15 and left.std() == pytest.approx(1.0, abs=0.1)  # nothing to learn: a large penalty


def test_the_density_is_that_of_scipy():
    c = np.array([[2.0, 0.3], [0.3, 0.5]])
    x = np.array([[0.1, -0.2], [1.0, 3.0]])
    expected = multivariate_normal(cov=c).logpdf(x) + np.log(2 * np.pi)
    np.testing.assert_allclose(log_density(x, c), expected)
