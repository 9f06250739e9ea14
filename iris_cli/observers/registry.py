"""The observers by name."""

from iris_cli.config.grid import Grid
from iris_cli.config.observer import SyntheticConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.errors import UsageError
from iris_cli.observers.observer import Observer
from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.synthetic import SyntheticObserver

OBSERVERS: dict[str, type[Observer]] = {observer.name: observer for observer in (SimpleObserver, SyntheticObserver)}


def make_observer(
    grid: Grid,
    observer: str | PreobserveConfig = "synthetic",
    *,
    latitude: str = "mean",
    smooth_velocity: bool = True,
    synthetic: SyntheticConfig | None = None,
) -> Observer:
    """An observer for a grid, by its name ("synthetic", "simple") or by the configuration of `iris preobserve`.

    `latitude` is the reduction of cubes to images ("mean", "max", "moments"); with `smooth_velocity`, velocities are
    smoothed over neighbouring cells first; `synthetic` holds the lines and the telescope of the synthetic observer.

        observer = make_observer(dataset.grid, "simple")
        image = observer.observe(torch.from_numpy(dataset[0]))                  # (6, R, L, B) -> (lines, L, V)

    The image is a velocity density (M_sun pc^-2 (km/s)^-1) of the simple observer, and a brightness temperature (K) of
    the synthetic one. UsageError, with similar names, when there is none of that name, and for lines of another.
    """
    if isinstance(observer, PreobserveConfig):
        config = observer
    else:
        if synthetic is not None and observer != SyntheticObserver.name:
            raise UsageError(f"the observer '{observer}' has no lines", "leave out `synthetic`")
        config = PreobserveConfig(observer, latitude, smooth_velocity, synthetic=synthetic or SyntheticConfig())
    return OBSERVERS[config.observer].from_config(grid, config)
