"""Is an observation like those that a network was trained on? A distance to the training set, and its rank.

An image becomes sixteen numbers: its components along the eight main axes of the training images (pooled, stretched by
asinh), how much these leave over, and seven summaries of what stands out of its noise: brightness, peak, where it lies,
how far it reaches, and the tilt of the l-v diagram. The score is the squared Mahalanobis distance of these numbers from
the training inputs, noise and litter included, per dimension: about 1 for one of them. It is ranked among inputs of
galaxies that were held out of the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.config.train import TrainConfig
from iris_cli.console import progress
from iris_cli.errors import IrisError
from iris_cli.files import atomic_file
from iris_cli.pairs.batch import Feed
from iris_cli.pairs.noise import ImageNoise
from iris_cli.pairs.open_data import open_data, open_litter
from iris_cli.pairs.sources import Numbers, Pairs, divide, litter_of, pairs_of
from iris_cli.standard.orbit_check import compare
from iris_cli.training.checkpoint import Checkpoint
from shards.errors import ShardError
from shards.order import stream_key

CACHE = "novelty.npz"
VERSION = 1
POOLED = 16
COMPONENTS = 8
MOST_TRAINING, MOST_HELD_OUT, MOST_TRUE = 2000, 500, 50
#: An input with a smaller share of held-out ones beyond it is called unlike the training set.
RARE = 0.01
#: Pixels below so many times the noise do not enter the summaries.
NOISE_CUT = 3.0

#: Longitudes and velocities are fractions of the axes, from the middle; brightnesses are log10 of inner units.
SUMMARIES = ("brightness", "peak", "longitude", "velocity", "longitude_spread", "velocity_spread", "lv_correlation")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Digest:
    """What is kept of images, so that a training set need not be: means over blocks (n, P P), summaries (n, 7) and the
    mean square of all pixels.
    """

    blocks: Floats
    summaries: Floats
    mean_square: float

    @classmethod
    def of(cls, images: NDArray) -> Digest:
        """(n, L, V)"""
        return cls(pooled(images), summarise(images), float(np.mean(np.square(images, dtype=np.float64))))

    @classmethod
    def joined(cls, parts: Sequence[Digest]) -> Digest:
        counts = [len(part.blocks) for part in parts]
        square = float(np.average([part.mean_square for part in parts], weights=counts))
        return cls(np.concatenate([p.blocks for p in parts]), np.concatenate([p.summaries for p in parts]), square)


@dataclass(frozen=True)
class Features:
    """Image -> numbers. `scale` is the training images' rms, `axes` (k, P P) their main axes about `centre`."""

    scale: float
    centre: Floats
    axes: Floats

    def of(self, images: Digest) -> Floats:
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
class Familiar:
    """What the inputs of a training look like: mean and inverse covariance of their features.

    `held_out` (n, features) are those of galaxies that were not trained on; `explained` (m, orbit models) is how much
    of their emission lies in the footprint of their true maps (see standard.footprint), which a predicted map's is to
    be compared with.
    """

    features: Features
    mean: Floats
    inverse_covariance: Floats
    held_out: Floats
    explained: Floats

    def score(self, features: Floats) -> Floats:
        """(n, features) -> (n,) squared Mahalanobis distance per dimension."""
        away = features - self.mean
        return np.einsum("ni,ij,nj->n", away, self.inverse_covariance, away) / away.shape[1]

    def judge(self, image: NDArray) -> InputScore:
        """The score of an image (L, V) and its rank among held-out inputs."""
        features, others = self.features.of(Digest.of(image[None])), np.sort(self.score(self.held_out))
        score = float(self.score(features)[0])
        columns = zip(SUMMARIES, features[0, -len(SUMMARIES) :], self.held_out[:, -len(SUMMARIES) :].T, strict=True)
        return InputScore(
            score,
            median_held_out=float(np.median(others)),
            percentile=percentile(others, score),
            held_out=len(others),
            unlike=bool(np.mean(others >= score) < RARE),
            summaries={
                name: SummaryRank(float(value), percentile(np.sort(column), float(value)))
                for name, value, column in columns
            },
        )


def percentile(ascending: NDArray[np.float64], value: float) -> float:
    """The share of the sorted values that lie below, in percent."""
    return 100.0 * float(np.searchsorted(ascending, value, side="left")) / max(len(ascending), 1)


