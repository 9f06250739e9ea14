"""The distance of an input from the training set: small for inputs of the same kind, large for others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iris_cli.config.grid import Grid
from iris_cli.errors import DataError
from iris_cli.evaluation.image_statistics import STATISTICS
from iris_cli.evaluation.out_of_distribution import (
    ImageSet,
    TrainingInputs,
    cross_validated,
    summarize_inputs,
)
from iris_cli.evaluation.reobservation import Reobservation, Seen
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.stream import PairStream


def galaxies(count, seed, size=32, tilt=1.0, brightness=1.0):
    """Noisy rings in l-v: inclined ellipses of various sizes."""
    rng = np.random.default_rng(seed)
    lon, v = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    images = []
    for _ in range(count):
        a, b = rng.uniform(0.5, 0.8), rng.uniform(0.15, 0.3)
        p, q = (lon + tilt * v) / np.sqrt(2), (v - tilt * lon) / np.sqrt(2)
        ring = np.exp(-0.5 * ((np.hypot(p / a, q / b) - 1) / 0.3) ** 2)
        images.append(brightness * rng.uniform(0.7, 1.5) * ring + 0.05 * rng.uniform() * rng.standard_normal(lon.shape))
    return np.array(images, np.float32)


GRID = Grid().scaled(8, 32, 8, 32)
EVERYWHERE = np.ones((32, 32), np.float32)


def image_set(count, seed):
    return ImageSet.of(galaxies(count, seed), [str(k) for k in range(count)], GRID)


def scores(known, images, coverage=EVERYWHERE):
    comparison = known.seen_with(coverage)
    assert comparison is not None
    return [comparison.score(image) for image in images]


def test_a_set_without_noise_gets_that_of_the_image():
    smooth = np.maximum(galaxies(60, seed=2), 0.2)
    known = ImageSet.of(smooth[1:], [str(k) for k in range(59)], GRID)
    noisy = smooth[0] - 0.2 + np.random.default_rng(1).normal(0.0, 0.1, smooth[0].shape).astype(np.float32)
    known = replace(known, images=known.images - np.float32(0.2))
    coverage = EVERYWHERE.copy()
    coverage[:20] = 0.0  # most pixels are not observed: dark, and no noise
    plain, with_noise = (known.seen_with(coverage, noise).score(noisy) for noise in (None, noisy))
    assert plain.statistics["noise"].deviation > 10.0 and plain.unlike
    assert abs(with_noise.statistics["noise"].deviation) < 2.0 and not with_noise.unlike


def shuffled(images, block=4):
    """The pixels of each block of an image in random order: its texture is lost, its shape kept."""
    n, lon, v = images.shape
    cut = images.reshape(n, lon // block, block, v // block, block).swapaxes(2, 3).reshape(n, -1, block**2)
    mixed = np.random.default_rng(9).permuted(cut, axis=2)
    mixed = mixed.reshape(n, lon // block, v // block, block, block).swapaxes(2, 3)
    return np.ascontiguousarray(mixed.reshape(images.shape))


@pytest.fixture(scope="module")
def known():
    return image_set(200, 0)


def test_the_rank_of_another_galaxy_of_the_same_kind_is_uniform(known):
    judged = scores(known, galaxies(200, 2))
    counts, _ = np.histogram([j.percentile for j in judged], np.linspace(0, 100, 6))
    assert counts.sum() == 200 and float(((counts - 40) ** 2 / 40).sum()) < 18.5  # chi-square, 4 degrees: 0.1 %
    assert np.mean([j.unlike for j in judged]) <= 0.03


@pytest.mark.parametrize(
    "strange",
    [
        galaxies(6, 3)[:, :, ::-1],  # turning the other way
        shuffled(galaxies(6, 3)),
        galaxies(6, 3, brightness=30.0),
        np.random.default_rng(4).standard_normal((6, 32, 32)).astype(np.float32),
        np.zeros((6, 32, 32), np.float32),
        np.roll(galaxies(6, 3), 12, axis=1),
    ],
    ids=["mirrored", "shuffled", "bright", "noise", "nothing", "elsewhere"],
)
def test_other_images_are_unlike_it(known, strange):
    assert all(score.unlike for score in scores(known, strange))


def test_what_is_unusual_is_named_first_with_its_unit(known):
    usual, mirrored, mixed = (
        scores(known, images)[0] for images in (galaxies(1, 5), galaxies(1, 5)[:, :, ::-1], shuffled(galaxies(1, 5)))
    )
    assert set(usual.statistics) == set(STATISTICS) and abs(usual.statistics["l-v correlation"].deviation) < 3
    assert {"velocity gradient", "l-v correlation"} & set(list(mirrored.statistics)[:3])
    assert "spectral slope, v" in list(mixed.statistics)[:6]
    gradient = mirrored.statistics["velocity gradient"]
    assert gradient.percentile == 0 and gradient.value < gradient.low < gradient.median < gradient.high
    assert "velocity gradient -" in str(mirrored) and "km/s/deg" in str(mirrored)
    assert mirrored.statistics["brightness"].value == pytest.approx(usual.statistics["brightness"].value)


def test_the_docs_have_each_statistic():
    text = (Path(__file__).parents[2] / "docs/method.md").read_text(encoding="utf-8")
    rows = [f"| {name} | {statistic.unit} | {statistic.about} |" for name, statistic in STATISTICS.items()]
    assert "\n".join(rows) in text


def test_the_unit_of_the_images_does_not_matter(known):
    in_mK = replace(known, images=1e3 * known.images)
    image = galaxies(1, 6)[0]
    assert scores(in_mK, 1e3 * image[None])[0].score == pytest.approx(scores(known, image[None])[0].score, rel=1e-3)


def test_only_what_the_survey_covered_is_compared(known):
    coverage = np.zeros((32, 32), np.float32)
    coverage[8:28] = 0.3  # of the latitudes
    coverage[7] = 0.1  # an edge inside a pixel
    images = galaxies(50, 7)
    cut = np.where(coverage > 0.2, images, 0.0)
    cut[:, 7] = 0.3 * images[:, 7]
    whole, part = scores(known, cut), scores(known, cut, coverage)
    assert np.mean([s.unlike for s in whole]) > 0.9 and np.mean([s.unlike for s in part]) < 0.1
    assert part[0] == scores(known, images[:1], coverage)[0]
    assert known.seen_with(np.zeros((32, 32))) is None
    assert known.seen_with(np.pad(np.ones((4, 32)), ((0, 28), (0, 0)))) is None


def test_views_of_a_galaxy_are_left_out_together():
    rng = np.random.default_rng(0)
    of_galaxies = rng.standard_normal((12, len(STATISTICS)))
    views = np.repeat(of_galaxies, 30, axis=0) + 1e-3 * rng.standard_normal((360, len(STATISTICS)))
    together = cross_validated(views, np.repeat(np.arange(12), 30))
    apart = cross_validated(views, np.arange(360))
    assert np.median(together) > 1.2 * np.median(apart)


def test_few_images_have_finite_numbers_and_one_galaxy_is_too_few():
    score = scores(image_set(2, 0), galaxies(1, 2))[0]
    assert np.isfinite([score.score, *(rank.deviation for rank in score.statistics.values())]).all()
    with pytest.raises(DataError, match="1 galaxies are too few"):
        ImageSet.of(galaxies(2, 0), ["one", "one"], GRID)


def test_large_images_are_kept_in_blocks_on_their_axes():
    grid = Grid().scaled(8, 130, 8, 256)
    made = ImageSet.of(np.ones((2, 130, 256), np.float32), ["a", "b"], grid)
    assert made.images.shape == (2, 65, 64)
    np.testing.assert_allclose(made.longitude.centres(), grid.longitude.centres().reshape(65, 2).mean(axis=1))
    np.testing.assert_allclose(made.velocity.centres(), grid.velocity.centres().reshape(64, 4).mean(axis=1))


def test_statistics_are_saved_and_loaded_for_the_same_data_only(known, tmp_path):
    again = Reobservation.fit(*(Seen.of(galaxies(6, seed), galaxies(6, seed)) for seed in (0, 1)))
    inputs, image, file = TrainingInputs(known, again), galaxies(1, 2)[0], tmp_path / "inputs.npz"
    inputs.save(file, "key")
    assert known.arrays()["images"].dtype == np.float16
    loaded = TrainingInputs.load(file, "key")
    assert loaded is not None
    one, other = (scores(i.images, image[None])[0] for i in (loaded, inputs))
    assert one.score == pytest.approx(other.score, rel=1e-2) and one.held_out == 200
    checked = [i.consistency(image[None], image, EVERYWHERE) for i in (loaded, inputs)]
    assert checked[0] == checked[1] is not None
    assert TrainingInputs.load(file, "other") is None
    file.write_bytes(b"damaged")
    assert TrainingInputs.load(file, "key") is None
    assert TrainingInputs.load(tmp_path / "absent.npz", "key") is None


def test_a_single_pair_to_train_on_is_too_few(tiny_shards):
    pairs = PreObservedDataset(tiny_shards)
    train, held_out = pairs.own_split("train")[:1], pairs.own_split("validation")
    streams = [PairStream("train", pairs, numbers, 0, 4) for numbers in (train, held_out)]
    with pytest.raises(DataError, match="1 finite pairs to train on and 4 held out are too few"):
        summarize_inputs(*streams)
