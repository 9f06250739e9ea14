"""All configurations and presets by name, and the configuration that a file belongs to."""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iris_cli.config.batch import BatchConfig
from iris_cli.config.cube import RegridConfig
from iris_cli.config.demo import DemoConfig
from iris_cli.config.figure import FigureConfig
from iris_cli.config.grid import FOREGROUND_PRESETS, GRID_PRESETS, Grid
from iris_cli.config.ingest import IngestConfig
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.config.observer import MoleculeConfig, SyntheticConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.survey import surveys
from iris_cli.config.toml import from_dict, read_toml
from iris_cli.config.train import TrainConfig
from iris_cli.errors import UsageError, nearest


@dataclass(frozen=True)
class Config:
    """The class of a configuration, the command that reads it with `--config`, and its subject."""

    cls: type
    command: str
    about: str


CONFIGS: dict[str, Config] = {
    "mock": Config(MockConfig, "iris mock", "mock galaxies"),
    "foreground": Config(ForegroundConfig, "iris mock --foreground", "mock foregrounds"),
    "ingest": Config(IngestConfig, "iris ingest", "what is made of the snapshots of a simulation"),
    "molecule": Config(MoleculeConfig, "iris molecule", "the tables of a molecule"),
    "observe": Config(SyntheticConfig, "iris observe", "lines, gas physics and telescope"),
    "preobserve": Config(PreobserveConfig, "iris preobserve", "how standard data sets become shards"),
    "train": Config(
        TrainConfig, "iris train", "how a reverter is trained; for iris test, what differs from the training"
    ),
    "cube": Config(RegridConfig, "iris cube", "how telescope cubes become an l-v image; also for iris revert"),
    "figure": Config(FigureConfig, "iris plot", "how figures look"),
    "batch": Config(BatchConfig, "iris batch", "what a batch job requests"),
    "demo": Config(DemoConfig, "iris demo", "the size of the demonstration"),
}

#: Grids by name, as in `iris mock --preset`.
PRESETS: dict[str, Grid] = {**GRID_PRESETS, **{f"{name}-foreground": grid for name, grid in FOREGROUND_PRESETS.items()}}


def named(name: str) -> Any:
    """The defaults of a configuration, a grid preset, or how a survey is pre-observed. UsageError for another name."""
    if name in CONFIGS:
        return CONFIGS[name].cls()
    if name in PRESETS:
        return PRESETS[name]
    if name in surveys():
        return surveys()[name].preobserve_config()
    known = [*CONFIGS, *PRESETS, *surveys()]
    raise UsageError(f"there is no configuration, preset or survey '{name}', and no such file", nearest(name, known))


def read(path: Path, name: str | None = None) -> tuple[str, Any]:
    """(name of the configuration, its values with all defaults filled in).

    Without a `name`, it is the configuration that has the file's keys. UsageError when a key is unknown, a value is not
    allowed, or several configurations have these keys.
    """
    values = read_toml(path)
    name = name or _configuration_of(values, path)
    if name not in CONFIGS:
        raise UsageError(f"there is no configuration '{name}'", nearest(name, CONFIGS))
    try:
        return name, from_dict(CONFIGS[name].cls, values, str(path))
    except UsageError as error:  # the check of a value does not know the file
        known = error.message.startswith(str(path))
        raise UsageError(error.message if known else f"{path}: {error.message}", error.hint) from None


def _configuration_of(values: dict[str, Any], path: Path) -> str:
    """The only one that fits; if none does, the one with the most similar keys, so that the error names them."""
    fits = [name for name, config in CONFIGS.items() if values.keys() <= _keys(config.cls)]
    fits = [name for name in fits if _valid(name, values)] or fits
    if len(fits) == 1:
        return fits[0]
    if fits:
        which = f"the keys '{', '.join(values)}' fit" if values else "an empty file fits"
        raise UsageError(f"{path}: {which} {', '.join(fits)}", f"choose one: --for {fits[0]}")
    return max(CONFIGS, key=lambda name: _similarity(values, _keys(CONFIGS[name].cls)))


def _valid(name: str, values: dict[str, Any]) -> bool:
    try:
        from_dict(CONFIGS[name].cls, values)
    except UsageError:
        return False
    return True


def _similarity(values: dict[str, Any], known: set[str]) -> float:
    """Number of known keys; a key that is nearly a known one counts 0.9."""
    return sum(1.0 if key in known else 0.9 * bool(difflib.get_close_matches(key, known, 1)) for key in values)


def _keys(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}
