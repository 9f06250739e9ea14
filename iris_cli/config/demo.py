"""The size of the demonstration: enough to prove that the machine learns, on two cores, in minutes."""

from __future__ import annotations

from dataclasses import dataclass, field

from iris_cli.config.grid import grid_preset
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.train import Noise, OptimizerConfig, ScheduleConfig, TrainConfig
from iris_cli.errors import UsageError


@dataclass(frozen=True)
class DemoConfig:
    """Galaxies are mock galaxies of the `tiny` preset, a tenth of them kept for the test."""

    #: Name of the grid.
    preset: str = "tiny"
    #: How many; a tenth is kept for the test.
    galaxies: int = 1600
    #: From how many sides each is seen.
    views: int = 1
    #: How many pieces of litter.
    foregrounds: int = 32
    preobserve: PreobserveConfig = field(
        default_factory=lambda: PreobserveConfig(observer="simple", validation_fraction=0.05, test_fraction=0.1)
    )
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            epochs=16,
            batch_size=8,
            batches_per_update=2,
            optimizer=OptimizerConfig(learning_rate=1e-3),
            schedule=ScheduleConfig(halve_after_epochs=(10.0, 12.0, 14.0)),
            noise=Noise(sigma_K=1.0),
        )
    )

    def __post_init__(self) -> None:
        grid_preset(self.preset)
        for name, least in (("galaxies", 10), ("views", 1), ("foregrounds", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"demo: {name} = {getattr(self, name)}; at least {least} must be there")
        if self.preobserve.litter:
            raise UsageError("demo: preobserve.litter would leave no pairs to train on", "leave it out")
