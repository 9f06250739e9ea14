"""Snapshots of the same small galaxy in the styles of different codes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.ingest import IngestConfig
from iris_cli.snapshots.files import find_snapshots
from iris_cli.snapshots.gas import Gas, temperature_K
from iris_cli.snapshots.reader import Snapshot
from iris_cli.standard.orbit import WALKER_2025

PC_CM, SUN_G, KM_CM = 3.0856775814913673e18, 1.98847e33, 1e5


def galaxy(cells: int = 3000, seed: int = 0) -> dict[str, NDArray]:
    """Gas on the Walker orbit and in a disc, clockwise; pc, km/s, M_sun, K; from the centre, x towards view 0."""
    rng = np.random.default_rng(seed)
    half = cells // 2
    phase = rng.integers(0, 720, half)
    track = WALKER_2025.track(720)[phase]
    ring = track[:, :3] + rng.normal(0.0, 5.0, (half, 3))
    disc = rng.uniform(-1.0, 1.0, (cells - half, 3)) * [260.0, 260.0, 70.0]
    radius = np.hypot(disc[:, 0], disc[:, 1]) + 1.0
    turning = 120.0 * np.column_stack([disc[:, 1], -disc[:, 0], 0.0 * radius]) / radius[:, None]
    density = np.concatenate([rng.lognormal(3.0, 0.5, half), rng.lognormal(0.0, 0.5, cells - half)])
    return {
        "Coordinates": np.concatenate([ring, disc]),
        "Velocities": np.concatenate([track[:, 3:], turning]),
        "Density": density,
        "InternalEnergy": rng.uniform(0.1, 3.0, cells),  # (km/s)^2: 10 to 300 K
        "H2": 0.5 * density / (density + 1.0),
        "H+": np.full(cells, 1e-4),
        "CO": 1.4e-4 * density / (density + 5.0),
        "DustTemperature": rng.uniform(15.0, 30.0, cells),
    }


@dataclass(frozen=True)
class Style:
    """The style of a file. `units` are in Header, Parameters, datasets or none."""

    length_cm: float = PC_CM
    mass_g: float = SUN_G
    velocity_cm_s: float = KM_CM
    units: str = "Header"
    a: float = 1.0
    h: float = 1.0
    box_pc: float = 2000.0
    centre_pc: tuple[float, float, float] = (1000.0, 1000.0, 1000.0)
    columns: tuple[str, ...] = ("H2", "H+", "CO")
    dtype: str = "<f4"
    leave_out: tuple[str, ...] = ()
    header: dict[str, Any] = field(default_factory=dict)
    compressed: bool = False

    def but(self, **changes: Any) -> "Style":
        return replace(self, **changes)


#: Powers of length, mass, velocity, a, h (GADGET's conventions).
POWERS = {
    "Coordinates": (1, 0, 0, 1, -1),
    "Velocities": (0, 0, 1, 0.5, 0),
    "Density": (-3, 1, 0, -3, 2),
    "InternalEnergy": (0, 0, 2, 0, 0),
    "DustTemperature": (0, 0, 0, 0, 0),
}


def unit(style: Style, name: str) -> float:
    """The unit of a dataset in cgs, without a and h."""
    length, mass, velocity = POWERS[name][:3]
    return style.length_cm**length * style.mass_g**mass * style.velocity_cm_s**velocity


def datasets(gas: dict[str, NDArray], style: Style) -> dict[str, NDArray]:
    made = {}
    for name, (*_, p, q) in POWERS.items():
        values = gas[name]
        if name == "Coordinates":
            values = values + style.centre_pc
            values = values % style.box_pc if style.box_pc else values
        made[name] = values * (unit(Style(), name) / unit(style, name) / (style.a**p * style.h**q))
    made["ChemicalAbundances"] = np.column_stack([gas.get(c, np.full(len(gas["H2"]), 1e-9)) for c in style.columns])
    return {name: values.astype(style.dtype) for name, values in made.items() if name not in style.leave_out}


def header(style: Style, count: int, total: int, files: int) -> dict[str, Any]:
    box = style.box_pc * PC_CM / style.length_cm / (style.a / style.h)
    numbers = {
        "BoxSize": box,
        "Time": style.a,
        "Redshift": 1.0 / style.a - 1.0,
        "HubbleParam": style.h,
        "NumPart_ThisFile": np.array([count, 0, 0, 0, 0, 0], np.int32),
        "NumPart_Total": np.array([total, 0, 0, 0, 0, 0], np.uint32),
        "NumFilesPerSnapshot": files,
    }
    return {**numbers, **style.header}


def write(
    path: Path,
    gas: dict[str, NDArray],
    style: Style = Style(),
    damage: Callable[[h5py.File], None] | None = None,
    *,
    files: int = 1,
    rows: slice = slice(None),
) -> Path:
    """Writes one file; `damage` may change it before it is closed."""
    whole = datasets(gas, style)
    part = {name: values[rows] for name, values in whole.items()}
    with h5py.File(path, "w") as file:
        head = header(style, len(gas["H2"][rows]), len(gas["H2"]), files)
        file.create_group("Header").attrs.update({k: v for k, v in head.items() if v is not None})
        units = {"UnitLength_in_cm": style.length_cm, "UnitMass_in_g": style.mass_g}
        if style.units in ("Header", "Parameters"):
            attributes = {**units, "UnitVelocity_in_cm_per_s": style.velocity_cm_s}
            file.require_group(style.units).attrs.update(attributes)
        for name, values in part.items():
            pressed = {"compression": "gzip", "shuffle": True, "chunks": True} if style.compressed else {}
            dataset = file.create_dataset(f"PartType0/{name}", data=values, **pressed)
            if style.units == "datasets":
                *_, p, q = POWERS.get(name, (0, 0, 0, 0, 0))
                factor = unit(style, name) if name in POWERS else 1.0
                dataset.attrs.update({"to_cgs": factor, "a_scaling": float(p), "h_scaling": float(q)})
        if damage is not None:
            damage(file)
    return path


def with_columns(**columns: Any) -> Callable[[h5py.File], None]:
    """Adds datasets to the gas."""

    def add(file: h5py.File) -> None:
        for name, values in columns.items():
            file[f"PartType0/{name}"] = values

    return add


def write_split(folder: Path, gas: dict[str, NDArray], cuts: Sequence[int], style: Style = Style()) -> list[Path]:
    """Writes snap_007.0.hdf5, …; a part between two equal cuts holds no gas."""
    edges = [0, *cuts, len(gas["H2"])]
    return [
        write(folder / f"snap_007.{k}.hdf5", gas, style, files=len(edges) - 1, rows=slice(edges[k], edges[k + 1]))
        for k in range(len(edges) - 1)
    ]


GRID = GRID_PRESETS["tiny"].scaled(8, 8, 4, 8)
CONFIG = IngestConfig(grid=GRID, views=1)
KPC = Style(length_cm=1e3 * PC_CM, mass_g=1e10 * SUN_G, velocity_cm_s=KM_CM)


def read(*paths: Path, config: IngestConfig = CONFIG) -> Gas:
    (files,) = find_snapshots(paths, config.cutouts)
    return Snapshot.open(files, config).read(2000.0, config, 10**7)[0]


def assert_same(found: Gas, gas: dict[str, NDArray], rel: float = 1e-4) -> None:
    """Cells keep their order; positions within a hundredth of a parsec, the rest relatively."""
    T_gas_K = temperature_K(gas["InternalEnergy"], gas["H2"], gas["H+"])
    np.testing.assert_allclose(found.position_pc, gas["Coordinates"], rtol=0.0, atol=0.01)
    np.testing.assert_allclose(found.velocity_km_s, gas["Velocities"], rtol=rel, atol=1e-3)
    for values, name in ((found.rho, "Density"), (found.x_H2, "H2"), (found.x_CO, "CO")):
        np.testing.assert_allclose(values, gas[name], rtol=rel)
    np.testing.assert_allclose(found.T_dust_K, gas["DustTemperature"], rtol=rel)
    np.testing.assert_allclose(found.T_gas_K, T_gas_K, rtol=rel)
