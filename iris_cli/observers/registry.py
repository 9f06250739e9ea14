"""The observers by name, each made from the grid and what a configuration says of it."""

from __future__ import annotations

from collections.abc import Callable

from iris_cli.config.grid import Grid
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.errors import UsageError, nearest
from iris_cli.observers.observer import Observer
from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.synthetic import SyntheticObserver


def _simple(grid: Grid, config: PreobserveConfig) -> Observer:
    return SimpleObserver(grid, config.latitude, config.smooth_velocity)


def _synthetic(grid: Grid, config: PreobserveConfig) -> Observer:
    return SyntheticObserver(grid, config.latitude, config.smooth_velocity, config.synthetic)


OBSERVERS: dict[str, Callable[[Grid, PreobserveConfig], Observer]] = {
    SimpleObserver.name: _simple,
    SyntheticObserver.name: _synthetic,
}


def make_observer(grid: Grid, config: PreobserveConfig) -> Observer:
    """UsageError names the nearest observer when there is none of that name."""
    if config.observer not in OBSERVERS:
        raise UsageError(f"unknown observer '{config.observer}'", nearest(config.observer, OBSERVERS))
    return OBSERVERS[config.observer](grid, config)
