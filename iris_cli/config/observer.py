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
BACKEND_NAMES = ("auto", "compiled", "torch", "reference")
DEVICE_NAMES = ("auto", "cpu", "cuda")


def _not_negative(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"observer: {name} = {value}; it must not be negative")


@dataclass(frozen=True)
class LineConfig:
    """A built-in molecule or the path of a LAMDA file; `tracer_per_CO` may be left out for built-in molecules."""

    #: 12co, 13co, c18o, or the path of a LAMDA file.
    molecule: str = "13co"
    #: As `iris molecule` prints it.
    transition: str = "2-1"
    #: n(molecule)/n(CO).
    tracer_per_CO: float | None = None
    #: At the line, per kg of gas.
    dust_opacity_m2_kg: float = 1e-3

    def __post_init__(self) -> None:
        _not_negative(self, "tracer_per_CO", "dust_opacity_m2_kg")


@dataclass(frozen=True)
class SyntheticConfig:
    """The lines, the gas's physics, the telescope, and the means of computing them."""

    lines: tuple[LineConfig, ...] = (LineConfig(),)
    #: "lte", "non-lte" (optically thin) or "lvg" (photons trapped, by the velocity gradient).
    populations: str = "non-lte"
    #: Let the background excite the levels.
    pumping: bool = True
    #: Of H2 as a collision partner.
    ortho_per_para: float = 3.0
    #: What "lvg" takes the gas to have.
    velocity_gradient_km_s_pc: float = 1.0
    #: "thick" is the whole equation, "selective" leaves out the line's own opacity, "thin" all opacity.
    regime: str = "thick"
    #: Negative opacities: "exact", or "clip" to none.
    masers: str = "exact"
    #: Temperature of the black body behind everything.
    background_K: float = 2.73
    #: Within a cell, beside its thermal width.
    turbulence_km_s: float = 0.0
    #: Lines are drawn out over the velocities between a cell and its neighbours.
    in_cell_gradient: bool = True
    #: Hotter gas holds no tracer.
    temperature_ceiling_K: float = 5e4
    #: Gaussian, over longitude and latitude; 0 is a perfect telescope.
    beam_fwhm_arcsec: float = 30.0
    #: "rayleigh-jeans" or "planck" temperatures.
    brightness: str = "rayleigh-jeans"
    #: "auto" ("torch" on a GPU if there is one, else "compiled"), "compiled", "torch" or "reference": the same numbers
    #: at three speeds.
    backend: str = "auto"
    #: Points in a channel; 0 takes as many as the narrowest line needs.
    subsamples: int = 0
    #: For the arrays of the "torch" and "reference" backends.
    memory_GiB: float = 4.0
    #: 0 takes as many as torch has.
    threads: int = 0
    #: Where "torch" works, and where "auto" looks for a GPU: "auto" (a GPU if there is one), "cpu" or "cuda".
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.lines:
            raise UsageError("observer: no line to observe", "name at least one: [[lines]] molecule, transition")
        choices = {
            "populations": POPULATIONS,
            "regime": REGIME_NAMES,
            "masers": MASERS,
            "brightness": BRIGHTNESSES,
            "backend": BACKEND_NAMES,
            "device": DEVICE_NAMES,
        }
        for name, known in choices.items():
            if (chosen := getattr(self, name)) not in known:
                raise UsageError(f"observer: unknown {name} '{chosen}'", nearest(chosen, known))
        if self.device == "cuda" and self.backend not in ("auto", "torch"):
            raise UsageError(f"observer: the backend '{self.backend}' works on no GPU", "--backend torch --device cuda")
        _not_negative(
            self, "ortho_per_para", "background_K", "turbulence_km_s", "beam_fwhm_arcsec", "subsamples", "threads"
        )
        for name in ("velocity_gradient_km_s_pc", "memory_GiB", "temperature_ceiling_K"):
            if not getattr(self, name) > 0:
                raise UsageError(f"observer: {name} = {getattr(self, name)}; it must be above 0")
