"""Options that commands share: groups of them, and which command has which."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from iris_cli.commands import options


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
