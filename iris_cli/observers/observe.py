"""The work of `iris observe`: one tensor of a standard data set in, FITS cubes out, one for each line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from iris_cli.config.observer import LineConfig, SyntheticConfig
from iris_cli.console import log
from iris_cli.errors import UsageError, choose
from iris_cli.files import check_output
from iris_cli.observers.brightness import UNITS
from iris_cli.observers.fits_cube import header, moment_names, on_sky, write_cube, write_moments
from iris_cli.observers.synthetic import SyntheticObserver
from iris_cli.standard.dataset import StandardDataset

#: BTYPE in the header for each of `brightness.UNITS`: BUNIT = K does not say which temperature.
_BTYPES = {"K": "Brightness temperature", "K (Planck)": "Planck brightness temperature", "Jy/sr": "Intensity"}


def observe_to_fits(
    folder: Path,
    index: int,
    out: Path,
    config: SyntheticConfig,
    *,
    unit: str = "K",
    smooth_velocity: bool = True,
    moments: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    history: Sequence[str] = (),
) -> list[Path]:
    """Observes tensor `index` of a data set and returns the files written.

    With several lines, the name of each line is added to `out`. `history` is written to the headers. Raises UsageError
    when a file exists, or there is no tensor `index`.
    """
    choose("unit", unit, UNITS)
    paths = cube_paths(out, config.lines)
    for cube_path in paths:
        for path in (cube_path, *(moment_names(cube_path).values() if moments else ())):
            check_output(path, overwrite)
    dataset = StandardDataset.open(folder)
    if index >= len(dataset):
        raise UsageError(f"{folder} has no tensor {index}", f"it holds {len(dataset)}, numbered from 0")
    observer = SyntheticObserver(dataset.grid, smooth_velocity=smooth_velocity, config=config)
    description = observer.describe()
    cubes = observer.cube_in(torch.from_numpy(dataset[index]), unit)
    entry, written = dataset.entries[index], []
    for path, cube, line in zip(paths, cubes, description["lines"], strict=True):
        kind = "K" if unit.startswith("K") else unit
        h = header(dataset.grid, line["frequency_GHz"] * 1e9, kind, description["beam_fwhm_arcsec"])
        h["OBJECT"], h["BTYPE"] = entry.source[:60], _BTYPES[unit]
        cards = [*history, json.dumps({**description, "lines": [line], "unit": unit, "file": entry.file})]
        on_the_sky = on_sky(cube.numpy())
        write_cube(path, on_the_sky, h, cards)
        written += [path, *(write_moments(path, on_the_sky, dataset.grid, h, cards) if moments else ())]
        if not quiet:
            log(
                f"{line['molecule']} {line['transition']} at {line['frequency_GHz']:.6f} GHz: "
                f"{cube.min().item():.4g} … {cube.max().item():.4g} {unit}"
            )
    return written


def cube_paths(out: Path, lines: tuple[LineConfig, ...]) -> list[Path]:
    """`cube.fits`, or one name per line such as `cube.13co-2-1.fits` if there are several."""
    if out.suffix != ".fits":
        raise UsageError(f"{out} is not a FITS name", "use a name that ends in .fits")
    if len(lines) == 1:
        return [out]
    labels = [re.sub(r"[^A-Za-z0-9.-]", "_", f"{Path(line.molecule).stem}-{line.transition}") for line in lines]
    return [out.with_name(f"{out.stem}.{label}.fits") for label in labels]
