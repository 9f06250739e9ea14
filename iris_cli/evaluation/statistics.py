"""Per-pair results -> statistics: numbers and curves with medians and confidence intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from iris_cli.config.grid import Grid
from iris_cli.evaluation import runs
from iris_cli.evaluation.bootstrap import Curve, Floats, Resampling, Summary, divided
from iris_cli.evaluation.evaluate import Arrays
from iris_cli.evaluation.metrics import MEASURES, THRESHOLDS
from iris_cli.evaluation.per_pair import RUNS
from iris_cli.evaluation.posterior import Posterior, Predictive
from iris_cli.evaluation.power_spectra import Wavenumbers
from iris_cli.evaluation.radial_profiles import Annuli
from iris_cli.evaluation.trivial import TRIVIAL
from iris_cli.units import INNER, SI, convert


@dataclass(frozen=True)
class Statistics:
    """Results on one set of inputs.

    `predictors` are the posterior of each predictor, trivial ones included; `runs` the consistency of several.
    """

    name: str
    pairs: int
    sources: int
    numbers: dict[str, Summary]
    curves: dict[str, Curve]
    predictors: dict[str, Predictive]
    runs: dict[str, Summary]
    #: The same for each pair, (pairs,).
    runs_by_pair: dict[str, Floats]

    @property
    def best(self) -> str:
        """The predictor whose mean map the `numbers` measure: the last that is not trivial."""
        return [name for name in self.predictors if name not in TRIVIAL][-1]


def statistics_of(
    name: str, arrays: Arrays, sources: Sequence[str], grid: Grid, normalization_kg_m3: float, seed: int
) -> Statistics:
    """The statistics of per-pair results, (pairs, width) each, with the source of each pair."""
    draw = Resampling.of(sources, seed)
    numbers = {name: draw.summary(arrays[name])[0] for name in MEASURES} | {"skill": _skill(arrays, draw)}
    curves: dict[str, Curve] = {}
    for axis, each in _curves(arrays, grid, normalization_kg_m3):
        curves |= {curve: Curve(*axis, draw.summary(values)) for curve, values in each.items()}
    predictors: dict[str, dict[str, Floats]] = {}
    for key, values in arrays.items():
        predictor, slash, quantity = key.partition("/")
        if slash:
            predictors.setdefault(predictor, {})[quantity] = values
    between = predictors.pop(RUNS, None)
    posteriors = {key: Posterior.of(own).statistics(own, draw) for key, own in predictors.items()}
    read = ~np.isnan(arrays["loss"][:, 0])
    galaxies = len({s for s, r in zip(sources, read, strict=True) if r})
    apart = runs.statistics(between, draw) if between else {}
    each = {key: values[:, 0] for key, values in runs.of_each_map(between).items()} if between else {}
    return Statistics(name, int(read.sum()), galaxies, numbers, curves, posteriors, apart, each)


def _curves(
    arrays: Arrays, grid: Grid, normalization_kg_m3: float
) -> Iterator[tuple[tuple[str, str, Floats], dict[str, Floats]]]:
    """What the points of curves are `of`, its unit and their `x`, with the curves of all pairs, (pairs, points)."""

    def named(*names: str) -> dict[str, Floats]:
        return {name: arrays[name] for name in names}

    thresholds = np.array(THRESHOLDS) * normalization_kg_m3 * convert("density", SI, INNER)
    yield ("H2 density threshold", "M_sun pc^-3", thresholds), named("iou")
    if annuli := Annuli.of(grid):
        ratio = divided(arrays["enclosed_mass_pred"], arrays["enclosed_mass_true"])
        enclosed = named("enclosed_mass_true", "enclosed_mass_pred") | {"enclosed_mass_ratio": ratio}
        yield ("radius", "pc", annuli.edges_pc[1:]), enclosed
        yield ("radius", "pc", annuli.centres_pc), named("surface_density_true", "surface_density_pred")
    yield ("wavenumber", "pc^-1", Wavenumbers.of(grid).k_per_pc), named("power_ratio", "cross_correlation")


def _skill(arrays: Arrays, draw: Resampling) -> Summary:
    """1 - loss / the better trivial predictor's; which of them is better is decided anew in each resample."""

    def skill(loss: Floats, *trivial: Floats) -> Floats:
        return 1.0 - divided(loss, np.minimum.reduce(trivial))

    trivial = [arrays["loss_zero"], *([] if np.isnan(m := arrays["loss_mean_image"]).all() else [m])]
    return draw.derived(skill, arrays["loss"], *trivial)[0]
