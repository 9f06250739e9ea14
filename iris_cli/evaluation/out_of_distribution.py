"""The distance of an observation from a set of mock observations, and which of its statistics are unusual in the set.

An l-v image becomes the numbers of image_statistics.py, on the pixels that were observed, as does each image of the
set. The deviation of a statistic is its difference from the set's median in units of the set's spread on that side,
(95 % - 50 %) / 1.645 or (50 % - 5 %) / 1.645: standard deviations, for a normal distribution. The distance of an image
is the mean of its LARGEST largest absolute deviations. It is ranked among the images of the set, each compared with
other galaxies than its own (cross-validation in FOLDS folds), so that the rank of one more image of the same kind is
uniform. docs/benchmarks/out_of_distribution.md shows which changes of an image it finds.

A training keeps images of its inputs, noise and litter included, in the run folder (`summarize_inputs`), with the
relation between maps and images (reobservation.py), so that no later command reads its data.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iris_cli.axes import Axis
from iris_cli.config.grid import Grid
from iris_cli.console import progress
from iris_cli.errors import DataError
from iris_cli.evaluation.image_statistics import STATISTICS, in_blocks, statistics_of, with_noise_like
from iris_cli.evaluation.reobservation import Consistency, Reobservation, Seen
from iris_cli.files import atomic_file
from iris_cli.pairs.stream import PairStream
from shards.order import Numbers

VERSION = 4
#: Names the random draws of noise and litter: another name would give other draws.
STREAM = "novelty"
#: The distance is the mean of so many deviations: one statistic alone counts, but not as all.
LARGEST = 3
FOLDS = 10
#: Deviations are limited, so that JSON and figures hold no infinite numbers.
MOST_DEVIATION = 99.0
#: A statistic is called unusual beyond this deviation: 1 % of a normal distribution on each side.
UNUSUAL = 2.33
#: The 95 % quantile of a normal distribution, in standard deviations.
SIGMAS_OF_95 = 1.645
#: Images are kept as means over blocks, so many or up to twice as many along an axis; a survey must fill LEAST_PIXELS.
PIXELS, LEAST_PIXELS = 64, 8
#: At most so many inputs are read, so many true maps kept to compare with, and so many images.
MOST_TRAINING, MOST_HELD_OUT, MOST_TRUE, MOST_IMAGES = 2000, 500, 200, 600
BATCH = 16
#: An input is unlike the set when a smaller share of the set's images is as far from it.
RARE = 0.01
#: Pixels of which the cubes fill a smaller part than this share of the best pixel's count as not observed.
LEAST_FILLED = 0.5

#: Arrays of the saved file of images, and the prefix of those of the re-observation.
PREFIX = "reobservation_"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StatisticRank:
    """A statistic of an image beside a set: its 5, 50 and 95 % quantiles, the share of the set with a lower value in
    percent, and the deviation.
    """

    value: float
    low: float
    median: float
    high: float
    percentile: float
    deviation: float

    def text(self, name: str) -> str:
        """The value with its unit, and those of the set."""
        return f"{self.value:.3g} ({self.low:.3g} … {self.high:.3g}) {STATISTICS[name].unit}".rstrip()


@dataclass(frozen=True)
class InputScore:
    """How far an image is from a set, compared with the images of the set.

    `score` is the distance, `median_held_out` its median over the `held_out` images of the set, `percentile` the share
    of these with a smaller distance, in percent. `unlike`: nearly all of them have a smaller distance. `statistics`
    are sorted by their absolute deviations, the largest first.
    """

    score: float
    median_held_out: float
    percentile: float
    held_out: int
    unlike: bool
    statistics: dict[str, StatisticRank]

    def __str__(self) -> str:
        """The statistics beyond UNUSUAL, at most six of them."""
        found = [(name, rank) for name, rank in self.statistics.items() if abs(rank.deviation) > UNUSUAL]
        said = [f"{name} {rank.text(name)} {rank.deviation:+.1f}" for name, rank in found]
        unusual = ", ".join(said[:6]) + (f", and {len(said) - 6} more" if len(said) > 6 else "")
        what = f"outside (5 … 95 % of the set, deviation): {unusual}" if unusual else "no single statistic is outside"
        rank = f"larger than those of {self.percentile:.0f} % of {self.held_out} images"
        return f"distance {self.score:.2f}, {rank}; {what}"


@dataclass(frozen=True)
class Spread:
    """5, 50 and 95 % quantiles (3, statistics) of a set."""

    quantiles: Floats

    @classmethod
    def of(cls, statistics: Floats) -> "Spread":
        """(n, statistics)"""
        return cls(np.quantile(statistics, [0.05, 0.5, 0.95], axis=0))

    def deviations(self, statistics: Floats) -> Floats:
        """(n, statistics) -> the same; see the module."""
        low, middle, high = self.quantiles
        off = statistics - middle
        sigma = np.where(off > 0, high - middle, middle - low) / SIGMAS_OF_95
        least = [statistic.least_spread for statistic in STATISTICS.values()]
        return np.clip(off / np.maximum(sigma, least), -MOST_DEVIATION, MOST_DEVIATION)

    def distances(self, statistics: Floats) -> Floats:
        """(n, statistics) -> (n,)"""
        return np.sort(np.abs(self.deviations(statistics)), axis=1)[:, -LARGEST:].mean(axis=1)


def cross_validated(statistics: Floats, galaxies: NDArray[np.integer]) -> Floats:
    """(n, statistics) -> (n,) the distance of each image from the images of other galaxies."""
    _, number = np.unique(galaxies, return_inverse=True)
    fold, found = number % FOLDS, np.zeros(len(statistics))
    for k in range(min(FOLDS, int(number.max()) + 1)):
        found[fold == k] = Spread.of(statistics[fold != k]).distances(statistics[fold == k])
    return found


@dataclass(frozen=True)
class ImageSet:
    """Observations (n, L, V) of mock galaxies in one unit, on these axes; `galaxies` (n,) number what each is of."""

    images: NDArray[np.float32]
    galaxies: NDArray[np.int64]
    longitude: Axis
    velocity: Axis

    @classmethod
    def of(cls, images: NDArray, galaxies: Sequence[str], grid: Grid) -> "ImageSet":
        """Images on the axes of a grid, which may be `in_blocks` already. DataError for less than two galaxies."""
        _, number = np.unique(np.asarray(galaxies, np.str_), return_inverse=True)
        if len(np.unique(number)) < 2:
            raise DataError(f"{len(np.unique(number))} galaxies are too few to compare with", "two are the minimum")
        axes = (coarse(axis) for axis in (grid.longitude, grid.velocity))
        return cls(in_blocks(images, PIXELS), number.astype(np.int64), *axes)

    def seen_with(self, coverage: NDArray, noise_of: NDArray | None = None) -> "Comparison | None":
        """The set as a survey would have observed it; None where it covers too little of the image.

        `coverage` (L, V) is the share of each pixel that was observed. A set of images without noise gets that of the
        image `noise_of` (L, V).
        """
        seen = (coverage >= LEAST_FILLED * coverage.max(initial=0.0)) & (coverage > 0)
        observed = in_blocks(seen[None].astype(np.float32), PIXELS)[0] >= 1.0
        if min(observed.any(axis=1).sum(), observed.any(axis=0).sum()) < LEAST_PIXELS:
            return None
        images = self.images
        if noise_of is not None:
            images = with_noise_like(images, in_blocks(noise_of[None], PIXELS)[0], observed)
        known = statistics_of(images, observed, self.longitude, self.velocity)
        return Comparison(observed, self.longitude, self.velocity, known, cross_validated(known, self.galaxies))

    def arrays(self) -> dict[str, NDArray]:
        """What `of_arrays` reads: half-precision numbers in units of the largest."""
        scale = np.float32(max(float(np.abs(self.images).max()), 1e-30))
        axes = json.dumps([asdict(self.longitude), asdict(self.velocity)])
        images = (self.images / scale).astype(np.float16)
        return {"images": images, "scale": np.array(scale), "galaxies": self.galaxies, "axes": np.array(axes)}

    @classmethod
    def of_arrays(cls, arrays: Any) -> "ImageSet":
        images = arrays["images"].astype(np.float32) * arrays["scale"]
        return cls(images, arrays["galaxies"], *(Axis(**axis) for axis in json.loads(str(arrays["axes"]))))


@dataclass(frozen=True)
class Comparison:
    """The statistics (n, STATISTICS) of a set on the pixels that a survey observed, and the images' distances (n,).

    `observed` (L, V) is True for these pixels, on the axes of the set.
    """

    observed: NDArray[np.bool_]
    longitude: Axis
    velocity: Axis
    statistics: Floats
    distances: Floats

    def deviations(self, statistics: ArrayLike) -> Floats:
        """(n, STATISTICS) or (STATISTICS,) -> the same, from this set."""
        return Spread.of(self.statistics).deviations(np.asarray(statistics))

    def score(self, image: NDArray) -> InputScore:
        """The distance of an image (L, V), of the same survey, from the set and its rank."""
        blocks = in_blocks(image[None], PIXELS)
        own, spread = statistics_of(blocks, self.observed, self.longitude, self.velocity), Spread.of(self.statistics)
        score, deviations = float(spread.distances(own)[0]), spread.deviations(own)[0]
        columns = zip(STATISTICS, own[0], spread.quantiles.T, self.statistics.T, deviations, strict=True)
        ranks = {
            name: StatisticRank(float(x), float(low), float(mid), float(high), percentile(known, x), float(deviation))
            for name, x, (low, mid, high), known, deviation in columns
        }
        ranked = dict(sorted(ranks.items(), key=lambda item: -abs(item[1].deviation)))
        unlike = bool(np.mean(self.distances >= score) < RARE)
        middle, held_out = float(np.median(self.distances)), len(self.distances)
        return InputScore(score, middle, percentile(self.distances, score), held_out, unlike, ranked)


def coarse(axis: Axis) -> Axis:
    """The axis of `in_blocks` with PIXELS."""
    factor = max(axis.steps // PIXELS, 1)
    steps, first = axis.steps // factor, axis.first + 0.5 * (factor - 1) * axis.step
    return replace(axis, first=first, last=first + (steps - 1) * factor * axis.step, steps=steps)


@dataclass(frozen=True)
class TrainingInputs:
    """Images of a training's inputs, and the relation between its maps and images."""

    images: ImageSet
    reobservation: Reobservation

    def consistency(self, maps: NDArray, image: NDArray, coverage: NDArray) -> Consistency | None:
        """Of maps (K, R', L) with the image (L, V) that they were predicted from; None where nothing was observed."""
        return self.reobservation.check(maps, image, coverage, RARE)

    def save(self, path: Path, key: str) -> None:
        """Write an .npz file, whole or not at all. `key` identifies the training's data."""
        again = {f"{PREFIX}{name}": part for name, part in vars(self.reobservation).items()}
        with atomic_file(path) as file:
            np.savez(file, allow_pickle=False, key=np.array(f"{VERSION}:{key}"), **self.images.arrays(), **again)

    @classmethod
    def load(cls, path: Path, key: str) -> "TrainingInputs | None":
        """None when there is no such file, when it is damaged, or when it belongs to other data."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if str(arrays["key"]) != f"{VERSION}:{key}":
                    return None
                again = Reobservation(**{f.name: arrays[f"{PREFIX}{f.name}"][()] for f in fields(Reobservation)})
                return cls(ImageSet.of_arrays(arrays), again)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return None


def percentile(values: NDArray[np.float64], value: float) -> float:
    """The share of the values that lie below, in percent; equal values count half."""
    return 100.0 * float(np.mean(values < value) + 0.5 * np.mean(values == value))


def summarize_inputs(
    train: PairStream, held_out: PairStream, quiet: bool = True, check: Callable[[], None] = lambda: None
) -> TrainingInputs:
    """Statistics of inputs as the network saw them, with the noise and the litter of each stream.

    Reads at most MOST_TRAINING and MOST_HELD_OUT pairs of them, evenly over each. `check` is called at each batch and
    while one is late, and may raise. ShardError for a pair that cannot be read.
    """
    alone: dict[str, Any] = {"name": STREAM, "batch": BATCH, "rank": 0, "world": 1, "shuffle": False, "pinned": False}
    chosen = (train, MOST_TRAINING), (held_out, MOST_HELD_OUT)
    streams = [replace(each, numbers=evenly(each.numbers, most), litter_seed=0, **alone) for each, most in chosen]
    images: list[NDArray] = []
    galaxies: list[str] = []
    seen: list[list[Seen]] = [[], []]
    with progress("statistics of the inputs", sum(stream.count for stream in streams), quiet=quiet) as bar:
        for which, stream in enumerate(streams):
            groups = stream.pairs.groups()
            for observed, true, ids in _images(stream, check):
                images.append(in_blocks(observed, PIXELS))
                galaxies += [groups[i] for i in ids]
                if which == 0 or BATCH * len(seen[1]) < MOST_TRUE:
                    seen[which].append(Seen.of(true, observed))
                bar.advance(len(observed))
    counts = [sum(len(part.maps) for part in parts) for parts in seen]
    if counts[0] < 2 or counts[1] < 1:
        raise DataError(f"{counts[0]} finite pairs to train on and {counts[1]} held out are too few")
    again = Reobservation.fit(*(Seen.joined(parts) for parts in seen))
    kept = evenly(np.arange(len(galaxies)), MOST_IMAGES)
    inputs = ImageSet.of(np.concatenate(images)[kept], [galaxies[i] for i in kept], train.pairs.grid)
    return TrainingInputs(inputs, again)


def _images(stream: PairStream, check: Callable[[], None]) -> Iterator[tuple[NDArray, NDArray, Numbers]]:
    """Observations (n, L, V), true maps (n, R', L) and item numbers, without those that are not finite."""
    with closing(stream.epoch(waiting=check)) as batches:
        for batch in batches:
            check()
            images = (batch.observation[:, 0], batch.density[:, 0])
            seen, true = (image.flatten(1).isfinite().all(dim=1) for image in images)
            finite = seen & true
            if finite.any():
                yield images[0][finite].numpy(), images[1][finite].numpy(), batch.ids[finite.numpy()]


def evenly(numbers: Numbers, most: int) -> Numbers:
    """At most so many, evenly over the set."""
    return np.sort(numbers)[np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round().astype(int)]
