"""What a test measures of every pair: scores, overlap, radial profiles, power spectra and, of an ensemble, calibration.

All numbers are kept for every pair, so that medians and intervals can be computed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.evaluation import calibration
from iris_cli.evaluation.metrics import DENSE, MEASURES, OCCUPIED, THRESHOLDS, Maps, iou
from iris_cli.evaluation.power_spectra import Wavenumbers
from iris_cli.evaluation.radial_profiles import Annuli


@dataclass(frozen=True)
class Quantity:
    """Numbers that are measured together. `measure` maps a batch to (n, width) of each name.

    `widths` are declared because a rank without pairs needs them, too.
    """

    widths: dict[str, int]
    measure: Callable[[Maps], dict[str, Tensor]]


def quantities(grid: Grid, members: int) -> list[Quantity]:
    """All that can be measured of maps on this grid, predicted by so many members."""
    annuli = Annuli.of(grid)
    return [
        Quantity(dict.fromkeys(MEASURES, 1), lambda maps: {name: m(maps)[:, None] for name, m in MEASURES.items()}),
        Quantity({"iou": len(THRESHOLDS)}, lambda maps: {"iou": iou(maps)}),
        *([_profiles(annuli)] if annuli else []),
        _spectra(Wavenumbers.of(grid)),
        *([_calibration(members)] if members > 1 else []),
    ]


def _profiles(annuli: Annuli) -> Quantity:
    profiles = {"enclosed_mass": annuli.enclosed_mass, "surface_density": annuli.surface_density}

    def measure(maps: Maps) -> dict[str, Tensor]:
        both = {"pred": maps.pred, "true": maps.true}
        return {f"{name}_{end}": of(image) for name, of in profiles.items() for end, image in both.items()}

    names = [f"{name}_{end}" for name in profiles for end in ("pred", "true")]
    return Quantity(dict.fromkeys(names, len(annuli)), measure)


def _spectra(bins: Wavenumbers) -> Quantity:
    def measure(maps: Maps) -> dict[str, Tensor]:
        powers = bins.powers(maps.pred, maps.true)
        return {"power_ratio": powers.ratio, "cross_correlation": powers.correlation}

    return Quantity(dict.fromkeys(("power_ratio", "cross_correlation"), len(bins)), measure)


def _calibration(members: int) -> Quantity:
    def measure(maps: Maps) -> dict[str, Tensor]:
        asinh, true = maps.asinh(maps.members), maps.asinh(maps.true)
        normalization = float(maps.loss.normalization)
        return {
            "crps": calibration.crps(asinh, true)[:, None],
            "mean_absolute_error": calibration.crps(asinh[:1], true)[:, None],
            "ranks": calibration.ranks(maps.members, maps.true, OCCUPIED * normalization),
            "ranks_dense": calibration.ranks(maps.members, maps.true, DENSE * normalization),
            **calibration.spread_and_error(asinh, true),
        }

    bins = len(calibration.SPREAD_EDGES)
    widths = {"crps": 1, "mean_absolute_error": 1, "ranks": members + 1, "ranks_dense": members + 1}
    return Quantity({**widths, **dict.fromkeys(("variance", "squared_error", "pixels"), bins)}, measure)
