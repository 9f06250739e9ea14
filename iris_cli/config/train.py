"""How a reverter is trained: read from TOML, and written to every run folder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iris_cli.config.mock import MockConfig
from iris_cli.config.setting import Checked, panel, read_words, setting, table
from iris_cli.config.survey import survey
from iris_cli.config.toml import read_toml
from iris_cli.errors import UsageError
from iris_cli.plugins import OWN, typed
from iris_cli.text import url_of

#: Galactic CO-to-mass factor, M_sun pc^-2 (K km/s)^-1, helium included (Bolatto, Wolfire & Leroy 2013, their alpha_CO).
MASS_PER_K_KM_S = 4.35

#: Files of a run folder.
CONFIG, METRICS, CHECKPOINTS, BEST, TEST = "config.toml", "metrics.jsonl", "checkpoints", "best.pt", "test.json"
#: An ensemble's folder holds a run folder for each of its members, numbered from 1, and their number.
MEMBER, MEMBERS = "member-{:02d}", "members.json"
#: Sub-folders of the later stages of a run.
SAMPLES = "samples"
DISTANCES = "distances"
LATER_STAGES = (SAMPLES, DISTANCES)

of_data, of_network = panel("Data, litter and noise"), panel("Network")
of_optimization, of_saving = panel("Optimization"), panel("Checkpoints and log")
of_stages = panel("Later stages")


def numbered_members(run: Path) -> list[Path]:
    """The run folders of an ensemble, in order; none of a single run."""
    return sorted(path for path in run.glob(MEMBER.partition("{")[0] + "*") if path.is_dir())


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a run or an ensemble, also of one that has just begun."""
    return any(path.glob(CHECKPOINTS)) or bool(numbered_members(path))


