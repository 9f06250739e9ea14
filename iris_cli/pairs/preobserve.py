"""Standard data sets in, shards of (observation, density) pairs out: where observers and shards meet, once, offline."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from iris_cli import __version__, axes, units
from iris_cli.config.grid import Grid
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.toml import to_dict
from iris_cli.console import detail, plural, progress, warn
from iris_cli.errors import DataError, UsageError
from iris_cli.observers.device import resolve_backend
from iris_cli.observers.observer import Observer
from iris_cli.observers.registry import make_observer
from iris_cli.observers.top_down import top_down_density
from iris_cli.pairs.pair import DENSITY, OBSERVATION, Pair
from iris_cli.standard import paper_format
from iris_cli.standard.dataset import INDEX, StandardDataset, sense_of_rotation
from shards import layout
from shards.encode_sample import Sample
from shards.errors import ShardError
from shards.index import group_split
from shards.pool import share_of_job
from shards.writer import ArraySchema, SetPlan, SetReport, write_set

#: Below this correlation of longitude and velocity nobody can say which way a galaxy turns.
CLEAR_ROTATION = 0.2


class Input(Protocol):
    """One folder named on the command line."""

    @property
    def folder(self) -> Path: ...

    @property
    def sources(self) -> list[str]: ...

    @property
    def grid(self) -> Grid: ...

    @property
    def quantity(self) -> str: ...

    @property
    def latitude(self) -> str: ...

    @property
    def lines(self) -> int: ...

    def pair(self, number: int, key: str) -> Pair: ...

    def rotation(self) -> float: ...

    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class TensorInput:
    """A standard data set and the observer that looks at it; litter is observed without its density."""

    dataset: StandardDataset
    observer: Observer
    litter: bool

    @property
    def folder(self) -> Path:
        return self.dataset.folder

    @property
    def sources(self) -> list[str]:
        return self.dataset.sources

    @property
    def grid(self) -> Grid:
        return self.dataset.grid

    @property
    def quantity(self) -> str:
        return self.observer.quantity

    @property
    def latitude(self) -> str:
        return self.observer.latitude

    @property
    def lines(self) -> int:
        return self.observer.lines

    def pair(self, number: int, key: str) -> Pair:
        entry = self.dataset.entries[number]
        tensor = torch.from_numpy(self.dataset[number])
        observation = self.observer.observe(tensor).numpy()
        density = None if self.litter else top_down_density(tensor, self.grid).numpy()
        view = {} if entry.view_deg is None else {"view_deg": entry.view_deg}
        return Pair(key, entry.source, observation, density, {"file": entry.file, **view, **entry.info})

    def rotation(self) -> float:
        return sense_of_rotation(self.dataset[0], self.grid)

    def describe(self) -> dict[str, Any]:
        return {
            "folder": self.folder.resolve().name,
            "tensors": len(self.dataset),
            "origin": self.dataset.origin,
            "turned_over": self.dataset.turned_over,
        }


@dataclass(frozen=True)
class PairInput:
    """A folder of the field's that is observed already: read, brought to our units and signs, not observed again."""

    made: paper_format.PaperDataset
    turned_over: bool
    litter: bool

    @property
    def quantity(self) -> str:
        return "temperature"

    @property
    def folder(self) -> Path:
        return self.made.folder

    @property
    def sources(self) -> list[str]:
        return [self.made.source(i) for i in range(len(self.made.files))]

    @property
    def grid(self) -> Grid:
        return self.made.grid.turned_over() if self.turned_over else self.made.grid

    @property
    def latitude(self) -> str:
        return self.made.latitude

    @property
    def lines(self) -> int:
        return 1

    def pair(self, number: int, key: str) -> Pair:
        observation, density = self.made.pair(number)
        if self.turned_over:  # longitude is the second axis of an observation and the last of a density
            observation, density = observation[:, ::-1], density[..., ::-1]
        info = {"file": self.made.files[number][1], "density_file": self.made.files[number][0]}
        return Pair(key, self.made.source(number), observation, None if self.litter else density, info)

    def rotation(self) -> float:
        """Correlation of longitude and velocity, weighted with what shines."""
        image = self.pair(0, "").observation[0].astype(np.float64)
        lon, v = self.grid.longitude.centres()[:, None], self.grid.velocity.centres()[None, :]
        scale = np.sqrt((image * lon**2).sum() * (image * v**2).sum())
        return float((image * lon * v).sum() / scale) if scale > 0 else 0.0

    def describe(self) -> dict[str, Any]:
        shadows = "rays were marched from the near end: shadowing of thick lines is reversed"
        return {
            "folder": self.folder.resolve().name,
            "pairs": len(self.made.files),
            "origin": self.made.origin,
            "turned_over": self.turned_over,
            "caution": shadows,
        }


