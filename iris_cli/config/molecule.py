"""What `iris molecule` prints."""

from dataclasses import dataclass

from iris_cli.config.setting import Checked, setting


@dataclass(frozen=True)
class MoleculeConfig(Checked, where="molecule: "):
    """The length of the tables, and the temperature of the critical densities."""

    temperature_K: float = setting(50.0, "Gas temperature of the critical densities.", "--temperature", "-t", least=2)
    rows: int = setting(12, "Number of levels and transitions to print.", "--rows", least=1)
