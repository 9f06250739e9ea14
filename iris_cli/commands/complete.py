"""What a shell proposes for an argument or an option; without a proposal it completes file names."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.train import is_run

MOLECULES = ("12co", "13co", "c18o", "hcn", "cs", "hnco", "nh3")
SPLITS = ("train", "validation", "test")
#: Files that hold a network; a cube, an l-v image or a map.
NETWORKS, IMAGES = (".iris", ".pt"), (".fits", ".fits.gz", ".npz")
#: Entries of a folder that are looked at.
MOST = 2000


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def surveys(incomplete: str) -> list[str]:
    from iris_cli.config.survey import surveys as known

    return _beginning(incomplete, known())


def configurations(incomplete: str) -> list[str]:
    """Configurations, presets and surveys."""
    from iris_cli.config.catalogue import CONFIGS, PRESETS

    return [*_beginning(incomplete, [*CONFIGS, *PRESETS]), *surveys(incomplete)]


def presets(incomplete: str) -> list[str]:
    return _beginning(incomplete, GRID_PRESETS)


def molecules(incomplete: str) -> list[str]:
    return _beginning(incomplete, MOLECULES)


def splits(incomplete: str) -> list[str]:
    """The splits of the shard folders on the command line; without any, the usual ones."""
    typed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""  # bash; zsh and fish
    found = [name for word in typed.split() for name in _splits_of(Path(word))]
    return _beginning(incomplete, found or SPLITS)


def _splits_of(folder: Path) -> list[str]:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        return list(json.loads((folder / "index.json").read_bytes())["splits"])
    return []


def runs(incomplete: str) -> list[str]:
    """Run folders and ensembles, also one level down."""
    return _beginning(incomplete, (str(path) for path in _entries(incomplete) if is_run(path)))


def shards(incomplete: str) -> list[str]:
    """Shard folders, also one level down."""
    return _beginning(incomplete, (str(path) for path in _entries(incomplete) if is_shards(path)))


def tested(incomplete: str) -> list[str]:
    """Runs, files of networks, and shard folders."""
    return _inputs(incomplete, NETWORKS)


def inputs(incomplete: str) -> list[str]:
    """The same, and cubes and images."""
    return _inputs(incomplete, NETWORKS + IMAGES)


def _inputs(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    known = (p for p in _entries(incomplete) if is_run(p) or is_shards(p) or p.name.lower().endswith(endings))
    return _beginning(incomplete, map(str, known))


def is_shards(path: Path) -> bool:
    with suppress(OSError):
        return (path / "index.json").is_file()
    return False


def _entries(incomplete: str) -> Iterable[Path]:
    """What is in the folder that has been typed, and in its folders that are no runs, without what is hidden."""
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    with suppress(OSError):
        for path in sorted(folder.glob("[!.]*"))[:MOST]:
            yield path
            if path.is_dir() and str(path).startswith(incomplete) and not is_run(path):
                yield from sorted(path.glob("[!.]*"))[:MOST]
