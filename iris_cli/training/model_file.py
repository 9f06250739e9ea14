"""A trained network as one file to share: a run, or an ensemble, without what only its training needs.

The file is a zip archive that any tool opens; only the statistics are compressed:

card.md                           what the network is, for people: data, line, grid, test results, licence
model.json                        format and version, and the folders below
FOLDER/weights.safetensors        all tensors of the best checkpoint; FOLDER is `run`, `run/samples`, `member-01` ...
FOLDER/checkpoint.json            the rest of it: network, grid, lines, units, progress, configuration
FOLDER/metrics.jsonl              the validation of the best epoch
FOLDER/training_inputs.npz        statistics of the training's inputs
FOLDER/test.json                  numbers of the latest test

A command that takes a run takes such a file: it is unpacked once, as a run folder, into the cache. One comes with the
package (PACKAGED).
"""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from iris_cli import __version__
from iris_cli.cache import safe_folder
from iris_cli.config.toml import dumps
from iris_cli.config.train import BEST, CHECKPOINTS, CONFIG, LATER_STAGES, METRICS, TEST, numbered_members
from iris_cli.console import plural
from iris_cli.errors import DataError
from iris_cli.evaluation.ensemble import SAMPLES
from iris_cli.evaluation.posterior import meaning
from iris_cli.evaluation.trivial import PRIOR
from iris_cli.files import atomic_file, atomic_folder, file_sha256, write_text
from iris_cli.metrics_log import read_lines
from iris_cli.text import to_json
from iris_cli.training.checkpoint import Checkpoint, from_plain, to_plain
from iris_cli.training.checkpoint import save as save_checkpoint
from iris_cli.training.run_folder import TRAINING_INPUTS, RunFolder
from iris_cli.units import QUANTITIES

SUFFIX, FORMAT, VERSION = ".iris", "iris-model", 1
#: The network that comes with the package, made by docs/make_packaged_network.py; its SHA-256 is in a file beside it.
PACKAGED = Path(__file__).parents[1] / "networks" / f"mopra-hnco{SUFFIX}"
DIGEST_SUFFIX = ".sha256"
CARD, INDEX, WEIGHTS, REST = "card.md", "model.json", "weights.safetensors", "checkpoint.json"
#: The folder of a single run, within the file.
SINGLE = "run"
#: Of a test, what names folders of the machine.
PLACES = ("checkpoint", "data", "litter")
#: Bytes: a larger file is none of these.
MOST_BYTES = 1 << 33
#: What only the training needs of a checkpoint.
_DROPPED: dict[str, Any] = {"optimizer": {}, "scheduler": {}, "scaler": {}, "last_model": {}, "ema_steps": 0}
_DROPPED |= {"density_sum": None, "unlogged": [], "bad": {}}


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    file: str
    networks: int
    parameters: int
    bytes: int


def export(run: Path, out: Path, licence: str = "", about: str = "") -> Exported:
    """Write the best checkpoints of a run or an ensemble, with their later stages. DataError where there is none."""
    members = numbered_members(run)
    places = {member.name: member for member in members} or {SINGLE: run}
    stages = {f"{name}/{s}": place / s for name, place in places.items() for s in LATER_STAGES if (place / s).is_dir()}
    found = {name: RunFolder(place).best()[1] for name, place in (places | stages).items()}
    first = found[next(iter(places))]
    numbers = tested(run)
    with atomic_file(out) as file, zipfile.ZipFile(file, "w") as archive:
        put(archive, CARD, card(_shareable(first), len(places), numbers, licence, about))
        index = {"format": FORMAT, "version": VERSION, "iris": __version__, "folders": list(found), "licence": licence}
        put(archive, INDEX, to_json(index))
        if numbers and members:
            put(archive, TEST, to_json(numbers))
        for name, checkpoint in found.items():
            tensors: dict[str, Tensor] = {}
            plain = _without_tensors(to_plain(_shareable(checkpoint)), "", tensors)
            put(archive, f"{name}/{REST}", to_json(plain))
            put(archive, f"{name}/{WEIGHTS}", save({key: value.contiguous().clone() for key, value in tensors.items()}))
            folder, epoch = (places | stages)[name], checkpoint.progress.best_epoch
            if best := [n for n in read_lines(folder / METRICS) if n["kind"] == "epoch" and n["epoch"] == epoch]:
                put(archive, f"{name}/{METRICS}", f"{json.dumps(best[-1])}\n")
            if (statistics := folder / TRAINING_INPUTS).is_file():
                put(archive, f"{name}/{TRAINING_INPUTS}", statistics.read_bytes(), zipfile.ZIP_DEFLATED)
            if numbers := tested(folder):
                put(archive, f"{name}/{TEST}", to_json(numbers))
    parameters = sum(value.numel() for value in first.model.values())
    return Exported(str(out), len(places), parameters, out.stat().st_size)


