"""Every configuration and preset by name, and which of them a file is."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iris_cli.config.cube import RegridConfig
from iris_cli.config.demo import DemoConfig
from iris_cli.config.figure import FigureConfig
from iris_cli.config.grid import FOREGROUND_PRESETS, GRID_PRESETS, Grid
from iris_cli.config.ingest import IngestConfig
from iris_cli.config.mock import ForegroundConfig, MockConfig
from iris_cli.config.molecule import MoleculeConfig
from iris_cli.config.observer import SyntheticConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.slurm import SlurmConfig
from iris_cli.config.toml import from_dict, read_toml
from iris_cli.config.train import TrainConfig
from iris_cli.errors import UsageError, nearest


@dataclass(frozen=True)
class Config:
    """A configuration's class, the command whose --config it is, and what it is about."""

    cls: type
    command: str
    about: str


CONFIGS: dict[str, Config] = {
    "mock": Config(MockConfig, "iris mock", "what mock galaxies are made of"),
    "foreground": Config(ForegroundConfig, "iris mock --foreground", "what mock foregrounds are made of"),
    "ingest": Config(IngestConfig, "iris ingest", "what is made of the snapshots of a simulation"),
    "molecule": Config(MoleculeConfig, "iris molecule", "how much of a molecule is printed"),
    "observe": Config(SyntheticConfig, "iris observe", "the lines, the telescope and the physics between"),
    "preobserve": Config(PreobserveConfig, "iris preobserve", "how standard data sets become shards"),
    "train": Config(
        TrainConfig, "iris train", "how a reverter is trained; of iris test, what is other than in training"
    ),
    "cube": Config(RegridConfig, "iris cube", "how telescope cubes become an l-v image; also of iris revert"),
    "figure": Config(FigureConfig, "iris plot", "how figures look"),
    "slurm": Config(SlurmConfig, "iris slurm", "what is asked of a cluster"),
    "demo": Config(DemoConfig, "iris demo", "the size of the demonstration"),
}

#: Grids by name, as in `iris mock --preset`.
PRESETS: dict[str, Grid] = {
    **GRID_PRESETS,
    **{f"{name}-foreground": grid for name, grid in FOREGROUND_PRESETS.items()},
}


def named(name: str) -> Any:
    """A configuration's defaults, or a preset. UsageError names the nearest."""
    if name in CONFIGS:
        return CONFIGS[name].cls()
    if name in PRESETS:
        return PRESETS[name]
    raise UsageError(
        f"there is no configuration or preset '{name}', and no such file", nearest(name, [*CONFIGS, *PRESETS])
    )


def read(path: Path, name: str | None = None) -> tuple[str, Any]:
    """(the configuration's name, the file with all defaults filled in).

    Without a `name`, the file is of the configuration whose keys it uses. UsageError when a key is unknown, a value
    cannot be, or the keys are those of several configurations that differ.
    """
    values = read_toml(path)
    name = name or _whose(values, path)
    if name not in CONFIGS:
        raise UsageError(f"there is no configuration '{name}'", nearest(name, CONFIGS))
    try:
        return name, from_dict(CONFIGS[name].cls, values, str(path))
    except UsageError as error:  # of a value, which does not know where it stands
        known = error.message.startswith(str(path))
        raise UsageError(error.message if known else f"{path}: {error.message}", error.hint) from None


def _whose(values: dict[str, Any], path: Path) -> str:
    """The only one that fits; where none does, the one whose keys are nearest, so that it can name them."""
    fits = [name for name, config in CONFIGS.items() if values.keys() <= _keys(config.cls)]
    fits = [name for name in fits if _possible(name, values)] or fits
    if len(fits) == 1:
        return fits[0]
    if fits:
        which = f"'{', '.join(values)}' may be" if values else "is empty, and may be"
        raise UsageError(f"{path}: {which} of {', '.join(fits)}", f"say which: --for {fits[0]}")
    return max(CONFIGS, key=lambda name: _likeness(values, _keys(CONFIGS[name].cls)))


def _possible(name: str, values: dict[str, Any]) -> bool:
    try:
        from_dict(CONFIGS[name].cls, values)
    except UsageError:
        return False
    return True


def _likeness(values: dict[str, Any], known: set[str]) -> float:
    """How many of the keys are known, or nearly: 1 for each that is, 0.9 for a slip."""
    return sum(1.0 if key in known else 0.9 * bool(difflib.get_close_matches(key, known, 1)) for key in values)


def _keys(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}
