"""Matter -> emission and absorption of each cell: strength and depth of line and dust, velocity and width of the line.

Everything along a ray is a Rayleigh-Jeans temperature at the line's rest frequency, T = I c^2 / (2 k nu0^2), so that
numbers stay near 1. With u = n_u N (upper-state column) a cell adds, integrated over velocity,

    W   = h c^3 A / (8 pi k nu0^2) u                         K km/s emitted
    tau = c^3 A / (8 pi nu0^3) (e^beta - 1) u                km/s absorbed, beta = h nu / (k T_ex)

which is j = h nu/4pi n_u A phi and alpha = h nu/4pi (n_l B_lu - n_u B_ul) phi along the cell (Rybicki & Lightman
1979, ch. 1).

Gas of the mean density n is in clumps of the density n + n_clump, which fill f = n / (n + n_clump) of the cell: the
tracer exists only where it is shielded. Collisions and trapped photons are those inside clumps. There are so many
clumps that each line of sight has the cell's mean column. They move: b^2 = thermal + turbulence^2 + (1 - f) clump^2.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from iris_cli.observers.level_table import LevelTable, level_table
from iris_cli.observers.molecule import Line, Molecule
from iris_cli.observers.populations import LargeVelocityGradient, Populations, ThinEquilibrium
from iris_cli.units import ATOMIC_MASS_KG, BOLTZMANN_J_K, LIGHT_SPEED_M_S, M_PER_PC, MASS_PER_H_KG, PLANCK_J_S

KM_S_PER_M_S = 1e-3
CM3_PER_M3 = 1e-6
_CM_PER_PC = M_PER_PC * 100.0


class _Fields:
    """A dataclass of tensors (R, ray)."""

    def fields(self) -> tuple[Tensor, ...]:
        return tuple(vars(self).values())

    def rays(self, which: slice | Tensor) -> Self:
        return type(self)(*(field[:, which] for field in self.fields()))

    def at(self, rows: int | slice) -> Self:
        """Rows of cells, to broadcast with their profiles (…, sample)."""
        return type(self)(*(field[rows][..., None] for field in self.fields()))

    def to(self, *device_or_dtype: Any) -> Self:
        return type(self)(*(field.to(*device_or_dtype) for field in self.fields()))


@dataclass(frozen=True)
class Matter(_Fields):
    """The gas in the cells of some rays, each field (R, ray) with index 0 nearest; SI units, velocities in km/s."""

    v_km_s: Tensor
    rho_kg_m3: Tensor
    T_K: Tensor
    x_H2: Tensor
    x_CO: Tensor
    T_dust_K: Tensor

    @property
    def records_gradients(self) -> bool:
        return torch.is_grad_enabled() and any(field.requires_grad for field in self.fields())


@dataclass(frozen=True)
class LineSetup:
    """All that the spectrum of one line depends on besides the matter."""

    line: Line
    table: LevelTable
    tracer_per_CO: float
    dust_opacity_m2_kg: float
    background_K: float
    turbulence_km_s: float = 0.0
    clump_n_H_cm3: float = 0.0
    clump_km_s: float = 0.0
    in_cell_gradient: bool = False
    clip_masers: bool = False
    temperature_ceiling_K: float = 5e4
    #: |dv/ds| of the large-velocity-gradient table, km/s per cm; 0 for the other populations.
    gradient_km_s_cm: float = 0.0
    #: Whether all photons of the line escape in the balance of the levels.
    photons_escape: bool = False

    @property
    def emission_K_km_s(self) -> float:
        """W per upper-state column of 1 m^-2."""
        line = self.line
        per_m_s = PLANCK_J_S * LIGHT_SPEED_M_S**3 * line.einstein_a_s
        return per_m_s / (8.0 * torch.pi * BOLTZMANN_J_K * line.frequency_Hz**2) * KM_S_PER_M_S

    @property
    def absorption_km_s(self) -> float:
        """tau per upper-state column of 1 m^-2 and unit of e^beta - 1."""
        line = self.line
        return LIGHT_SPEED_M_S**3 * line.einstein_a_s / (8.0 * torch.pi * line.frequency_Hz**3) * KM_S_PER_M_S

    @property
    def quantum_K(self) -> float:
        """h nu0 / k"""
        return PLANCK_J_S * self.line.frequency_Hz / BOLTZMANN_J_K

    @property
    def thermal_km2_s2_K(self) -> float:
        """Square of the Doppler width per kelvin, 2 k / m."""
        return 2.0 * BOLTZMANN_J_K / (self.line.mass_u * ATOMIC_MASS_KG) * KM_S_PER_M_S**2


@dataclass(frozen=True)
class Cells(_Fields):
    """Emission and absorption of cells, each field (R, ray).

    `line_K_km_s` W and `depth_km_s` tau are integrals over velocity; `width_km_s` is the Doppler width b, `spread_km_s`
    the range of velocities inside the cell; `dust_depth` and `dust_K` (an RJ temperature) describe the dust.
    """

    v_km_s: Tensor
    spread_km_s: Tensor
    width_km_s: Tensor
    line_K_km_s: Tensor
    depth_km_s: Tensor
    dust_depth: Tensor
    dust_K: Tensor


def line_setup(molecule: Molecule, transition: str, populations: Populations, **options: Any) -> LineSetup:
    """With the level table of the transition, from the cache or computed now. `options` are the other fields."""
    line = molecule.line(transition)
    gradient = populations.velocity_gradient_km_s_pc if isinstance(populations, LargeVelocityGradient) else 0.0
    thin = isinstance(populations, ThinEquilibrium) and not populations.depends_on_column
    table = level_table(molecule, line, populations)
    return LineSetup(line=line, table=table, gradient_km_s_cm=gradient / _CM_PER_PC, photons_escape=thin, **options)


def rayleigh_jeans_K(T_K: Tensor, quantum_K: float | Tensor) -> Tensor:
    """J(T) = (h nu/k) / (e^(h nu/kT) - 1), 0 at T = 0."""
    x = quantum_K / T_K.clamp(min=1e-3)
    return quantum_K / torch.expm1(x.clamp(max=80.0))


def cells(matter: Matter, setup: LineSetup, dr_m: float) -> Cells:
    """The cells of matter (R, ray), differentiable. A cell above the temperature ceiling has dust but no line."""
    hot = setup.temperature_ceiling_K < matter.T_K
    T_K = torch.where(hot, torch.full_like(matter.T_K, setup.temperature_ceiling_K), matter.T_K)
    T_K = torch.where(matter.rho_kg_m3 > 0, T_K, torch.ones_like(T_K))  # an empty cell may have no temperature
    n_H_m3 = matter.rho_kg_m3 / MASS_PER_H_KG
    tracer_per_H = matter.x_CO * setup.tracer_per_CO
    clump_cm3 = n_H_m3 * CM3_PER_M3 + setup.clump_n_H_cm3
    velocity_column = clump_cm3 * tracer_per_H / setup.gradient_km_s_cm if setup.gradient_km_s_cm else None
    log_upper, beta = setup.table.lookup(clump_cm3, matter.x_H2, T_K, velocity_column)
    upper = torch.where(hot, 0.0, torch.exp(log_upper)) * n_H_m3 * tracer_per_H * dr_m
    between = setup.clump_n_H_cm3 / clump_cm3.clamp(min=1e-30)
    depth = setup.absorption_km_s * upper * torch.expm1(beta)
    v_km_s, spread_km_s = velocity_ranges(matter.v_km_s, setup.in_cell_gradient)
    return Cells(
        v_km_s=v_km_s,
        spread_km_s=spread_km_s,
        width_km_s=torch.sqrt(setup.thermal_km2_s2_K * T_K + setup.turbulence_km_s**2 + between * setup.clump_km_s**2),
        line_K_km_s=setup.emission_K_km_s * upper,
        depth_km_s=depth.clamp(min=0.0) if setup.clip_masers else depth,
        dust_depth=setup.dust_opacity_m2_kg * dr_m * matter.rho_kg_m3,
        dust_K=rayleigh_jeans_K(matter.T_dust_K, setup.quantum_K),
    )


def velocity_ranges(v: Tensor, in_cell_gradient: bool) -> tuple[Tensor, Tensor]:
    """(R, ray) centre and width of the velocities in each cell: one velocity, or the range from face to face.

    The velocity of a face is the mean of its two cells; at the two outermost faces, linear extrapolation.
    """
    if not in_cell_gradient or len(v) == 1:
        return v, torch.zeros_like(v)
    inner = 0.5 * (v[1:] + v[:-1])
    faces = torch.cat([(2.0 * v[0] - inner[0])[None], inner, (2.0 * v[-1] - inner[-1])[None]])
    return 0.5 * (faces[1:] + faces[:-1]), faces.diff(dim=0).abs()
