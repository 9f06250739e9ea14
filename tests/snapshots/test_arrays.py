"""Sets of arrays, as yt writes them from grids, and as a user's script may."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from astropy.io import fits

from iris_cli.axes import RHO, T_GAS, X_H2
from iris_cli.errors import DataError
from iris_cli.snapshots.files import find_snapshots
from iris_cli.snapshots.reader import Snapshot
from iris_cli.standard.dataset import StandardDataset
from tests.snapshots.snapshots import CONFIG, PC_CM, SUN_G, read

SHAPE = (30, 20, 10)
LOW, HIGH = np.array([-600.0, -400.0, -200.0]), np.array([600.0, 400.0, 200.0])  # pc: cells of 40 pc
G_CM3 = SUN_G / PC_CM**3  # per M_sun / pc^3
FIXED = {"dust_temperature_K": 20.0, "x_CO": 1e-4}


def centres():
    """(30, 20, 10, 3) pc"""
    axes = [low + (np.arange(n) + 0.5) * (high - low) / n for low, high, n in zip(LOW, HIGH, SHAPE, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def quantities():
    """Gas whose numbers give away their cell; it turns clockwise."""
    place = centres()
    x, y, z = np.moveaxis(place, -1, 0)
    rho = 1.0 + 1e-3 * (x + 600.0) + 1e-6 * (y + 400.0) + 1e-9 * (z + 200.0)
    return {
        "density": (rho * G_CM3, "g/cm**3"),
        "velocity_x": (y * 1e5, "cm/s"),
        "velocity_y": (-x * 1e5, "cm/s"),
        "velocity_z": (0.0 * z, "cm/s"),
        "temperature": (50.0 + 0.01 * x, "K"),
        "x_H2": (0.25 + 1e-4 * y, "dimensionless"),
    }


def write_hdf5(path, group="grid", how="edges"):
    """As `save_as_dataset` of yt: arrays with units in a group; coordinates in code_length, or edges only."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"length_unit": 2.0, "length_unit_units": "kpc"})
        file.attrs.update({"mass_unit": 1.0, "mass_unit_units": "code_mass"})  # of no use
        arrays = quantities()
        if how == "edges":
            file.attrs.update({"left_edge": LOW * PC_CM, "left_edge_units": "cm"})
            file.attrs.update({"right_edge": HIGH * PC_CM, "right_edge_units": "cm"})
        else:
            place = np.moveaxis(centres(), -1, 0) / 2000.0
            arrays |= {name: (place[k], "code_length") for k, name in enumerate("xyz")}
            arrays["dx"] = (np.full(SHAPE, 0.02), "code_length")
        for name, (values, unit) in arrays.items():
            values = values.ravel() if how == "cells" else values
            made = file.require_group(group or "/").create_dataset(name, data=values)
            made.attrs["units"] = unit
    return path


def write_fits(path, **cards):
    """As FITSImageData of yt: an image for each field, transposed."""
    hdus = []
    for k, (name, (values, unit)) in enumerate(quantities().items()):
        hdu = (fits.ImageHDU if k else fits.PrimaryHDU)(np.ascontiguousarray(values.T))
        hdu.name = name
        hdu.header.update({"BTYPE": name, "BUNIT": unit})
        for axis, (low, high, n) in enumerate(zip(LOW, HIGH, SHAPE, strict=True), start=1):
            step = (high - low) / n
            hdu.header.update({f"CTYPE{axis}": "linear", f"CUNIT{axis}": "pc", f"CRPIX{axis}": 0.5 * (n + 1)})
            hdu.header.update({f"CRVAL{axis}": 0.5 * (low + high), f"CDELT{axis}": step})
        hdu.header.update(cards)
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


