"""Trained networks and a telescope's cubes -> the map seen from above and its quality: what `iris revert` does.

from iris_cli.telescope.revert import revert
made = revert(["run"], ["cube.fits"], out="map.fits", figure="map.png")
made.density      # (R', L) M_sun / pc^3, mean over the networks
made.record.quality.input_score
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

from iris_cli import __version__
from iris_cli.config.cube import LEAST_COVERAGE, CubeConfig, at_galactic_centre
from iris_cli.config.grid import Grid
from iris_cli.console import log, warn
from iris_cli.errors import DataError, UsageError
from iris_cli.evaluation.ensemble import SAMPLES
from iris_cli.evaluation.loss import physical_loss
from iris_cli.evaluation.metrics import Maps, pixel_volume
from iris_cli.evaluation.out_of_distribution import TrainingInputs
from iris_cli.evaluation.runs import of_one_map
from iris_cli.evaluation.trivial import PRIOR
from iris_cli.files import check_output, file_sha256
from iris_cli.standard.top_down_plane import pixel_volume_pc3
from iris_cli.telescope.clouds import CMZ, NONE, clouds_of
from iris_cli.telescope.density_map import (
    Estimate,
    FileInput,
    MapProvenance,
    MapQuality,
    MapRecord,
    MapSummary,
    NetworkInput,
    density_unit,
    save_map,
)
from iris_cli.telescope.loaded_run import LoadedRun, log_packaged, members_of, observed_image
from iris_cli.telescope.lv_image import LvImage, load_lv
from iris_cli.telescope.near_far import NearFar, cloud_table, near_far_hdus, table_paths, write_table
from iris_cli.telescope.regrid import RegridPlan, plan_regrid, report_coverage
from iris_cli.training.trained_run import TrainedRun, ensemble_for

#: Maps that each sampler draws, by default.
DRAWN = 64


@dataclass(frozen=True)
class Reversion:
    """`samples` (K, R', L) are maps that the samplers of all networks drew; None where a network has no sampler.

    `density` (R', L) is their mean, `spread` their standard deviation; without samples, those of the networks' maps,
    and None for one network. All hold what is predicted also at longitudes that were not observed
    (`observed.observed_longitudes`). Inner units (M_sun pc^-3), ascending axes of `observed.grid`. `record` describes
    the making of the map and its quality.
    """

    density: NDArray[np.float32]
    spread: NDArray[np.float32] | None
    observed: LvImage
    record: MapRecord
    samples: NDArray[np.float32] | None = None
    #: Where the gas at (l, v) is, and the clouds in it; None unless each run has a distance network.
    near_far: NearFar | None = None
    clouds: Table | None = None

    def to_dict(self) -> dict[str, Any]:
        """The result for JSON, without its images."""
        clouds = [dict(zip(row.colnames, row, strict=True)) for row in self.clouds or ()]
        return {"input": self.observed.to_dict(), **vars(self.record), **({"clouds": clouds} if clouds else {})}


def revert(
    runs: Sequence[Path | str],
    cubes: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    figure: Path | str | None = None,
    near_far_figure: Path | str | None = None,
    clouds: str = CMZ,
    config: CubeConfig | None = None,
    unit: str = "Msun/pc3",
    samples: int = DRAWN,
    style: str = "screen",
    overwrite: bool = False,
    quiet: bool = True,
    history: Sequence[str] = (),
) -> Reversion:
    """Revert FITS cubes, or one l-v image of `iris cube`, with the best checkpoint of each run.

    `runs` are run folders, folders of an ensemble or checkpoint files; several give mean and spread. Without any,
    the network of the package is used, which refuses cubes of another line. Where all have a sampler, so many
    `samples` are drawn by each; the same input and runs give the same samples. `out` is a FITS map in `unit`
    ("Msun/pc3" or "kg/m3"), `figure` a PNG, PDF or SVG in a `style` of plots/style.py; `history`, how they were
    made, is written into both. Where all runs have a distance network, P(near) is written as well, to
    `near_far_figure` drawn, and for `clouds` ("cmz", "auto", "none" or a file, see `clouds_of`) as tables beside
    `out`. UsageError or DataError, before anything is written, when the quantity of a network is not a temperature,
    when networks have different grids, when a cube cannot be regridded, or an output exists.
    """
    config = config or CubeConfig()
    _check_outputs(out, figure, unit, overwrite, near_far_figure)
    run = LoadedRun(tuple(members := members_of(runs)))
    grid, latitude = common_grid(members)
    _check_distances(run, near_far_figure)
    answering = bool(run.distance_networks)
    if answering and out is not None and clouds != NONE:
        for path in table_paths(Path(out)):
            check_output(path, overwrite)
    observed = observed_image([Path(c) for c in cubes], grid, latitude, config, quiet)
    trained = _trained_lines(members[0], observed, only=not runs)
    if not runs:
        log_packaged(members[0])
    report_coverage(observed, members[0].checkpoint.data.coverage)
    _check_skill(members)
    maps, drawn = _predict(run, observed, samples)
    density = maps.mean(axis=0)
    spread = maps.std(axis=0, ddof=1).astype(np.float32) if len(maps) > 1 else None
    record = MapRecord(
        replace(_provenance(members, cubes, trained, unit), samples=len(maps) if drawn else 0),
        summarise_maps(maps, grid, observed.observed_longitudes, sampled=drawn),
        replace(_quality(members[0].training_inputs(), observed, maps), runs=_between_runs(members, observed, maps)),
    )
    made = Reversion(density, spread, observed, record, maps if drawn else None)
    if answering:
        made = _with_distances(made, run, clouds)
    if out is not None:
        extensions = near_far_hdus(made.near_far, observed) if made.near_far else ()
        save_map(Path(out), density, spread, observed, made.record, history, made.samples, extensions)
        if made.clouds is not None:
            write_table(made.clouds, Path(out), made.record.near_far, history)
    if figure is not None:
        _save_figure(made, Path(figure), style, history)
    if near_far_figure is not None:
        _save_near_far(made, Path(near_far_figure), style, history)
    return made


def _predict(run: LoadedRun, observed: LvImage, samples: int) -> tuple[NDArray[np.float32], bool]:
    """(K, R', L) samples of all networks, and True; or the map of each network, and False."""
    if samples and run.can_sample:
        return run.samples(observed, samples), True
    return run.maps(observed), False


def _check_distances(run: LoadedRun, figure: Path | str | None) -> None:
    """UsageError if a `figure` of distances is asked for, and a run has no network for it."""
    if figure is not None and not run.distance_networks:
        without = next(member.path for member in run.members if member.distances() is None)
        raise UsageError(f"{without} has no distance network", "train one: `iris train … --distances --resume RUN`")


def _with_distances(made: Reversion, run: LoadedRun, clouds: str) -> Reversion:
    """Adds P(near), the clouds and their sentence; the packaged catalogue is used at the Galactic Centre only."""
    lv = made.observed
    found = run.distances(lv)
    named = None
    if clouds != NONE and not (clouds == CMZ and not at_galactic_centre(*lv.centre_deg)):
        named = cloud_table(clouds_of(clouds, lv.image, lv.grid, lv.centre_deg), found, lv)
    return replace(made, near_far=found, clouds=named, record=replace(made.record, near_far=found.sentence(lv.image)))


@dataclass(frozen=True)
class RevertPlan:
    """The networks and the cubes that a reversion would read."""

    networks: tuple[str, ...]
    input: RegridPlan
    samples: int


def plan_revert(
    runs: list[Path],
    cubes: list[Path],
    out: Path,
    figure: Path | None,
    config: CubeConfig,
    unit: str,
    samples: int,
    overwrite: bool,
) -> RevertPlan:
    """Performs the checks of `revert` that need no computation."""
    _check_outputs(out, figure, unit, overwrite)
    members = members_of(runs)
    grid, latitude = common_grid(members)
    if len(cubes) == 1 and load_lv(cubes[0]) is not None:
        planned = RegridPlan(tuple(grid.observation_shape[1:]), latitude)
    else:
        planned = plan_regrid(cubes, grid, latitude, config)
    if not runs:
        log_packaged(members[0])
    drawn = len(ensemble_for(members, samples=samples).samplers) * samples
    return RevertPlan(tuple(str(m.path) for m in members), planned, drawn)


def _check_outputs(
    out: Path | str | None, figure: Path | str | None, unit: str, overwrite: bool, *figures: Path | str | None
) -> None:
    density_unit(unit)
    if out is not None:
        check_output(Path(out), overwrite, (".fits",))
    for path in (path for path in (figure, *figures) if path is not None):
        from iris_cli.plots.style import FORMATS

        check_output(Path(path), overwrite, FORMATS)


def common_grid(members: Sequence[TrainedRun]) -> tuple[Grid, str]:
    """The grid and the latitude reduction of all members.

    DataError when they differ, or the networks take another quantity than a temperature.
    """
    first = members[0]
    for member in members:
        data = member.checkpoint.data
        if data.quantity != "temperature":
            message = f"{member.path} takes a {data.quantity}; a telescope's cube holds brightness temperatures"
            hint = "train on pairs of the synthetic observer (`iris preobserve --observer synthetic`)"
            raise DataError(message, hint)
        for name in ("grid", "latitude"):
            if getattr(data, name) != getattr(first.checkpoint.data, name):
                raise DataError(f"{first.path} and {member.path} differ in their {name}", "revert with one of them")
    return first.checkpoint.data.grid, first.checkpoint.data.latitude


#: Frequencies whose ratio differs from 1 by less than this are the same line: Doppler shifts are smaller than this, and
#: different transitions are farther apart.
SAME_LINE = 2e-3


def _provenance(
    members: Sequence[TrainedRun], cubes: Sequence[Path | str], trained: dict[str, float], unit: str
) -> MapProvenance:
    import astropy

    software = {"iris": __version__, "torch": str(torch.__version__), "astropy": astropy.__version__}
    software |= {"numpy": np.__version__, "python": platform.python_version()}
    networks = tuple(
        NetworkInput(str(m.path), file_sha256(m.path), m.checkpoint.progress.epoch, m.checkpoint.software)
        for m in members
    )
    files = tuple(FileInput(str(cube), file_sha256(Path(cube))) for cube in cubes)
    return MapProvenance(software, networks, files, trained, unit)


def _trained_lines(trained: TrainedRun, observed: LvImage, only: bool) -> dict[str, float]:
    """Name -> GHz of the lines that the network was trained on; a warning if a cube is of another line, and a DataError
    if the network is for these lines `only`.
    """
    lines = trained.checkpoint.data.lines
    names = ", ".join(f"{name} at {f:.4f} GHz" for name, f in lines.items())
    for cube in observed.cubes:
        frequency = cube.rest_frequency_GHz
        if frequency and lines and all(abs(frequency / f - 1.0) > SAME_LINE for f in lines.values()):
            said = f"{cube.file} is of a line at {frequency:.4f} GHz, the network was trained on {names}"
            if only:
                raise DataError(said, "train a network on this line, and name its run first: `iris train --help`")
            warn(f"{said}: another line has another brightness, and so another density")
        if only and not frequency:
            warn(f"{cube.file} has no rest frequency: a line other than {names} gives a wrong map")
    return lines


def summarise_maps(maps: NDArray, grid: Grid, observed: NDArray[np.bool_], sampled: bool = False) -> MapSummary:
    """Densities (members, R', L) in inner units -> their summary; `observed` (L,) longitudes count.

    If they are `sampled` from a posterior, estimates have intervals.
    """
    r = grid.distance.centres()[grid.r_crop_min : grid.r_crop_max]
    masses = maps.astype(np.float64) * pixel_volume_pc3(grid)
    seen = masses[..., observed]
    total, unobserved = seen.sum(axis=(1, 2)), masses[..., ~observed].sum(axis=(1, 2))
    near = seen[:, r < grid.observer_distance_pc].sum(axis=(1, 2)) / np.where(total > 0, total, 1.0)
    peak = maps[..., observed].max(axis=(1, 2), initial=0.0).astype(np.float64)
    values = total, near, peak, unobserved
    return MapSummary(*(Estimate.of(v, sampled) for v in values))


def _quality(inputs: TrainingInputs | str, observed: LvImage, maps: NDArray) -> MapQuality:
    """`inputs` describes the training set; a string is the reason why it is unknown. `maps` are (K, R', L)."""
    if not at_galactic_centre(*observed.centre_deg):
        warn(
            "the model's centre is moved to l {:g}, b {:g}: the network was trained on the Galactic Centre, and its "
            "distances and densities mean nothing elsewhere".format(*observed.centre_deg)
        )
    if isinstance(inputs, str):
        log(f"note: no comparison of this input and its map with the training set: {inputs}")
        return MapQuality(observed.sampled, None, inputs, None)
    known = inputs.images.seen_with(observed.coverage)
    found = known.score(observed.image) if known is not None else None
    consistency = inputs.consistency(maps, observed.image, observed.coverage)
    if found is not None and found.unlike:
        warn(f"this input is unlike the training set: {found}. Do not trust the map")
    if consistency is not None and consistency.unlike:
        warn(f"the map does not fit its input as true maps do: {consistency}. Do not trust the map")
    reason = "" if found is not None else "too little of the input was observed"
    return MapQuality(observed.sampled, found, reason, consistency)


def _check_skill(members: Sequence[TrainedRun]) -> None:
    """Warns of networks whose own test they did not pass; the skill of a mean of samples says little of these."""
    for member in members:
        tested = member.tested()
        scores = [tested.get("predictors", {}).get(name, {}).get("crps") for name in (SAMPLES, PRIOR)]
        skill, what = tested.get("skill"), ""
        if None not in scores:
            if scores[0] >= scores[1]:
                what = f"maps of other galaxies were as good as its samples (CRPS {scores[1]:.3f} and {scores[0]:.3f})"
        elif skill is not None and skill <= 0.0:
            what = f"a map that uses no image was as good (skill {skill:.2f})"
        if what:
            trained = "Do not trust the map; train it for longer, or on more galaxies"
            warn(f"in the latest test of {member.path}, {what}. {trained}")


def _between_runs(members: Sequence[TrainedRun], observed: LvImage, maps: NDArray) -> dict[str, float]:
    """How far the runs' maps (K, R', L) lie apart where the input was observed; nothing of a single run."""
    if len(members) == 1 or not observed.observed_longitudes.any():
        return {}
    seen = torch.from_numpy(maps[..., observed.observed_longitudes]).double()[:, None, None]
    unknown = torch.full_like(seen[0], torch.nan)
    loss, volume = physical_loss(members[0].hyper), pixel_volume(observed.grid)
    return of_one_map(Maps(seen, unknown, loss, None, volume), len(members))


def _save_figure(made: Reversion, path: Path, style: str, history: Sequence[str]) -> None:
    from iris_cli.plots.reverted_map import draw_map
    from iris_cli.plots.style import save, style_of

    unit, seen, caption = made.record.provenance.unit, made.observed, made.record.caption()
    _, factor = density_unit(unit)
    spread = None if made.spread is None else made.spread * factor
    samples = None if made.samples is None else made.samples[:3] * factor
    shown = made.density * factor, spread, seen.image, seen.coverage, seen.grid, unit, seen.centre_deg, caption
    with style_of(style).applied() as look:
        save(draw_map(*shown, samples, look), path, look, history)


def _save_near_far(made: Reversion, path: Path, style: str, history: Sequence[str]) -> None:
    from iris_cli.plots.near_far import FAINTEST, Marker, draw_near_far
    from iris_cli.plots.style import save, style_of

    assert made.near_far is not None
    lv, found, lon0 = made.observed, made.near_far, made.observed.centre_deg[0]
    shown, unseen = lv.image > FAINTEST * lv.image.max(), lv.coverage < LEAST_COVERAGE
    markers = [
        Marker(row["l"] - lon0, row["v"], bool(row["literature_los"] < 0) if decisive else None)
        for row in made.clouds or ()
        if np.isfinite(row["v"])
        for decisive in [abs(row["literature_los"]) > row["literature_sigma"]]
    ]
    files = ", ".join(Path(file.file).name for file in made.record.provenance.files)
    caption = f"Near or far of Sgr A*, from {files}: {made.record.near_far}; drawn where the image is above "
    caption += f"{100 * FAINTEST:.1f} % of its maximum, with lines at 0.25, 0.5 and 0.75"
    drawn = lv.image, found.p_near, found.prior_p_near, shown, unseen, lv.grid, markers, caption
    with style_of(style).applied() as look:
        save(draw_near_far(*drawn, look), path, look, history)
