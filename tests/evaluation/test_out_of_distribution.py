"""The distance of an input from the training set: small for inputs of the same kind, large for others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iris_cli.errors import DataError
from iris_cli.evaluation.out_of_distribution import Reduced, TrainingInputs, fit, pooled, summaries_of, summarize_inputs
from iris_cli.evaluation.reobservation import Reobservation, Seen
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.stream import PairStream


def galaxies(count: int, seed: int, size: int = 32, tilt: float = 1.0, brightness: float = 1.0) -> NDArray:
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


REOBSERVATION = Reobservation.fit(*(Seen.of(galaxies(6, seed), galaxies(6, seed)) for seed in (0, 1)))


@pytest.fixture(scope="module")
def inputs() -> TrainingInputs:
    return fit(Reduced.of(galaxies(300, 0)), Reduced.of(galaxies(100, 1)), REOBSERVATION)


def test_galaxies_of_the_same_kind_are_like_the_training_set(inputs: TrainingInputs) -> None:
    judged = [inputs.score(image) for image in galaxies(100, 2)]
    assert np.mean([j.unlike for j in judged]) <= 0.06
    assert np.mean([j.score for j in judged]) == pytest.approx(1.0, abs=0.35)
    assert 25 < np.median([j.percentile for j in judged]) < 75


@pytest.mark.parametrize(
    "strange",
    [
        galaxies(6, 3)[:, :, ::-1],  # turning the other way
        galaxies(6, 3, brightness=12.0),
        galaxies(6, 3, brightness=0.05),
        np.random.default_rng(4).standard_normal((6, 32, 32)).astype(np.float32),
        np.zeros((6, 32, 32), np.float32),
        np.roll(galaxies(6, 3), 12, axis=1),
    ],
    ids=["mirrored", "bright", "faint", "noise", "nothing", "elsewhere"],
)
def test_other_images_are_unlike_it(inputs: TrainingInputs, strange: NDArray) -> None:
    assert all(inputs.score(image).unlike for image in strange)


def test_an_image_has_sixteen_features_as_the_docs_say(inputs: TrainingInputs) -> None:
    assert inputs.held_out.shape == (100, 16)
    docs = Path(__file__).parents[2] / "docs"
    for name in ("method.md", "cubes.md"):
        assert "sixteen numbers" in (docs / name).read_text(encoding="utf-8")


def test_summaries_show_what_is_unusual(inputs: TrainingInputs) -> None:
    usual, mirrored = (inputs.score(image).summaries for image in (galaxies(1, 5)[0], galaxies(1, 5)[0][:, ::-1]))
    assert 2 < usual["lv_correlation"].percentile < 98
    assert mirrored["lv_correlation"].percentile in (0.0, 100.0)
    assert mirrored["brightness"].value == pytest.approx(usual["brightness"].value)


def test_the_unit_of_the_images_does_not_matter(inputs: TrainingInputs) -> None:
    in_mK = fit(Reduced.of(1e3 * galaxies(300, 0)), Reduced.of(1e3 * galaxies(100, 1)), REOBSERVATION)
    for image in galaxies(10, 6):
        assert in_mK.score(1e3 * image).score == pytest.approx(inputs.score(image).score, rel=1e-3)


def test_few_or_empty_images_have_finite_numbers_and_pooling_is_a_mean() -> None:
    few = fit(Reduced.of(galaxies(6, 0, size=8)), Reduced.of(galaxies(3, 1, size=8)), REOBSERVATION)
    assert np.isfinite(few.score(galaxies(1, 2, size=8)[0]).score)
    image = np.arange(32 * 32, dtype=float).reshape(1, 32, 32)
    assert pooled(image)[0, 0] == pytest.approx(image[0, :2, :2].mean())
    assert np.isfinite(summaries_of(np.zeros((1, 8, 8)))).all()


def test_a_set_may_be_reduced_in_parts() -> None:
    images = galaxies(7, 0)
    whole, parts = (Reduced.of(images), Reduced.joined([Reduced.of(images[:5]), Reduced.of(images[5:])]))
    assert parts.mean_square == pytest.approx(whole.mean_square)
    np.testing.assert_array_equal(parts.blocks, whole.blocks)
    np.testing.assert_array_equal(parts.summaries, whole.summaries)


def test_statistics_are_saved_and_loaded_for_the_same_data_only(inputs: TrainingInputs, tmp_path: Path) -> None:
    inputs.save(tmp_path / "inputs.npz", "key")
    loaded = TrainingInputs.load(tmp_path / "inputs.npz", "key")
    image = galaxies(1, 2)[0]
    assert loaded is not None and loaded.score(image) == inputs.score(image)
    checked = [i.consistency(image, image, np.ones_like(image)) for i in (loaded, inputs)]
    assert checked[0] == checked[1] is not None
    assert TrainingInputs.load(tmp_path / "inputs.npz", "other") is None
    (tmp_path / "inputs.npz").write_bytes(b"damaged")
    assert TrainingInputs.load(tmp_path / "inputs.npz", "key") is None
    assert TrainingInputs.load(tmp_path / "absent.npz", "key") is None


def test_a_single_pair_to_train_on_is_too_few(tiny_shards: Path) -> None:
    pairs = PreObservedDataset(tiny_shards)
    train, held_out = pairs.own_split("train")[:1], pairs.own_split("validation")
    streams = [PairStream("train", pairs, numbers, 0, 4) for numbers in (train, held_out)]
    with pytest.raises(DataError, match="1 finite pairs to train on and 4 held out are too few"):
        summarize_inputs(*streams)