def pooled(images: NDArray) -> Floats:
    """(n, L, V) -> (n, P P) means over blocks."""
    n, lon, v = images.shape
    a, b = max(lon // POOLED, 1), max(v // POOLED, 1)
    blocks = images[:, : lon // a * a, : v // b * b].reshape(n, lon // a, a, v // b, b).mean(axis=(2, 4))
    return np.asarray(blocks, np.float64).reshape(n, -1)


def summarise(images: NDArray) -> Floats:
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
    return [
        float(np.log10(max(total / bright.size, 1e-9))),
        float(np.log10(max(image.max(), 1e-9))),
        mean_l,
        mean_v,
        spread_l,
        spread_v,
        tilt,
    ]


def learn(training: Digest, held_out: Digest, explained: Floats) -> Familiar:
    """From images and from what true maps explain.

    With few training images the covariance is drawn towards its diagonal.
    """
    scale = float(np.sqrt(training.mean_square)) or 1.0
    rows = np.arcsinh(training.blocks / scale)
    centre = rows.mean(axis=0)
    _, _, axes = np.linalg.svd(rows - centre, full_matrices=False)
    features = Features(scale, centre, axes[: min(COMPONENTS, max(1, len(rows) // 4))])
    known = features.of(training)
    covariance = np.atleast_2d(np.cov(known.T))
    doubt = len(covariance) / (len(covariance) + len(known))
    diagonal = np.diag(np.maximum(np.diag(covariance), 1e-12))
    inverse = np.linalg.inv((1 - doubt) * covariance + doubt * diagonal).astype(np.float64)
    return Familiar(features, np.asarray(known.mean(axis=0)), inverse, features.of(held_out), explained)


# --- from a run -------------------------------------------------------------------------------------------------------


def familiar_inputs(run: Path, checkpoint: Checkpoint, hyper: TrainConfig, quiet: bool = True) -> Familiar | str:
    """What a run was trained on, from the shards that its configuration names, kept in its folder for the next time.

    A sentence instead, when that cannot be known: the shards are gone, are others, or held nothing out.
    """
    key = f"{VERSION}:{checkpoint.data.fingerprint}:{stream_key([to_dict(hyper.noise), hyper.litter]):016x}"
    kept = _kept(run, key)
    if kept:
        return kept
    if not hyper.data:
        return "the run does not say what it was trained on"
    if hyper.observer:
        return "the run observed its galaxies while it was trained, which would take too long to repeat"
    try:
        dataset, observer = open_data(hyper.data, hyper.observer)
        pairs = pairs_of(dataset, observer)
        if pairs.fingerprint != checkpoint.data.fingerprint:
            return f"{pairs.name} is not, or is no longer, what the run was trained on"
        litter = litter_of(open_litter(hyper), observer, pairs)
    except (IrisError, ShardError) as error:
        return f"the training set cannot be read: {error.message}"
    train, validation = divide(pairs, hyper)
    held_out = np.concatenate([validation, pairs.split("test")])
    if len(held_out) == 0:
        return f"{pairs.name} held out no galaxies to compare with"
    made = _look_at(pairs, train, held_out, hyper, litter, quiet)
    _keep(run, key, made)
    return made


def _look_at(
    pairs: Pairs, train: Numbers, held_out: Numbers, hyper: TrainConfig, litter: Pairs | None, quiet: bool
) -> Familiar:
    """Read so many of the inputs as are needed, keeping little of each."""
    train, held_out = _spread(train, MOST_TRAINING), _spread(held_out, MOST_HELD_OUT)
    training: list[Digest] = []
    others: list[Digest] = []
    explained: list[list[float]] = []
    with progress("looking at the training set", len(train) + len(held_out), quiet=quiet) as bar:
        for observed, _ in _inputs(pairs, train, hyper, litter):
            training.append(Digest.of(observed))
            bar.advance(len(observed))
        for observed, true in _inputs(pairs, held_out, hyper, litter):
            others.append(Digest.of(observed))
            if len(explained) < MOST_TRUE:
                explained += [_explained(*both, pairs.grid) for both in zip(observed, true, strict=True)]
            bar.advance(len(observed))
    return learn(Digest.joined(training), Digest.joined(others), np.array(explained))


def _inputs(
    pairs: Pairs, numbers: Numbers, hyper: TrainConfig, litter: Pairs | None
) -> Iterator[tuple[NDArray, NDArray]]:
    """Observations (n, L, V) with the noise and the litter that the network met, and true maps (n, R', L)."""
    noise = None if hyper.noise.is_zero else ImageNoise.of(hyper.noise, pairs.quantity, pairs.grid, pairs.latitude)
    for batch in Feed("novelty", pairs, numbers, hyper.seed, 16, noise=noise, litter=litter).epoch():
        yield batch.observation[:, 0].numpy(), batch.density[:, 0].numpy()


def _explained(observed: NDArray, true: NDArray, grid: Grid) -> list[float]:
    return [agreement.explained for agreement in compare(observed, np.ones_like(observed), true, grid)]


def _spread(numbers: Numbers, most: int) -> Numbers:
    """At most so many, evenly over the set."""
    if len(numbers) <= most:
        return np.sort(numbers)
    return np.sort(numbers)[np.linspace(0, len(numbers) - 1, most).round().astype(int)]


def _keep(run: Path, key: str, made: Familiar) -> None:
    if not run.is_dir():
        return
    arrays: dict[str, Any] = {**vars(made), **vars(made.features)}
    del arrays["features"]
    with suppress(OSError), atomic_file(run / CACHE) as file:  # a run that nobody may write to is looked at again
        np.savez(file, allow_pickle=False, key=np.array(key), **arrays)


def _kept(run: Path, key: str) -> Familiar | None:
    try:
        with np.load(run / CACHE, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            features = Features(float(arrays["scale"]), arrays["centre"], arrays["axes"])
            return Familiar(features, *(arrays[n] for n in ("mean", "inverse_covariance", "held_out", "explained")))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
