"""The observers by name."""

from __future__ import annotations

from iris_cli.config.grid import Grid
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.errors import choose
from iris_cli.observers.observer import Observer
from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.synthetic import SyntheticObserver

OBSERVERS: dict[str, type[Observer]] = {observer.name: observer for observer in (SimpleObserver, SyntheticObserver)}


def make_observer(grid: Grid, config: PreobserveConfig) -> Observer:
    """The observer of a configuration. Raises UsageError, with similar names, when there is none of that name."""
    return choose("observer", config.observer, OBSERVERS).from_config(grid, config)
