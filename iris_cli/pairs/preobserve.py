"""Standard data sets in, shards of pairs out: the only module that uses both observers and shards.

`preobserve` reads from top to bottom: resolve the backend, open the inputs, check that they fit together, divide the
galaxies among the splits, then let `shards.writer` call `MakeSample` for each pair.
"""

import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iris_cli import __version__
from iris_cli.config.grid import Grid
from iris_cli.config.observer import TracerConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.toml import to_dict
from iris_cli.console import detail, log, plural, progress, warn
from iris_cli.errors import DataError, UsageError
from iris_cli.mock.generate import Foregrounds, Galaxies, origin
from iris_cli.observers.device import resolve_backend
from iris_cli.observers.registry import make_observer
from iris_cli.observers.tracer import galaxy_dex
from iris_cli.pairs.overlap import VALIDATION, few_galaxies
from iris_cli.pairs.pair import DENSITY, FURTHER, OBSERVATION, check_alike, observed_pair, schemas
from iris_cli.ranks import share_of_job
from iris_cli.standard import paper_format
from iris_cli.standard.dataset import INDEX, Entry, StandardDataset, sense_of_rotation
from iris_cli.units import QUANTITIES
from shards.encode_sample import Sample
from shards.errors import ShardError
from shards.set_plan import PlanRecord
from shards.splits import empty_splits, filling_seed, group_split
from shards.writer import ArraySchema, SetPlan, SetReport, write_set

#: Below this correlation of longitude and velocity the sense of a galaxy's rotation is not clear.
CLEAR_ROTATION = 0.2


