"""Checkpoints of the IRIS paper's code (`chp_<epoch>.pt`) -> ours, so that they can be tested and used for reverting.

Such a file is a state dict: weights under `encoder._<k>_<m>_<kind>.…` and `decoder._<k>_<m>_<kind>.…` (k the stage, m
the place in it), and the scalars `temperature`, `intensity`, `v_density`, `density`: what one SI unit is in the units
that the network was trained in. It says neither grid nor quantity, and its velocities are positive *towards* the
observer.
Units and directions are put right in the weights themselves, exactly: the first convolution is scaled from kelvin, the
last one to M_sun/pc^3 (a ReLU lets factors through), and kernels are mirrored where an axis runs the other way
(attention does not know the order of pixels).
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.config.train import TrainConfig
from iris_cli.console import log, warn
from iris_cli.errors import DataError, UsageError
from iris_cli.reverter.reverter import OBSERVED_QUANTITIES, Reverter
from iris_cli.training.checkpoint import Checkpoint, DataDescription, Progress, read_tensors, save
from iris_cli.training.run_folder import RunFolder
from iris_cli.units import INNER, SI

SCALARS = ("density", *OBSERVED_QUANTITIES)
_KEY = re.compile(r"(encoder|decoder)\._(\d+)_(\d+)_([a-z_]+)\.(.+)")
_CONVOLUTION = re.compile(r"(encoder|decoder)\._\d+_\d+_(convolution|transpose_convolution)\.weight")
#: A CMZ density, kg/m^3, and what numbers it may reasonably become in a network's unit.
_TYPICAL_KG_M3, _REASONABLE = 1e-19, (1e-8, 1e8)


@dataclass(frozen=True)
class Circumstances:
    """What the file does not say. `velocity_towards`: its velocities are positive towards the observer.

    `turn_over`: it learned galaxies that turn against the Milky Way; l and b are to change sign.
    """

    grid: Grid
    quantity: str = "temperature"
    latitude: str = "mean"
    velocity_towards: bool = True
    turn_over: bool = False


def import_checkpoint(path: Path, out: Path, what: Circumstances, *, overwrite: bool = False) -> dict[str, Any]:
    """Write a checkpoint (`out` ends in .pt) or a run folder; what was done, as JSON.

    DataError when the file is no state dict or not one of this network on this grid; strange keys and shapes are named.
    """
    size = _image_size(what.grid)
    state = read_state(path)
    reverter = Reverter(size, what.quantity)
    weights = matched(state, reverter.state_dict(), path, size)
    factors = {name: _scalar(state, name, path) for name in SCALARS}
    _check_reasonable(factors, path)
    model = converted(weights, what, factors)
    for name in SCALARS:
        model[name] = torch.tensor(INNER.per_SI(name), dtype=torch.float64)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    checkpoint = Checkpoint(
        reverter={"image_size": size, "quantity": what.quantity},
        model=model,
        progress=Progress(epoch=_epoch(path)),
        config=to_dict(TrainConfig()),
        data=DataDescription(f"imported:{digest}", what.grid, what.quantity, what.latitude),
    )
    written = _write(checkpoint, out, overwrite)
    return {
        "file": str(path),
        "sha256": digest,
        "written": str(written),
        "epoch": checkpoint.progress.epoch,
        "image_size": size,
        "quantity": what.quantity,
        "latitude": what.latitude,
        "grid": to_dict(what.grid),
        "velocity_reversed": what.velocity_towards,
        "turned_over": what.turn_over,
        "units_per_SI": factors,
        "parameters": sum(p.numel() for p in reverter.parameters()),
    }


def read_state(path: Path) -> dict[str, Tensor]:
    """The file's tensors, without the prefixes of parallel training. DataError when it holds anything else."""
    state = read_tensors(path, "state dict", "name a chp_<epoch>.pt of the paper's code, or copy it again")
    if not isinstance(state, dict) or not state or not all(isinstance(k, str) for k in state):
        raise DataError(f"{path} holds no state dict", "name a chp_<epoch>.pt of the paper's code")
    if state.get("format") == "iris-checkpoint":
        raise UsageError(f"{path} is a checkpoint of this program already", "use it as it is")
    other = [key for key, value in state.items() if not isinstance(value, Tensor | float | int)]
    if other:
        raise DataError(f"{path} holds things that are no tensors: {_few(other)}", "save the state dict alone")
    return {key.removeprefix("module."): torch.as_tensor(value) for key, value in state.items()}


# --- names and shapes -------------------------------------------------------------------------------------------------


def matched(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, size: int) -> dict[str, Tensor]:
    """The weights under our names. A layer is known by its part, stage and kind; its place in the stage may differ."""
    theirs = {_canonical(key): key for key in state if key not in SCALARS}
    ours = {_canonical(key): key for key in wanted if key not in SCALARS}
    renamed = _attention_names(theirs, ours)
    strange = sorted(theirs[c] for c in theirs.keys() - ours.keys() - renamed.keys())
    missing = sorted(ours[c] for c in ours.keys() - theirs.keys() - set(renamed.values()))
    if strange or missing:
        told = [f"{word}: {_few(keys)}" for word, keys in (("unknown", strange), ("missing", missing)) if keys]
        raise DataError(
            f"{path} is not a reverter for {size} pixels; {'; '.join(told)}",
            "name its grid: --preset paper, small or tiny, or --config",
        )
    found = {ours[renamed.get(c, c)]: state[key] for c, key in theirs.items()}
    shapes = [
        f"{key} {tuple(value.shape)}, not {tuple(wanted[key].shape)}"
        for key, value in found.items()
        if value.shape != wanted[key].shape
    ]
    if shapes:
        raise DataError(
            f"{path} does not fit a reverter for {size} pixels: {_few(shapes)}",
            "name its grid: --preset paper, small or tiny, or --config",
        )
    return {key: value.clone() for key, value in found.items()}


