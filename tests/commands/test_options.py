"""Options that commands share, groups of them, and the flags of configurations."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer

from iris_cli.commands import options
from iris_cli.commands.help import Command
from iris_cli.commands.options import Flag, Only, Settings, flags_of
from iris_cli.config import figure
from iris_cli.config.catalogue import CONFIGS
from iris_cli.config.ingest import IngestConfig
from iris_cli.config.train import TrainConfig
from iris_cli.errors import UsageError
from iris_cli.plugins import OWN
from tests.commands.errors import Iris
from tests.commands.pages import COMMANDS


@dataclass(frozen=True)
class Weather:
    wind_km_s: Annotated[float, typer.Option("--wind", help="Of stars.")]
    cold: Annotated[bool, typer.Option("--cold")] = False


def observe(name: str, *, weather: Weather, seed: options.Seed = 0) -> None:
    print(name, weather, seed)


def run(function: Callable[..., None], *words: str) -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command(cls=Command)(options.command(function))
    app(list(words), standalone_mode=False)


def test_a_group_is_spread_into_options_and_comes_back_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(inspect.signature(options.command(observe)).parameters) == ["name", "wind_km_s", "cold", "seed"]
    run(observe, "sgr", "--wind", "3", "--cold")
    assert capsys.readouterr().out == f"sgr {Weather(3.0, True)} 0\n"
    with pytest.raises(Exception, match="wind_km_s"):
        run(observe, "sgr")


def test_two_options_of_one_name_are_refused() -> None:
    def twice(weather: Weather, cold: bool = True) -> None:
        print(weather, cold)

    with pytest.raises(ValueError, match="cold"):
        options.command(twice)


# --- flags of configurations ------------------------------------------------------------------------------------------


def flags(cls: type, *only: str) -> dict[str, Flag]:
    return {flag.key: flag for flag in flags_of(cls(), Only(*only))}


def test_flags_win_over_a_file_in_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train(*, settings: options.Settings[TrainConfig]) -> None:
        config = settings.resolve(data=["a"])
        print(config.epochs, config.noise.sigma_K, config.noise.fade, config.stop_signals, config.data, config.seed)

    (tmp_path / "t.toml").write_text("epochs = 3\nseed = 7\n[noise]\nsigma_K = 0.5\n")
    run(train, "--config", str(tmp_path / "t.toml"), "--epochs", "4", "--no-fade", "--stop-signals", "term,SIGHUP")
    assert capsys.readouterr().out == "4 0.5 False ('TERM', 'HUP') ('a',) 7\n"


def test_the_help_of_a_flag_is_that_of_its_key_with_unit_and_default() -> None:
    found = flags(TrainConfig)
    assert found["optimizer.learning_rate"].option().help == ("Learning rate.  [default: 0.002]")
    assert found["noise.sigma_K"].option().help == "Noise of the cube per voxel.  [K; default: 0]"
    assert found["checksums"].option().help.endswith("[default: checksums]")
    assert found["network"].option().metavar == "[sightlines|columns|paper|MODULE:NAME]"
    assert found["epochs"].option("as in training").help.endswith("[default: as in training]")


def test_only_some_flags_can_be_taken() -> None:
    noise = ["noise.sigma_K", "noise.fade", "noise.observed_per_K", "noise.survey"]
    assert list(flags(TrainConfig, "noise", "seed")) == ["seed", *noise]
    assert {key for key in flags(CONFIGS["preobserve"].cls) if "." in key} == {"synthetic.backend", "synthetic.device"}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_with_a_flag_has_a_help_and_no_flag_is_used_twice(name: str) -> None:
    found = list(flags_of(CONFIGS[name].cls()))
    assert all(flag.setting.help for flag in found)
    used = [option for flag in found for option in flag.setting.flags]
    assert len(used) == len(set(used))


def test_an_empty_name_keeps_the_place_of_its_column() -> None:
    columns = next(flag for flag in flags_of(IngestConfig()) if flag.key == "columns")
    assert columns.value("H2,, CO") == ["H2", "", "CO"]


def test_the_largest_seed_is_allowed() -> None:
    assert TrainConfig(seed=2**63 - 1).seed == 2**63 - 1
    with pytest.raises(UsageError, match="seed = 9223372036854775808; it must be"):
        TrainConfig(seed=2**63)


def test_a_value_where_a_table_belongs_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("noise = 3\n")
    with pytest.raises(UsageError, match="noise must be a table"):
        Settings(TrainConfig, tmp_path / "t.toml", {"noise.sigma_K": 1.0}).resolve()


def test_known_names_are_those_of_the_packages_that_define_them() -> None:
    from iris_cli.observers.registry import OBSERVERS
    from iris_cli.reverter.networks import NETWORKS
    from iris_cli.training.optimizer import OPTIMIZERS, SCHEDULES

    found = flags(TrainConfig)
    known = {key: set(flag.setting.known) for key, flag in found.items()}
    assert known["network"] - {OWN} == set(NETWORKS) and known["observer"] == set(OBSERVERS)
    assert known["optimizer.name"] == set(OPTIMIZERS) and known["schedule.name"] == set(SCHEDULES)


# --- options of all commands ------------------------------------------------------------------------------------------

NO_SETTINGS = "it has no settings"
SCRIPT = "its result is a script on stdout, for bash"
LACKING: dict[str, dict[str, str]] = {
    "--config": {
        "doctor": NO_SETTINGS,
        "compare": NO_SETTINGS,
        "runs": NO_SETTINGS,
        "export": NO_SETTINGS,
        "surveys": NO_SETTINGS,
        "view": NO_SETTINGS,
        "config show": "it is about configurations",
        "config validate": "it is about configurations",
        **{f"shards {name}": NO_SETTINGS for name in ("info", "verify", "preview", "merge")},
    },
    "--json": {f"batch {name}": SCRIPT for name in ("ingest", "preobserve", "train", "sweep", "test")},
    "--quiet": {},
    "--verbose": {},
}
LONG = {"mock", "ingest", "preobserve", "train", "test", "revert"}
"""Commands whose work may be long; they have `--dry-run`."""


def has(name: str, option: str) -> bool:
    return any(option in parameter.opts for parameter in COMMANDS[name].params)


@pytest.mark.parametrize("option", LACKING)
def test_every_command_has_the_common_options(option: str) -> None:
    assert {name for name in COMMANDS if not has(name, option)} == LACKING[option].keys()


def test_long_commands_have_a_dry_run() -> None:
    assert {name for name in COMMANDS if has(name, "--dry-run")} == LONG


def test_a_file_of_a_site_fills_in_batch_scripts_and_flags_win(iris: Iris, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(
        'partition = "long"\naccount = "p17"\nnodes = 2\ncpus = 3\ndirectives = ["--qos=high"]\n'
    )
    site = ("--config", tmp_path / "site.toml")
    train = iris("batch", "train", *site, "--account", "p18", "shards", "--out", "run").out
    for line in ("partition=long", "account=p18", "nodes=2", "cpus-per-task=3", "gpus-per-node=1", "time=24:00:00"):
        assert f"#SBATCH --{line}\n" in train, line
    assert "#SBATCH --qos=high\n" in train and "srun" in train
    array = iris("batch", "preobserve", *site, "standard", "shards").out
    assert "#SBATCH --account=p17\n" in array and "nodes=1\n" in array and "gpus" not in array
    (tmp_path / "site.toml").write_text("nodes = 0\n")
    assert "nodes = 0; it must be 1 or more" in iris("batch", "train", *site, "shards", "--out", "run").err


def test_the_looks_of_a_figure_are_those_that_can_be_drawn() -> None:
    from matplotlib import colormaps

    from iris_cli.plots.axes_of_sky import STRETCHES
    from iris_cli.plots.style import STYLES

    assert set(figure.STRETCHES) == set(STRETCHES) and set(figure.STYLE_NAMES) == set(STYLES)
    assert set(figure.COLOURS) <= set(colormaps)
