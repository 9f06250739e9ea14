"""What a test looks at beside the plain measures, pair by pair: profiles, spectra, thresholds, calibration.

Every number is kept for every pair, so that medians and intervals can be had afterwards: each rank fills the rows of
the pairs that it has seen, and one sum joins them. What comes out does not depend on ranks, batches or order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.console import Progress
from iris_cli.distributed import World
from iris_cli.errors import DataError
from iris_cli.evaluation import calibration
from iris_cli.evaluation.ensemble import Ensemble
from iris_cli.evaluation.evaluate import check_finite, check_truth, predict
from iris_cli.evaluation.loss import PhysicalLoss
from iris_cli.evaluation.metrics import DENSE, MEASURES, OCCUPIED, THRESHOLDS, Maps, Measure, iou, pixel_volume
from iris_cli.evaluation.power_spectra import Wavenumbers
from iris_cli.evaluation.radial_profiles import Annuli
from iris_cli.pairs.stream import PairStream

#: Name -> how many numbers a pair has of it, and the function that gives them for a batch, (n, width).
Gauges = dict[str, tuple[int, Callable[["Seen"], Tensor]]]


@dataclass(frozen=True)
class Seen:
    """A batch as measured: `maps` of the members' mean, and the members (K, n, 1, R', L)."""

    maps: Maps
    members: Tensor
    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What several gauges share is computed by the first of them."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]


def gauges(grid: Grid, members: int) -> Gauges:
    """All that a map of this grid, and an ensemble of so many members, can be asked."""
    return {**_measures(), **_profiles(grid), **_spectra(grid), **(_calibration(members) if members > 1 else {})}


def _measures() -> Gauges:
    def column(measure: Measure) -> tuple[int, Callable[[Seen], Tensor]]:
        return 1, lambda seen: measure(seen.maps)[:, None]

    measures = {name: column(measure) for name, measure in MEASURES.items()}
    return {**measures, "iou": (len(THRESHOLDS), lambda seen: iou(seen.maps))}


def _profiles(grid: Grid) -> Gauges:
    annuli = Annuli.of(grid)
    if annuli is None:
        return {}
    n = len(annuli)
    return {
        "enclosed_mass_pred": (n, lambda seen: annuli.enclosed_mass(seen.maps.pred)),
        "enclosed_mass_true": (n, lambda seen: annuli.enclosed_mass(seen.maps.true)),
        "surface_density_pred": (n, lambda seen: annuli.surface_density(seen.maps.pred)),
        "surface_density_true": (n, lambda seen: annuli.surface_density(seen.maps.true)),
    }


def _spectra(grid: Grid) -> Gauges:
    bins = Wavenumbers.of(grid)

    def both(seen: Seen) -> dict[str, Tensor]:
        powers = bins.powers(seen.maps.pred, seen.maps.true)
        return {"ratio": powers.ratio, "correlation": powers.correlation}

    return {
        "power_ratio": (len(bins), lambda seen: seen.once("powers", lambda: both(seen))["ratio"]),
        "cross_correlation": (len(bins), lambda seen: seen.once("powers", lambda: both(seen))["correlation"]),
    }


def _calibration(members: int) -> Gauges:
    def asinh(seen: Seen) -> tuple[Tensor, Tensor]:
        return seen.maps.asinh(seen.members), seen.maps.asinh(seen.maps.true)

    def spread(seen: Seen) -> dict[str, Tensor]:
        return calibration.spread_and_error(*asinh(seen))

    def spread_gauge(name: str) -> tuple[int, Callable[[Seen], Tensor]]:
        return len(calibration.SPREAD_EDGES), lambda seen: seen.once("spread", lambda: spread(seen))[name]

    def ranks_from(level: float) -> tuple[int, Callable[[Seen], Tensor]]:
        return members + 1, lambda seen: calibration.ranks(
            seen.members, seen.maps.true, level * float(seen.maps.loss.normalization)
        )

    return {
        "crps": (1, lambda seen: calibration.crps(*asinh(seen))[:, None]),
        "mean_absolute_error": (
            1,
            lambda seen: calibration.crps(seen.maps.asinh(seen.members[:1]), seen.maps.asinh(seen.maps.true))[:, None],
        ),
        "ranks": ranks_from(OCCUPIED),
        "ranks_dense": ranks_from(DENSE),
        **{name: spread_gauge(name) for name in ("variance", "squared_error", "pixels")},
    }


@dataclass
class Records:
    """Rows of pairs: `seen` counts how often each was filled in, `values` (pairs, width) hold the numbers."""

    widths: dict[str, int]
    pairs: int
    table: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.table = torch.zeros(self.pairs, 1 + sum(self.widths.values()), dtype=torch.float64)

    def put(self, rows: NDArray[np.int64], values: dict[str, Tensor]) -> None:
        """(n, width) of each name."""
        columns = [torch.ones(len(rows), 1, dtype=torch.float64), *(values[name].double() for name in self.widths)]
        self.table[torch.from_numpy(rows)] += torch.cat(columns, dim=1)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """(pairs, width) of each name; NaN for pairs that nobody could read."""
        rows = self.table.numpy()
        rows[rows[:, 0] == 0] = np.nan
        columns = np.split(rows[:, 1:], np.cumsum(list(self.widths.values()))[:-1], axis=1)
        return dict(zip(self.widths, columns, strict=True))

    def wrong(self, unreadable: int) -> int:
        """How many pairs were not seen just once, but for those that could not be read."""
        absent, often = int((self.table[:, 0] == 0).sum()), int((self.table[:, 0] > 1).sum())
        return often + (absent if absent > unreadable else 0)


@torch.no_grad()
def examine(
    ensemble: Ensemble, loss: PhysicalLoss, feed: PairStream, world: World, mean_image: Tensor | None, bar: Progress
) -> dict[str, NDArray[np.float64]]:
    """Name -> (pairs, width), the same on every rank.

    DataError when a prediction or a true density is not finite, or pairs were not seen just once that nobody has
    counted as unreadable.
    """
    ensemble.eval()
    asked = gauges(feed.pairs.grid, len(ensemble))
    records = Records({name: width for name, (width, _) in asked.items()}, feed.count)
    image = None if mean_image is None else mean_image.double()[None]
    volume, loss = pixel_volume(feed.pairs.grid), loss.cpu()
    with closing(feed.epoch()) as batches:
        for batch in batches:
            if len(batch):
                check_truth(batch, feed)
                members = predict(ensemble, batch.observation, world).double()
                check_finite(members.flatten(2).sum(dim=(0, 2)), batch, feed)
                seen = Seen(Maps(members.mean(dim=0), batch.density.double(), loss, image, volume), members)
                records.put(batch.positions, {name: gauge(seen) for name, (_, gauge) in asked.items()})
            bar.advance()
    world.sum(records.table)
    missing = bool((records.table[:, 0] != 1).any())
    if wrong := missing and records.wrong(feed.bad_over_ranks(world)):
        raise DataError(f"{wrong} of {feed.count} samples were not seen just once", "check them: iris shards verify")
    if missing and not records.table[:, 0].any():
        raise DataError(f"none of the {feed.count} {feed.name} samples could be read", "check them: iris shards verify")
    return records.arrays()
