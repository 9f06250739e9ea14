"""Errors for snapshots that are contradictory, link to other files, or are damaged."""

import re
from dataclasses import replace

import h5py
import numpy as np
import pytest

from iris_cli.errors import DataError
from iris_cli.snapshots.files import find_snapshots
from iris_cli.snapshots.galaxy import load_galaxy
from iris_cli.snapshots.ingest import source_names
from iris_cli.snapshots.reader import Snapshot
from tests.snapshots.snapshots import (
    CONFIG,
    KPC,
    PC_CM,
    SUN_G,
    Style,
    assert_same,
    galaxy,
    read,
    with_columns,
    write,
    write_split,
)


def attribute(where, name, value):
    def change(file):
        (file[where] if where in file else file.create_group(where)).attrs[name] = value

    return change


def replaced(name, value):
    def change(file):
        del file[f"PartType0/{name}"]
        file[f"PartType0/{name}"] = value

    return change


def damaged(name, value):
    return lambda file: file[f"PartType0/{name}"].__setitem__(5, value)


def unwritten(file):
    """As a killed simulation leaves it."""
    del file["PartType0/Density"]
    file["PartType0"].create_dataset("Density", (3000,), "<f4", chunks=(1000,))


def soft_link_out(file):
    file["elsewhere"] = h5py.ExternalLink("secret.hdf5", "/")
    replaced("Density", h5py.SoftLink("/elsewhere/Density"))(file)


def linked_group(file):
    del file["PartType0"]
    file["PartType0"] = h5py.ExternalLink("secret.hdf5", "/PartType0")


def raw_elsewhere(file):
    del file["PartType0/Density"]
    file.create_dataset("PartType0/Density", (3000,), "<f4", external=[("/etc/passwd", 0, 12000)])


def virtual(file):
    del file["PartType0/Density"]
    layout = h5py.VirtualLayout((3000,), "<f4")
    layout[:] = h5py.VirtualSource("secret.hdf5", "Density", shape=(3000,))
    file.create_virtual_dataset("PartType0/Density", layout)


PASSWORDS = h5py.ExternalLink("/etc/passwd", "/Density")
BAD = {
    "an external link": (replaced("Density", PASSWORDS), "Density is a link to /etc/passwd, which is not followed"),
    "a soft link out of the file": (soft_link_out, "elsewhere is a link to secret.hdf5"),
    "a group elsewhere": (linked_group, "PartType0 is a link to secret.hdf5"),
    "links in a circle": (replaced("Density", h5py.SoftLink("/PartType0/Density")), "chain of more than"),
    "raw data elsewhere": (raw_elsewhere, "are in other files"),
    "a virtual dataset": (virtual, "are in other files"),
    "NaN": (damaged("Density", np.nan), "Density: 1 of 3000 cells are zero, negative or not finite"),
    "zero density": (damaged("Density", 0.0), "Density: 1 of 3000 cells are zero"),
    "NaN position": (damaged("Coordinates", np.nan), "Coordinates: 1 of 3000 cells are not finite"),
    "infinite velocity": (damaged("Velocities", np.inf), "Velocities: 1 of 3000 cells are not finite"),
    "negative energy": (damaged("InternalEnergy", -1.0), "InternalEnergy: 1 of 3000"),
    "a negative mass": (with_columns(Masses=np.linspace(-1.0, 1.0, 3000)), "Masses: 1500 of 3000 cells are negative"),
    "too hot for float32": (damaged("InternalEnergy", 3e38), "temperature: 1 of 3000 cells are zero, negative or not"),
    "faster than light": (replaced("Velocities", np.full((3000, 3), 4e5)), "velocity: 3000 of 3000 cells are above 2"),
    "denser than any gas": (damaged("Density", 1e30), "density: 1 of 3000 cells are above 1e+20 M_sun/pc^3"),
    "cells that are fewer": (replaced("Density", np.ones(10)), "Density has shape (10,), not (3000,)"),
    "flat coordinates": (replaced("Coordinates", np.ones(9000)), "Coordinates is of shape (9000,)"),
    "text": (replaced("Density", b"dense"), "Density holds no numbers"),
    "a dataset without values": (replaced("Density", h5py.Empty("f4")), "Density holds no numbers"),
    "a density never written": (unwritten, "but only 0 bytes of it are in the file"),
    "one column": (replaced("ChemicalAbundances", np.ones((3000, 1))), "H+ should be column 2"),
    "two units": (attribute("Parameters", "UnitLength_in_cm", 1.0), "UnitLength_in_cm is 3.08568e+18 in /Header"),
    "a unit of zero": (attribute("Header", "UnitMass_in_g", 0.0), "UnitMass_in_g is 0"),
    "a unit in words": (attribute("Header", "UnitMass_in_g", "sun"), "is 'sun', not a number"),
    "a unit out of range": (attribute("Header", "UnitLength_in_cm", 1e300), "unit of /PartType0/Density is 0"),
    "units that disagree": (attribute("PartType0/Density", "to_cgs", 1.0), "unit of /PartType0/Density is 1 g / cm3"),
    "an empty attribute": (attribute("Header", "Time", h5py.Empty("f4")), "Time of /Header is"),
    "half a cell": (attribute("Header", "NumPart_Total", 0.5), "NumPart_Total of /Header is 0.5, not a count"),
    "a negative h": (attribute("Header", "HubbleParam", -0.7), "HubbleParam is -0.7"),
    "two values of h": (attribute("Parameters", "HubbleParam", 0.7), "HubbleParam is 1 in /Header and 0.7 in"),
    "a time and a redshift": (attribute("Header", "Redshift", 3.0), "1/(1 + Redshift) with Redshift = 3 is 0.25, Time"),
    "two scale factors": (attribute("Header", "ExpansionFactor", 0.5), "ExpansionFactor is 0.5, 1/(1 + Redshift)"),
    "a redshift of -1": (attribute("Header", "Redshift", -1.0), "is the cosmic scale factor, and it is 0"),
}


