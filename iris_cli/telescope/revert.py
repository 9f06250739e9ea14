"""What `iris revert` does: trained networks and a telescope's cubes in, the view from above out, with what is known of
its worth.

    from iris_cli.telescope.revert import revert
    made = revert(["run"], ["cube.fits"], out="map.fits", figure="map.png")
    made.density      # (R', L) M_sun / pc^3, mean over the networks
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iris_cli import __version__
from iris_cli.config.cube import CubeConfig, at_galactic_centre
from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.config.train import CHECKPOINTS
from iris_cli.console import log, plural, warn
from iris_cli.errors import DataError, IrisError, UsageError
from iris_cli.evaluation.out_of_distribution import Familiar, familiar_inputs
from iris_cli.files import atomic_file, check_output, file_sha256
from iris_cli.observers.molecules import load_molecule
from iris_cli.standard.orbit_check import compare
from iris_cli.telescope.cube import describe, plan, say
from iris_cli.telescope.lv_file import load_lv
from iris_cli.telescope.map_file import density_unit, save_map
from iris_cli.telescope.regrid import LvImage, read_lv
from iris_cli.training.run_folder import member_folders
from iris_cli.training.test import Trained, open_run
from iris_cli.units import INNER
from shards.errors import ShardError
from shards.index import Index

FIGURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Reversion:
    """`density` (R', L) is the mean over the networks, `spread` their standard deviation, None for one network.

    Inner units (M_sun pc^-3), ascending axes of `grid`. `told` is everything else as plain JSON.
    """

    density: NDArray[np.float32]
    spread: NDArray[np.float32] | None
    seen: LvImage
    grid: Grid
    told: dict[str, Any] = field(default_factory=dict)


def revert(
    runs: Sequence[Path | str],
    cubes: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    figure: Path | str | None = None,
    config: CubeConfig | None = None,
    unit: str = "kg/m3",
    overwrite: bool = False,
    quiet: bool = True,
    history: Sequence[str] = (),
) -> Reversion:
    """Revert FITS cubes, or one l-v image of `iris cube`, with the best checkpoint of each run.

    `runs` are run folders, folders of an ensemble or checkpoint files; several make mean and spread. `out` is a FITS
    map in `unit` ("kg/m3" or "Msun/pc3"), `figure` a PNG, PDF or SVG; `history` says how they came about, and stands
    in both. UsageError or DataError, before anything is
    written, when a network takes another quantity than a temperature, when networks differ in grid, when a cube cannot
    be brought to that grid, or an output exists.
    """
    config = config or CubeConfig()
    outputs = [Path(p) for p in (out, figure) if p is not None]
    _check_outputs(out, figure, unit, overwrite)
    members = open_members(runs)
    grid, latitude = check_alike(members)
    seen = _observe([Path(c) for c in cubes], grid, latitude, config, quiet)
    say(seen)
    maps = np.stack([_predict(trained, seen) for trained in members])
    density = maps.mean(axis=0)
    spread = maps.std(axis=0, ddof=1).astype(np.float32) if len(maps) > 1 else None
    familiar = familiar_inputs(_run_of(members[0]), members[0].checkpoint, members[0].hyper, quiet)
    told = {
        "command": "revert",
        **_provenance(members, cubes, config, seen),
        "input": describe(seen),
        "line": _line(members[0], seen),
        "map": measure(maps, grid),
        "novelty": _novelty(familiar, seen),
        "consistency": _consistency(familiar, seen, density),
        "outputs": [str(p) for p in outputs],
        "unit": unit,
    }
    made = Reversion(density, spread, seen, grid, told)
    if out is not None:
        save_map(Path(out), density, spread, seen, unit, told, caption(told), history)
    if figure is not None:
        _draw(made, Path(figure), unit, history)
    return made


def plan_revert(
    runs: Sequence[Path],
    cubes: Sequence[Path],
    out: Path,
    figure: Path | None,
    config: CubeConfig,
    unit: str,
    overwrite: bool,
) -> dict[str, Any]:
    """What would be read and written, with the same checks; nothing is computed."""
    _check_outputs(out, figure, unit, overwrite)
    members = open_members(runs)
    grid, latitude = check_alike(members)
    if len(cubes) == 1 and load_lv(cubes[0]) is not None:
        told: dict[str, Any] = {"image": list(grid.observation_shape[1:]), "latitude": latitude}
    else:
        told = plan(cubes, grid, latitude, config)
    return {
        "networks": [str(m.path) for m in members],
        **told,
        "outputs": [str(p) for p in (out, figure) if p is not None],
    }


# --- networks ---------------------------------------------------------------------------------------------------------


def open_members(runs: Sequence[Path | str]) -> list[Trained]:
    """The best checkpoint of every run, and of every member of an ensemble. DataError where there is none."""
    if not runs:
        raise UsageError("no run was named", "name the folder of `iris train --out`, or a checkpoint in it")
    return [open_run(folder) for run in runs for folder in member_folders(Path(run))]


def check_alike(members: Sequence[Trained]) -> tuple[Grid, str]:
    """The grid and the latitude reduction of all. DataError when they differ, or take no temperature."""
    first = members[0]
    for member in members:
        data = member.checkpoint.data
        if data.quantity != "temperature":
            raise DataError(
                f"{member.path} takes a {data.quantity}; a telescope's cube holds brightness temperatures",
                "train on pairs of the synthetic observer (`iris preobserve --observer synthetic`)",
            )
        for name in ("grid", "latitude"):
            if getattr(data, name) != getattr(first.checkpoint.data, name):
                raise DataError(f"{first.path} and {member.path} differ in their {name}", "revert with one of them")
    return first.checkpoint.data.grid, first.checkpoint.data.latitude


def _predict(trained: Trained, seen: LvImage) -> NDArray[np.float32]:
    reverter = trained.checkpoint.make_reverter()
    with torch.no_grad():
        density = reverter.multi_unit_call(torch.from_numpy(seen.image)[None, None], INNER, INNER)
    return density[0, 0].float().numpy()


def _run_of(trained: Trained) -> Path:
    """The run folder that a checkpoint lies in; the checkpoint itself if it lies elsewhere."""
    folder = trained.path.parent.parent
    return folder if (folder / "config.toml").exists() else trained.path


# --- what comes in ----------------------------------------------------------------------------------------------------


def _observe(cubes: list[Path], grid: Grid, latitude: str, config: CubeConfig, quiet: bool) -> LvImage:
    made = load_lv(cubes[0]) if len(cubes) == 1 and cubes[0].is_file() else None
    if made is None:
        return read_lv(cubes, grid, latitude, config, quiet=quiet)
    for name, here, there in (("latitude reduction", made.latitude, latitude), ("grid", made.grid, grid)):
        if here != there:
            raise DataError(f"{cubes[0]} and the run differ in their {name}", "make it anew: iris cube … --run RUN")
    if config != CubeConfig():
        raise UsageError(f"{cubes[0]} is regridded already", "give such flags to `iris cube`")
    return made


def _check_outputs(out: Path | str | None, figure: Path | str | None, unit: str, overwrite: bool) -> None:
    density_unit(unit)
    if out is not None:
        check_output(Path(out), overwrite, (".fits",))
    if figure is not None:
        check_output(Path(figure), overwrite, FIGURES)


def _provenance(
    members: Sequence[Trained], cubes: Sequence[Path | str], config: CubeConfig, seen: LvImage
) -> dict[str, Any]:
    import astropy

    return {
        "software": {
            "iris": __version__,
            "torch": str(torch.__version__),
            "astropy": astropy.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "networks": [
            {
                "checkpoint": str(m.path),
                "sha256": file_sha256(m.path),
                "epoch": m.checkpoint.progress.epoch,
                "trained_by": m.checkpoint.software,
            }
            for m in members
        ],
        "files": [{"file": str(c), "sha256": file_sha256(Path(c))} for c in cubes],
        "options": to_dict(config),
        "grid": to_dict(seen.grid),
        "made_of": seen.told,
    }


# --- the line ---------------------------------------------------------------------------------------------------------

#: Frequencies that differ by a smaller share are one line: Doppler shifts are smaller, other transitions are not.
SAME_LINE = 2e-3


def _line(trained: Trained, seen: LvImage) -> dict[str, Any]:
    """The lines that the network learned, from its shards, and those of the cubes; a warning where they differ."""
    learned, cubes = _learned_lines(trained), [cube["rest_frequency_GHz"] for cube in seen.told["cubes"]]
    for frequency in cubes:
        if frequency and learned and all(abs(frequency / f - 1.0) > SAME_LINE for f in learned.values()):
            names = ", ".join(f"{name} at {f:.4f} GHz" for name, f in learned.items())
            warn(
                f"the cube is of a line at {frequency:.4f} GHz, the network learned {names}: another line has another "
                "brightness, and so another density"
            )
    return {"learned_GHz": learned, "cubes_GHz": cubes}


def _learned_lines(trained: Trained) -> dict[str, float]:
    """Name -> GHz; nothing where the shards are gone or do not say."""
    found: dict[str, float] = {}
    for folder in trained.hyper.data:
        try:
            lines = Index.open(folder).attributes["config"]["synthetic"]["lines"]
            for line in lines:
                name = f"{Path(line['molecule']).stem} {line['transition']}"
                found[name] = load_molecule(line["molecule"]).line(line["transition"]).frequency_Hz / 1e9
        except (ShardError, IrisError, KeyError, TypeError):
            continue
    return found


# --- what is known of it ----------------------------------------------------------------------------------------------


def measure(maps: NDArray, grid: Grid) -> dict[str, Any]:
    """(members, R', L): mass, peak and the share on the near side; with their spread where there are several."""
    r = grid.distance.centres()[grid.r_crop_min : grid.r_crop_max]
    height, width = (np.deg2rad(a.step) * n for a, n in ((grid.latitude, grid.lat_steps), (grid.longitude, 1)))
    volume_pc3 = (r**2 * grid.distance.step * height * width)[:, None]
    masses = maps.astype(np.float64) * volume_pc3
    total = masses.sum(axis=(1, 2))
    near = masses[:, r < grid.observer_distance_pc].sum(axis=(1, 2)) / np.where(total > 0, total, 1.0)
    told = {"mass_Msun": total, "near_share": near, "peak_Msun_pc3": maps.max(axis=(1, 2)).astype(np.float64)}
    return {
        name: {"mean": float(v.mean()), **({"spread": float(v.std(ddof=1))} if len(v) > 1 else {})}
        for name, v in told.items()
    }


def _novelty(familiar: Familiar | str, seen: LvImage) -> dict[str, Any]:
    if isinstance(familiar, str):
        log(f"note: no score of how usual this input is: {familiar}")
        return {"score": None, "why": familiar}
    judged = familiar.judge(seen.image)
    if judged.unlike:
        odd = ", ".join(
            f"{name.replace('_', ' ')} (percentile {s.percentile:.0f})"
            for name, s in judged.summaries.items()
            if not 1.0 <= s.percentile <= 99.0
        )
        warn(
            f"this input is unlike the training set: distance {judged.score:.2f}, held-out inputs "
            f"{judged.median_held_out:.2f} in the median, {judged.percentile:.0f} % of them nearer"
            f"{f'; unusual: {odd}' if odd else ''}. Do not trust the map"
        )
    return asdict(judged)


def _consistency(familiar: Familiar | str, seen: LvImage, density: NDArray) -> list[dict[str, Any]]:
    """One for each orbit model; none where they do not hold."""
    if not at_galactic_centre(*seen.centre_deg):
        warn(
            "the model's centre is moved to l {:g}, b {:g}: it learned the Galactic Centre, and its distances and "
            "densities mean nothing elsewhere".format(*seen.centre_deg)
        )
        return []
    found = [asdict(a) for a in compare(seen.image, seen.coverage, density, seen.grid)]
    if isinstance(familiar, Familiar):
        for k, entry in enumerate(found):
            low, middle = np.percentile(familiar.explained[:, k], [5, 50])
            entry |= {"true_maps_5_percent": float(low), "true_maps_median": float(middle)}
    if not any(_good(entry) for entry in found):
        best = max(found, key=lambda entry: entry["explained"])
        warn(
            f"the map does not explain the observation: gas in it, moving as {best['orbit']} have it, would be seen "
            f"where {best['explained']:.0%} of the emission is ({best['chance']:.0%} by chance)"
        )
    return found


def _good(entry: dict[str, Any]) -> bool:
    """More than chance, more than a galaxy that turns the other way, as much as nearly all true maps."""
    return entry["explained"] > max(entry["chance"], entry["reversed"]) and entry["explained"] >= entry.get(
        "true_maps_5_percent", 0.0
    )


# --- what goes out ----------------------------------------------------------------------------------------------------


def _draw(made: Reversion, path: Path, unit: str, history: Sequence[str]) -> None:
    from iris_cli.plots.reverted_map import draw_map
    from iris_cli.plots.style import metadata

    _, factor = density_unit(unit)
    spread = None if made.spread is None else made.spread * factor
    figure = draw_map(
        made.density * factor,
        spread,
        made.seen.image,
        made.seen.coverage,
        made.grid,
        unit,
        made.seen.centre_deg,
        caption=caption(made.told),
    )
    with atomic_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=150, metadata=metadata(path, history))


def caption(told: dict[str, Any]) -> str:
    """What stands under the map wherever it is shown: what it is, of which cubes, by which runs, and its worth."""
    cubes = ", ".join(Path(file["file"]).name for file in told["files"])
    runs = ", ".join(dict.fromkeys(_run_name(Path(network["checkpoint"])) for network in told["networks"]))
    networks = plural(len(told["networks"]), "network")
    what = f"H2 density seen from Galactic north, reverted from {cubes} by {networks} ({runs})"
    return "; ".join([what, *captions(told)])


def _run_name(checkpoint: Path) -> str:
    """`run` of run/checkpoints/best.pt, `run` also of run/member-01/checkpoints/best.pt."""
    if checkpoint.parent.name != CHECKPOINTS:
        return checkpoint.name
    run = checkpoint.absolute().parent.parent
    return run.parent.name if run.name.startswith("member-") else run.name


def captions(told: dict[str, Any]) -> Iterator[str]:
    """What a figure must not be shown without."""
    yield f"{told['input']['sampled']:.0%} of the input observed"
    novelty = told["novelty"]
    if novelty["score"] is None:
        yield "likeness to the training set unknown"
    else:
        yield (
            f"{'UNLIKE' if novelty['unlike'] else 'like'} the training set "
            f"(farther than {novelty['percentile']:.0f} % of held-out inputs)"
        )
    if told["consistency"]:
        best = max(told["consistency"], key=lambda entry: entry["explained"])
        yield (
            f"explains {best['explained']:.0%} of the emission on the orbits of {best['orbit']} "
            f"({best['chance']:.0%} by chance, {best['reversed']:.0%} turning the other way)"
        )


def sentences(told: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    mass, near = told["map"]["mass_Msun"], told["map"]["near_share"]
    networks = len(told["networks"])
    yield (
        f"{plural(networks, 'network')}: {_with_spread(mass)} solar masses of H2, "
        f"{_with_spread(near)} of it on the near side"
    )
    yield from (caption for caption in captions(told))


def _with_spread(value: dict[str, float]) -> str:
    return f"{value['mean']:.3g}" + (f" ± {value['spread']:.2g}" if "spread" in value else "")
