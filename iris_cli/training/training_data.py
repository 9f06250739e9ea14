"""What a training set is like before the first step: data that a network cannot learn from, and the scale of densities.

At most MOST_READ pairs are read, evenly over the training split; galaxies and identical pairs are counted from the
index. All ranks read the same pairs, so that `density_normalization = "auto"` gives all of them one number, also after
resume.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.train import TrainConfig
from iris_cli.console import plural, warn
from iris_cli.errors import DataError
from iris_cli.pairs.datasets import Pairs
from iris_cli.pairs.pair import DENSITY, OBSERVATION
from iris_cli.units import INNER
from shards.errors import ShardError
from shards.order import Numbers

MOST_READ = 64
#: Observing a pair takes seconds.
MOST_OBSERVED = 4
#: The automatic normalization is the typical density divided by this: 1e-19 kg/m^3 for the default mock galaxies, as in
#: the IRIS paper.
TYPICAL_PER_NORMALIZATION = 10.0
#: Outside these multiples of the normalization, typical densities are too far from it to be learned.
LEARNABLE = (0.1, 1000.0)


@dataclass(frozen=True)
class TrainingData:
    """Facts about a training split. `typical_kg_m3` is the median over the pairs that were `read` of the mass-weighted
    mean density; 0 when all maps are empty. Empty images have one value everywhere; `same_images` are equal to that of
    another pair that was read; `bad` pairs hold a value that is not finite.
    """

    name: str
    pairs: int
    galaxies: int
    identical: int
    read: int
    empty_images: int
    same_images: int
    empty_maps: int
    bad: int
    typical_kg_m3: float

    @classmethod
    def of(cls, pairs: Pairs, numbers: Numbers, most: int | None = None) -> "TrainingData":
        """Reads at most `most` pairs; pairs that cannot be read are left out."""
        marks = pairs.marks.of(numbers)
        if most is None:
            most = MOST_OBSERVED if pairs.on_the_fly else MOST_READ
        chosen = np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round().astype(int)
        empty_images = empty_maps = bad = read = 0
        typical, images = list[float](), set[bytes]()
        for image, density in _read(pairs, numbers[chosen]):
            read += 1
            if not (np.isfinite(image).all() and np.isfinite(density).all()):
                bad += 1
                continue
            empty_images += bool(image.min() == image.max())
            images.add(blake2b(image.tobytes()).digest())
            empty_maps += not density.any()
            values = density.astype(np.float64)
            typical.append(float(np.square(values).sum() / values.sum()) if density.any() else 0.0)
        filled = [value for value in typical if value > 0]
        found = float(np.median(filled)) / INNER.density_per_SI if filled else 0.0
        identical = int((~marks.first_time()).sum())
        same = read - bad - len(images)
        return cls(
            pairs.name, len(numbers), marks.galaxies, identical, read, empty_images, same, empty_maps, bad, found
        )

    def problems(self, normalization_kg_m3: float) -> list[str]:
        """What a network could not learn from these pairs, in words; none of a usual training set."""
        of_read = f"of the {self.read} training pairs of {self.name} that were looked at"
        ratio = self.typical_kg_m3 / normalization_kg_m3
        scale = f"{ratio:.2g} times the loss's normalization of {normalization_kg_m3:.2g} kg/m^3"
        found = {
            f"all {plural(self.pairs, 'training pair')} of {self.name} are of one galaxy: the network will know no "
            "other": self.galaxies == 1,
            f"{self.identical} of the {self.pairs} training pairs of {self.name} are copies of another one": bool(
                self.identical
            ),
            f"{self.empty_images} {of_read} have an empty image": bool(self.empty_images),
            f"{self.same_images} {of_read} have the same image as another one": self.same_images > self.empty_images,
            f"{self.empty_maps} {of_read} have an empty map": bool(self.empty_maps),
            f"{self.bad} {of_read} hold values that are not finite": bool(self.bad),
            f"the densities of {self.name} are typically {self.typical_kg_m3:.2g} kg/m^3, {scale}: a network can "
            "hardly learn them (correct their unit, or --density-normalization auto)": ratio > 0
            and not LEARNABLE[0] <= ratio <= LEARNABLE[1],
        }
        return [text for text, applies in found.items() if applies]

    def report(self, normalization_kg_m3: float) -> None:
        """Warn of each problem."""
        for problem in self.problems(normalization_kg_m3):
            warn(problem)

    def normalized(self, hyper: TrainConfig) -> TrainConfig:
        """With the normalization of these densities, if it is to be automatic. DataError when all maps are empty."""
        if hyper.density_normalization != "auto":
            return hyper
        if self.typical_kg_m3 <= 0:
            what = f"{self.name} has no densities to choose a normalization from: the maps that were read are empty"
            raise DataError(what, "--density-normalization fixed, or check the data: iris shards verify")
        value = float(f"{self.typical_kg_m3 / TYPICAL_PER_NORMALIZATION:.3g}")
        return replace(hyper, density_normalization_kg_m3=value)


def _read(pairs: Pairs, numbers: Numbers) -> Iterator[tuple[NDArray, NDArray]]:
    """Observation and density of each item that can be read."""
    for number in numbers:
        rows = {name: np.empty(pairs.arrays[name].shape, np.float32) for name in (OBSERVATION, DENSITY)}
        try:
            pairs.read(int(number), rows)
        except ShardError:
            continue  # the stream reports it
        yield rows[OBSERVATION], rows[DENSITY]