def put(archive: zipfile.ZipFile, name: str, content: str | bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Without the time, so that equal networks have equal bytes."""
    archive.writestr(zipfile.ZipInfo(name), content, compression)


def tested(run: Path) -> dict[str, Any]:
    """The numbers of the latest test, if there are any."""
    try:
        found = dict(json.loads((run / TEST).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}
    return {name: value for name, value in found.items() if name not in PLACES}


def _shareable(checkpoint: Checkpoint) -> Checkpoint:
    """Without what only the training needs, and without the paths of its folders."""
    config: dict[str, Any] = {**checkpoint.config, "data": [Path(d).name for d in checkpoint.config.get("data", ())]}
    if config.get("litter"):
        config["litter"] = Path(config["litter"]).name
    return replace(checkpoint, config=config, **_DROPPED)


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The same with `{"tensor": PATH}` for each tensor, which is put into `tensors`."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        return {key: _without_tensors(inner, f"{path}/{key}" if path else key, tensors) for key, inner in value.items()}
    return value


def _with_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"tensor"}:
            return tensors[value["tensor"]]
        return {key: _with_tensors(inner, tensors) for key, inner in value.items()}
    return value


def unpacked(file: Path) -> Path:
    """The run folder, or the ensemble's, that a file holds. DataError when it is damaged or no such file."""
    folder = safe_folder("models") / file_sha256(file)[:16] / file.name
    if not folder.is_dir():
        folder.parent.mkdir(exist_ok=True)
        with _opened(file) as (archive, index), atomic_folder(folder, overwrite=True) as partial:
            for name in index["folders"]:
                _unpack(archive, name, partial)
            if TEST in archive.namelist():
                write_text(partial / TEST, archive.read(TEST).decode())
    return folder


def packaged() -> Path:
    """The file of the network that comes with the package. DataError when it is missing or damaged."""
    digest = PACKAGED.with_name(PACKAGED.name + DIGEST_SUFFIX)
    try:
        intact = file_sha256(PACKAGED) == digest.read_text().split()[0]
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}", "install IRIS again, or name a run") from None
    if not intact:
        raise DataError(f"{PACKAGED} does not have the SHA-256 of {digest.name}", "install IRIS again, or name a run")
    return PACKAGED


@contextmanager
def _opened(file: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
                raise ValueError("it is too large")
            index = json.loads(archive.read(INDEX))
            if index["format"] != FORMAT or index["version"] != VERSION:
                raise ValueError(f"it is of format {index['format']} version {index['version']}")
            yield archive, index
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, RuntimeError, SafetensorError, EOFError) as error:
        what = f"{file} is not a network of `iris export`, or damaged: {error}"
        raise DataError(what, "copy or export it again") from None


def _unpack(archive: zipfile.ZipFile, name: str, out: Path) -> None:
    """One folder of the file, whose name is `run`, `member-01`, or one of these and a stage."""
    member, _, stage = name.partition("/")
    if not (member == SINGLE or member.removeprefix("member-").isdigit()) or (stage and stage not in LATER_STAGES):
        raise ValueError(f"it names a folder {name!r}")
    folder = out / ("" if member == SINGLE else member) / stage
    (folder / CHECKPOINTS).mkdir(parents=True)
    tensors = load(archive.read(f"{name}/{WEIGHTS}"))
    checkpoint = from_plain(_with_tensors(json.loads(archive.read(f"{name}/{REST}")), tensors))
    save_checkpoint(checkpoint, folder / CHECKPOINTS / BEST)
    write_text(folder / CONFIG, dumps(checkpoint.config))
    for copied in {f"{name}/{each}" for each in (METRICS, TRAINING_INPUTS, TEST)} & {*archive.namelist()}:
        (folder / Path(copied).name).write_bytes(archive.read(copied))


# --- the card ---------------------------------------------------------------------------------------------------------

#: Keys of a test, and what they mean.
_SCORES = {
    "pairs": "galaxies of the test",
    "skill": "1 - loss / loss of the best trivial map",
    "mass_ratio": "predicted / true mass",
    "near_far_sign_right": "share of galaxies whose heavier half, near or far, is predicted heavier",
}
#: Keys of the samples' scores, which are beside those of the prior.
_OF_SAMPLES = ("crps", "energy_score", "mass_ratio", "mass_scatter_dex", "brier_near", "spread_skill")
_COVERED = ("coverage_68_pixels", "coverage_68_mass", "coverage_68_near", "tarp_deviation")
_STRIPES = ("row_correlation", "row_correlation_true")