def planned_members(run: Path) -> int:
    """The number of members that an ensemble was begun with; 1 of a single run. UsageError for a damaged file."""
    if not (run / MEMBERS).is_file():
        return 1
    try:
        members = json.loads((run / MEMBERS).read_text(encoding="utf-8"))["members"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        members = None
    if not isinstance(members, int) or members < 1:
        raise UsageError(f"{run / MEMBERS} does not hold the number of members", "give it: --members N")
    return members


def read_path(text: str) -> str:
    """An absolute path, so that a run can be continued from another folder; a URL as it is."""
    return url_of(text) or str(Path(text).resolve())


def read_mock(text: str) -> dict[str, Any]:
    """The ranges of mock galaxies in a file; those built in of `default`."""
    return {} if text == "default" else read_toml(Path(text))


@dataclass(frozen=True)
class Noise(Checked, where="noise: "):
    """Gaussian noise of the cube that the observed image was made from (IRIS paper: mean 0 K, sigma 1 K, with fade)."""

    sigma_K: float = of_data(0.0, "Noise of the cube per voxel.", "--noise-sigma-k", least=0)
    mean_K: float = setting(0.0, "Mean of the noise.")
    fade: bool = of_data(
        True, "Scale each sample's noise by a draw from U(0, 1), for all signal-to-noise ratios.", "--fade/--no-fade"
    )
    observed_per_K: float | None = of_data(
        None,
        "Observation units per kelvin of noise.",
        "--noise-observed-per-k",
        above=0,
        unset=f"1 for a temperature, {MASS_PER_K_KM_S} Msun/pc^2 per K km/s for a v_density",
    )
    beam_fwhm_arcsec: float = setting(0.0, "FWHM of a beam that correlates noise; 0: pixels are independent.", least=0)
    survey: str = of_data(
        "",
        "Noise of a survey on the grid of the data, in place of --noise-sigma-k; `iris surveys` lists them.",
        "--noise-survey",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.survey:
            chosen = survey(self.survey)
            if self.sigma_K or self.beam_fwhm_arcsec:
                raise UsageError(
                    f"noise: survey = '{self.survey}' has its own sigma ({chosen.noise_K:g} K) and beam",
                    "leave out sigma_K and beam_fwhm_arcsec, or the survey",
                )

    @property
    def is_zero(self) -> bool:
        return not self.survey and self.sigma_K == 0 and self.mean_K == 0


@dataclass(frozen=True)
class OptimizerConfig(Checked, where="optimizer: "):
    """The optimizer and its parameters."""

    name: str = of_optimization("adam", "Optimizer.", "--optimizer", known=("adam", "adamw", "sgd"))
    learning_rate: float = of_optimization(2e-3, "Learning rate.", "--learning-rate", above=0)
    weight_decay: float = setting(0.0, "Weight decay.", least=0)
    momentum: float = setting(0.9, "Momentum of SGD, or first beta of Adam and AdamW.", least=0, below=1)


@dataclass(frozen=True)
class ScheduleConfig(Checked, where="schedule: "):
    """The learning-rate schedule."""

    name: str = of_optimization(
        "cosine", "Learning-rate schedule.", "--schedule", known=("cosine", "halvings", "constant")
    )
    warmup_epochs: float = setting(0.5, "Length of a linear warm-up.", least=0)
    halve_after_epochs: tuple[float, ...] = setting((16.0, 17.0, 18.0), "Epochs after which halvings halves the rate.")


@dataclass(frozen=True)
class StageConfig(Checked):
    """A later stage of a run, trained beside the frozen network; the learning rate falls by a cosine."""

    epochs: int = setting(24, "Passes over its galaxies.", least=1)
    batch_size: int = setting(16, "Pairs in a batch, per process.", least=1)
    batches_per_update: int = setting(1, "Batches of one optimizer step.", least=1)
    learning_rate: float = setting(2e-3, "Highest learning rate of Adam.", above=0)
    warmup_epochs: float = setting(0.5, "Length of a linear warm-up.", least=0)
    ema_decay: float = setting(0.999, "Decay of the averaged weights (EMA).", least=0, below=1)
    gradient_clip: float = setting(5.0, "Gradients are cut to this length; 0: never.", least=0)


@dataclass(frozen=True)
class SamplesConfig(StageConfig, where="samples: "):
    """The sampler: a second network that draws maps that fit an image."""

    train: bool = of_stages(False, "Train a sampler of the possible maps, too.", "--samples/--no-samples")
    epochs: int = setting(12, "Passes over its galaxies.", least=1)
    unseen_fraction: float = setting(
        0.5,
        "Share of the training galaxies that the first network does not see, for the sampler; 0: both see all.",
        least=0,
        below=1,
    )
    samples_per_pair: int = setting(2, "Maps that are drawn of each pair and scored together.", least=2)


@dataclass(frozen=True)
class DistancesConfig(StageConfig, where="distances: "):
    """The distance network: where along the line of sight is the gas at each (l, v)?"""

    train: bool = of_stages(False, "Train a network for P(near) at each (l, v), too.", "--distances/--no-distances")
    epochs: int = setting(3, "Passes over the training galaxies.", least=1)
    warmup_epochs: float = setting(0.2, "Length of a linear warm-up.", least=0)


#: Signals that may make a run save and stop: names without their SIG.
SIGNALS = ("HUP", "QUIT", "TERM", "USR1", "USR2", "XCPU")


def read_signals(text: str) -> list[str]:
    """`term,SIGHUP` -> TERM, HUP; none where the text is empty."""
    return [name.upper().removeprefix("SIG") for name in read_words(text) if name]


@dataclass(frozen=True)
class TrainConfig(Checked):
    """Everything that the numbers of a training depend on beside the data."""

    validation_data_fraction: float = of_data(
        0.2, "Share of sources for validation, where data have no splits.", "--validation-fraction", least=0, below=1
    )
    overlap: str = of_data(
        "refuse",
        "Galaxies that are in two splits, or tested after a training on them: refuse, leave out, or allow them.",
        "--overlap",
        choices=("refuse", "leave-out", "allow"),
    )
    epochs: int = of_optimization(32, "Passes over the training set.", "--epochs", "-e", least=1)
    batch_size: int = of_optimization(16, "Samples in a batch, per process.", "--batch-size", "-b", least=1)
    batches_per_update: int = of_optimization(1, "Batches of one optimizer step.", "--accumulate", "-a", least=1)
    network: str = of_network(
        "sightlines",
        "Network: sightlines (a transformer over longitudes), columns (a U-Net), paper, or one of your own.",
        "--network",
        known=("sightlines", "columns", "paper", OWN),
        read=typed,
    )
    physical_loss: str | type = of_network(
        "ScaledDensityLoss", "Loss; from Python also its class.", "--loss", known=("ScaledDensityLoss", OWN), read=typed
    )
    density_normalization: str = of_network(
        "fixed",
        "Density by which the loss divides: the configured one, or of the training set.",
        "--density-normalization",
        choices=("fixed", "auto"),
    )
    density_normalization_kg_m3: float = setting(
        1e-19, "Density by which the loss divides residuals; auto replaces it.", above=0
    )
    precision: str = of_network(
        "fp32", "Precision in training; weights and metrics: float32.", "--precision", choices=("fp32", "bf16", "fp16")
    )
    compile: bool = of_network(False, "torch.compile the network: minutes once, then faster steps.", "--compile")
    gradient_clip: float = of_optimization(0.0, "Gradients are cut to this length; 0: never.", "--grad-clip", least=0)
    ema_decay: float = of_optimization(
        0.999, "Decay of the averaged weights (EMA) that are used; 0: no average.", "--ema", least=0, below=1
    )
    patience_epochs: int = of_optimization(
        0, "Stop after so many epochs without a better validation loss; 0: never.", "--patience", least=0
    )
    on_nan: str = of_optimization("stop", "At a step whose loss is not finite.", "--on-nan", choices=("stop", "skip"))
    on_bad_sample: str = of_data("stop", "At an unreadable sample.", "--on-bad-sample", choices=("stop", "skip"))
    max_bad: int = of_data(100, "Stop when more than this number of samples are skipped.", "--max-bad", least=0)
    seed: int = of_optimization(0, "Seed of weights, order, noise and litter.", "--seed", least=0, most=(1 << 63) - 1)
    split_seed: int = of_data(
        0, "Seed of the choice of validation galaxies and litter.", "--split-seed", least=0, most=(1 << 63) - 1
    )
    checkpoint_every_steps: int = of_saving(
        0, "Optimizer steps between two checkpoints within an epoch; 0: at its end only.", "--checkpoint-every", least=0
    )
    checkpoint_every_minutes: float = of_saving(
        0.0, "Minutes between two checkpoints within an epoch; 0: at its end only.", "--checkpoint-minutes", least=0
    )
    keep_checkpoints: int = of_saving(3, "Number of newest checkpoints kept beside the best.", "--keep", least=1)
    stop_signals: tuple[str, ...] = of_saving(
        ("HUP", "TERM", "USR1", "USR2"),
        f"Signals that save and stop a run with exit code 75, some of {', '.join(SIGNALS)}. Ctrl-C always does.",
        "--stop-signals",
        choices=SIGNALS,
        metavar="NAME,NAME...",
        read=read_signals,
    )
    log: str = of_saving("", "tensorboard: event files beside metrics.jsonl.", "--log", choices=("", "tensorboard"))
    checksums: bool = of_data(True, "Check each shard when it is first read.", "--checksums/--no-checksums")
    read_threads: int = of_data(2, "Threads that read pairs.", "--read-threads", least=1)
    read_ahead_batches: int = of_data(2, "Batches that are read ahead.", "--read-ahead", least=1)
    #: From Python also a function: the reverter's parameters -> (optimizer, scheduler or None).
    optimizer: OptimizerConfig | Callable[[Any], Any] = table(OptimizerConfig)
    schedule: ScheduleConfig = table(ScheduleConfig)
    noise: Noise = table(Noise)
    samples: SamplesConfig = table(SamplesConfig)
    distances: DistancesConfig = table(DistancesConfig)
    data: tuple[str, ...] = setting((), "Folders of the command line; a program passes data as objects.")
    litter: str = of_data("", "Folder of litter, added at random.", "--litter", metavar="FOLDER", read=read_path)
    hide_longitudes: float = of_data(
        0.0,
        "Share of the training's images in which a range of longitudes is hidden, as outside of a survey.",
        "--hide-longitudes",
        least=0,
        most=1,
    )
    observer: str = of_data(
        "",
        "Observe standard data sets during training, also as a survey: slow, no shards.",
        "--observer",
        known=("synthetic", "simple"),
    )

    fresh: MockConfig | None = of_data(
        None,
        "Train on mock galaxies that are made as they are needed, each met once, with the ranges of this file (that of "
        "`iris mock --config`), or the default ones; the data are to validate with.",
        "--fresh",
        metavar="[default|FILE]",
        read=read_mock,
    )
    fresh_galaxies: int = of_data(2000, "Fresh galaxies of an epoch.", "--fresh-galaxies", least=1)
    fresh_workers: int | None = of_data(
        None,
        "Processes that make galaxies, for each rank; 0: the rank itself makes them.",
        "--fresh-workers",
        least=0,
        unset="a rank's share of the cores, but one",
    )

    @property
    def unseen_fraction(self) -> float:
        """Share of the training galaxies that the first network does not see."""
        return self.samples.unseen_fraction if self.samples.train else 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.optimizer, OptimizerConfig) and not callable(self.optimizer):
            raise UsageError(f"optimizer = {self.optimizer!r}; it must be an OptimizerConfig, or a function")
        if self.fresh is not None and self.fresh.grid is not None:
            raise UsageError("fresh: galaxies are made on the grid of the data", "leave out [grid]")
        stages = {name: getattr(self, name) for name in LATER_STAGES}
        lengths = {name: (stage.warmup_epochs, stage.epochs) for name, stage in stages.items()}
        for name, (warmup, epochs) in {"schedule": (self.schedule.warmup_epochs, self.epochs), **lengths}.items():
            if warmup > epochs:
                raise UsageError(f"{name}: warmup_epochs = {warmup}; it must be within the {epochs} epochs")
