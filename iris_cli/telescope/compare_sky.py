"""An observed l-v image beside a set of mock observations, statistic by statistic: what `iris compare-sky` does.

In: cubes or an l-v image, and the set: what a run folder kept of its inputs, a shard folder, or mock galaxies that are
observed now. Out: an `InputScore`, and a figure. `iris revert` uses the same statistics and the same distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from iris_cli.config.cube import CubeConfig
from iris_cli.config.grid import Grid
from iris_cli.config.mock import MockConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.console import progress
from iris_cli.errors import DataError
from iris_cli.evaluation.image_statistics import STATISTICS, in_blocks
from iris_cli.evaluation.out_of_distribution import (
    MOST_IMAGES,
    PIXELS,
    SIGMAS_OF_95,
    UNUSUAL,
    Comparison,
    ImageSet,
    InputScore,
    evenly,
)
from iris_cli.files import check_output
from iris_cli.observers.registry import make_observer
from iris_cli.pairs.datasets import Pairs
from iris_cli.pairs.fresh import FreshPairs
from iris_cli.pairs.open_data import open_shards
from iris_cli.pairs.pair import OBSERVATION
from iris_cli.telescope.loaded_run import observed_image
from iris_cli.telescope.lv_image import LvImage
from iris_cli.telescope.regrid import report_coverage
from iris_cli.telescope.revert import common_grid
from iris_cli.training.trained_run import open_members


@dataclass(frozen=True)
class MockSet:
    """A set of images of mock observations, their grid, and their reduction over latitude. `noisy`: with noise."""

    name: str
    images: ImageSet
    grid: Grid
    latitude: str
    noisy: bool


def set_of_run(run: Path) -> MockSet:
    """The images that a run folder kept of its inputs, with their noise and litter. DataError where there are none."""
    member = open_members(run)[0]
    grid, latitude = common_grid([member])
    inputs = member.training_inputs()
    if isinstance(inputs, str):
        raise DataError(f"no images of the training's inputs: {inputs}", "compare with its shards: --shards")
    return MockSet(str(run), inputs.images, grid, latitude, noisy=True)


def set_of_shards(folder: Path, quiet: bool = True) -> MockSet:
    """At most MOST_IMAGES observations of a shard folder, or of litter, evenly over it; they have no noise."""
    return set_of_pairs(open_shards(str(folder)), quiet)


def set_of_mock(
    mock: MockConfig, observing: PreobserveConfig, grid: Grid, galaxies: int, seed: int = 0, quiet: bool = True
) -> MockSet:
    """Mock galaxies that are made and observed now; the images have no noise."""
    made = set_of_pairs(FreshPairs(mock, make_observer(grid, observing), seed, galaxies), quiet)
    return replace(made, name="mock galaxies")


def set_of_pairs(pairs: Pairs, quiet: bool = True) -> MockSet:
    """DataError for observations that are no temperatures, ShardError for one that cannot be read."""
    if pairs.quantity != "temperature":
        message = f"the observations of {pairs.name} are a {pairs.quantity}, a telescope's cube holds temperatures"
        raise DataError(message, 'observe with observer = "synthetic"')
    numbers, groups = evenly(np.arange(len(pairs)), MOST_IMAGES), pairs.groups()
    images = np.zeros((len(numbers), *pairs.arrays[OBSERVATION].shape), np.float32)
    with progress("images of the set", len(numbers), quiet=quiet) as bar:
        for number, image in zip(numbers.tolist(), images, strict=True):
            pairs.read(number, {OBSERVATION: image})
            bar.advance()
    made = ImageSet.of(images[:, 0], [groups[number] for number in numbers], pairs.grid)
    return MockSet(pairs.name, made, pairs.grid, pairs.latitude, noisy=False)


@dataclass(frozen=True)
class SkyComparison:
    """`score` is that of the image `observed` in the set of this name; `comparison` holds the statistics of the set."""

    name: str
    observed: LvImage
    comparison: Comparison
    score: InputScore

    def to_dict(self) -> dict[str, Any]:
        """The result for JSON, without its images."""
        return {"input": self.observed.to_dict(), "set": self.name, **vars(self.score)}


def compare_sky(
    cubes: Sequence[Path | str],
    known: MockSet,
    *,
    figure: Path | None = None,
    config: CubeConfig | None = None,
    overwrite: bool = False,
    quiet: bool = True,
    history: Sequence[str] = (),
) -> SkyComparison:
    """Compare FITS cubes, or one l-v image of `iris cube`, with a set, which gets their noise unless it has its own.

    UsageError for a figure that exists or has another format; DataError when a cube cannot be regridded, or covers too
    little of the image.
    """
    check_figure(figure, overwrite)
    observed = observed_image([Path(cube) for cube in cubes], known.grid, known.latitude, config or CubeConfig(), quiet)
    report_coverage(observed)
    comparison = known.images.seen_with(observed.coverage, None if known.noisy else observed.image)
    if comparison is None:
        raise DataError("the cubes fill too little of the image", "choose a grid that they fill")
    made = SkyComparison(known.name, observed, comparison, comparison.score(observed.image))
    if figure is not None:
        _save_figure(made, known.images, figure, history)
    return made


def check_figure(figure: Path | None, overwrite: bool) -> None:
    """UsageError for a figure that exists already, unless `overwrite`, or has another format."""
    from iris_cli.plots.style import FORMATS

    if figure is not None:
        check_output(figure, overwrite, FORMATS)


def _save_figure(made: SkyComparison, known: ImageSet, path: Path, history: Sequence[str]) -> None:
    from iris_cli.plots.sky_statistics import Deviation, draw_sky_statistics
    from iris_cli.plots.style import save

    comparison, names = made.comparison, list(STATISTICS)
    of_set = comparison.deviations(comparison.statistics)
    rows = [
        Deviation(name, rank.text(name), rank.deviation, of_set[:, names.index(name)], abs(rank.deviation) > UNUSUAL)
        for name, rank in made.score.statistics.items()
    ]
    own = np.array([made.score.statistics[name].deviation for name in names])
    nearest = known.images[int(np.argmin(((of_set - own) ** 2).sum(axis=1)))]
    images = in_blocks(made.observed.image[None], PIXELS)[0], nearest
    sky, similar = (np.where(comparison.observed, image, np.nan) for image in images)
    axes = comparison.longitude, comparison.velocity
    figure = draw_sky_statistics(rows, (sky, similar), axes, SIGMAS_OF_95, f"{made.score}.".capitalize())
    save(figure, path, history=history)