WRITERS = {
    "a grid with edges": lambda folder: write_hdf5(folder / "grid.h5"),
    "at the root": lambda folder: write_hdf5(folder / "grid.h5", group=""),
    "a grid with coordinates": lambda folder: write_hdf5(folder / "grid.hdf5", how="coordinates"),
    "cells": lambda folder: write_hdf5(folder / "cells.h5", how="cells"),
    "FITS": lambda folder: write_fits(folder / "grid.fits"),
}


def assert_grid(found):
    """The cells in some order, each with its numbers."""
    assert len(found) == 6000
    x, y, z = found.position_pc.T
    assert sorted(set(np.round(z, 3))) == pytest.approx([-180.0 + 40.0 * k for k in range(10)])
    assert found.rho == pytest.approx(1.0 + 1e-3 * (x + 600) + 1e-6 * (y + 400) + 1e-9 * (z + 200), rel=1e-4)
    assert found.velocity_km_s == pytest.approx(np.column_stack([y, -x, 0 * z]), rel=1e-5, abs=1e-3)
    assert found.T_gas_K == pytest.approx(50.0 + 0.01 * x, rel=1e-5)
    assert found.x_H2 == pytest.approx(0.25 + 1e-4 * y, rel=1e-5)
    assert found.weight / found.rho == pytest.approx(found.weight[0] / found.rho[0], rel=1e-4)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_every_way_to_write_a_grid_gives_the_same_gas(write, tmp_path):
    assert_grid(read(write(tmp_path), config=replace(CONFIG, **FIXED)))


