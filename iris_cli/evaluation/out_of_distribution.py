"""The distance of an observation from those that a network was trained on, and its rank among held-out ones.

An image becomes sixteen numbers: its components along the eight main axes of the training images (pooled, stretched by
asinh), the residual that these leave, and seven summaries of the emission above its noise: brightness, peak, position
and extent along both axes, and the tilt of the l-v diagram. The score is the squared Mahalanobis distance of these
numbers from the training inputs, noise and litter included, per dimension: about 1 for one of them. It is ranked among
inputs of galaxies that were held out of the training.

A training computes the statistics of its inputs at its end (`summarize_inputs`) and saves them in the run folder, with
the relation between maps and images (reobservation.py), so that no later command reads its data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from iris_cli.console import progress
from iris_cli.errors import DataError
from iris_cli.evaluation.reobservation import Consistency, Reobservation, Seen, pooled
from iris_cli.files import atomic_file
from iris_cli.pairs.stream import PairStream
from shards.order import Numbers

VERSION = 2
#: Names the random draws of noise and litter: another name would give other draws.
STREAM = "novelty"
COMPONENTS = 8
#: At most so many inputs are read, and so many true maps kept to compare with.
MOST_TRAINING, MOST_HELD_OUT, MOST_TRUE = 2000, 500, 200
BATCH = 16
#: An input is unlike the training set when a smaller share of the held-out ones is as far from it.
RARE = 0.01
#: Pixels below so many times the noise do not enter the summaries.
NOISE_CUT = 3.0

#: Longitudes and velocities are fractions of the axes, from the middle; brightnesses are log10 of inner units.
SUMMARIES = ("brightness", "peak", "longitude", "velocity", "longitude_spread", "velocity_spread", "lv_correlation")

#: Arrays of the saved file, and the prefix of those of the re-observation.
PLAIN, PREFIX = ("mean", "inverse_covariance", "held_out"), "reobservation_"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reduced:
    """What the features of images are computed from: means over blocks (n, P P), summaries (n, 7) and the mean square
    of all pixels. It is small, so that a training set need not be kept.
    """

    blocks: Floats
    summaries: Floats
    mean_square: float

    @classmethod
    def of(cls, images: NDArray) -> Reduced:
        """(n, L, V)"""
        return cls(pooled(images), summaries_of(images), float(np.mean(np.square(images, dtype=np.float64))))

    @classmethod
    def joined(cls, parts: Sequence[Reduced]) -> Reduced:
        counts = [len(part.blocks) for part in parts]
        square = float(np.average([part.mean_square for part in parts], weights=counts))
        return cls(np.concatenate([p.blocks for p in parts]), np.concatenate([p.summaries for p in parts]), square)


@dataclass(frozen=True)
class FeatureAxes:
    """Image -> features. `scale` is the training images' rms, `axes` (k, P P) their main axes about `centre`."""

    scale: float
    centre: Floats
    axes: Floats

    def features(self, images: Reduced) -> Floats:
        """(n, k + 1 + 7)"""
        away = np.arcsinh(images.blocks / self.scale) - self.centre
        along = away @ self.axes.T
        left = np.maximum((away**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.column_stack([along, np.log(left + 1e-9), images.summaries])


@dataclass(frozen=True)
class SummaryRank:
    """One of SUMMARIES of an image, and the share of held-out inputs with a lower value, in percent."""

    value: float
    percentile: float


@dataclass(frozen=True)
class InputScore:
    """How far an image is from the training set, compared with inputs of galaxies that were held out.

    `score` is the squared Mahalanobis distance per dimension, `median_held_out` its median over the `held_out` inputs,
    `percentile` the share of these with a lower score, in percent. `unlike`: nearly all of them have a lower score.
    """

    score: float
    median_held_out: float
    percentile: float
    held_out: int
    unlike: bool
    summaries: dict[str, SummaryRank]


@dataclass(frozen=True)
class TrainingInputs:
    """Statistics of a training's inputs: mean (features,) and inverse covariance (features, features).

    `held_out` (n, features) are the features of galaxies that were not trained on.
    """

    feature_axes: FeatureAxes
    mean: Floats
    inverse_covariance: Floats
    held_out: Floats
    reobservation: Reobservation

    def distances(self, features: Floats) -> Floats:
        """(n, features) -> (n,) squared Mahalanobis distance per dimension."""
        away = features - self.mean
        return np.einsum("ni,ij,nj->n", away, self.inverse_covariance, away) / away.shape[1]

    def score(self, image: NDArray) -> InputScore:
        """The distance of an image (L, V) and its rank among held-out inputs."""
        features = self.feature_axes.features(Reduced.of(image[None]))
        others = np.sort(self.distances(self.held_out))
        score = float(self.distances(features)[0])
        columns = zip(SUMMARIES, features[0, -len(SUMMARIES) :], self.held_out[:, -len(SUMMARIES) :].T, strict=True)
        summaries = {name: SummaryRank(float(x), percentile(np.sort(known), float(x))) for name, x, known in columns}
        median, unlike = float(np.median(others)), bool(np.mean(others >= score) < RARE)
        return InputScore(score, median, percentile(others, score), len(others), unlike, summaries)

    def consistency(self, density: NDArray, image: NDArray, coverage: NDArray) -> Consistency | None:
        """Of a map (R', L) with the image (L, V) that it was predicted from; None where nothing was observed."""
        return self.reobservation.check(density, image, coverage, RARE)

    def save(self, path: Path, key: str) -> None:
        """Write an .npz file, whole or not at all. `key` identifies the training's data."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in PLAIN}
        arrays |= vars(self.feature_axes) | {f"{PREFIX}{name}": part for name, part in vars(self.reobservation).items()}
        with atomic_file(path) as file:
            np.savez(file, allow_pickle=False, key=np.array(f"{VERSION}:{key}"), **arrays)

    @classmethod
    def load(cls, path: Path, key: str) -> TrainingInputs | None:
        """None when there is no such file, when it is damaged, or when it belongs to other data."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if str(arrays["key"]) != f"{VERSION}:{key}":
                    return None
                axes = FeatureAxes(float(arrays["scale"]), arrays["centre"], arrays["axes"])
                again = Reobservation(**{f.name: arrays[f"{PREFIX}{f.name}"][()] for f in fields(Reobservation)})
                return cls(axes, reobservation=again, **{name: arrays[name] for name in PLAIN})
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None


def percentile(ascending: NDArray[np.float64], value: float) -> float:
    """The share of the sorted values that lie below, in percent."""
    return 100.0 * float(np.searchsorted(ascending, value, side="left")) / max(len(ascending), 1)


def summaries_of(images: NDArray) -> Floats:
    """(n, L, V) -> (n, 7) SUMMARIES."""
    return np.array([_summary(np.asarray(image, np.float64)) for image in images])


def _summary(image: Floats) -> list[float]:
    below = image[image < 0]
    noise = float(np.sqrt(np.mean(below**2))) if below.size else 0.0
    bright = np.where(image > NOISE_CUT * noise, image, 0.0)
    total = max(float(bright.sum()), 1e-30)
    lon, v = (np.linspace(-0.5, 0.5, n) for n in image.shape)
    on_lon, on_v = bright.sum(axis=1) / total, bright.sum(axis=0) / total
    mean_l, mean_v = float(on_lon @ lon), float(on_v @ v)
    spread_l = float(np.sqrt(on_lon @ (lon - mean_l) ** 2))
    spread_v = float(np.sqrt(on_v @ (v - mean_v) ** 2))
    tilt = float((lon - mean_l) @ (bright / total) @ (v - mean_v)) / max(spread_l * spread_v, 1e-9)
    brightness, peak = (float(np.log10(max(value, 1e-9))) for value in (total / bright.size, image.max()))
    return [brightness, peak, mean_l, mean_v, spread_l, spread_v, tilt]


def fit(training: Reduced, held_out: Reduced, reobservation: Reobservation) -> TrainingInputs:
    """With few training images the covariance is shrunk towards its diagonal."""
    scale = float(np.sqrt(training.mean_square)) or 1.0
    rows = np.arcsinh(training.blocks / scale)
    centre = rows.mean(axis=0)
    _, _, directions = np.linalg.svd(rows - centre, full_matrices=False)
    axes = FeatureAxes(scale, centre, directions[: min(COMPONENTS, max(1, len(rows) // 4))])
    known = axes.features(training)
    covariance = np.atleast_2d(np.cov(known.T))
    shrinkage = len(covariance) / (len(covariance) + len(known))
    diagonal = np.diag(np.maximum(np.diag(covariance), 1e-12))
    inverse = np.linalg.inv((1 - shrinkage) * covariance + shrinkage * diagonal).astype(np.float64)
    return TrainingInputs(axes, np.asarray(known.mean(axis=0)), inverse, axes.features(held_out), reobservation)


def summarize_inputs(
    train: PairStream, held_out: PairStream, quiet: bool = True, check: Callable[[], None] = lambda: None
) -> TrainingInputs:
    """Statistics of inputs as the network saw them, with the noise and the litter of each stream.

    Reads at most MOST_TRAINING and MOST_HELD_OUT pairs of them, evenly over each. `check` is called at each batch and
    while one is late, and may raise. ShardError for a pair that cannot be read.
    """
    alone: dict[str, Any] = {"name": STREAM, "batch": BATCH, "rank": 0, "world": 1, "shuffle": False, "pinned": False}
    chosen = (train, MOST_TRAINING), (held_out, MOST_HELD_OUT)
    streams = [replace(each, numbers=_evenly(each.numbers, most), litter_seed=0, **alone) for each, most in chosen]
    reduced: list[list[Reduced]] = [[], []]
    seen: list[list[Seen]] = [[], []]
    with progress("statistics of the inputs", sum(stream.count for stream in streams), quiet=quiet) as bar:
        for which, stream in enumerate(streams):
            for observed, true in _images(stream, check):
                reduced[which].append(Reduced.of(observed))
                if which == 0 or BATCH * len(seen[1]) < MOST_TRUE:
                    seen[which].append(Seen.of(true, observed))
                bar.advance(len(observed))
    counts = [sum(len(part.blocks) for part in parts) for parts in reduced]
    if counts[0] < 2 or counts[1] < 1:
        raise DataError(f"{counts[0]} finite pairs to train on and {counts[1]} held out are too few")
    again = Reobservation.fit(*(Seen.joined(parts) for parts in seen))
    return fit(Reduced.joined(reduced[0]), Reduced.joined(reduced[1]), again)


def _images(stream: PairStream, check: Callable[[], None]) -> Iterator[tuple[NDArray, NDArray]]:
    """Observations (n, L, V) and true maps (n, R', L), without those that are not finite."""
    with closing(stream.epoch(waiting=check)) as batches:
        for batch in batches:
            check()
            images = (batch.observation[:, 0], batch.density[:, 0])
            seen, true = (image.flatten(1).isfinite().all(dim=1) for image in images)
            finite = seen & true
            if finite.any():
                yield images[0][finite].numpy(), images[1][finite].numpy()


def _evenly(numbers: Numbers, most: int) -> Numbers:
    """At most so many, evenly over the set."""
    return np.sort(numbers)[np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round().astype(int)]
