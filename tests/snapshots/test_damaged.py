"""Snapshots and sets of arrays that are damaged at random are read, or refused in one line."""

import warnings
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pytest

from iris_cli.errors import DataError
from iris_cli.snapshots.augment import draw_sight
from iris_cli.snapshots.files import find_snapshots
from iris_cli.snapshots.galaxy import load_galaxy
from iris_cli.snapshots.ingest import write_view
from iris_cli.snapshots.reader import Snapshot
from iris_cli.snapshots.view import View
from tests.fuzz import damaged_bytes, within
from tests.snapshots.snapshots import CONFIG, KPC, Style, galaxy, write
from tests.snapshots.test_arrays import FIXED, write_fits, write_hdf5

NUMBERS = [0, -1, 1, 0.5, 70.0, 1e300, -1e300, 1e-300, 1e-5, 1e30, np.nan, np.inf, -np.inf, 2**62, 10**9]
ODD: list[Any] = [
    *NUMBERS,
    "text",
    b"\xff\xfe",
    "",
    h5py.Empty("f4"),
    np.zeros(0),
    np.ones((2, 3)),
    True,
    1j,
    "1e400",
    "kpc",
]


def ingest(path, tensor, config):
    """What `iris ingest` does with one view of one snapshot."""
    (files,) = find_snapshots([path])
    snapshot = Snapshot.open(files, config)
    galaxy = load_galaxy(snapshot, config, 1e8)
    sight = draw_sight(config, snapshot.digest, galaxy.change, 0)
    write_view(View.of(galaxy.gas, galaxy.change, sight, config.grid, snapshot.where), tensor, 1e8, 1)
    assert np.isfinite(np.load(tensor)).all()


def read_or_refused(path, tensor, config):
    with within(20.0), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            ingest(path, tensor, config)
        except DataError as error:
            assert "\n" not in error.message and len(error.message) < 600
            return False
    return True


def change_structure(file, rng):
    """A few attributes, values, shapes, types or names are changed."""
    holders: list[Any] = [file]
    file.visititems(lambda name, held: holders.append(held))
    datasets = [held for held in holders if isinstance(held, h5py.Dataset)]
    for _ in range(rng.integers(1, 4)):
        odd = ODD[rng.integers(len(ODD))]
        holder = holders[rng.integers(len(holders))]
        dataset = datasets[rng.integers(len(datasets))]
        if not (holder.id and holder.name and dataset.id and dataset.name):  # already removed
            continue
        match rng.integers(9):
            case 0 | 1 | 2:
                names = [*holder.attrs, "units", "to_cgs", "a_scaling", "Redshift", "ExpansionFactor", "left_edge"]
                holder.attrs[names[rng.integers(len(names))]] = odd
            case 3:
                for name in list(holder.attrs)[:1]:
                    del holder.attrs[name]
            case 4 | 5:
                place = tuple(int(rng.integers(n)) for n in dataset.shape)
                number = NUMBERS[rng.integers(len(NUMBERS))]
                dataset[place if rng.integers(2) else ...] = (
                    np.clip(number, -1e38, 1e38) if number == number else number
                )
            case 6:
                name, values = dataset.name, dataset[...]
                del file[name]
                file[name] = values[: len(values) // 2] if rng.integers(2) else values.reshape(-1)
            case 7:
                name, dtype = dataset.name, ["i4", "f8", ">f4", "f2", "S4", "c8", "u1"][rng.integers(7)]
                values = np.nan_to_num(dataset[...]).clip(0, 200).astype(dtype)
                del file[name]
                file[name] = values
            case _:
                name = dataset.name
                del file[name]
                if rng.integers(2):
                    file[name] = [h5py.SoftLink(name), h5py.SoftLink("/none"), h5py.Empty("f4")][rng.integers(3)]
        datasets = [held for held in datasets if held.id and held.name]


@pytest.mark.slow  # 2500 snapshots
def test_snapshots_with_odd_structures(tmp_path):
    rng, gas, read = np.random.default_rng(3), galaxy(300), 0
    styles = [Style(), KPC, KPC.but(units="datasets", a=0.5, h=0.7), KPC.but(compressed=True, dtype="<f8")]
    for k in range(2500):
        path = write(tmp_path / "snap.hdf5", gas, styles[k % len(styles)])
        with h5py.File(path, "r+") as file:
            change_structure(file, rng)
        read += read_or_refused(path, tmp_path / "tensor.npy", replace(CONFIG, spin="clockwise"))
    assert 200 < read < 2300


@pytest.mark.slow  # 2500 files
def test_arrays_with_odd_structures(tmp_path):
    rng, read = np.random.default_rng(4), 0
    for k in range(2500):
        path = write_hdf5(tmp_path / "grid.h5", how=["edges", "coordinates", "cells"][k % 3])
        with h5py.File(path, "r+") as file:
            change_structure(file, rng)
        read += read_or_refused(path, tmp_path / "tensor.npy", replace(CONFIG, **FIXED, spin="clockwise"))
    assert 200 < read < 2300


@pytest.mark.slow  # 3000 files
def test_damaged_bytes_of_snapshots_and_arrays(tmp_path):
    rng, read, gas = np.random.default_rng(5), 0, galaxy(300)
    (tmp_path / "whole").mkdir()
    seeds = [
        write(tmp_path / "whole/snap.hdf5", gas),
        write(tmp_path / "whole/pressed.hdf5", gas, Style(compressed=True)),
        write_hdf5(tmp_path / "whole/grid.h5"),
        write_fits(tmp_path / "whole/grid.fits"),
    ]
    wholes = [seed.read_bytes() for seed in seeds]
    for k in range(3000):
        seed, data = seeds[k % 4], wholes[k % 4]
        head = int(rng.choice([1024, 4096, len(data)]))  # the numbers themselves are most of a file
        path = tmp_path / seed.name
        path.write_bytes(damaged_bytes(data[:head], rng) + data[head:])
        config = replace(CONFIG, **FIXED, x_H2=0.3, temperature_K=50.0, spin="clockwise")
        read += read_or_refused(path, tmp_path / "tensor.npy", config)
    assert 200 < read < 2900
