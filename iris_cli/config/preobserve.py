"""What `iris preobserve` does: which observer looks, how the pairs are shared out among the splits."""

from __future__ import annotations

from dataclasses import dataclass, field

from iris_cli.config.observer import SyntheticConfig
from iris_cli.errors import UsageError


@dataclass(frozen=True)
class PreobserveConfig:
    observer: str = "synthetic"
    latitude: str = "mean"
    in_blur: bool = True
    litter: bool = False
    turn_over: bool = False
    validation_fraction: float = 0.2
    test_fraction: float = 0.0
    split_seed: int = 0
    samples_per_shard: int = 256
    encoding: str = "float32"
    views_per_source: int | None = None
    #: What `observer = "synthetic"` looks at, and how.
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        held_out = self.validation_fraction + self.test_fraction
        if min(self.validation_fraction, self.test_fraction) < 0 or held_out >= 1:
            raise UsageError(
                f"fractions {self.validation_fraction} for validation and {self.test_fraction} for test "
                "leave no training data"
            )

    @property
    def fractions(self) -> dict[str, float]:
        train = 1.0 - self.validation_fraction - self.test_fraction
        return {"train": train, "validation": self.validation_fraction, "test": self.test_fraction}