@pytest.mark.parametrize(("damage", "said"), BAD.values(), ids=BAD.keys())
def test_contradictory_or_linked_snapshots_are_refused(damage, said, gas, tmp_path):
    with pytest.raises(DataError) as error:
        read(write(tmp_path / "snap.hdf5", gas, damage=damage))
    assert said in error.value.message and "snap.hdf5" in error.value.message
    assert "\n" not in error.value.message


def test_a_soft_link_within_the_file_is_followed(gas, tmp_path):
    def move(file):
        file.move("PartType0", "gas")
        file["PartType0"] = h5py.SoftLink("gas")

    assert_same(read(write(tmp_path / "snap.hdf5", gas, damage=move)), gas)


def test_bad_cells_can_be_left_out(gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", gas, damage=damaged("Density", np.nan))
    assert len(read(path, config=replace(CONFIG, drop_bad_cells=True))) == 2999
    path = write(tmp_path / "none.hdf5", gas, damage=replaced("Density", np.zeros(3000)))
    with pytest.raises(DataError, match="no cell is left"):
        read(path, config=replace(CONFIG, drop_bad_cells=True))


def test_an_ambiguous_time_needs_an_option(gas, tmp_path):
    style = KPC.but(a=0.5, h=0.7, header={"Redshift": None})
    path = write(tmp_path / "snap.hdf5", gas, style)
    with pytest.raises(DataError, match=r"does not say whether Time = 0.5 is a scale factor"):
        read(path)
    assert_same(read(path, config=replace(CONFIG, cosmic_scale_factor=0.5)), gas)
    cosmological = attribute("Parameters", "ComovingIntegrationOn", 1)
    assert_same(read(write(tmp_path / "cosmological.hdf5", gas, style, cosmological)), gas)


def test_other_files_are_refused_in_one_line(gas, tmp_path):
    (tmp_path / "text.hdf5").write_text("no HDF5\n" * 1000)
    whole = write(tmp_path / "snap.hdf5", gas).read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "gasless.hdf5", gas, damage=lambda file: file.__delitem__("PartType0"))
    with h5py.File(tmp_path / "stars.hdf5", "w") as file:
        file["PartType4/Coordinates"] = np.zeros((3, 3))
    (tmp_path / "folder.hdf5").mkdir()
    for name, said in (
        ("text", r"text.hdf5 is not HDF5"),
        ("cut", r"cut.hdf5 is truncated"),
        ("nowhere", r"nowhere.hdf5 does not exist"),
        ("folder", "folder.hdf5 holds no snapshot"),
        ("gasless", "has no group PartType0; its header lists 3000"),
        ("stars", "holds no gas"),
    ):
        with pytest.raises(DataError, match=said):
            read(tmp_path / f"{name}.hdf5")


