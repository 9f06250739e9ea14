"""Lines, gas physics, telescope and means of computing of the synthetic observer.

Defaults: the IRIS paper's (arXiv:2607.01338), for SEDIGISM's 13CO(2-1).
"""

from dataclasses import dataclass

from iris_cli.config.setting import Checked, panel, setting
from iris_cli.errors import UsageError

POPULATIONS = ("lte", "non-lte", "lvg")
REGIME_NAMES = ("thick", "selective", "thin")
MASERS = ("exact", "clip")
BRIGHTNESSES = ("rayleigh-jeans", "planck")
BACKEND_NAMES = ("auto", "compiled", "torch", "reference")
DEVICE_NAMES = ("auto", "cpu", "cuda")
of_lines, of_computing = panel("Lines and physics"), panel("Computing")


#: n(CO)/n(H2) of shielded gas (Frerking, Langer & Wilson 1982, ApJ 262, 590), as in mock galaxies: converts abundances
#: per H2 to abundances per CO.
CO_PER_H2 = 8.5e-5


@dataclass(frozen=True)
class TracerConfig(Checked, where="tracer: "):
    """How the abundance of the tracer varies: log-normal scatter between galaxies, and within each.

    Drawn from the seed and the identity of the galaxy, so that all its views have the same; several lines share it.
    The simple observer sees the gas times this scatter.
    """

    per_H2: float | None = setting(
        None, "n(molecule)/n(H2) of shielded gas, in place of tracer_per_CO.", above=0, unset="tracer_per_CO"
    )
    galaxy_dex: float = setting(0.0, "Standard deviation of log10(abundance) between galaxies.", least=0, most=2)
    cloud_dex: float = setting(0.0, "Standard deviation of log10(abundance) within a galaxy.", least=0, most=2)
    correlation_pc: float = setting(
        20.0, "Distance over which the correlation within a galaxy falls to 1/e.", least=6, most=100
    )
    seed: int = setting(0, "Seed of the scatter.", least=0)

    @property
    def is_constant(self) -> bool:
        return self.galaxy_dex == 0 and self.cloud_dex == 0


@dataclass(frozen=True)
class LineConfig(Checked, where="observer: "):
    """A spectral line of a built-in molecule or of a LAMDA file."""

    molecule: str = of_lines(
        "13co",
        "A built-in molecule (12co, 13co, c18o, hcn, cs, hnco, nh3) or a LAMDA file; may be given several times.",
        "--molecule",
        metavar="<str>",
    )
    transition: str = of_lines(
        "2-1", "Transition as `iris molecule` prints it, one for each molecule.", "--transition", metavar="<str>"
    )
    tracer_per_CO: float | None = of_lines(
        None, "n(molecule)/n(CO), for each molecule.", "--tracer-per-co", metavar="<float>", least=0, unset="built in"
    )
    dust_opacity_m2_kg: float = setting(1e-3, "Dust opacity at the line, per kg of gas.", least=0)


@dataclass(frozen=True)
class MoleculeConfig(Checked, where="molecule: "):
    """What `iris molecule` prints: the length of its tables, and the temperature of the critical densities."""

    temperature_K: float = setting(50.0, "Gas temperature of the critical densities.", "--temperature", "-t", least=2)
    rows: int = setting(12, "Number of levels and transitions to print.", "--rows", least=1)


@dataclass(frozen=True)
class SyntheticConfig(Checked, where="observer: "):
    """The lines, the gas physics, the telescope, and the means of computing."""

    lines: tuple[LineConfig, ...] = (LineConfig(),)
    populations: str = of_lines(
        "lvg",
        "Level populations: lvg (photons trapped by the velocity gradient), non-lte (optically thin), or lte.",
        "--populations",
        choices=POPULATIONS,
    )
    excitation_K: float = setting(
        0.0, 'Excitation temperature of populations = "lte"; 0 is the gas temperature.', least=0
    )
    pumping: bool = setting(True, "Let the background radiation excite the levels.")
    ortho_per_para: float = setting(3.0, "Ortho-to-para ratio of H2 as a collision partner.", least=0)
    velocity_gradient_km_s_pc: float = setting(1.0, 'Velocity gradient of the gas for populations = "lvg".', above=0)
    regime: str = of_lines(
        "thick",
        "Radiative transfer: thick is the whole equation, selective without the line's own opacity, thin without any.",
        "--regime",
        choices=REGIME_NAMES,
    )
    masers: str = setting("exact", 'Negative opacities: kept, or set to zero by "clip".', choices=MASERS)
    background_K: float = setting(2.73, "Temperature of the black body behind everything.", least=0)
    turbulence_km_s: float = setting(0.0, "Line width of a cell in addition to its thermal width.", least=0)
    clump_n_H_cm3: float = setting(
        700.0, "Gas is in clumps of its mean density plus this, for the level populations; 0: it is even.", least=0
    )
    clump_km_s: float = setting(30.0, "Line width of a cell with few clumps, from their motions; 0 in litter.", least=0)
    in_cell_gradient: bool = setting(True, "Spread a line over the velocities between a cell and its neighbours.")
    temperature_ceiling_K: float = setting(5e4, "Gas hotter than this holds no tracer.", above=0)
    beam_fwhm_arcsec: float = of_lines(30.0, "FWHM of the beam; 0 for a perfect telescope.", "--beam-arcsec", least=0)
    brightness: str = setting("rayleigh-jeans", "Temperature scale.", choices=BRIGHTNESSES)
    backend: str = of_computing(
        "auto",
        "Backend of the synthetic observer, all with the same numbers; auto is torch on a GPU if there is one, else "
        "compiled.",
        "--backend",
        choices=BACKEND_NAMES,
    )
    subsamples: int = setting(0, "Points in a velocity channel; 0 takes as many as the narrowest line needs.", least=0)
    memory_GiB: float = of_computing(4.0, "Working memory of the torch and reference backends.", "--memory", above=0)
    threads: int = setting(0, "Number of threads; 0 takes as many as torch has.", least=0)
    device: str = of_computing(
        "auto", "Device of torch and auto backends; auto is a GPU if there is one.", "--device", choices=DEVICE_NAMES
    )

    def __post_init__(self) -> None:
        if not self.lines:
            raise UsageError("observer: no line to observe", "name at least one: [[lines]] molecule, transition")
        super().__post_init__()
        if self.excitation_K and self.populations != "lte":
            what = f"observer: excitation_K = {self.excitation_K:g} does not apply to populations '{self.populations}'"
            raise UsageError(what, "excitation_K = 0")
        if self.device == "cuda" and self.backend not in ("auto", "torch"):
            raise UsageError(f"observer: the backend '{self.backend}' runs on no GPU", "--backend torch --device cuda")