def open_input(folder: Path, config: PreobserveConfig) -> Input:
    """A standard data set of ours or of the field's, or a pre-observed folder of the field's."""
    if folder.is_dir() and not (folder / INDEX).exists() and (folder / paper_format.ATTRIBUTES).exists():
        made = paper_format.open_paper_dataset(folder, config.views_per_source)
        if made.preobserved:
            return PairInput(made, config.turn_over, config.litter)
    dataset = StandardDataset.open(folder, config.views_per_source)
    dataset = dataset.turn_over() if config.turn_over else dataset
    return TensorInput(dataset, make_observer(dataset.grid, config), config.litter)


def settle(config: PreobserveConfig, out: Path, overwrite: bool) -> PreobserveConfig:
    """The backend `auto` becomes what it stands for here, or what the folder `out` was begun with: one set, one maker.

    UsageError when it was begun on a GPU and there is none here.
    """
    asked = config.synthetic
    if config.observer != "synthetic":
        return config
    begun = _begun_with(out) if (asked.backend, asked.device) == ("auto", "auto") and not overwrite else {}
    try:
        return replace(config, synthetic=resolve_backend(replace(asked, **begun)))
    except UsageError as error:
        if not begun:
            raise
        way_out = "go on where there is one, or begin anew with `--overwrite`"
        raise UsageError(f"{out} was begun on a GPU, and torch finds none here", way_out) from error


def _begun_with(out: Path) -> dict[str, Any]:
    """Backend and device that a shard folder's plan records; empty where there is no such record."""
    try:
        recorded = layout.unseal(out / layout.PLAN, "")["attributes"]["config"]["synthetic"]
        return {name: str(recorded[name]) for name in ("backend", "device")}
    except (ShardError, KeyError, TypeError):
        return {}


@dataclass(frozen=True)
class Make:
    """Item -> sample, in whichever process: the item names an input and a number in it."""

    inputs: tuple[Input, ...]
    single_threaded: bool

    def __call__(self, item: dict[str, Any]) -> Sample:
        if self.single_threaded:
            torch.set_num_threads(1)  # the workers share the cores already
        chosen = self.inputs[item["input"]]
        pair = chosen.pair(item["number"], key_of(item, chosen.sources[item["number"]]))
        arrays = {OBSERVATION: np.ascontiguousarray(pair.observation)}
        if pair.density is not None:
            arrays[DENSITY] = np.ascontiguousarray(pair.density)
        info = {"source": pair.source, "input": chosen.folder.resolve().name, **pair.info}
        return Sample(pair.key, pair.source, arrays, {**info, "units": {a: unit_of(chosen, a) for a in arrays}})


def key_of(item: dict[str, Any], source: str) -> str:
    """Unique in the set, and free of dots: WebDataset cuts a name at the first."""
    return f"{item['input']:02d}-{re.sub(r'[^A-Za-z0-9_-]', '_', source)[-40:]}-{item['number']:06d}"


def unit_of(chosen: Input, array: str) -> str:
    return units.QUANTITIES[chosen.quantity if array == OBSERVATION else "density"]


def schema(chosen: Input, litter: bool) -> list[ArraySchema]:
    """What every sample of the set holds, in inner units."""

    def array(name: str, shape: tuple[int, ...], quantity: str, names: tuple[str, ...]) -> ArraySchema:
        attributes = {
            "quantity": quantity,
            "unit": units.QUANTITIES[quantity],
            "SI_per_unit": 1.0 / units.INNER.per_SI(quantity),
            "axes": list(names),
        }
        return ArraySchema(name, shape, "float32", attributes)

    observed = (chosen.lines, *chosen.grid.observation_shape[1:])
    arrays = [array(OBSERVATION, observed, chosen.quantity, axes.OBSERVATION_AXES)]
    if not litter:
        arrays.append(array(DENSITY, chosen.grid.density_shape, "density", axes.DENSITY_AXES))
    return arrays


def plan(inputs: Sequence[Input], config: PreobserveConfig) -> SetPlan:
    """Which pair goes into which split: all views of a galaxy into one."""
    items = [{"input": i, "number": n} for i, chosen in enumerate(inputs) for n in range(len(chosen.sources))]
    groups = [source for chosen in inputs for source in chosen.sources]
    if config.litter:
        return SetPlan({"litter": items}, config.samples_per_shard)
    chosen = group_split(groups, config.fractions, config.split_seed)
    for split, fraction in config.fractions.items():
        if fraction > 0 and not chosen[split]:
            few = plural(len(set(groups)), "galaxy is", "galaxies are")
            warn(f"{few} too few for a {split} split of {fraction:g}; it is empty")
    splits = {split: [items[i] for i in numbers] for split, numbers in chosen.items() if numbers}
    return SetPlan(splits, config.samples_per_shard)


