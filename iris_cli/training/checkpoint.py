"""Checkpoints: everything that is needed to resume a run, to test it and to revert with it.

A file is a `torch.save` of tensors and plain values, loaded with `weights_only=True` and written atomically.
"""

import hashlib
import io
import json
import pickle
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from torch import Tensor, nn

from iris_cli import __version__
from iris_cli.config.grid import Coverage, Grid
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.config.train import TrainConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.files import atomic_file
from iris_cli.pairs.datasets import Pairs
from iris_cli.pairs.noise import ImageNoise
from iris_cli.pairs.overlap import Seen
from iris_cli.reverter.reverter import Reverter
from iris_cli.units import INNER
from shards.order import stream_key
from shards.typed import typed

N = TypeVar("N", bound=nn.Module)

FORMAT = "iris-checkpoint"
VERSION = 5
SOFTWARE = {"iris": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


@dataclass(frozen=True)
class Progress:
    """Position of a run. `position` counts the samples of the current epoch that are done, over all ranks.

    Epochs are counted from 0; `best_epoch` is the one with the lowest validation loss, `best_loss`.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    best_loss: float | None = None
    best_epoch: int | None = None


@dataclass(frozen=True)
class DataDescription:
    """The pairs that a network was trained on. `latitude` is the reduction of the latitude axis: mean or max.

    `fingerprint` and `litter` identify the data sets of pairs and of litter. `lines` are the spectral lines in the
    observations, name -> GHz, where they are known.
    """

    fingerprint: str
    grid: Grid
    quantity: str
    latitude: str
    litter: str | None = None
    noise: ImageNoise | None = None
    lines: dict[str, float] = field(default_factory=dict)
    #: The part of the sky that was observed; images are dark elsewhere.
    coverage: Coverage = field(default_factory=Coverage)

    @classmethod
    def of(cls, pairs: Pairs, litter: Pairs | None = None, noise: ImageNoise | None = None) -> "DataDescription":
        fingerprint = litter.fingerprint if litter else None
        how = pairs.grid, pairs.quantity, pairs.latitude, fingerprint, noise, pairs.lines, pairs.coverage
        return cls(pairs.fingerprint, *how)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint file holds them."""
        noise = to_dict(self.noise) if self.noise else None
        return {**vars(self), "grid": to_dict(self.grid), "noise": noise, "coverage": to_dict(self.coverage)}

    @property
    def key(self) -> str:
        """16 hexadecimal digits that identify this description."""
        return f"{stream_key(json.dumps(self.to_dict(), sort_keys=True)):016x}"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DataDescription":
        """Inverse of `to_dict`. TypeError for missing keys, UsageError for unknown keys and other types."""
        known = {key: value for key, value in values.items() if value is not None}
        return from_dict(cls, known, "the checkpoint's data")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step. `data` describes the pairs of the training.

    `model` holds the weights to test and revert with. If these are an exponential moving average over `ema_steps`
    steps, `last_model` holds the weights of the last step, from which the next one starts.
    """

    reverter: dict[str, Any]
    model: dict[str, Tensor]
    progress: Progress
    config: dict[str, Any]
    data: DataDescription
    #: The galaxies of the training; None where they are not known.
    seen: Seen | None = None
    mean_image: Tensor | None = None
    last_model: dict[str, Tensor] = field(default_factory=dict)
    ema_steps: int = 0
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    density_sum: Tensor | None = None
    density_count: int = 0
    #: Of the steps since the last line of the log, in order: sum of the losses, and samples.
    unlogged: list[tuple[float, int]] = field(default_factory=list)
    #: Numbers of unreadable items: "train", "validation", "litter".
    bad: dict[str, list[int]] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=lambda: asdict(INNER))
    software: dict[str, str] = field(default_factory=lambda: dict(SOFTWARE))

    def make_reverter(self) -> Reverter:
        """The network with these weights, in eval mode on the CPU. DataError when network and weights do not fit."""
        return self.make(Reverter)

    def make(self, network: type[N]) -> N:
        """The same of another kind of network, that of a later stage."""
        with self.of_this_version():
            made = network(**self.reverter)
            made.load_state_dict(self.model)
        return made.eval()

    def settings(self, path: str) -> TrainConfig:
        """The configuration of the training. DataError as for weights."""
        with self.of_this_version():
            try:
                return from_dict(TrainConfig, self.config, path)
            except UsageError as error:  # others, of a network that is not trusted, have hints of their own
                raise ValueError(error.message) from None

    @contextmanager
    def of_this_version(self) -> Iterator[None]:
        """DataError where network, weights and settings do not fit together, as after a change of the program."""
        try:
            yield
        except (RuntimeError, TypeError, ValueError, OverflowError, MemoryError) as error:
            made = f"iris {self.software.get('iris', 'unknown')}, this is iris {__version__}"
            what = f"the checkpoint belongs to another network or version (made by {made}): {_first_line(error)}"
            raise DataError(what, "train again, or use the version that made it") from None

    @property
    def digest(self) -> str:
        """32 hexadecimal digits of the weights to test and revert with."""
        found = hashlib.blake2b(digest_size=16)
        for name, value in sorted(self.model.items()):
            found.update(name.encode() + value.contiguous().numpy().tobytes())
        return found.hexdigest()


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically: an existing file survives a full disk."""
    packed = io.BytesIO()
    torch.save(_unshared(to_plain(checkpoint) | {"format": FORMAT, "version": VERSION}), packed)
    with atomic_file(path) as file:
        file.write(packed.getbuffer())  # in one piece: within torch, a full disk would be another error than OSError


def to_plain(checkpoint: Checkpoint) -> dict[str, Any]:
    """Nested dictionaries of tensors and plain values."""
    seen = checkpoint.seen.to_tensors() if checkpoint.seen else None
    plain = {"progress": asdict(checkpoint.progress), "data": checkpoint.data.to_dict(), "seen": seen}
    return {**vars(checkpoint), **plain}


def from_plain(values: dict[str, Any]) -> Checkpoint:
    """Inverse of `to_plain`. KeyError, TypeError, ValueError and the like for anything else."""
    for name in ("progress", "data"):
        if not isinstance(values[name], dict):
            raise TypeError(f"{name} is of another type")
    progress, data = Progress(**values["progress"]), DataDescription.from_dict(values["data"])
    seen = Seen.from_tensors(values["seen"]) if values["seen"] is not None else None
    return checked(Checkpoint(**{**values, "progress": progress, "data": data, "seen": seen}))


def _unshared(value: Any) -> Any:
    """The same value, but equal strings are one object and no container is there twice, so that equal states have equal
    bytes: a pickle refers to an object that it has met before.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if type(value) is dict:
        return {_unshared(key): _unshared(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_unshared(inner) for inner in value)
    return value


def load(path: Path) -> Checkpoint:
    """DataError when the file is absent, truncated, of another version, or not a checkpoint."""
    body = read_tensors(path, "checkpoint", "use an older one of the same folder")
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        raise DataError(f"{path} is not a checkpoint of this program", "give a file of RUN/checkpoints")
    version = body.pop("version", None)
    if isinstance(version, int) and version != VERSION:
        newer, found = version > VERSION, f"{path} is of format version {version}"
        reads = f"; this program reads up to {VERSION}" if newer else ", which this program no longer reads"
        raise DataError(found + reads, "install a newer release" if newer else "train it again")
    try:
        return from_plain(body)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, UsageError) as error:
        hint = "it was modified, or written by another version: use an older one, or train again"
        raise DataError(f"{path} does not hold what a checkpoint holds: {_first_line(error)}", hint) from None


def checked(checkpoint: Checkpoint) -> Checkpoint:
    """TypeError or ValueError when a field holds something of another type, or a number that cannot be."""
    for record in (checkpoint, checkpoint.progress, checkpoint.data, checkpoint.data.noise):
        for name, hint in get_type_hints(type(record)).items() if record else ():
            typed(hint, getattr(record, name))
    size = checkpoint.reverter.get("image_size")
    if size is not None and size != checkpoint.data.grid.lon_steps:
        raise ValueError(f"its network takes images of {size} pixels, which its grid has not")
    return checkpoint


def read_tensors(path: Path, what: str, hint: str) -> Any:
    """Load tensors and plain values, and nothing that would run code. DataError when the file is not such a `what`."""
    try:
        with warnings.catch_warnings():  # torch warns about pickles that it then refuses
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{what} {path} does not exist") from None
    except pickle.UnpicklingError:  # torch's own message suggests to run the code in the file
        why = "it is truncated, or contains other objects than tensors"
    except Exception as error:  # a damaged pickle raises anything: a text file a KeyError
        why = _first_line(error)
    raise DataError(f"{path} is not a complete {what}: {why}", hint)


def _first_line(error: BaseException) -> str:
    """Of torch's message about a `state_dict`, the second one, which has the reason."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines["loading state_dict" in lines[0] and len(lines) > 1].strip()[:200]
