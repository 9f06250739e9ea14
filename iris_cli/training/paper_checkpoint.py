"""Conversion of checkpoints of the IRIS paper's code (`chp_<epoch>.pt`), so that they can be tested and used to revert.

Such a file is a state dict: weights under `encoder._<k>_<m>_<kind>.…` and `decoder._<k>_<m>_<kind>.…` (k the stage, m
the place in it), and the scalars `temperature`, `intensity`, `v_density`, `density`: the value of one SI unit in the
units of the network. It contains neither grid nor quantity, and its velocities are positive *towards* the observer.
Units and directions are converted exactly, in the weights: the first convolution is scaled from kelvin, the last one to
M_sun/pc^3 (ReLU commutes with a positive factor), and kernels are mirrored where an axis has the opposite direction
(attention does not depend on the order of pixels).
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.config.train import TrainConfig
from iris_cli.console import log, warn
from iris_cli.errors import DataError, UsageError
from iris_cli.files import file_sha256
from iris_cli.reverter.reverter import OBSERVED_QUANTITIES, Reverter
from iris_cli.training.checkpoint import Checkpoint, DataDescription, Progress, read_tensors, save
from iris_cli.training.run_folder import RunFolder
from iris_cli.units import INNER, SI

SCALARS = ("density", *OBSERVED_QUANTITIES)
_KEY = re.compile(r"(encoder|decoder)\._(\d+)_(\d+)_([a-z_]+)\.(.+)")
_CONVOLUTION = re.compile(r"(encoder|decoder)\._\d+_\d+_(convolution|transpose_convolution)\.weight")
#: A CMZ density, kg/m^3, and the range of its value in a reasonable unit of a network.
_TYPICAL_KG_M3, _REASONABLE = 1e-19, (1e-8, 1e8)


@dataclass(frozen=True)
class ImportOptions:
    """What the file does not contain. `velocity_towards`: its velocities are positive towards the observer.

    `turn_over`: its galaxies rotate in the sense opposite to the Milky Way, so that l and b change sign.
    """

    grid: Grid
    quantity: str = "temperature"
    latitude: str = "mean"
    velocity_towards: bool = True
    turn_over: bool = False


@dataclass(frozen=True)
class ImportedCheckpoint:
    """What was read from the file, how it was converted, and where the result was written."""

    file: str
    sha256: str
    written: str
    epoch: int
    options: ImportOptions
    units_per_SI: dict[str, float]
    parameters: int


def import_checkpoint(path: Path, out: Path, options: ImportOptions, *, overwrite: bool = False) -> ImportedCheckpoint:
    """Write a checkpoint (`out` ends in .pt) or a run folder.

    DataError when the file is not a state dict, or not one of this network on this grid: the message lists unknown and
    missing keys and differing shapes.
    """
    size, r, v = options.grid.lon_steps, options.grid.density_shape[1], options.grid.v_steps
    if not r == size == v:
        raise UsageError(f"the grid has {r} distances, {size} longitudes and {v} velocities; images must be square")
    state, reverter = read_state(path), Reverter(size, options.quantity, network="paper")
    weights = matched(state, reverter.state_dict(), path, size)
    factors = {name: _scalar(state, name, path) for name in SCALARS}
    _check_reasonable(factors, path)
    model = converted(weights, options, factors)
    model |= {name: torch.tensor(INNER.per_SI(name), dtype=torch.float64) for name in SCALARS}
    digest = file_sha256(path)
    checkpoint = Checkpoint(
        reverter={"image_size": size, "quantity": options.quantity, "network": "paper"},
        model=model,
        progress=Progress(epoch=int(number[0]) if (number := re.findall(r"\d+$", path.stem)) else 0),
        config=to_dict(TrainConfig(network="paper")),
        data=DataDescription(f"imported:{digest}", options.grid, options.quantity, options.latitude),
    )
    written, epoch = str(_write(checkpoint, out, overwrite)), checkpoint.progress.epoch
    parameters = sum(p.numel() for p in reverter.parameters())
    return ImportedCheckpoint(str(path), digest, written, epoch, options, factors, parameters)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of the file, without the prefixes of parallel training. DataError when it contains anything else."""
    state = read_tensors(path, "state dict", "give a chp_<epoch>.pt of the paper's code, or copy it again")
    if not isinstance(state, dict) or not state or not all(isinstance(k, str) for k in state):
        raise DataError(f"{path} is not a state dict", "give a chp_<epoch>.pt of the paper's code")
    if state.get("format") == "iris-checkpoint":
        raise UsageError(f"{path} is already a checkpoint of this program", "no import is needed")
    other = [key for key, value in state.items() if not isinstance(value, Tensor | float | int)]
    if other:
        raise DataError(f"{path} contains values that are not tensors: {_few(other)}", "save the state dict alone")
    return {key.removeprefix("module."): torch.as_tensor(value) for key, value in state.items()}


