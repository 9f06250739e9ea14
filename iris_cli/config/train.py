"""How a reverter is trained: the one object behind `hyper`, read from TOML and written back beside every run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from iris_cli.errors import UsageError

#: Galactic CO-to-mass factor, M_sun pc^-2 (K km/s)^-1, helium included (Bolatto, Wolfire & Leroy 2013, their alpha_CO).
MASS_PER_K_KM_S = 4.35

#: Files of a run folder.
CONFIG, METRICS, CHECKPOINTS, BEST = "config.toml", "metrics.jsonl", "checkpoints", "best.pt"


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of the cube that the observed image was made from (IRIS paper: mean 0 K, sigma 1 K, with fade)."""

    sigma_K: float = 0.0
    mean_K: float = 0.0
    #: Scale each sample's noise by one factor drawn from U(0, 1), so that a network meets all signal-to-noise ratios.
    fade: bool = True
    #: Observation units per kelvin. Left out: 1 for a temperature, the Galactic CO-to-mass factor for a v_density.
    observed_per_K: float | None = None
    #: FWHM of the beam that correlates the noise along longitude and latitude; 0 leaves every pixel on its own.
    beam_fwhm_arcsec: float = 0.0

    def __post_init__(self) -> None:
        _check_finite(self, "noise: ")
        _check(self.sigma_K >= 0, "noise: sigma_K", self.sigma_K, "0 or more")
        if self.observed_per_K is not None:
            _check(self.observed_per_K > 0, "noise: observed_per_K", self.observed_per_K, "above 0")
        _check(self.beam_fwhm_arcsec >= 0, "noise: beam_fwhm_arcsec", self.beam_fwhm_arcsec, "0 or more")

    @property
    def silent(self) -> bool:
        return self.sigma_K == 0 and self.mean_K == 0


@dataclass(frozen=True)
class OptimizerConfig:
    """`name` is one of training.optimizer.OPTIMIZERS; `momentum` is SGD's, or the first beta of Adam and AdamW."""

    name: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        _check_finite(self, "optimizer: ")
        _check(self.learning_rate > 0, "optimizer: learning_rate", self.learning_rate, "above 0")
        _check(self.weight_decay >= 0, "optimizer: weight_decay", self.weight_decay, "0 or more")
        _check(0 <= self.momentum < 1, "optimizer: momentum", self.momentum, "in [0, 1)")


@dataclass(frozen=True)
class ScheduleConfig:
    """`name` is one of training.optimizer.SCHEDULES. Default: the paper's three halvings."""

    name: str = "halvings"
    warmup_epochs: float = 0.0
    halve_after_epochs: tuple[float, ...] = (16.0, 17.0, 18.0)

    def __post_init__(self) -> None:
        _check_finite(self, "schedule: ")
        _check(self.warmup_epochs >= 0, "schedule: warmup_epochs", self.warmup_epochs, "0 or more")


#: What may be sent to a run to make it save and stop: names without their SIG.
SIGNALS = ("HUP", "QUIT", "TERM", "USR1", "USR2", "XCPU")

