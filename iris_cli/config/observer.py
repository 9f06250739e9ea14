"""What the synthetic observer sees and how exactly. Defaults: the IRIS paper's (arXiv:2607.01338), for SEDIGISM's
13CO(2-1).
"""

from __future__ import annotations

from dataclasses import dataclass

from iris_cli.errors import UsageError, nearest

POPULATIONS = ("lte", "non-lte", "lvg")
REGIME_NAMES = ("thick", "selective", "thin")
MASERS = ("exact", "clip")
BRIGHTNESSES = ("rayleigh-jeans", "planck")
BACKEND_NAMES = ("compiled", "torch", "reference")


def _not_negative(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"observer: {name} = {value}; it must not be negative")


@dataclass(frozen=True)
class LineConfig:
    """A built-in molecule or the path of a LAMDA file; `tracer_per_CO` may be left out for built-in molecules."""

    molecule: str = "13co"
    transition: str = "2-1"
    tracer_per_CO: float | None = None
    dust_opacity_m2_kg: float = 1e-3

    def __post_init__(self) -> None:
        _not_negative(self, "tracer_per_CO", "dust_opacity_m2_kg")


@dataclass(frozen=True)
class SyntheticConfig:
    """`subsamples` per channel and `threads`: 0 means as many as needed, and as torch has."""

    lines: tuple[LineConfig, ...] = (LineConfig(),)
    populations: str = "non-lte"
    pumping: bool = True
    ortho_per_para: float = 3.0
    velocity_gradient_km_s_pc: float = 1.0
    regime: str = "thick"
    masers: str = "exact"
    background_K: float = 2.73
    turbulence_km_s: float = 0.0
    in_cell_gradient: bool = True
    temperature_ceiling_K: float = 5e4
    beam_fwhm_arcsec: float = 30.0
    brightness: str = "rayleigh-jeans"
    backend: str = "compiled"
    subsamples: int = 0
    memory_GiB: float = 4.0
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.lines:
            raise UsageError("observer: no line to observe", "name at least one: [[lines]] molecule, transition")
        choices = {"populations": POPULATIONS, "regime": REGIME_NAMES, "masers": MASERS, "brightness": BRIGHTNESSES,
                   "backend": BACKEND_NAMES}  # fmt: skip
        for name, known in choices.items():
            if (chosen := getattr(self, name)) not in known:
                raise UsageError(f"observer: unknown {name} '{chosen}'", nearest(chosen, known))
        _not_negative(
            self, "ortho_per_para", "background_K", "turbulence_km_s", "beam_fwhm_arcsec", "subsamples", "threads"
        )
        for name in ("velocity_gradient_km_s_pc", "memory_GiB", "temperature_ceiling_K"):
            if not getattr(self, name) > 0:
                raise UsageError(f"observer: {name} = {getattr(self, name)}; it must be above 0")
