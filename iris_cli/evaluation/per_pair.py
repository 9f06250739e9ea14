"""What a test measures of every pair: scores, overlap, radial profiles, power spectra, and the posterior.

All numbers are kept for every pair, so that medians and intervals can be computed afterwards.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.evaluation.evaluate import Evaluated, Quantity
from iris_cli.evaluation.metrics import MEASURES, THRESHOLDS, Maps, iou
from iris_cli.evaluation.posterior import Posterior
from iris_cli.evaluation.power_spectra import Wavenumbers
from iris_cli.evaluation.radial_profiles import Annuli
from iris_cli.evaluation.runs import between_runs, names
from iris_cli.evaluation.trivial import Trivial

#: The prefix of the comparison of runs; those of predictors are their names.
RUNS = "runs"


def quantities(grid: Grid, sizes: Mapping[str, int], trivial: Trivial, runs: int = 1) -> list[Quantity]:
    """All that can be measured of maps on this grid, by predictors with so many maps; the last has those of `runs`."""
    annuli = Annuli.of(grid)
    best = list(sizes.values())[-1]
    return [
        _of_maps(dict.fromkeys(MEASURES, 1), lambda maps: {name: m(maps)[:, None] for name, m in MEASURES.items()}),
        _of_maps({"iou": len(THRESHOLDS)}, lambda maps: {"iou": iou(maps)}),
        *([_profiles(annuli)] if annuli else []),
        _spectra(Wavenumbers.of(grid)),
        _posteriors({**sizes, **trivial.sizes}, trivial),
        *([_runs(runs, best // runs)] if runs > 1 else []),
    ]


def _of_maps(widths: dict[str, int], measure: Callable[[Maps], dict[str, Tensor]]) -> Quantity:
    return Quantity(widths, lambda evaluated: measure(evaluated.maps))


def _profiles(annuli: Annuli) -> Quantity:
    profiles = {"enclosed_mass": annuli.enclosed_mass, "surface_density": annuli.surface_density}

    def measure(maps: Maps) -> dict[str, Tensor]:
        both = {"pred": maps.pred, "true": maps.true}
        return {f"{name}_{end}": of(image) for name, of in profiles.items() for end, image in both.items()}

    names = [f"{name}_{end}" for name in profiles for end in ("pred", "true")]
    return _of_maps(dict.fromkeys(names, len(annuli)), measure)


def _spectra(bins: Wavenumbers) -> Quantity:
    def measure(maps: Maps) -> dict[str, Tensor]:
        powers = bins.powers(maps.pred, maps.true)
        return {"power_ratio": powers.ratio, "cross_correlation": powers.correlation}

    return _of_maps(dict.fromkeys(("power_ratio", "cross_correlation"), len(bins)), measure)


def _posteriors(sizes: dict[str, int], trivial: Trivial) -> Quantity:
    predictors = {name: Posterior(size, tarp=trivial.references > 0) for name, size in sizes.items()}

    def measure(evaluated: Evaluated) -> dict[str, Tensor]:
        references, others = trivial.predict(evaluated.batch)
        maps, found = {**evaluated.predicted, **others}, dict[str, Tensor]()
        for name, posterior in predictors.items():
            measured = posterior.measure(replace(evaluated.maps, members=maps[name]), references)
            found |= {f"{name}/{key}": value for key, value in measured.items()}
        return found

    widths = {f"{name}/{key}": w for name, posterior in predictors.items() for key, w in posterior.widths.items()}
    return Quantity(widths, measure)


def _runs(runs: int, samples: int) -> Quantity:
    def measure(evaluated: Evaluated) -> dict[str, Tensor]:
        return {f"{RUNS}/{key}": value[:, None] for key, value in between_runs(evaluated.maps, runs).items()}

    return Quantity({f"{RUNS}/{key}": 1 for key in names(samples)}, measure)
