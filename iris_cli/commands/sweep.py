"""`iris sweep SWEEP SHARDS… --set KEY=VALUE,VALUE`: the configurations of trainings that differ in a few values."""

import re
import shlex
import tomllib
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from iris_cli import plugins
from iris_cli.commands import names, options
from iris_cli.commands.train import absolute, trusting
from iris_cli.config.toml import from_dict, merged, to_dict, to_toml
from iris_cli.config.train import TrainConfig
from iris_cli.console import plural
from iris_cli.errors import DataError, UsageError

#: In the folder of a sweep: a configuration for each run, and the names of all runs, a line each.
CONFIGS, RUNS = "configs", "runs.txt"
#: Characters of a run's name for each value.
MOST_CHARACTERS = 40


@options.command
def sweep(
    out: Annotated[Path, typer.Argument(help="Folder for the configurations, and for the runs.")],
    data: Annotated[list[Path], typer.Argument(help="As for `iris train`.")],
    *,
    changes: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE,…", help="A key of the configuration and its values; may be repeated."
        ),
    ],
    trust: options.Trust = None,
    settings: options.Settings[TrainConfig],
    output: options.Output,
) -> None:
    """Write the configurations of all combinations of some values. `iris batch sweep` makes a job array of them.

    Examples:
        iris sweep SWEEP SHARDS --set network=columns,paper --set seed=0,1,2
        iris batch sweep SWEEP > job.sh
        iris runs SWEEP --sort skill
    """
    from iris_cli.files import write_text

    base, values = settings.resolve(data=absolute(data)), dict(map(values_of, changes))
    for key in plugins.GROUPS:
        for name in values.get(key, ()):
            plugins.typed(str(name))
    runs = combinations(base, values)
    if (out / RUNS).exists() and read_runs(out) != list(runs):
        raise DataError(f"{out} holds another sweep", "choose another folder")
    for config in runs.values():
        names.check("train", config)
    (out / CONFIGS).mkdir(parents=True, exist_ok=True)
    for name, config in runs.items():
        write_text(out / CONFIGS / f"{name}.toml", to_toml(config))
    write_text(out / RUNS, "".join(f"{name}\n" for name in runs))
    place, trusted = shlex.quote(str(out)), shlex.join(["", *trusting()]).removeprefix("''")
    train = f"iris train --config {place}/{CONFIGS}/{{}}.toml --out {place}/{{}} --resume auto{trusted}"
    output.result(
        {"folder": str(out), "runs": list(runs)},
        f"{plural(len(runs), 'configuration')} in {out / CONFIGS}",
        f"as a job array: iris batch sweep{trusted} {place} > job.sh",
        f"one after the other: xargs -I{{}} {train} < {place}/{RUNS}",
    )


def values_of(change: str) -> tuple[str, list[Any]]:
    """`seed=0,1` -> seed, [0, 1]: values of TOML, or words without quotes. UsageError for anything else."""
    key, _, text = change.partition("=")
    try:
        found = tomllib.loads(f"x = [{text}]")["x"]
    except tomllib.TOMLDecodeError:
        found = [word.strip() for word in text.split(",")]
    if not key or not found or "" in found:
        raise UsageError(f"--set {change}: this is not KEY=VALUE,VALUE", "e.g. --set optimizer.learning_rate=1e-3,3e-4")
    return key.strip(), found


def combinations(base: TrainConfig, values: dict[str, list[Any]]) -> dict[str, TrainConfig]:
    """The name of each run and its configuration. UsageError for an unknown key, or a value that is not allowed."""
    found: dict[str, TrainConfig] = {}
    for chosen in product(*values.values()):
        changed = to_dict(base)
        for key, value in zip(values, chosen, strict=True):
            inner: Any = value
            for part in reversed(key.split(".")):
                inner = {part: inner}
            changed = merged(changed, inner)
        parts = (f"{key.rpartition('.')[2]}={_in_name(value)}" for key, value in zip(values, chosen, strict=True))
        name = ",".join(parts)
        if name in found:
            raise UsageError(f"two runs of the sweep would be called {name}", "give each value once")
        found[name] = from_dict(TrainConfig, changed, "--set")
    return found


def _in_name(value: Any) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", str(value))[:MOST_CHARACTERS].strip("-")


def read_runs(folder: Path) -> list[str]:
    """The names of a sweep's runs. DataError when the folder holds none."""
    try:
        return (folder / RUNS).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        raise DataError(
            f"{folder} holds no sweep", "make one: iris sweep FOLDER SHARDS --set KEY=VALUE,VALUE"
        ) from None