_CHOICES = {
    "precision": ("fp32", "bf16", "fp16"),
    "on_nan": ("stop", "skip"),
    "on_bad_sample": ("stop", "skip"),
    "log": ("", "tensorboard"),
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run's numbers depend on beside the data. Defaults: the IRIS paper's."""

    #: Of the sources, where the data set does not bring splits of its own; one that has only `train` is not divided.
    validation_data_fraction: float = 0.2
    epochs: int = 32
    #: Per rank.
    batch_size: int = 8
    #: Batches whose gradients make one optimizer step.
    batches_per_update: int = 16
    #: One of reverter.networks.NETWORKS.
    network: str = "paper"
    #: The name of a PhysicalLoss.
    physical_loss: str = "ScaledDensityLoss"
    density_normalization_kg_m3: float = 1e-19
    #: "fp32", or "bf16" and "fp16": what the network computes in while it learns (weights and scores stay float32).
    precision: str = "fp32"
    #: Compile the network first (torch.compile): minutes at the start, for faster steps.
    compile: bool = False
    #: Gradients longer than this are shortened to it; 0 leaves them as they are.
    gradient_clip: float = 0.0
    #: Validate, test and revert with a running mean of the weights, w <- decay w + (1 - decay) new; 0: with the last.
    ema_decay: float = 0.0
    #: Stop after so many epochs without a better validation loss; 0 goes on to the last.
    patience_epochs: int = 0
    #: "stop" or "skip" a step whose loss is not finite.
    on_nan: str = "stop"
    #: "stop" at a sample that cannot be read, or "skip" it; but stop when more than `max_bad` have been skipped.
    on_bad_sample: str = "stop"
    max_bad: int = 100
    #: Of the initial weights, the order of the samples, noise and litter.
    seed: int = 0
    #: Of the choice of validation galaxies, where the data set does not bring a split.
    split_seed: int = 0
    #: Optimizer steps, or minutes, between two checkpoints within an epoch; 0 keeps to the ends of epochs.
    checkpoint_every_steps: int = 0
    checkpoint_every_minutes: float = 0.0
    #: Of the checkpoints beside the best, the last so many stay.
    keep_checkpoints: int = 3
    #: Signals that save and stop a run, exit code 75: some of HUP, QUIT, TERM, USR1, USR2, XCPU. Ctrl-C always does.
    stop_signals: tuple[str, ...] = ("HUP", "TERM", "USR1", "USR2")
    #: "tensorboard" writes event files beside metrics.jsonl.
    log: str = ""
    #: Compare each shard with its checksum when it is first read.
    checksums: bool = True
    #: Threads that read, and batches that they are ahead.
    read_threads: int = 2
    read_ahead_batches: int = 2
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    noise: Noise = field(default_factory=Noise)
    #: What a command line trained on; from Python the data come as objects.
    data: tuple[str, ...] = ()
    litter: str = ""
    observer: str = ""

    def __post_init__(self) -> None:
        _check_finite(self)
        share = self.validation_data_fraction
        _check(0 <= share < 1, "validation_data_fraction", share, "in [0, 1)")
        _check(
            self.density_normalization_kg_m3 > 0,
            "density_normalization_kg_m3",
            self.density_normalization_kg_m3,
            "above 0",
        )
        _check(self.gradient_clip >= 0, "gradient_clip", self.gradient_clip, "0 or more")
        for name, choices in _CHOICES.items():
            _check(getattr(self, name) in choices, name, repr(getattr(self, name)), " or ".join(map(repr, choices)))
        for name in self.stop_signals:
            _check(name in SIGNALS, "stop_signals", f"'{name}'", f"among {', '.join(SIGNALS)}")
        _check(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "in [0, 1)")
        for name in (
            "seed",
            "split_seed",
            "checkpoint_every_steps",
            "checkpoint_every_minutes",
            "patience_epochs",
            "max_bad",
        ):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("seed", "split_seed"):
            _check(getattr(self, name) < 1 << 63, name, getattr(self, name), "below 2^63")
        for name in (
            "epochs",
            "batch_size",
            "batches_per_update",
            "keep_checkpoints",
            "read_threads",
            "read_ahead_batches",
        ):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _check(
            self.schedule.warmup_epochs <= self.epochs,
            "schedule: warmup_epochs",
            self.schedule.warmup_epochs,
            f"within the {self.epochs} epochs",
        )


def _check_finite(config: Any, table: str = "") -> None:
    """TOML knows nan and inf; no number of a training may be either."""
    for each in fields(config):
        value = getattr(config, each.name)
        for number in value if isinstance(value, tuple) else (value,):
            _check(not isinstance(number, float) or math.isfinite(number), f"{table}{each.name}", value, "finite")


def _check(good: bool, name: str, value: object, wanted: str) -> None:
    if not good:
        raise UsageError(f"{name} = {value}; it must be {wanted}")
