"""Consistency of a map with its image: true maps agree best, uniform ones least, on galaxies made by one rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from iris_cli.evaluation.reobservation import Reobservation, Seen, contrast, pooled, ridge
from iris_cli.reverter.reverter import Reverter

RARE = 0.01


def galaxies(count: int, seed: int, size: int = 32) -> tuple[NDArray, NDArray]:
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
def fitted() -> Reobservation:
    return Reobservation.fit(*(Seen.of(*galaxies(count, seed)) for count, seed in ((200, 0), (60, 1))))


def distances(fitted: Reobservation, maps: NDArray, images: NDArray) -> NDArray:
    checked = [fitted.check(m, i, np.ones_like(i), RARE) for m, i in zip(maps, images, strict=True)]
    return np.array([found.distance for found in checked if found])


def test_a_true_map_ranks_above_a_smooth_one_random_weights_and_a_uniform_map(fitted: Reobservation) -> None:
    maps, images = galaxies(30, 2)
    network = Reverter(32, seed=3, network="columns").eval()
    with torch.no_grad():
        random = network(torch.from_numpy(images)[:, None])[:, 0].numpy()
    smooth = gaussian_filter(maps, (0, 1, 1))
    uniform = np.full_like(maps, maps.mean())
    ranked = [distances(fitted, each, images) for each in (maps, smooth, random, uniform)]
    medians = [float(np.median(each)) for each in ranked]
    assert medians == sorted(medians) and medians[0] < 0.6, medians
    assert np.mean(ranked[0] < ranked[2]) > 0.95 and np.mean(ranked[0] < ranked[3]) == 1.0


@pytest.mark.parametrize("change", ["mirrored", "shuffled", "another"])
def test_a_map_of_another_galaxy_or_in_another_order_is_worse(fitted: Reobservation, change: str) -> None:
    maps, images = galaxies(30, 2)
    order = np.random.default_rng(0).permutation(32)
    changed = {"mirrored": maps[:, ::-1], "shuffled": maps[:, :, order], "another": np.roll(maps, 1, axis=0)}[change]
    assert np.mean(distances(fitted, maps, images) < distances(fitted, changed, images)) > 0.9


def test_the_rank_is_among_true_maps_on_the_same_part_of_the_image(fitted: Reobservation) -> None:
    maps, images = galaxies(60, 3)
    half = np.zeros((32, 32))
    half[8:24] = 1.0
    found = [fitted.check(m, i * half, half, RARE) for m, i in zip(maps, images, strict=True)]
    percentiles = [each.percentile for each in found if each]
    assert 30 < np.median(percentiles) < 70 and np.mean([each.unlike for each in found if each]) < 0.1
    assert fitted.check(maps[0], images[0], np.zeros((32, 32)), RARE) is None


def test_the_sentence_has_the_numbers(fitted: Reobservation) -> None:
    found = fitted.check(*(part[0] for part in galaxies(1, 4)), np.ones((32, 32)), RARE)
    assert found is not None and f"distance {found.distance:.2f}" in str(found)
    assert f"leaves {found.unexplained:.0%} of the image" in str(found)


def test_few_and_empty_maps_have_finite_numbers() -> None:
    few = Reobservation.fit(Seen.of(*galaxies(2, 0)), Seen.of(*galaxies(1, 1)))
    nothing = np.zeros((32, 32), np.float32)
    for maps in (galaxies(1, 2)[0][0], nothing):
        found = few.check(maps, nothing, np.ones((32, 32)), RARE)
        assert found is not None and np.isfinite([found.distance, found.uniform, found.unexplained]).all()
    empty = Reobservation.fit(*(Seen.of(np.zeros((3, 32, 32)), np.zeros((3, 32, 32))) for _ in range(2)))
    found = empty.check(nothing, nothing, np.ones((32, 32)), RARE)
    assert found is not None and np.isfinite(found.distance)


def test_pooling_contrast_and_ridge() -> None:
    image = np.arange(32 * 32, dtype=float).reshape(1, 32, 32)
    assert pooled(image)[0, 0] == pytest.approx(image[0, :2, :2].mean())
    board = np.indices((32, 32)).sum(axis=0) % 2
    assert contrast(np.stack([np.ones((32, 32)), board, 7.0 * board])) == pytest.approx([0, 0.65, 0.65], abs=0.01)
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((300, 5)), rng.standard_normal((5, 2))
    x -= x.mean(axis=0)
    np.testing.assert_allclose(ridge(x, x @ weights), weights, atol=1e-2)
    y = rng.standard_normal((300, 2))
    assert np.abs(ridge(x, y - y.mean(axis=0))).max() < 0.15  # nothing to learn: a large penalty
