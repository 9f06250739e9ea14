"""Snapshots of many styles with the same galaxy, and errors for missing fields and units."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from iris_cli import units
from iris_cli.errors import DataError
from iris_cli.snapshots.files import find_snapshots
from iris_cli.snapshots.gas import estimated_masses, temperature_K
from iris_cli.snapshots.reader import Snapshot
from tests.snapshots.snapshots import (
    CONFIG,
    KM_CM,
    KPC,
    PC_CM,
    SUN_G,
    Style,
    assert_same,
    read,
    with_columns,
    write,
    write_split,
)

OPTIONAL = ("Redshift", "HubbleParam", "Time", "NumPart_Total", "NumPart_ThisFile", "NumFilesPerSnapshot")

STYLES = {
    "pc": Style(),
    "kpc and 1e10 suns": KPC,
    "the paper's 100 pc": Style(length_cm=100 * PC_CM),
    "metres, kilograms": Style(length_cm=100.0, mass_g=1e3, velocity_cm_s=100.0, dtype="<f8"),
    "Parameters": KPC.but(units="Parameters"),
    "to_cgs": KPC.but(units="datasets"),
    "float64": KPC.but(dtype="<f8"),
    "big endian": KPC.but(dtype=">f4"),
    "compressed": KPC.but(compressed=True),
    "comoving": KPC.but(a=0.5, h=0.7),
    "comoving, to_cgs": KPC.but(a=0.25, h=0.68, units="datasets"),
    "z = 0 with h": KPC.but(h=0.7),
    "time, not a scale factor": KPC.but(header={"Time": 0.3, "Redshift": 0.0}),
    "no header but units": KPC.but(header=dict.fromkeys(OPTIONAL)),
    "box as a vector": KPC.but(header={"BoxSize": np.array([2.0, 2.0, 2.0])}),
    "around zero, no box": Style(box_pc=0.0, centre_pc=(0.0, 0.0, 0.0)),
    "around zero, with a box": Style(box_pc=0.0, centre_pc=(0.0, 0.0, 0.0), header={"BoxSize": 2000.0}),
    "h = 0": KPC.but(header={"HubbleParam": 0.0}),
    "EAGLE, without a redshift": KPC.but(a=0.5, h=0.7, header={"Redshift": None, "Time": 5.9, "ExpansionFactor": 0.5}),
    "EAGLE, time in Gyr": KPC.but(a=0.5, h=0.7, header={"Time": 5.9, "ExpansionFactor": 0.5}),
    "a cut-out of TNG": KPC.but(header={"NumPart_Total": np.zeros(6, "u4")}),
    "a cut-out without numbers": KPC.but(header={"NumPart_ThisFile": np.zeros(6, "i4"), "NumPart_Total": [0, 0]}),
    "numbers as text": KPC.but(a=0.5, h=0.7, header={"HubbleParam": "0.7", "Redshift": b"1.0"}),
}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
def test_every_style_gives_the_same_gas(style, gas, tmp_path):
    assert_same(read(write(tmp_path / "snap.hdf5", gas, style)), gas)


def as_swift_writes(file):
    """Units as U_L, U_M, U_t in one-element arrays, plural names, exponents on each dataset, Time in its own unit."""
    for name in ("UnitLength_in_cm", "UnitMass_in_g", "UnitVelocity_in_cm_per_s", "HubbleParam"):
        del file["Header"].attrs[name]
    file["Header"].attrs.update({"Time": [0.0123], "Scale-factor": [0.5], "Redshift": [1.0]})
    units_ = {
        "Unit length in cgs (U_L)": 1e3 * PC_CM,
        "Unit mass in cgs (U_M)": 1e10 * SUN_G,
        "Unit time in cgs (U_t)": 1e3 * PC_CM / KM_CM,
    }
    file.create_group("Units").attrs.update({name: [value] for name, value in units_.items()})
    gas = file["PartType0"]
    gas["Velocities"][...] *= np.sqrt(0.5)  # peculiar velocities as they are
    for name, a in (("Density", -3), ("InternalEnergy", 0), ("Velocities", 0), ("Coordinates", 1)):
        gas[name].attrs.update({"a-scale exponent": [float(a)], "h-scale exponent": [0.0]})
    gas.move("Density", "Densities")
    gas.move("InternalEnergy", "InternalEnergies")


def as_gizmo_writes(file):
    head = file["Header"].attrs
    for name in ("Length_in_cm", "Mass_in_g", "Velocity_in_cm_per_s"):
        head[f"Unit{name.split('_')[0]}_In_CGS"] = head[f"Unit{name}"]
        del head[f"Unit{name}"]
    head["ComovingIntegrationOn"] = 1


@pytest.mark.parametrize(("rewrite", "h"), [(as_swift_writes, 1.0), (as_gizmo_writes, 0.7)])
def test_snapshots_of_other_codes_are_read(rewrite, h, gas, tmp_path):
    assert_same(read(write(tmp_path / "snap.hdf5", gas, KPC.but(a=0.5, h=h), rewrite)), gas)


def test_a_galaxy_across_the_edge_of_a_periodic_box_is_joined_and_found(gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", gas, KPC.but(centre_pc=(30.0, 1990.0, 1000.0)))
    assert_same(read(path, config=replace(CONFIG, centre="0.03,1.99,1")), gas)
    (files,) = find_snapshots([path])
    centre = Snapshot.open(files, replace(CONFIG, centre="mass")).centre
    assert centre == pytest.approx((0.03, 1.99, 1.0), abs=0.01)  # kpc


def test_the_parts_of_a_split_snapshot_are_one_galaxy(gas, tmp_path):
    parts = write_split(tmp_path, gas, [1000, 1000, 2500], KPC)  # the second holds no gas
    assert_same(read(parts[0]), gas)
    assert_same(read(*parts), gas)  # as a shell's * gives them
    assert_same(read(tmp_path), gas)
    assert_same(read(tmp_path / "snap_007"), gas)


@pytest.mark.parametrize("empty", [np.zeros(0), np.zeros((0, 3)), h5py.Empty("f4"), None])
def test_a_part_without_gas_may_hold_empty_datasets_or_no_group(empty, gas, tmp_path):
    first, second = write_split(tmp_path, gas, [0], KPC)
    with h5py.File(first, "r+") as file:
        names = list(file["PartType0"])
        del file["PartType0"]
        for name in names if empty is not None else ():
            file[f"PartType0/{name}"] = empty
    assert_same(read(second), gas)


def virtual(path, parts, prefix=""):
    """A file that shows its parts as one, as SWIFT writes it."""
    with h5py.File(parts[0]) as first, h5py.File(path, "w") as file:
        first.copy("Header", file)
        file["Header"].attrs.update({"NumFilesPerSnapshot": 1, "NumPart_ThisFile": [3000, 0]})
        for name, data in first["PartType0"].items():
            layout, start = h5py.VirtualLayout((3000, *data.shape[1:]), data.dtype), 0
            for part in parts:
                with h5py.File(part) as source:
                    shape = source[f"PartType0/{name}"].shape
                layout[start : start + shape[0]] = h5py.VirtualSource(prefix + part.name, f"PartType0/{name}", shape)
                start += shape[0]
            file.create_virtual_dataset(f"PartType0/{name}", layout)
    return path


def test_a_virtual_file_of_swift_is_read_from_the_parts_beside_it(gas, tmp_path):
    parts = write_split(tmp_path, gas, [1000, 1700], KPC)
    shown = virtual(tmp_path / "snap.hdf5", parts)
    assert_same(read(shown), gas)
    assert_same(read(tmp_path), gas)  # with its parts it is one galaxy
    with pytest.raises(DataError, match=r"not beside it: ../snap_007.0.hdf5, ") as error:
        read(virtual(tmp_path / "elsewhere.hdf5", parts, "../"))
    assert "name them instead" in error.value.hint
    with pytest.raises(DataError, match="are in other files"):  # a part must hold its data itself
        read(virtual(tmp_path / "twice.hdf5", [shown]))


@pytest.mark.parametrize("order", [("CO", "H2", "H+"), ("H2", "H+", "C+", "CHx", "OHx", "CO", "HCO+", "He+", "M+")])
def test_columns_of_abundances_are_found_by_name(order, gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", gas, Style(columns=order))
    assert_same(read(path, config=replace(CONFIG, columns=order)), gas)


def test_columns_in_a_wrong_order_are_refused(gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", gas, Style(columns=("CO", "H+", "H2")))
    with pytest.raises(DataError, match=r"x_CO = n/n_H runs .* to 0.4") as error:
        read(path)
    assert "--columns" in error.value.hint


def test_hydrogen_ions_used_as_molecules_cause_a_warning(gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", {**gas, "H+": gas["H+"] / 10}, Style(columns=("H+", "H2", "CO")))
    (files,) = find_snapshots([path])
    _, warnings = Snapshot.open(files, CONFIG).read(2000.0, CONFIG, 10**7)
    assert any("--columns" in warning for warning in warnings)


def test_the_temperature_depends_on_the_number_of_particles():
    """Atoms of 1.4 m_H per H nucleus: 1.1 particles; molecules 0.6; ions and electrons 2.1."""
    u = 1.5 * units.BOLTZMANN_J_K * 100.0 * 1.1 / units.MASS_PER_H_KG * 1e-6
    assert temperature_K(np.array(u), 0.0, 0.0) == pytest.approx(100.0)
    assert temperature_K(np.array(u), 0.5, 0.0) == pytest.approx(100.0 * 1.1 / 0.6)
    assert temperature_K(np.array(u), 0.0, 1.0) == pytest.approx(100.0 * 1.1 / 2.1)


def test_estimated_volumes_are_accurate_for_sums():
    """Cells in a ten times denser arrangement have a tenth of the weight each."""
    rng = np.random.default_rng(0)
    loose = rng.uniform(0.0, 100.0, (1000, 3))
    tight = rng.uniform(0.0, 100.0, (10_000, 3)) + np.array([200.0, 0.0, 0.0])
    weight = estimated_masses(np.concatenate([loose, tight]), np.ones(11_000))
    assert weight[:1000].sum() == pytest.approx(weight[1000:].sum(), rel=0.15)


# --- missing fields ---------------------------------------------------------------------------------------------------


def are_molecular(found, gas):
    assert found.T_gas_K == pytest.approx(temperature_K(gas["InternalEnergy"], 0.5, 0.0), rel=1e-4)
    return (found.x_H2 == 0.5).all() and found.x_CO == pytest.approx(1.4e-4)


def correlation(values, found):
    return float(np.corrcoef(values, found.rho)[0, 1])


CMZ = {"formulas": "cmz"}


@pytest.mark.parametrize(
    ("name", "flag", "change", "fills"),
    [
        ("DustTemperature", "--dust-temperature", {"dust_temperature_K": 20.0}, lambda f, _: (f.T_dust_K == 20).all()),
        ("Velocities", "--zero-velocity", {"zero_velocity": True}, lambda f, _: not f.velocity_km_s.any()),
        ("InternalEnergy", "--temperature", {"temperature_K": 50.0}, lambda f, _: (f.T_gas_K == 50.0).all()),
        ("ChemicalAbundances", "--x-h2", {"x_H2": 0.5, "x_CO": 1.4e-4}, are_molecular),
        ("ChemicalAbundances", "--formulas", CMZ, lambda f, _: correlation(1e5 * f.x_CO, f) > 0.3),
        ("DustTemperature", "--formulas", CMZ, lambda f, _: correlation(f.T_dust_K, f) < -0.3),
        ("InternalEnergy", "--formulas", CMZ, lambda f, _: correlation(f.T_gas_K, f) < -0.3),
    ],
)
def test_a_missing_field_is_an_error_that_names_the_option(name, flag, change, fills, gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", gas, Style(leave_out=(name,)))
    with pytest.raises(DataError, match=f"has no PartType0/{name}") as error:
        read(path)
    assert flag in error.value.hint
    assert fills(read(path, config=replace(CONFIG, **change)), gas)


def test_abundances_in_another_convention_are_converted(gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", {**gas, "H2": 2.0 * gas["H2"]})
    with pytest.raises(DataError, match=r"x_H2 = n/n_H runs from .* to 0.99") as error:
        read(path)
    assert "--h2-factor 0.5" in error.value.hint
    assert_same(read(path, config=replace(CONFIG, h2_factor=0.5)), gas)


def test_an_option_overrides_the_file(gas, tmp_path):
    found = read(write(tmp_path / "snap.hdf5", gas), config=replace(CONFIG, x_H2=0.25, temperature_K=77.0))
    assert (found.x_H2 == 0.25).all() and (found.T_gas_K == 77.0).all()


def test_a_density_can_be_replaced_by_masses_and_volumes(gas, tmp_path):
    bare = Style(leave_out=("Density",))
    with pytest.raises(DataError, match="has no PartType0/Density"):
        read(write(tmp_path / "a.hdf5", gas, bare))
    masses = with_columns(Masses=3.0 * gas["Density"], Volume=np.full(3000, 3.0))
    assert read(write(tmp_path / "b.hdf5", gas, bare, masses)).rho == pytest.approx(gas["Density"], rel=1e-5)


def test_files_without_units_need_options(gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", gas, KPC.but(units="none"))
    with pytest.raises(DataError, match="does not say in which unit") as error:
        read(path)
    assert "--unit-length-cm" in error.value.hint
    given = replace(CONFIG, unit_length_cm=KPC.length_cm, unit_mass_g=KPC.mass_g, unit_velocity_cm_s=KPC.velocity_cm_s)
    assert_same(read(path, config=given), gas)


def test_units_may_be_text_attributes_of_each_dataset(gas, tmp_path):
    def label(file):
        texts = {"Coordinates": "kpc", "Velocities": "km/s", "Density": "1e10 solMass / kpc3"}
        for name, text in {**texts, "InternalEnergy": "km2 / s2", "DustTemperature": "K"}.items():
            file[f"PartType0/{name}"].attrs["unit"] = text

    assert_same(read(write(tmp_path / "snap.hdf5", gas, KPC.but(units="none"), label)), gas)

    def mislabel(file):
        label(file)
        file["PartType0/Density"].attrs["unit"] = "kpc"

    with pytest.raises(DataError, match="is in 'kpc', which cannot be converted to g / cm3"):
        read(write(tmp_path / "wrong.hdf5", gas, KPC.but(units="none"), mislabel))


def test_the_molecular_fraction_of_gizmo_is_half_of_x_H2(gas, tmp_path):
    molecular = 2.0 * gas["H2"] / 0.9
    fractions = with_columns(NeutralHydrogenAbundance=np.full(3000, 0.9), MolecularMassFraction=molecular)
    path = write(tmp_path / "snap.hdf5", gas, Style(leave_out=("ChemicalAbundances",)), fractions)
    found = read(path, config=replace(CONFIG, formulas="cmz", x_H_plus=0.0))
    assert found.x_H2 == pytest.approx(gas["H2"], rel=1e-5)


def test_electrons_replace_missing_ions(gas, tmp_path):
    electrons = with_columns(ElectronAbundance=np.full(3000, 0.8))
    path = write(tmp_path / "snap.hdf5", gas, Style(leave_out=("ChemicalAbundances",)), electrons)
    found = read(path, config=replace(CONFIG, x_H2=0.0, x_CO=0.0))
    assert found.T_gas_K == pytest.approx(temperature_K(gas["InternalEnergy"], 0.0, 0.8), rel=1e-4)


def test_dust_at_zero_kelvin_and_cells_slightly_outside_the_box_are_accepted(gas, tmp_path):
    def change(file):
        file["PartType0/DustTemperature"][3] = 0.0
        file["PartType0/Coordinates"][0] = [-1e-3, 1.0, 1.0]

    found = read(write(tmp_path / "snap.hdf5", gas, KPC, change))
    assert found.T_dust_K[3] == 0.0 and found.position_pc[0] == pytest.approx([999.0, 0.0, 0.0], abs=0.1)