def card(first: Checkpoint, networks: int, tested: dict[str, Any], licence: str, about: str) -> str:
    """Markdown: what a reader needs to know before using the network."""
    data, progress, grid = first.data, first.progress, first.data.grid
    lon, v = grid.longitude, grid.velocity
    lines = ", ".join(f"{name} ({GHz:.6g} GHz)" for name, GHz in data.lines.items()) or "not stated"
    noise = f"{data.noise.sigma:g} {QUANTITIES[data.quantity]}" if data.noise else "none"
    done = f"{plural(progress.step, 'step')}, {plural(progress.epoch, 'epoch')}"
    rows = {
        "input": f"longitude-velocity image of a {data.quantity}, {grid.lon_steps} x {grid.v_steps} pixels",
        "longitude": f"{lon.first:.4g} to {lon.last:.4g} deg",
        "velocity": f"{v.first:.4g} to {v.last:.4g} km/s",
        "latitude": f"{data.latitude} over {grid.lat_min_deg:g} to {grid.lat_max_deg:g} deg",
        "spectral lines": lines,
        "output": f"density of H2 from above, {grid.r_steps} distances x {grid.lon_steps} longitudes",
        "network": f"{networks} x {first.reverter['network']}, {sum(t.numel() for t in first.model.values())} numbers",
        "training": f"{done}; noise: {noise}; litter: {'some' if data.litter else 'none'}",
        "data": ", ".join(first.config["data"]) or "not stated",
        "made with": ", ".join(f"{name} {version}" for name, version in first.software.items()),
        "licence": licence or "not stated",
    }
    parts = ["# A reverter of IRIS", *([about] if about else []), _table(rows), *_scores(tested)]
    foreign = [name for name in (first.reverter["network"], first.config.get("physical_loss", "")) if ":" in str(name)]
    trust = "".join(f" --trust {module}" for module in dict.fromkeys(name.partition(":")[0] for name in foreign))
    if foreign:
        parts += [f"It needs code outside of IRIS, which has to be installed: {', '.join(foreign)}."]
    parts += [
        "## Limits",
        "What an observation leaves open, the training galaxies decide. `iris revert` compares each observation with "
        "them and says where it is unlike. Do not use the map of an observation of another line or quantity.",
        f"## Use\n\n    iris revert FILE{SUFFIX} cube.fits --out map.fits --figure map.png{trust}",
    ]
    return "\n\n".join(parts) + "\n"


def _scores(tested: dict[str, Any]) -> Iterator[str]:
    scores = {f"{name}: {what}": _text(tested[name]) for name, what in _SCORES.items() if tested.get(name) is not None}
    if not scores:
        yield "It was not tested on held-out galaxies."
        return
    yield f"## Test\n\nOn held-out galaxies like those of the training.\n\n{_table(scores)}"
    predictors = tested.get("predictors", {})
    if SAMPLES in predictors:
        both = [predictors[SAMPLES], predictors.get(PRIOR, {})]
        found = {
            f"{name}: {meaning(name)}": " | ".join(_text(n.get(name)) for n in both)
            for name in _OF_SAMPLES + _COVERED + _STRIPES
        }
        yield f"Samples, and maps of other galaxies (the prior):\n\n{_table(found, ('samples', 'prior'))}"
    if distances := tested.get("distances"):
        scores = distances["predictors"]
        found = {score: " | ".join(_text(each[score]["mean"]) for each in scores.values()) for score in scores["prior"]}
        yield f"Near or far at each (l, v), per mass of gas:\n\n{_table(found, tuple(scores))}"
        tenths = distances["tenths"]
        shown = zip(tenths["gas"], tenths["p_near"], tenths["near"]["mean"], strict=True)
        said = ", ".join(f"{p:.2f} -> {near:.2f}" for gas, p, near in shown if gas >= 0.01)
        yield f"P(near) -> the share that is near: {said}"


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _table(rows: dict[str, str], columns: tuple[str, ...] = ("",)) -> str:
    """Markdown of names and their cells, which `|` separates."""
    head = [f"| | {' | '.join(columns)} |".replace("|  |", "| |"), f"|{'---|' * (1 + len(columns))}"]
    return "\n".join([*head, *(f"| {name} | {value} |" for name, value in rows.items())])