def check_output(out: Path) -> None:
    """DataError for a data set: shards among its tensors would be neither the one nor the other."""
    if any((out / name).exists() for name in (INDEX, paper_format.ATTRIBUTES)):
        raise DataError(f"{out} is a data set of tensors", "name another folder for the shards")


def check_alike(inputs: Sequence[Input]) -> None:
    """All inputs must look at the same sky in the same way, each once; DataError names the two that do not."""
    first = inputs[0]
    seen: dict[Path, Path] = {}
    for folder in (chosen.folder for chosen in inputs):
        if folder.resolve() in seen:
            raise DataError(f"{seen[folder.resolve()]} and {folder} are the same folder", "name each input once")
        seen[folder.resolve()] = folder
    for other in inputs[1:]:
        mine, theirs = to_dict(first.grid), to_dict(other.grid)
        differ = [f"{name} {mine[name]} and {theirs[name]}" for name in mine if mine[name] != theirs[name]]
        if first.quantity != other.quantity:
            differ.append(f"observations of {first.quantity} and of {other.quantity}")
        if first.lines != other.lines:
            differ.append(f"{plural(first.lines, 'line')} and {other.lines}")
        if first.latitude != other.latitude:
            differ.append(f"latitude {first.latitude} and {other.latitude}")
        if differ:
            raise DataError(
                f"{first.folder} and {other.folder} do not fit into one set: {', '.join(differ)}", "write two sets"
            )


def tell_rotation(chosen: Input) -> float:
    """The correlation of longitude and velocity; a warning when the galaxy turns against the Milky Way.

    It is that of the first one, which must therefore be sound; others may fail alone.
    """
    try:
        rotation = chosen.rotation()
    except DataError as error:
        raise DataError(error.message, "mend it: the first tells which way the galaxies turn") from None
    if rotation < -CLEAR_ROTATION:
        warn(
            f"{chosen.folder} turns anticlockwise seen from north, against the Milky Way (correlation of l and v "
            f"{rotation:+.2f}); --turn-over puts it right"
        )
    return rotation


def preobserve(
    folders: Sequence[Path],
    out: Path,
    config: PreobserveConfig,
    *,
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    quiet: bool = False,
) -> SetReport:
    """Observe every tensor of `folders` and write the pairs into the shard folder `out`.

    Shares the work with the other torchrun ranks, srun tasks or array tasks of the same job. DataError or ShardError
    when inputs do not fit together or the folder is in use; inputs that fail alone are counted in the report.
    """
    check_output(Path(out))
    config = settle(config, Path(out), overwrite)
    inputs = tuple(open_input(Path(folder), config) for folder in folders)
    check_alike(inputs)
    rotations = [tell_rotation(chosen) for chosen in inputs] if not config.litter else []
    if any(isinstance(chosen, PairInput) for chosen in inputs):
        warn("pre-observed images of the field carry reversed shadowing where the line is thick; the index says so")
    todo = plan(inputs, config)
    rank, world = share_of_job(os.environ)
    observer = next((c.observer for c in inputs if isinstance(c, TensorInput)), None)
    attributes = {
        "grid": to_dict(inputs[0].grid),
        "latitude": inputs[0].latitude,
        "observer": observer.describe() if observer else {"name": "imported"},
        "litter": config.litter,
        "rotation": [round(r, 4) for r in rotations],
        "inputs": [chosen.describe() for chosen in inputs],
        "config": to_dict(config),
    }
    total = sum(len(job.items) for job in todo.jobs[rank::world])
    shards = plural(len(todo.jobs[rank::world]), "shard")
    detail(f"part {rank + 1} of {world}: {plural(total, 'pair')} of {shards}; {to_dict(config)}")
    with progress("observing", total, quiet=quiet) as bar:
        return write_set(
            out,
            todo,
            Make(inputs, single_threaded=workers > 1),
            schema=schema(inputs[0], config.litter),
            attributes=attributes,
            fingerprint=attributes,
            encoding=config.encoding,
            software={"iris": __version__, "torch": str(torch.__version__)},
            workers=workers,
            rank=rank,
            world=world,
            resume=resume,
            overwrite=overwrite,
            retry_failed=retry_failed,
            on_progress=bar.advance,
        )


def describe_report(report: SetReport, out: Path) -> dict[str, Any]:
    failures = Counter(failure.reason for failure in report.failed)
    return {
        "folder": str(out),
        "pairs": report.samples,
        "shards": report.shards_written + report.shards_kept,
        "complete": report.complete,
        "failed": len(report.failed),
        "reasons": dict(failures),
    }
