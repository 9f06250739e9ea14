"""What `iris molecule` prints."""

from dataclasses import dataclass

from iris_cli.config.setting import check, setting


@dataclass(frozen=True)
class MoleculeConfig:
    """The length of the tables, and the temperature of the critical densities."""

    temperature_K: float = setting(50.0, "Gas temperature of the critical densities.", "--temperature", "-t", least=2)
    rows: int = setting(12, "Number of levels and transitions to print.", "--rows", least=1)

    def __post_init__(self) -> None:
        check(self, "molecule: ")
