"""What `iris preobserve` does: the observer, and how the pairs are divided into splits and stored."""

from dataclasses import dataclass

from iris_cli.config.grid import Coverage
from iris_cli.config.observer import SyntheticConfig, TracerConfig
from iris_cli.config.setting import Checked, panel, table
from iris_cli.errors import UsageError

#: How single-precision numbers are stored, as shards.codec knows it.
ENCODINGS = ("float32", "float16-scaled", "shuffle-zlib")
#: Reductions over latitude, and the number of images that each makes of a line: moments are the means of T, T b/b0 and
#: T (b/b0)^2, with b0 the farthest latitude of the grid.
LATITUDE_CHANNELS = {"mean": 1, "max": 1, "moments": 3}
LATITUDE_REDUCTIONS = tuple(LATITUDE_CHANNELS)
OBSERVER_NAMES = ("synthetic", "simple")
of_observing, of_shards = panel("Observing"), panel("Splits and shards")


@dataclass(frozen=True)
class PreobserveConfig(Checked, where="preobserve: "):
    """The observer, its input, and the data set made of its pairs. Defaults: the IRIS paper's."""

    observer: str = of_observing(
        "synthetic", "synthetic observes a line, simple the gas at each velocity.", "--observer", choices=OBSERVER_NAMES
    )
    latitude: str = of_observing("mean", "Reduction over latitude.", "--latitude", choices=LATITUDE_REDUCTIONS)
    smooth_velocity: bool = of_observing(
        True, "Smooth velocities over neighbouring cells before observing.", "--smooth-velocity/--no-smooth-velocity"
    )
    litter: bool = of_observing(False, "Write observations only, to be added to others.", "--litter")
    distances: bool = of_observing(
        True, "Write where the gas at each (l, v) is, and its velocity from above.", "--distances/--no-distances"
    )
    turn_over: bool = of_observing(False, "l -> -l and b -> -b, which reverses the sense of rotation.", "--turn-over")
    validation_fraction: float = of_shards(
        0.2, "Share of the sources for validation; views of a galaxy stay together.", "--validation-fraction", least=0
    )
    test_fraction: float = of_shards(0.0, "Share of the sources for `iris test`.", "--test-fraction", least=0)
    split_seed: int = of_shards(0, "Seed of the choice of sources for each split.", "--split-seed")
    samples_per_shard: int = of_shards(256, "Pairs in a tar file.", "--samples-per-shard", least=1)
    encoding: str = of_shards("float32", "Of arrays; see docs/shard_format.md.", "--encoding", choices=ENCODINGS)
    views_per_source: int | None = of_shards(
        None, "Successive tensors of a galaxy in paper-code data.", "--views-per-source", least=1, unset="from the data"
    )
    synthetic: SyntheticConfig = table(
        SyntheticConfig, 'The lines and the telescope of observer = "synthetic".', flags=("backend", "device")
    )

    tracer: TracerConfig = table(TracerConfig)
    coverage: Coverage = table(Coverage)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tracer.per_H2 is not None and (self.observer != "synthetic" or len(self.synthetic.lines) > 1):
            hint = "of several lines: tracer_per_CO of each"
            raise UsageError('tracer: per_H2 applies to a single line of observer = "synthetic"', hint)
        if not self.validation_fraction + self.test_fraction < 1:
            kept = f"validation_fraction = {self.validation_fraction} and test_fraction = {self.test_fraction}"
            raise UsageError(f"preobserve: {kept} leave no training data", "their sum must be below 1")

    @property
    def fractions(self) -> dict[str, float]:
        train = 1.0 - self.validation_fraction - self.test_fraction
        return {"train": train, "validation": self.validation_fraction, "test": self.test_fraction}
