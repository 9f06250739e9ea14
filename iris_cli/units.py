"""Physical constants, and the inner unit system: parsec, km/s, solar mass, kelvin.

In these units the numbers of the Central Molecular Zone are near 1, where float32 is accurate: a density of 1e-19
kg/m^3 is 1.48 M_sun/pc^3, a column of 1 g/cm^2 spread over 400 km/s is 12 M_sun/pc^2/(km/s). Files may be in any units
and are converted when read. A number in a file is described by its quantity ("density"), the name of its unit and the
factor to the SI; conversions use the factor, not the name, so that they do not depend on the value of a solar mass.
"""

from dataclasses import dataclass

from iris_cli.errors import DataError, nearest

# CODATA 2018, exact where the SI defines them; checked against astropy in the tests.
LIGHT_SPEED_M_S = 299_792_458.0
PLANCK_J_S = 6.626_070_15e-34
BOLTZMANN_J_K = 1.380_649e-23
ATOMIC_MASS_KG = 1.660_539_066_60e-27
M_PER_PC = 3.085_677_581_491_367_3e16
KG_PER_SOLAR_MASS = 1.988_47e30

# Masses as the IRIS paper uses them, in unified atomic mass units.
HYDROGEN_MASS_U = 1.007_84
HELIUM_MASS_U = 4.002_602
HELIUM_PER_HYDROGEN = 0.1

#: Gas mass (H + He) per hydrogen nucleus, kg: rho = n_H x this.
MASS_PER_H_KG = (HYDROGEN_MASS_U + HELIUM_PER_HYDROGEN * HELIUM_MASS_U) * ATOMIC_MASS_KG
#: Mass of the H2 molecules per unit x_H2 as a share of the gas mass: rho_H2 = rho x_H2 x this.
H2_MASS_SHARE = 2.0 * HYDROGEN_MASS_U / (HYDROGEN_MASS_U + HELIUM_PER_HYDROGEN * HELIUM_MASS_U)


@dataclass(frozen=True)
class UnitSystem:
    """The value of one SI unit in a file: value_in_file = value_SI x factor (the names of the paper's `hyper.json`)."""

    length_per_SI: float = 1.0
    time_per_SI: float = 1.0
    mass_per_SI: float = 1.0
    temperature_per_SI: float = 1.0

    @property
    def velocity_per_SI(self) -> float:
        return self.length_per_SI / self.time_per_SI

    @property
    def density_per_SI(self) -> float:
        return self.mass_per_SI / self.length_per_SI**3

    @property
    def v_density_per_SI(self) -> float:
        """Column density per velocity, kg m^-2 (m/s)^-1."""
        return self.mass_per_SI / self.length_per_SI**2 / self.velocity_per_SI

    @property
    def intensity_per_SI(self) -> float:
        """Specific intensity, W m^-2 Hz^-1 sr^-1 = kg s^-2."""
        return self.mass_per_SI / self.time_per_SI**2

    def per_SI(self, quantity: str) -> float:
        """The factor of a quantity of QUANTITIES. Raises DataError for another name."""
        if quantity not in QUANTITIES:
            raise DataError(f"unknown quantity '{quantity}'", nearest(quantity, QUANTITIES))
        return getattr(self, f"{quantity}_per_SI")


#: Quantity -> its inner unit, in a form that astropy can parse.
QUANTITIES = {
    "length": "pc",
    "velocity": "km / s",
    "temperature": "K",
    "density": "solMass / pc3",
    "v_density": "solMass s / (pc2 km)",
    "intensity": "solMass km2 / (pc2 s2)",
}

SI = UnitSystem()
#: parsec, parsec per (km/s), solar mass, kelvin.
INNER = UnitSystem(length_per_SI=1.0 / M_PER_PC, time_per_SI=1e3 / M_PER_PC, mass_per_SI=1.0 / KG_PER_SOLAR_MASS)


def convert(quantity: str, source: UnitSystem, target: UnitSystem) -> float:
    """The factor that converts a value of `quantity` from one system to another."""
    return target.per_SI(quantity) / source.per_SI(quantity)