def matched(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, size: int) -> dict[str, Tensor]:
    """The weights under the names of `wanted`. Layers match by part, stage and kind, but not by place in the stage."""
    hint = "give its grid: --preset paper, small or tiny, or --config"
    given = {_canonical(key): key for key in state if key not in SCALARS}
    known = {_canonical(key): key for key in wanted if key not in SCALARS}
    renamed = _attention_names(given, known)
    unknown = sorted(given[c] for c in given.keys() - known.keys() - renamed.keys())
    missing = sorted(known[c] for c in known.keys() - given.keys() - set(renamed.values()))
    if unknown or missing:
        lists = [f"{word}: {_few(keys)}" for word, keys in (("unknown", unknown), ("missing", missing)) if keys]
        raise DataError(f"{path} is not a reverter for {size} pixels; {'; '.join(lists)}", hint)
    found = {known[renamed.get(c, c)]: state[key] for c, key in given.items()}
    wrong = [key for key, value in found.items() if value.shape != wanted[key].shape]
    if wrong:
        shapes = _few(f"{key} {tuple(found[key].shape)}, not {tuple(wanted[key].shape)}" for key in wrong)
        raise DataError(f"{path} does not fit a reverter for {size} pixels: {shapes}", hint)
    return {key: value.clone() for key, value in found.items()}


def _canonical(key: str) -> str:
    """`encoder._4_3_attention.x` -> `encoder.4.attention.x`; other keys as they are."""
    match = _KEY.fullmatch(key)
    return "{0}.{1}.{3}.{4}".format(*match.groups()) if match else key


#: Names of the parameters of torch's multi-head attention.
_ATTENTION = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
_NORMS = ("norm_in", "norm_out")


def _attention_names(given: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Other names within an attention block -> known names: torch's by their endings, norms by their order."""
    blocks: dict[str, list[str]] = defaultdict(list)
    for canonical in given:
        if ".attention." in canonical and canonical not in known:
            blocks[canonical.split(".attention.")[0]].append(canonical)
    renamed: dict[str, str] = {}
    for block, names in blocks.items():
        norms = list(dict.fromkeys(n.rpartition(".")[0] for n in names if not n.endswith(_ATTENTION)))
        free = [f"{block}.attention.{norm}" for norm in _NORMS if f"{block}.attention.{norm}.weight" not in given]
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
        warn(f"attention layers have other names here, such as {old} for {new}: norms are matched by order")
    return renamed


def _few(words: Iterable[str]) -> str:
    found = list(words)
    return ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")


def converted(weights: Mapping[str, Tensor], options: ImportOptions, factors: Mapping[str, float]) -> dict[str, Tensor]:
    """The same function in inner units and native directions: longitude (rows of l-v, columns of maps), velocity."""
    model = dict(weights)
    for key, value in model.items():
        match = _CONVOLUTION.fullmatch(key)
        if match and match[1] == "encoder":
            across = [dim for dim, turned in ((-2, options.turn_over), (-1, options.velocity_towards)) if turned]
            model[key] = value.flip(across)
        elif match and options.turn_over:
            model[key] = value.flip([-1])
    first = next(key for key in model if _CONVOLUTION.fullmatch(key) and key.startswith("encoder._1_"))
    stages = max(int(m[2]) for key in model if (m := _KEY.fullmatch(key)) and m[1] == "decoder")
    last = next(key for key in model if _CONVOLUTION.fullmatch(key) and key.startswith(f"decoder._{stages}_"))
    model[first] = model[first] * (factors[options.quantity] / INNER.per_SI(options.quantity))
    out = INNER.per_SI("density") / factors["density"]
    for key in (last, last.replace(".weight", ".bias")):
        model[key] = model[key] * out
    return model


def _scalar(state: Mapping[str, Tensor], name: str, path: Path) -> float:
    if name not in state:
        raise DataError(f"{path} has no unit of {name}", "it is not a checkpoint of the paper's code")
    value = state[name]
    if value.numel() != 1 or not bool(torch.isfinite(value.double()).all()) or float(value) <= 0:
        raise DataError(f"{path}: its unit of {name} is {value.flatten()[:3].tolist()}, not one positive number")
    return float(value)


def _check_reasonable(factors: Mapping[str, float], path: Path) -> None:
    typical = _TYPICAL_KG_M3 * factors["density"] / SI.per_SI("density")
    if not _REASONABLE[0] < typical < _REASONABLE[1]:
        one = f"one kg/m^3 is {factors['density']:.3g} of its units of density"
        cmz = f"{_TYPICAL_KG_M3:g} kg/m^3, typical of the CMZ, would be {typical:.3g}"
        raise DataError(f"{path}: {one}; {cmz}", "the scalar must be the value of one SI unit in the network's unit")


def _write(checkpoint: Checkpoint, out: Path, overwrite: bool) -> Path:
    if out.suffix == ".pt":
        if out.exists() and not overwrite:
            raise UsageError(f"{out} exists", "--overwrite replaces it")
        if not out.parent.is_dir():
            raise DataError(f"{out.parent} is not a folder", "create it first")
        save(checkpoint, out)
        return out
    folder = RunFolder(out)
    folder.prepare(resume=False, overwrite=overwrite)
    folder.begin(TrainConfig(network="paper"), Progress())
    folder.save(checkpoint, best=True)
    log("the noise of its training is not known: give it to `iris test` as --noise-sigma-k")
    return out
