"""The work of `iris observe`: one tensor of a standard data set in, FITS cubes out, of each line or of the gas."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iris_cli.config.observer import LineConfig, SyntheticConfig
from iris_cli.console import log
from iris_cli.errors import UsageError, choose
from iris_cli.files import check_output
from iris_cli.observers.brightness import UNITS
from iris_cli.observers.fits_cube import header, moment_names, on_sky, write_cube, write_moments
from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.synthetic import SyntheticObserver
from iris_cli.standard.dataset import StandardDataset
from iris_cli.units import QUANTITIES

#: BTYPE in the header for each of `brightness.UNITS`: BUNIT = K does not say which temperature.
_BTYPES = {"K": "Brightness temperature", "K (Planck)": "Planck brightness temperature", "Jy/sr": "Intensity"}


@dataclass(frozen=True)
class _Cube:
    """A cube (L, B, V) with the cards of its header, what it depends on, and its name in the log."""

    cube: Tensor
    header: Any
    description: dict[str, Any]
    name: str


def observe_to_fits(
    folder: Path,
    index: int,
    out: Path,
    config: SyntheticConfig | None,
    *,
    unit: str = "K",
    smooth_velocity: bool = True,
    moments: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    history: Sequence[str] = (),
) -> list[Path]:
    """Observes tensor `index` of a data set and returns the files written.

    With several lines, the name of each line is added to `out`. Without a `config` of lines, the simple observer writes
    the gas column per velocity, M_sun pc^-2 (km/s)^-1, and `unit` is not used. `history` is written to the headers.
    Raises UsageError when a file exists, or there is no tensor `index`.
    """
    choose("unit", unit, UNITS)
    paths = cube_paths(out, config.lines if config else ())
    for cube_path in paths:
        for path in (cube_path, *(moment_names(cube_path).values() if moments else ())):
            check_output(path, overwrite)
    dataset = StandardDataset.open(folder)
    if index >= len(dataset):
        raise UsageError(f"{folder} has no tensor {index}", f"it holds {len(dataset)}, numbered from 0")
    tensor, entry, written = torch.from_numpy(dataset[index]), dataset.entries[index], []
    if config is None:
        cubes = [_gas_cube(SimpleObserver(dataset.grid, smooth_velocity=smooth_velocity), tensor)]
    else:
        observer = SyntheticObserver(dataset.grid, smooth_velocity=smooth_velocity, config=config)
        cubes = _line_cubes(observer, tensor, unit)
    for path, made in zip(paths, cubes, strict=True):
        made.header["OBJECT"] = entry.source[:60]
        cards = [*history, json.dumps({**made.description, "file": entry.file})]
        on_the_sky = on_sky(made.cube.numpy())
        write_cube(path, on_the_sky, made.header, cards)
        written += [path, *(write_moments(path, on_the_sky, dataset.grid, made.header, cards) if moments else ())]
        if not quiet:
            low, high = made.cube.min().item(), made.cube.max().item()
            log(f"{made.name}: {low:.4g} … {high:.4g} {made.description['unit']}")
    return written


def _line_cubes(observer: SyntheticObserver, tensor: Tensor, unit: str) -> list[_Cube]:
    """One for each line of the observer."""
    made, description = [], observer.describe()
    for cube, line in zip(observer.cube_in(tensor, unit), description["lines"], strict=True):
        kind = "K" if unit.startswith("K") else unit
        h = header(observer.grid, kind, line["frequency_GHz"] * 1e9, description["beam_fwhm_arcsec"])
        h["BTYPE"] = _BTYPES[unit]
        name = f"{line['molecule']} {line['transition']} at {line['frequency_GHz']:.6f} GHz"
        made.append(_Cube(cube, h, {**description, "lines": [line], "unit": unit}, name))
    return made


def _gas_cube(observer: SimpleObserver, tensor: Tensor) -> _Cube:
    unit = QUANTITIES[observer.quantity]
    h = header(observer.grid, unit)
    h["BTYPE"] = "Gas column per velocity"
    cube = observer.cube(observer.smoothed(tensor))[0]
    return _Cube(cube, h, {**observer.describe(), "unit": unit}, "gas column per velocity")


def cube_paths(out: Path, lines: tuple[LineConfig, ...]) -> list[Path]:
    """`cube.fits`, or one name per line such as `cube.13co-2-1.fits` if there are several."""
    if out.suffix != ".fits":
        raise UsageError(f"{out} is not a FITS name", "use a name that ends in .fits")
    if len(lines) < 2:
        return [out]
    labels = [re.sub(r"[^A-Za-z0-9.-]", "_", f"{Path(line.molecule).stem}-{line.transition}") for line in lines]
    return [out.with_name(f"{out.stem}.{label}.fits") for label in labels]