def preobserve(
    folders: "Sequence[Path | Input]",
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
    config = with_backend(config, Path(out), overwrite)
    inputs = tuple(opened(each, config) for each in folders)
    check_inputs(inputs)
    rotations = [checked_rotation(each) for each in inputs] if not config.litter else []
    if any(isinstance(each, PaperPairs) for each in inputs):
        images = "pre-observed images of the paper code"
        warn(f"{images} have reversed shadowing where the line is thick; the index notes it")
    plan = plan_set(inputs, config)
    rank, world = share_of_job(os.environ)
    observer = next((each.observer for each in inputs if isinstance(each, Tensors)), None)
    attributes = {
        "grid": to_dict(inputs[0].grid),
        "latitude": inputs[0].latitude,
        "observer": observer.describe() if observer else {"name": "imported"},
        "litter": config.litter,
        "rotation": [round(r, 4) for r in rotations],
        "inputs": [each.describe() for each in inputs],
        "config": to_dict(config),
    }
    jobs, schema = plan.jobs[rank::world], set_schema(inputs, config)
    total = sum(len(job.items) for job in jobs)
    detail(f"part {rank + 1} of {world}: {plural(total, 'pair')} of {plural(len(jobs), 'shard')}; {to_dict(config)}")
    with progress("observing", total, quiet=quiet) as bar:
        return write_set(
            out,
            plan,
            MakeSample(inputs, tuple(array.name for array in schema), single_threaded=workers > 1),
            schema=schema,
            attributes=attributes,
            made_from=attributes,
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


def check_output(out: Path) -> None:
    """DataError when `out` is a data set of tensors, among which shards must not be written."""
    if any((out / name).exists() for name in (INDEX, paper_format.ATTRIBUTES)):
        raise DataError(f"{out} is a data set of tensors", "name another folder for the shards")


def with_backend(config: PreobserveConfig, out: Path, overwrite: bool) -> PreobserveConfig:
    """The configuration with the backend and device that `auto` selects.

    A folder `out` that was begun keeps the backend and device that its plan records, so that one backend computes a
    whole set. UsageError when it was begun on a GPU and this machine has none.
    """
    asked = config.synthetic
    if config.observer != "synthetic":
        return config
    begun: dict[str, Any] = {}
    if (asked.backend, asked.device) == ("auto", "auto") and not overwrite:
        with suppress(ShardError, KeyError, TypeError):  # no plan, or one without these
            recorded = PlanRecord.read(out).attributes["config"]["synthetic"]
            begun = {name: str(recorded[name]) for name in ("backend", "device")}
    try:
        return replace(config, synthetic=resolve_backend(replace(asked, **begun)))
    except UsageError as error:
        if not begun:
            raise
        hint = "resume on a machine with a GPU, or start anew with `--overwrite`"
        raise UsageError(f"{out} was begun on a GPU, and torch finds none here", hint) from error


# --- inputs -----------------------------------------------------------------------------------------------------------


class Input(ABC):
    """One folder named on the command line: numbered galaxies, each of which becomes a sample of the shards."""

    folder: Path
    #: The galaxy of each item: its name, and its identity.
    sources: list[str]
    identities: list[str]
    grid: Grid
    quantity: str
    latitude: str
    channels: int
    #: Arrays of `pair.FURTHER` that can be made.
    further: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.folder)

    def sample(self, number: int, key: str, names: Sequence[str]) -> Sample:
        arrays, info = self._observed(number, names)
        units = {OBSERVATION: QUANTITIES[self.quantity], DENSITY: QUANTITIES["density"]}
        units = {name: units[name] for name in arrays if name in units}
        source = self.sources[number]
        info = {"source": source, "input": self.folder.resolve().name, **info, "units": units}
        for name, array in arrays.items():
            if bad := array.size - int(np.isfinite(array).sum()):  # also where finite numbers overflowed
                what = f"{self.folder}: the {name} of {info.get('file', source)} holds {bad} values that are not finite"
                raise DataError(what, "are its densities and their unit right?")
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return Sample(key, self.identities[number], contiguous, info)

    @abstractmethod
    def _observed(self, number: int, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The arrays `names` of a pair, and what else is known about it."""

    @abstractmethod
    def rotation(self) -> float:
        """Correlation of longitude and velocity in the first item; the Milky Way's is positive."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """An entry of the index's list of inputs."""


class Tensors(Input):
    """A standard data set and its observer."""

    further = FURTHER

    def __init__(self, dataset: StandardDataset, config: PreobserveConfig) -> None:
        self.dataset = dataset.turn_over() if config.turn_over else dataset
        self.folder, self.sources, self.grid = dataset.folder, dataset.sources, self.dataset.grid
        self.identities = dataset.identities
        self.observer = observer = make_observer(self.grid, config)
        self.quantity, self.latitude, self.channels = observer.quantity, observer.latitude, observer.channels

    def _tensor(self, number: int) -> tuple[Entry, np.ndarray]:
        """In inner units."""
        return self.dataset.entries[number], self.dataset[number]

    def _observed(self, number: int, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        entry, tensor = self._tensor(number)
        view = {} if entry.view_deg is None else {"view_deg": entry.view_deg}
        galaxy, scatter = self.identities[number], self.observer.tracer
        tracer = {} if scatter.is_constant else {"tracer_dex": round(galaxy_dex(scatter, galaxy), 6)}
        arrays = observed_pair(self.observer, torch.from_numpy(tensor), names, galaxy, entry.view_deg)
        return arrays, {"file": entry.file, **view, **tracer, **entry.info}

    def rotation(self) -> float:
        return sense_of_rotation(self._tensor(0)[1], self.grid)

    def describe(self) -> dict[str, Any]:
        return {
            "folder": self.folder.resolve().name,
            "tensors": len(self.sources),
            "origin": self.dataset.origin,
            "turned_over": self.dataset.turned_over,
        }


class Mock(Tensors):
    """The data set of mock galaxies or litter that `iris mock` would write, made in memory one tensor at a time."""

    def __init__(self, maker: Galaxies | Foregrounds, count: int, config: PreobserveConfig) -> None:
        name, self.maker = Path(f"mock {type(maker).__name__.lower()}"), maker
        super().__init__(StandardDataset(name, maker.grid, (), origin=origin(maker)), config)
        self.sources = [maker.name(number) for number in range(count) for _ in range(maker.views)]
        self.identities = self.sources

    def _tensor(self, number: int) -> tuple[Entry, np.ndarray]:
        entry, tensor = self.maker.tensor(*divmod(number, self.maker.views))
        return entry, self.dataset.in_inner_units(tensor, Path(entry.source))


class PaperPairs(Input):
    """Pairs that the paper code has observed: converted to inner units and signs, not observed again."""

    quantity, channels = "temperature", 1

    def __init__(self, made: paper_format.PaperDataset, turned_over: bool) -> None:
        self.made, self.turned_over = made, turned_over
        self.folder, self.latitude = made.folder, made.latitude
        self.sources, self.identities = [made.source(i) for i in range(len(made.files))], made.identities
        self.grid = made.grid.turned_over() if turned_over else made.grid

    def _observed(self, number: int, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        observation, density = self.made.pair(number)
        if self.turned_over:  # longitude is the second axis of an observation and the last of a density
            observation, density = observation[:, ::-1], density[..., ::-1]
        arrays = {OBSERVATION: observation, DENSITY: density}
        density_file, file = self.made.files[number][:2]
        return {name: arrays[name] for name in names}, {"file": file, "density_file": density_file}

    def rotation(self) -> float:
        """Weighted with the brightness."""
        image = self._observed(0, [OBSERVATION])[0][OBSERVATION][0].astype(np.float64)
        lon, v = self.grid.longitude.centres()[:, None], self.grid.velocity.centres()[None, :]
        scale = np.sqrt((image * lon**2).sum() * (image * v**2).sum())
        return float((image * lon * v).sum() / scale) if scale > 0 else 0.0

    def describe(self) -> dict[str, Any]:
        return {
            "folder": self.folder.resolve().name,
            "pairs": len(self.made.files),
            "origin": self.made.origin,
            "turned_over": self.turned_over,
            "caution": "rays were marched from the near end: shadowing of thick lines is reversed",
        }


def open_input(folder: Path, config: PreobserveConfig) -> Input:
    """A standard data set in the native or the paper-code format, or a pre-observed folder of the paper code."""
    if folder.is_dir() and not (folder / INDEX).exists() and (folder / paper_format.ATTRIBUTES).exists():
        made = paper_format.open_paper_dataset(folder, config.views_per_source)
        if made.preobserved:
            if not (config.coverage.is_everything and config.tracer == TracerConfig()):
                raise DataError(f"{folder} is observed already", "leave out [coverage] and [tracer]")
            return PaperPairs(made, config.turn_over)
    return Tensors(StandardDataset.open(folder, config.views_per_source), config)


def opened(given: Path | Input, config: PreobserveConfig) -> Input:
    return given if isinstance(given, Input) else open_input(Path(given), config)


def check_inputs(inputs: Sequence[Input]) -> None:
    """All inputs must look at the same sky in the same way, each once; DataError names the two that do not."""
    seen: dict[Path, Path] = {}
    for folder in (each.folder for each in inputs):
        if folder.resolve() in seen:
            raise DataError(f"{seen[folder.resolve()]} and {folder} are the same folder", "name each input once")
        seen[folder.resolve()] = folder
    for other in inputs[1:]:
        check_alike(inputs[0], other, "do not fit into one set", "write two sets")
    names = [set(zip(each.identities, each.sources, strict=True)) for each in inputs]
    for i, j in combinations(range(len(inputs)), 2):
        if both := sorted(source for identity, source in names[j] if identity in {known for known, _ in names[i]}):
            shared = f"{plural(len(both), 'galaxy is', 'galaxies are')} in {inputs[i].folder} and in {inputs[j].folder}"
            log(f"{shared}, such as {both[0]}: their views stay in one split")


def checked_rotation(chosen: Input) -> float:
    """The correlation of longitude and velocity of an input's first item; warns when it is clearly negative.

    DataError when the first item is damaged. Damage of other items fails these alone.
    """
    try:
        rotation = chosen.rotation()
    except DataError as error:
        hint = "fix it: the sense of rotation of the data set is measured on its first tensor"
        raise DataError(error.message, hint) from None
    if rotation < -CLEAR_ROTATION:
        turns = f"{chosen.folder} turns anticlockwise seen from north, against the Milky Way"
        warn(f"{turns} (correlation of l and v {rotation:+.2f}); --turn-over reverses it")
    return rotation


# --- the set ----------------------------------------------------------------------------------------------------------


def set_schema(inputs: Sequence[Input], config: PreobserveConfig) -> list[ArraySchema]:
    """The arrays of every sample of the set, in inner units."""
    first, known = inputs[0], [name for name in FURTHER if all(name in each.further for each in inputs)]
    further = known if config.distances and not config.litter else []
    return schemas(first.grid, first.quantity, channels=first.channels, litter=config.litter, further=further)


def plan_set(inputs: Sequence[Input], config: PreobserveConfig) -> SetPlan:
    """Which pair belongs to which split: all views of a galaxy to the same one."""
    items = [{"input": i, "number": n} for i, each in enumerate(inputs) for n in range(len(each.sources))]
    groups = [identity for each in inputs for identity in each.identities]
    if config.litter:
        return SetPlan({"litter": items}, config.samples_per_shard)
    chosen = group_split(groups, config.fractions, config.split_seed)
    if empty := empty_splits(chosen, config.fractions):
        name = " and ".join(str(each.folder) for each in inputs)
        what, seed = few_galaxies(groups, config.fractions, chosen, config.split_seed, name), None
        if empty != [VALIDATION] and (seed := filling_seed(groups, config.fractions)) is not None:
            raise DataError(what, f"--split-seed {seed}, and keep that seed when the set grows; or other fractions")
        warn(what)
    splits = {split: [items[i] for i in numbers] for split, numbers in chosen.items() if numbers}
    return SetPlan(splits, config.samples_per_shard)


@dataclass(frozen=True)
class MakeSample:
    """Item of the plan -> sample, in any process: the item names an input and a number in it."""

    inputs: tuple[Input, ...]
    arrays: tuple[str, ...]
    single_threaded: bool

    def __call__(self, item: dict[str, Any]) -> Sample:
        if self.single_threaded:
            torch.set_num_threads(1)  # the workers share the cores already
        chosen, number = self.inputs[item["input"]], item["number"]
        return chosen.sample(number, sample_key(item["input"], number, chosen.sources[number]), self.arrays)


def sample_key(position: int, number: int, source: str) -> str:
    """Unique in the set, and without dots: WebDataset cuts a name at the first."""
    return f"{position:02d}-{re.sub(r'[^A-Za-z0-9_-]', '_', source)[-40:]}-{number:06d}"


def describe_report(report: SetReport, out: Path) -> dict[str, Any]:
    return {
        "folder": str(out),
        "pairs": report.samples,
        "shards": report.shards_written + report.shards_kept,
        "complete": report.complete,
        "failed": len(report.failed),
        "reasons": dict(Counter(failure.reason for failure in report.failed)),
    }