def _canonical(key: str) -> str:
    """`encoder._4_3_attention.x` -> `encoder.4.attention.x`; other keys as they are."""
    match = _KEY.fullmatch(key)
    return "{0}.{1}.{3}.{4}".format(*match.groups()) if match else key


#: How torch calls the parameters of its multi-head attention, whatever a module around it is called.
_ATTENTION = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
_NORMS = ("norm_in", "norm_out")


def _attention_names(theirs: Collection[str], ours: Collection[str]) -> dict[str, str]:
    """Inside an attention block the file's own names -> ours: torch's by their endings, norms in their order."""
    known = set(ours)
    blocks: dict[str, list[str]] = defaultdict(list)
    for canonical in theirs:
        if ".attention." in canonical and canonical not in known:
            blocks[canonical.split(".attention.")[0]].append(canonical)
    renamed: dict[str, str] = {}
    for block, names in blocks.items():
        norms = list(dict.fromkeys(n.rpartition(".")[0] for n in names if not n.endswith(_ATTENTION)))
        free = [f"{block}.attention.{norm}" for norm in _NORMS if f"{block}.attention.{norm}.weight" not in theirs]
        for name in names:
            prefix, _, last = name.rpartition(".")
            ending = next((e for e in _ATTENTION if name.endswith(e)), None)
            if ending:
                renamed[name] = f"{block}.attention.attention.{ending}"
            elif len(norms) == len(free):
                renamed[name] = f"{free[norms.index(prefix)]}.{last}"
    renamed = {name: new for name, new in renamed.items() if new in known}
    if renamed:
        old, new = next(iter(renamed.items()))
        warn(f"attention layers have other names in this file ({old} for {new}, say): norms are taken in their order")
    return renamed


def _few(words: Iterable[str], most: int = 4) -> str:
    all_words = list(words)
    more = f" and {len(all_words) - most} more" if len(all_words) > most else ""
    return ", ".join(all_words[:most]) + more


# --- units and directions ---------------------------------------------------------------------------------------------


def converted(weights: Mapping[str, Tensor], what: Circumstances, factors: Mapping[str, float]) -> dict[str, Tensor]:
    """The same function in inner units and in our directions: longitude (rows of l-v, columns of maps), velocity."""
    model = dict(weights)
    for key, value in model.items():
        match = _CONVOLUTION.fullmatch(key)
        if match and match[1] == "encoder":
            across = [dim for dim, turned in ((-2, what.turn_over), (-1, what.velocity_towards)) if turned]
            model[key] = value.flip(across)
        elif match and what.turn_over:
            model[key] = value.flip([-1])
    first = next(key for key in model if _CONVOLUTION.fullmatch(key) and key.startswith("encoder._1_"))
    stages = max(int(m[2]) for key in model if (m := _KEY.fullmatch(key)) and m[1] == "decoder")
    last = next(key for key in model if _CONVOLUTION.fullmatch(key) and key.startswith(f"decoder._{stages}_"))
    model[first] = model[first] * (factors[what.quantity] / INNER.per_SI(what.quantity))
    out = INNER.per_SI("density") / factors["density"]
    for key in (last, last.replace(".weight", ".bias")):
        model[key] = model[key] * out
    return model


def _scalar(state: Mapping[str, Tensor], name: str, path: Path) -> float:
    if name not in state:
        raise DataError(f"{path} does not say its unit of {name}", "it is no checkpoint of the paper's code")
    value = state[name]
    if value.numel() != 1 or not bool(torch.isfinite(value.double()).all()) or float(value) <= 0:
        raise DataError(f"{path}: its unit of {name} is {value.flatten()[:3].tolist()}, not one positive number")
    return float(value)


def _check_reasonable(factors: Mapping[str, float], path: Path) -> None:
    typical = _TYPICAL_KG_M3 * factors["density"] / SI.per_SI("density")
    if not _REASONABLE[0] < typical < _REASONABLE[1]:
        raise DataError(
            f"{path}: one kg/m^3 is {factors['density']:.3g} of its units of density; {_TYPICAL_KG_M3:g} kg/m^3, "
            f"typical of the CMZ, would be {typical:.3g}",
            "the scalar must say what one SI unit is in the network's units",
        )


def _image_size(grid: Grid) -> int:
    r, lon, v = grid.density_shape[1], grid.lon_steps, grid.v_steps
    if not r == lon == v:
        raise UsageError(f"the grid has {r} distances, {lon} longitudes and {v} velocities; images must be square")
    return lon


def _epoch(path: Path) -> int:
    match = re.search(r"(\d+)$", path.stem)
    return int(match[1]) if match else 0


def _write(checkpoint: Checkpoint, out: Path, overwrite: bool) -> Path:
    if out.suffix == ".pt":
        if out.exists() and not overwrite:
            raise UsageError(f"{out} exists already", "--overwrite replaces it")
        if not out.parent.is_dir():
            raise DataError(f"{out.parent} is not a folder", "make it first")
        save(checkpoint, out)
        return out
    folder = RunFolder(out)
    folder.prepare(resume=False, overwrite=overwrite)
    folder.begin(TrainConfig(), 0)
    folder.save(checkpoint, best=True)
    log("its training is not known here: give the noise to `iris test` by --noise-sigma-k")
    return out
