"""The gas of a snapshot, oriented to rotate like the Milky Way, with the variation drawn for it and its properties."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.ingest import IngestConfig, vector
from iris_cli.snapshots.augment import Change, bulk_velocity_km_s, draw_change, measure_spin, orientation, reach_pc
from iris_cli.snapshots.gas import Gas
from iris_cli.snapshots.reader import BYTES_PER_CELL, Snapshot, as_option

#: The share of the memory for cells; the rest is for the look-up of the nearest cell.
FOR_CELLS = 0.6


@dataclass(frozen=True)
class GalaxyFacts:
    """Properties of a snapshot's gas, for the index of the data set.

    `spin_axis` and `spin_order` as in `augment.Spin`; `turn` (3, 3) is the rotation from the snapshot's axes to the
    galaxy's; `drift_km_s` the common velocity that was subtracted; `h2_mass_M_sun` the mass on the grid of one view.
    """

    cells: int
    spin_order: float
    spin_axis: tuple[float, ...]
    turn: tuple[tuple[float, ...], ...]
    drift_km_s: tuple[float, ...]
    warnings: tuple[str, ...]
    h2_mass_M_sun: float | None = None


@dataclass(frozen=True)
class Galaxy:
    """A snapshot in memory, oriented: the gas that views see and `margin_pc` around it, and its variation."""

    gas: Gas
    margin_pc: float
    change: Change
    facts: GalaxyFacts


def load_galaxy(snapshot: Snapshot, config: IngestConfig, memory_bytes: float, margin: float = 1.0) -> Galaxy:
    """Reads the gas that views see and its surroundings, and orients it to rotate like the Milky Way.

    `margin` is in units of the reach of the views. Raises DataError as Snapshot.read and `orientation` do.
    """
    change = draw_change(config, snapshot.digest)
    reach = reach_pc(config) / float(np.linalg.svd(change.matrix, compute_uv=False)[-1])
    most = int(FOR_CELLS * memory_bytes / BYTES_PER_CELL)
    gas, warnings = snapshot.read((1.0 + margin) * reach, config, most)
    seen = np.einsum("ij,ij->i", gas.position_pc, gas.position_pc) <= reach**2
    if not seen.any():
        raise snapshot.no_gas(reach)
    gas, drift = _at_rest(gas, seen, config.bulk_velocity)
    near = gas.of(seen)
    spin = measure_spin(near)
    choice = "clockwise" if config.zero_velocity and config.spin == "auto" else config.spin
    turn = orientation(choice, spin, snapshot.where)
    position, velocity = gas.position_pc @ turn.T, gas.velocity_km_s @ turn.T.astype(np.float32)
    facts = GalaxyFacts(
        cells=len(gas),
        spin_order=round(spin.order, 4),
        spin_axis=tuple(round(x, 4) for x in spin.axis),
        turn=tuple(map(tuple, np.round(turn, 6).tolist())),
        drift_km_s=tuple(np.round(drift, 3).tolist()),
        warnings=(*warnings, *_warnings(snapshot, near, reach, config)),
    )
    return Galaxy(replace(gas, position_pc=position, velocity_km_s=velocity), margin * reach, change, facts)


def _at_rest(gas: Gas, seen: NDArray[np.bool_], chosen: str) -> tuple[Gas, NDArray[np.float64]]:
    """The gas without the common motion of the seen part, and that motion."""
    if chosen == "none":
        return gas, np.zeros(3)
    auto = chosen == "auto"
    drift = bulk_velocity_km_s(gas.of(seen)) if auto else np.asarray(vector(chosen, "bulk_velocity", "none, auto"))
    return replace(gas, velocity_km_s=(gas.velocity_km_s - drift).astype(np.float32)), drift


def _warnings(snapshot: Snapshot, near: Gas, reach_pc: float, config: IngestConfig) -> list[str]:
    """Signs of a wrong centre, and of a galaxy in motion."""
    found = []
    drift = float(np.linalg.norm(bulk_velocity_km_s(near)))
    if config.bulk_velocity == "none" and drift > 50.0:
        found.append(f"the gas moves as a whole at {drift:.0f} km/s; --bulk-velocity auto subtracts that")
    if snapshot.edges:
        low, high = (np.array(edge) for edge in snapshot.edges)
        room = np.minimum(high - snapshot.centre, snapshot.centre - low)[:2].min() * snapshot.pc_per_file
        if room < reach_pc:
            ends = f"the grid ends {room:.0f} pc from the centre, and the views reach {reach_pc:.0f} pc"
            found.append(f"{ends}: beyond its edge the nearest cell is repeated")
    if config.centre == "auto":
        gas = snapshot.centre_of_gas()
        off_pc = float(np.linalg.norm(snapshot.offsets_pc(np.array([gas]))))
        if off_pc > reach_pc:
            where = f"most gas is {off_pc:.0f} pc from the centre of the box, around {as_option(gas)}"
            found.append(f"{where}; if that is the galaxy, use --centre {as_option(gas)}")
    return found