def test_the_tensor_of_a_grid_holds_its_cells(iris, tmp_path):
    path = write_hdf5(tmp_path / "grid.h5")
    words = ("--preset", "tiny", "--views", 1, "--dust-temperature", 20, "--x-co", 1e-4)
    ran = iris("ingest", path, tmp_path / "out", *words)
    assert ran.code == 0, ran.err
    assert "rotates clockwise" in ran.out and "the grid ends" not in ran.err
    dataset = StandardDataset.open(tmp_path / "out")
    tensor, grid = dataset[0], dataset.grid
    row = int(np.argmin(np.abs(grid.distance.centres() - grid.observer_distance_pc + 100.0)))
    x = grid.observer_distance_pc - grid.distance.centres()[row]  # of the observer on +x, in the middle of the image
    cell = LOW[0] + (np.floor((x - LOW[0]) / 40.0) + 0.5) * 40.0
    middle = (row, grid.lon_steps // 2, grid.lat_steps // 2)
    assert tensor[(RHO, *middle)] == pytest.approx(1.0 + 1e-3 * (cell + 600.0), rel=1e-3)
    assert tensor[(T_GAS, *middle)] == pytest.approx(50.0 + 0.01 * cell, rel=1e-4)
    assert tensor[X_H2].max() <= 0.5
    ran = iris("ingest", path, tmp_path / "half", *words, "--scale", 0.5)
    assert ran.code == 0 and "the grid ends 400 pc from the centre, and the views reach 638 pc" in ran.err


def test_two_grids_of_one_shape_are_two_galaxies(tmp_path):
    paths = write_hdf5(tmp_path / "a.h5"), write_hdf5(tmp_path / "b.h5")
    with h5py.File(paths[1], "r+") as file:
        file["grid/density"][...] *= 2.0
    one, two = (Snapshot.open(files, replace(CONFIG, **FIXED)) for files in find_snapshots(paths))
    assert one.digest != two.digest


def attribute(name, key, value):
    return lambda file: file[name].attrs.__setitem__(key, value)


def moved(name, other):
    return lambda file: file.move(name, other)


def replaced(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


BAD = {
    "no unit": (attribute("grid/density", "units", ""), "does not say in which unit density is"),
    "an unknown unit": (attribute("grid/density", "units", "code_density"), "'code_density', not a unit such as"),
    "a unit of another quantity": (attribute("grid/density", "units", "K"), "density is in 'K', which cannot be"),
    "another shape": (replaced("grid/temperature", np.ones((30, 20, 11))), "temperature has shape (30, 20, 11), dens"),
    "two densities": (moved("grid/temperature", "gas/Density"), "holds gas/Density and grid/density"),
    "no velocity": (moved("grid/velocity_z", "grid/vz"), "has velocity_x, but no velocity_z"),
    "no temperature": (moved("grid/temperature", "grid/T"), "has no array temperature or temp"),
    "no molecules": (moved("grid/x_H2", "grid/H2"), "has no array x_h2 for H2"),
    "no cells": (replaced("grid/density", np.ones((0, 20, 10))), "density is empty"),
    "no edges": (lambda file: file.attrs.__delitem__("left_edge"), "nor attributes left_edge and right_edge"),
    "an empty edge": (attribute("/", "left_edge", h5py.Empty("f8")), "left_edge of / is"),
    "edges of a plane": (attribute("/", "right_edge", LOW * PC_CM), "has no volume"),
    "edges of two axes": (attribute("/", "right_edge", [1.0, 1.0]), "are not three numbers each"),
    "edges without a unit": (attribute("/", "left_edge_units", h5py.Empty("f4")), "are not three numbers each"),
    "NaN": (lambda file: file["grid/density"].__setitem__((3, 3, 3), np.nan), "Density: 1 of 6000 cells are zero, neg"),
    "velocities in two units": (attribute("grid/velocity_x", "units", "km/s"), "are in cm/s and km/s"),
}


def test_a_unit_in_a_list_of_one_is_that_unit(tmp_path):
    path = write_hdf5(tmp_path / "grid.h5")
    with h5py.File(path, "r+") as file:
        for name, key in (("grid/density", "units"), ("/", "left_edge_units")):
            file[name].attrs[key] = [file[name].attrs[key]]
    assert_grid(read(path, config=replace(CONFIG, **FIXED)))


@pytest.mark.parametrize(("damage", "said"), BAD.values(), ids=BAD)
def test_sets_that_are_incomplete_or_contradictory_are_refused(damage, said, tmp_path):
    path = write_hdf5(tmp_path / "grid.h5")
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(DataError) as error:
        read(path, config=replace(CONFIG, **FIXED))
    assert said in error.value.message and "grid.h5" in error.value.message


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CUNIT1": "deg", "CUNIT2": "deg"}, "must be three lengths"),
        ({"CUNIT1": "kpc"}, "must be three lengths"),
        ({"CDELT2": -40.0}, "has no volume"),
        ({"PC1_2": 0.5}, "must be three lengths"),
        ({"CUNIT1": "K", "CUNIT2": "K", "CUNIT3": "K"}, "the grid is in 'K', which cannot be converted to cm"),
    ],
)
def test_images_on_other_axes_are_refused(cards, said, tmp_path):
    with pytest.raises(DataError) as error:
        read(write_fits(tmp_path / "grid.fits", **cards), config=replace(CONFIG, **FIXED))
    assert said in error.value.message and "grid.fits" in error.value.message


def test_an_image_of_the_sky_and_cosmological_options_are_refused(tmp_path):
    fits.writeto(tmp_path / "cube.fits", np.ones((3, 4, 5), np.float32))
    with pytest.raises(DataError, match=r"no 3-D image 'density'.* it has: without a name"):
        read(tmp_path / "cube.fits")
    (tmp_path / "bad.fits").write_bytes(b"SIMPLE  =" + bytes(2871))
    with pytest.raises(DataError, match="cannot be read as FITS"):
        read(tmp_path / "bad.fits")
    with fits.open(write_fits(tmp_path / "grid.fits"), mode="update") as hdus:
        hdus["x_H2"].header["CRVAL3"] += 20.0
    with pytest.raises(DataError, match="x_h2 is on another grid than density"):
        read(tmp_path / "grid.fits")
    with pytest.raises(DataError, match="without h and a"):
        read(write_hdf5(tmp_path / "a.h5"), config=replace(CONFIG, cosmic_scale_factor=0.5))
