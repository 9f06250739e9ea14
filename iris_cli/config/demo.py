"""The size of the demonstration: large enough to show that a network learns, in minutes on two cores."""

from dataclasses import dataclass

from iris_cli.config.grid import grid_preset
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.setting import Checked, setting, table
from iris_cli.config.train import Noise, TrainConfig
from iris_cli.errors import UsageError

_PREOBSERVE = PreobserveConfig(observer="simple", validation_fraction=0.05, test_fraction=0.1)


def _train() -> TrainConfig:
    return TrainConfig(epochs=12, noise=Noise(sigma_K=1.0))


@dataclass(frozen=True)
class DemoConfig(Checked, where="demo: "):
    """A tenth of the mock galaxies is kept for the test."""

    preset: str = setting("tiny", "Name of the grid.")
    galaxies: int = setting(1600, "Number of galaxies; a tenth is kept for the test.", "--galaxies", "-n", least=10)
    views: int = setting(1, "Number of directions from which each galaxy is observed.", least=1)
    foregrounds: int = setting(32, "Number of litter images; each split needs one.", least=3)
    preobserve: PreobserveConfig = table(lambda: _PREOBSERVE, flags=())
    train: TrainConfig = table(_train, flags=())

    def __post_init__(self) -> None:
        grid_preset(self.preset)
        super().__post_init__()
        if self.preobserve.litter:
            raise UsageError("demo: preobserve.litter = true leaves no pairs to train on", "leave it out")
