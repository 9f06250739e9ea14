"""Options that commands share: groups of them, and which command has which."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from iris_cli.app import app as program
from iris_cli.commands import options
from iris_cli.config import figure
from iris_cli.config.slurm import SlurmConfig


@dataclass(frozen=True)
class Weather:
    wind_km_s: Annotated[float, typer.Option("--wind", help="Of stars.")]
    cold: Annotated[bool, typer.Option("--cold")] = False


def observe(name: str, *, weather: Weather, seed: options.Seed = 0) -> None:
    print(name, weather, seed)


def test_a_group_is_spread_into_options_and_comes_back_whole(capsys: pytest.CaptureFixture[str]) -> None:
    flat = options.grouped(observe)
    assert list(inspect.signature(flat).parameters) == ["name", "wind_km_s", "cold", "seed"]
    app = typer.Typer(rich_markup_mode=None)
    app.command()(flat)
    app(["sgr", "--wind", "3", "--cold"], standalone_mode=False)
    assert capsys.readouterr().out == f"sgr {Weather(3.0, True)} 0\n"
    with pytest.raises(Exception, match="wind_km_s"):
        app(["sgr"], standalone_mode=False)


def test_two_options_of_one_name_are_refused_where_they_are_said() -> None:
    def twice(weather: Weather, cold: bool = True) -> None:
        print(weather, cold)

    with pytest.raises(ValueError, match="cold"):
        options.grouped(twice)


@pytest.mark.parametrize("words", [("--wind",), ("mock", "-q", "--galaxi")])
def test_a_command_that_takes_groups_still_refuses_what_it_does_not_know(iris: Callable, words: tuple) -> None:
    assert iris("plot", "lv", *words).code == 2


# --- which command has which ------------------------------------------------------------------------------------------


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(f"{path} {name}".strip(), inner)
    else:
        yield path, command


COMMANDS = dict(commands("", get_command(program)))

#: Every command has these, but for the exceptions below.
EVERY = ("--config", "--dry-run", "--json", "--quiet", "--verbose")

NO_SETTINGS = "it is told what to look at, and nothing about how"
WRITES_NOTHING = "it writes nothing"
A_SCRIPT = "its result is a script on stdout, for bash"
ABOUT_THEM = "it is about configurations"
EXCEPTIONS = {
    "--config": {
        "doctor": NO_SETTINGS,
        "config show": ABOUT_THEM,
        "config validate": ABOUT_THEM,
        **{f"shards {name}": NO_SETTINGS for name in ("info", "verify", "preview", "merge", "index")},
    },
    "--dry-run": {
        "molecule": WRITES_NOTHING,
        "doctor": WRITES_NOTHING,
        "config show": WRITES_NOTHING,
        "config validate": WRITES_NOTHING,
        "shards info": WRITES_NOTHING,
        **{f"slurm {name}": A_SCRIPT for name in ("preobserve", "train", "test")},
    },
    "--json": {f"slurm {name}": A_SCRIPT for name in ("preobserve", "train", "test")},
    "--quiet": {},
    "--verbose": {},
}


@pytest.mark.parametrize("option", EVERY)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_what_every_command_has(name: str, option: str) -> None:
    has = any(option in parameter.opts for parameter in COMMANDS[name].params)
    assert has != (name in EXCEPTIONS[option]), EXCEPTIONS[option].get(name, f"iris {name} lacks {option}")


def test_exceptions_are_made_for_commands_that_there_are() -> None:
    assert {name for excepted in EXCEPTIONS.values() for name in excepted} <= COMMANDS.keys()


#: What each command needs so that it gets as far as its configuration.
WORDS: dict[str, tuple[str, ...]] = {
    "demo": (),
    "ingest": ("snapshot.hdf5", "out"),
    "mock": ("out",),
    "molecule": ("13co",),
    "observe": ("standard", "0", "-o", "cube.fits"),
    "preobserve": ("standard", "out"),
    "train": ("shards", "-o", "run"),
    "cube": ("cube.fits", "-o", "lv.npz"),
    "revert": ("run.pt", "cube.fits", "-o", "map.fits"),
    "import-checkpoint": ("chp_1.pt", "run"),
    "plot losses": ("run", "-o", "losses.png"),
    **{f"plot {name}": ("data", "-o", "a.png") for name in ("lv", "top-down", "pair", "moments", "spectrum")},
}


@pytest.mark.parametrize("name", WORDS)
def test_a_strange_key_in_a_configuration_is_named_with_what_there_is(
    iris: Callable, tmp_path: Path, name: str
) -> None:
    (tmp_path / "c.toml").write_text("colour_of_the_sky = 1\n")
    ran = iris(*name.split(), *WORDS[name], "--config", tmp_path / "c.toml")
    assert ran.code == 2 and ran.out == "" and len(ran.err.splitlines()) == 1
    assert "unknown key 'colour_of_the_sky'" in ran.err and ("known:" in ran.err or "did you mean" in ran.err)


def test_a_site_s_file_fills_in_batch_scripts_and_flags_win(iris: Callable, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(
        'partition = "long"\naccount = "p17"\nnodes = 2\ncpus = 3\nsbatch = ["--qos=high"]\n'
    )
    ours = ("--config", tmp_path / "site.toml")
    train = iris("slurm", "train", *ours, "--account", "p18", "shards", "--out", "run").out
    for line in ("partition=long", "account=p18", "nodes=2", "cpus-per-task=3", "gpus-per-node=1", "time=24:00:00"):
        assert f"#SBATCH --{line}\n" in train, line
    assert "#SBATCH --qos=high\n" in train and "srun" in train
    array = iris("slurm", "preobserve", *ours, "standard", "shards").out
    assert "#SBATCH --account=p17\n" in array and "nodes=1\n" in array and "gpus" not in array
    (tmp_path / "site.toml").write_text('partitoin = "long"\n')
    ran = iris("slurm", "train", *ours, "shards", "--out", "run")
    assert ran.code == 2 and ran.out == "" and "did you mean 'partition'?" in ran.err
    (tmp_path / "site.toml").write_text("nodes = 0\n")
    assert "nodes = 0" in iris("slurm", "train", *ours, "shards", "--out", "run").err


def test_a_job_without_a_file_asks_for_what_is_usual() -> None:
    asked = SlurmConfig()
    assert (asked.array, asked.nodes, asked.gpus_per_node, asked.lead_s) == (8, 1, 1, 120)


def test_a_figure_s_looks_are_those_that_can_be_drawn() -> None:
    from matplotlib import colormaps

    from iris_cli.plots.axes_of_sky import STRETCHES
    from iris_cli.plots.style import STYLES

    assert set(figure.STRETCHES) == set(STRETCHES) and set(figure.STYLE_NAMES) == set(STYLES)
    assert set(figure.COLOURS) <= set(colormaps)


def test_molecules_are_printed_as_a_file_says_unless_a_flag_says_otherwise(iris: Callable, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("temperature_K = 20\nrows = 3\n")
    told = json.loads(iris("molecule", "13co", "--config", tmp_path / "m.toml", "--json").out)
    assert told["critical_density_temperature_K"] == 20.0
    out = iris("molecule", "13co", "--config", tmp_path / "m.toml", "-t", 30).out
    assert "at 30 K" in out and "37 more transitions" in out
