"""The observers by name."""

from __future__ import annotations

from iris_cli.config.grid import Grid
from iris_cli.errors import UsageError, nearest
from iris_cli.observers.observer import Observer
from iris_cli.observers.simple import SimpleObserver

OBSERVERS: dict[str, type[Observer]] = {observer.name: observer for observer in (SimpleObserver,)}


def make_observer(name: str, grid: Grid, latitude: str = "mean", in_blur: bool = True) -> Observer:
    """UsageError names the nearest observer when there is none of that name."""
    if name not in OBSERVERS:
        raise UsageError(f"unknown observer '{name}'", nearest(name, OBSERVERS))
    return OBSERVERS[name](grid, latitude, in_blur)
