"""What `iris preobserve` does: which observer looks, how the pairs are shared out among the splits."""

from __future__ import annotations

from dataclasses import dataclass, field

from iris_cli.config.observer import SyntheticConfig
from iris_cli.errors import UsageError, nearest

#: What is stored as single-precision numbers, in ways that shards.codec knows.
ENCODINGS = ("float32", "float16-scaled", "shuffle-zlib")
LATITUDE_REDUCTIONS = ("mean", "max")
OBSERVER_NAMES = ("synthetic", "simple")


@dataclass(frozen=True)
class PreobserveConfig:
    """The observer, what it is given to see, and how its pairs become a set. Defaults: the IRIS paper's."""

    #: "synthetic" sees a spectral line, "simple" the columns of gas at each velocity.
    observer: str = "synthetic"
    #: How the cube loses its latitude: "mean" or "max".
    latitude: str = "mean"
    #: Smooth velocities over neighbouring cells before observing.
    smooth_velocity: bool = True
    #: Write observations only, without their densities.
    litter: bool = False
    #: l -> -l and b -> -b, which reverses the sense of rotation.
    turn_over: bool = False
    #: Of the sources; all views of a galaxy fall into one split.
    validation_fraction: float = 0.2
    test_fraction: float = 0.0
    #: Decides which sources go where.
    split_seed: int = 0
    samples_per_shard: int = 256
    #: How arrays are stored; docs/shard_format.md lists them.
    encoding: str = "float32"
    #: Of the field's folders: how many tensors in a row show one galaxy. Left out: what they say.
    views_per_source: int | None = None
    #: What `observer = "synthetic"` looks at, and how.
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("observer", self.observer, OBSERVER_NAMES),
            ("latitude reduction", self.latitude, LATITUDE_REDUCTIONS),
            ("encoding", self.encoding, ENCODINGS),
        ):
            if value not in known:
                raise UsageError(f"unknown {name} '{value}'", nearest(value, known))
        for name in ("samples_per_shard", "views_per_source"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise UsageError(f"preobserve: {name} = {count}; it must be 1 or more")
        held_out = self.validation_fraction + self.test_fraction
        if not (min(self.validation_fraction, self.test_fraction) >= 0 and held_out < 1):  # NaN is no share either
            raise UsageError(
                f"fractions {self.validation_fraction} for validation and {self.test_fraction} for test "
                "leave no training data"
            )

    @property
    def fractions(self) -> dict[str, float]:
        train = 1.0 - self.validation_fraction - self.test_fraction
        return {"train": train, "validation": self.validation_fraction, "test": self.test_fraction}