def test_damage_inside_a_file_is_an_error(gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", gas, Style(compressed=True))
    with h5py.File(path) as file:
        where = file["PartType0/Density"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[where.byte_offset : where.byte_offset + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"Density cannot be read"):
        read(path)


#: Attribute of the header -> its value, the error, the option in its hint.
HINTS = {
    "NumFilesPerSnapshot": (10**9, "its name holds no number", {"cutouts": True}),
    "NumPart_ThisFile": ([90_000, 0], "holds 3000 gas cells", {"cutouts": True}),
    "NumPart_Total": ([90_000, 0], "lists 90000 gas cells in all", {"cutouts": True}),
    "HubbleParam": (70.0, "HubbleParam is 70", {"hubble_param": 1.0}),
    "Redshift": (np.nan, "Redshift of /Header is nan, not a number", {"cosmic_scale_factor": 1.0}),
    "UnitMass_in_g": (np.nan, "UnitMass_in_g of /Header is nan", {"unit_mass_g": SUN_G}),
    "BoxSize": (np.inf, "BoxSize of /Header is inf", {"centre": "1000,1000,1000"}),
}


@pytest.mark.parametrize("name", HINTS)
def test_the_hint_for_a_wrong_header_is_an_option_that_reads_the_file(name, gas, tmp_path):
    value, said, change = HINTS[name]
    path = write(tmp_path / "snap.hdf5", gas, damage=attribute("Header", name, value))
    with pytest.raises(DataError, match=said) as error:
        read(path)
    (option,) = change
    assert f"--{option.replace('_', '-')}" in error.value.hint
    assert_same(read(path, config=replace(CONFIG, **change)), gas)


def test_missing_parts_are_named(gas, tmp_path):
    parts = write_split(tmp_path, gas, [1000, 2000])
    parts[1].unlink()
    with pytest.raises(DataError, match=r"missing: snap_007.1.hdf5"):
        read(parts[0])


def test_a_centre_without_gas_is_an_error_with_the_position_of_the_gas(gas, tmp_path):
    path = write(tmp_path / "snap.hdf5", gas, Style(box_pc=20000.0, centre_pc=(300.0, 10000.0, 10000.0)))
    (files,) = find_snapshots([path])
    snapshot = Snapshot.open(files, CONFIG)
    said = r"no gas within .* of the centre 10000,10000,10000; the gas lies around"
    with pytest.raises(DataError, match=said) as error:
        load_galaxy(snapshot, CONFIG, 1e9)
    assert "--centre" in error.value.hint


def test_a_galaxy_neither_in_a_box_nor_around_zero_needs_a_centre(gas, tmp_path):
    style = Style(box_pc=0.0, centre_pc=(5000.0, 0.0, 0.0))
    with pytest.raises(DataError, match="not in a box from 0 to BoxSize, nor around zero") as error:
        read(write(tmp_path / "snap.hdf5", gas, style))
    assert "--centre" in error.value.hint


def test_the_centre_in_an_error_has_gas_around_it(gas, tmp_path):
    """Two galaxies 1.2 Mpc apart, in Mpc: the mean is between them, and six digits of a coordinate are 100 pc."""
    both = {name: np.concatenate([values, values]) for name, values in gas.items()}
    both["Coordinates"] = both["Coordinates"] + np.repeat([[-6e5, 0.0, 0.0], [6e5, 0.0, 0.0]], 3000, axis=0)
    style = Style(length_cm=1e6 * PC_CM, box_pc=1e8, centre_pc=(5e7, 5e7, 5e7), dtype="<f8")
    path = write(tmp_path / "snap.hdf5", both, style)
    with pytest.raises(DataError) as error:
        read(path)
    found = re.search(r"--centre (\S+);", error.value.hint)
    assert found is not None
    assert len(read(path, config=replace(CONFIG, centre=found[1]))) == 3000


def names_of(*paths):
    return source_names([Snapshot.open(files, CONFIG) for files in find_snapshots(paths)])


def test_names_of_galaxies_do_not_depend_on_folders(gas, tmp_path, capsys):
    """The same file name in two folders is two galaxies; copies of one galaxy cause a warning."""
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    one, two = write(tmp_path / "a/snap.hdf5", gas), write(tmp_path / "b/snap.hdf5", galaxy(seed=1))
    names = names_of(one, two)
    assert len(set(names)) == 2 and all(name.startswith("snap-") for name in names)
    assert names_of(two) == names[1:]  # nor does its company matter
    moved = write(tmp_path / "b/snap.hdf5", gas)
    assert names_of(moved) == names[:1] and "holds the same cells" not in capsys.readouterr().err
    assert len(set(names_of(one, moved))) == 2 and "holds the same cells" in capsys.readouterr().err
