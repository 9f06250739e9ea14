"""Which changes of an image does its distance from a training set find?

`python -m tests.benchmarks.out_of_distribution --help`. Some observed mock galaxies are the set, others are changed
and compared with it: their pixels shuffled in blocks of 4 x 4, mirrored, brightened; and galaxies of other families.
Prints the median percentile of the changed images, the shares beyond 95 and 99 % of the set, and the statistics that
come first. Results: docs/benchmarks/out_of_distribution.md.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from iris_cli.config.grid import Grid, grid_preset
from iris_cli.config.mock import MockConfig
from iris_cli.config.observer import LineConfig, SyntheticConfig
from iris_cli.evaluation.out_of_distribution import ImageSet
from iris_cli.mock.draw import draw_galaxy
from iris_cli.observers.observer import Observer
from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.synthetic import SyntheticObserver
from tests.evaluation.test_out_of_distribution import shuffled

#: A centred ring with an inward drift in any orientation, without the streams, complexes and asymmetry of the sky.
ONE_RING = replace(
    MockConfig(),
    view="any",
    drift_km_s=(25.0, 50.0),
    streams=(1, 1),
    open_streams=(0, 0),
    semi_major_pc=(75.0, 105.0),
    centre_offset_pc=(0.0, 0.0),
    lopsidedness=(0.0, 0.2),
    complex_mass_Msun=(0.0, 0.0),
    clouds=(10, 20),
    cloud_in_complexes=(0.0, 0.0),
)
FAMILIES = {
    "inward drift of 25 to 50 km/s": replace(MockConfig(), drift_km_s=(25.0, 50.0)),
    "the same, any orientation": replace(MockConfig(), view="any", drift_km_s=(25.0, 50.0)),
    "one centred ring that drifts": ONE_RING,
}
#: The longitudes of the Mopra HNCO survey, in degrees.
COVERED_DEG = (-0.58, 1.09)


def main(
    galaxies: int = 400,
    test: int = 100,
    preset: str = "tiny",
    molecule: Annotated[Path | None, typer.Option(help="LAMDA file of HNCO; without it, 13CO(2-1)")] = None,
    simple: bool = False,
) -> None:
    grid = grid_preset(preset)
    line = LineConfig(str(molecule), "4-3", 2e-5) if molecule else LineConfig()
    turbulence = 8.0 if molecule else 0.0
    observer: Observer = SyntheticObserver(grid, config=SyntheticConfig((line,), turbulence_km_s=turbulence))
    observer = SimpleObserver(grid) if simple else observer
    known = images(MockConfig(), grid, observer, galaxies, 0)
    same = images(MockConfig(), grid, observer, test, 1)
    changed = {
        "the same kind": same,
        "pixels shuffled in 4 x 4": shuffled(same),
        "mirrored in longitude": same[:, ::-1],
        "wrong sense of rotation": same[:, :, ::-1],
        "turned by 180 degrees in l-v": same[:, ::-1, ::-1],
        **{f"brightness x {factor:g}": factor * same for factor in (0.2, 0.5, 2.0, 5.0)},
        **{name: images(config, grid, observer, test, 2) for name, config in FAMILIES.items()},
    }
    lon = grid.longitude.centres()
    part = ((lon > COVERED_DEG[0]) & (lon < COVERED_DEG[1]))[:, None] & np.ones(grid.v_steps, bool)
    inputs = ImageSet.of(known, [str(k) for k in range(len(known))], grid)
    for where, coverage in (("whole image", np.ones(part.shape)), ("longitudes of the survey", part.astype(float))):
        comparison = inputs.seen_with(coverage)
        assert comparison is not None
        print(f"\n{where}: median percentile; shares beyond 95 and 99 %; the most frequent first statistics")
        for name, each in changed.items():
            found = [comparison.score(image) for image in each]
            ranks = np.array([score.percentile for score in found])
            shares = f"{np.median(ranks):.0f} | {np.mean(ranks >= 95):.2f} | {np.mean(ranks >= 99):.2f}"
            names = Counter(next(iter(score.statistics)) for score in found).most_common(2)
            print(f"| {name} | {shares} | {', '.join(statistic for statistic, _ in names)} |")


def images(config: MockConfig, grid: Grid, observer: Observer, count: int, seed: int) -> NDArray[np.float32]:
    tensors = (torch.from_numpy(draw_galaxy(config, seed, number).tensor(grid, 0.0)) for number in range(count))
    return np.stack([observer.observe(tensor)[0].numpy() for tensor in tensors])


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
