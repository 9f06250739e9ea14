"""What `iris cube` does: telescope cubes in, the l-v image of a model's grid out; and where that grid may come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iris_cli.config.cube import CubeConfig, RegridConfig
from iris_cli.config.grid import Grid, grid_preset
from iris_cli.console import log, warn
from iris_cli.errors import UsageError
from iris_cli.files import check_output, file_sha256
from iris_cli.telescope.cube_file import open_cube
from iris_cli.telescope.lv_file import SUFFIXES, save_lv
from iris_cli.telescope.regrid import LvImage, check_memory, read_lv, sums_GiB

#: Of the model's image; below it the user is told how much is dark because nobody looked.
NEARLY_ALL = 0.95


def regrid_cubes(
    paths: Sequence[Path],
    out: Path,
    config: RegridConfig,
    *,
    preset: str | None = None,
    run: Path | None = None,
    shards: Path | None = None,
    latitude: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
    history: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the l-v image of `paths` to `out` (.npz or .fits); what came of it, as JSON.

    The grid is that of one of `preset`, `run`, `shards` and `config.grid`; the latitude reduction comes with a run or
    shards, and `latitude` wins. `history` says how the file came about, and stands in it. UsageError when none or
    several grids are named, DataError as in `read_lv`.
    """
    check_output(out, overwrite, SUFFIXES)
    grid, reduction = _grid(config, preset, run, shards)
    reduction = latitude or reduction
    if dry_run:
        return plan(paths, grid, reduction, config.cube)
    made = read_lv(paths, grid, reduction, config.cube, quiet=quiet)
    for told, path in zip(made.told["cubes"], paths, strict=True):
        told["sha256"] = file_sha256(path)
    say(made)
    save_lv(made, out, history)
    return {"file": str(out), **describe(made)}


def _grid(config: RegridConfig, preset: str | None, run: Path | None, shards: Path | None) -> tuple[Grid, str]:
    named = [x for x in (preset, run, shards, config.grid) if x is not None]
    if len(named) != 1:
        raise UsageError(
            "no grid was named" if not named else "more than one grid was named",
            "give one of --preset, --run, --shards, or a [grid] table in --config",
        )
    if run is not None:
        return grid_of_run(run)
    if shards is not None:
        return grid_of_shards(shards)
    return config.grid or grid_preset(str(preset)), config.latitude


def grid_of_run(run: Path) -> tuple[Grid, str]:
    """(grid, latitude reduction) that a run was trained on; for an ensemble, its first member's."""
    from iris_cli.training.run_folder import member_folders
    from iris_cli.training.test import open_run

    data = open_run(member_folders(run)[0]).checkpoint.data
    return data.grid, data.latitude


def grid_of_shards(shards: Path) -> tuple[Grid, str]:
    from iris_cli.pairs.open_data import open_shards

    dataset = open_shards(str(shards))
    return dataset.grid, dataset.latitude


def plan(paths: Sequence[Path], grid: Grid, latitude: str, config: CubeConfig) -> dict[str, Any]:
    """What would be read, from the headers alone. DataError as in reading."""
    if not paths:
        raise UsageError("no cube was named", "name one or more FITS cubes")
    cubes = []
    for path in paths:
        with open_cube(path, config) as cube:
            check_memory(grid, config, [cube])
            size_GiB = path.stat().st_size / 2**30
            cubes.append({**cube.told, "file": str(path), "size_GiB": round(size_GiB, 4), "notes": cube.notes})
    return {
        "cubes": cubes,
        "image": list(grid.observation_shape[1:]),
        "latitude": latitude,
        "sums_GiB": round(sums_GiB(grid), 4),
        "memory_GiB": config.memory_GiB,
    }


def say(made: LvImage) -> None:
    """What a user must know about an image before believing it, on stderr."""
    for note in made.told.get("notes", []):
        log(f"note: {note}")
    if made.sampled < NEARLY_ALL:
        warn(
            f"the cubes fill {made.sampled:.1%} of the model's image; where nobody looked it is dark, which the "
            "network takes for empty"
        )


def describe(made: LvImage) -> dict[str, Any]:
    peak, mean = float(made.image.max()), float(made.image.mean(dtype="float64"))
    return {
        "sampled": made.sampled,
        "peak_K": peak,
        "mean_K": mean,
        "latitude": made.latitude,
        "shape": list(made.image.shape),
        "cubes": made.told["cubes"],
    }
