"""How simulation codes name what a snapshot holds: the only differences between them that the reader needs.

AREPO and GADGET keep units in Header or Parameters, GIZMO alike, EAGLE as attributes of each dataset, SWIFT both in
Units and on each dataset. In each table the first name that a file has is used.
"""

#: Dataset of PartType0 -> its names in a plain set of arrays: one name, or those of the three components.
ARRAYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Coordinates": (("x", "y", "z"),),
    "Density": (("density",), ("dens",), ("rho",)),
    "Velocities": (("velocity_x", "velocity_y", "velocity_z"), ("velx", "vely", "velz")),
    "Temperature": (("temperature",), ("temp",)),
    "InternalEnergy": (("specific_thermal_energy",),),
    "DustTemperature": (("dust_temperature",),),
    "x_H2": (("x_h2",),),
    "x_H_plus": (("x_h_plus",),),
    "x_CO": (("x_co",),),
    "Masses": (("mass",), ("cell_mass",)),
    "Volume": (("cell_volume",), ("volume",)),
    "Width": (("dx",),),
}
ARRAY_NAMES = tuple(name for choices in ARRAYS.values() for names in choices for name in names)

#: Groups with parameters and units.
GROUPS = ("Header", "Parameters", "Units", "Cosmology", "RuntimePars", "Config")

COORDINATES = "PartType0/Coordinates"
#: Quantity -> datasets of PartType0.
DATASETS: dict[str, tuple[str, ...]] = {
    "velocity": ("Velocities", "Velocity"),
    "density": ("Density", "Densities"),
    "mass": ("Masses", "Mass"),
    "volume": ("Volume", "Volumes"),
    "energy": ("InternalEnergy", "InternalEnergies"),
    "temperature": ("Temperature", "Temperatures", "GasTemperature"),
    "width": ("Width",),
    "abundances": ("ChemicalAbundances",),
    "H2": ("x_H2",),
    "H+": ("x_H_plus",),
    "CO": ("x_CO",),
    "ions": ("HII",),
    "electrons": ("ElectronAbundance",),
    "molecular": ("MolecularMassFraction",),
    "neutral": ("NeutralHydrogenAbundance",),
    "dust": ("DustTemperature", "Dust_Temperature", "DustTemperatures"),
}

#: Attributes with the code units in cgs.
LENGTH_UNIT = ("UnitLength_in_cm", "UnitLength_In_CGS", "Unit length in cgs (U_L)")
MASS_UNIT = ("UnitMass_in_g", "UnitMass_In_CGS", "Unit mass in cgs (U_M)")
VELOCITY_UNIT = ("UnitVelocity_in_cm_per_s", "UnitVelocity_In_CGS")
TIME_UNIT = ("UnitTime_in_s", "Unit time in cgs (U_t)")

#: Attributes with the cosmic scale factor. (GADGET's Time is one only in cosmological runs.)
SCALE_FACTOR = ("Scale-factor", "ExpansionFactor", "Expansion factor")

#: Attributes of a dataset: the factor to cgs, the power of a, the power of h.
DATASET_UNITS = (
    ("to_cgs", "a_scaling", "h_scaling"),
    ("CGSConversionFactor", "aexp-scale-exponent", "h-scale-exponent"),
    ("Conversion factor to CGS (not including cosmological corrections)", "a-scale exponent", "h-scale exponent"),
)
#: Attributes of a dataset with its unit as text, such as "kpc".
UNIT_TEXTS = ("unit", "units", "Unit", "Units")
