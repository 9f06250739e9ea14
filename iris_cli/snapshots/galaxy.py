"""A snapshot's gas, turned to rotate like the Milky Way, with what was drawn for it and what was found on the way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.ingest import IngestConfig, vector
from iris_cli.errors import DataError
from iris_cli.snapshots.augment import Change, bulk_velocity_km_s, draw_change, measure_spin, orientation, reach_pc
from iris_cli.snapshots.gas import Gas
from iris_cli.snapshots.reader import BYTES_PER_CELL, Snapshot, words

#: The share of the memory that cells may take; the rest is for looking up.
FOR_CELLS = 0.6


@dataclass(frozen=True)
class Galaxy:
    """A snapshot in memory, turned: gas (and `margin_pc` beyond what views see), its draw, what was found."""

    gas: Gas
    margin_pc: float
    change: Change
    facts: dict[str, Any]


def load_galaxy(snapshot: Snapshot, config: IngestConfig, memory_bytes: float, margin: float = 1.0) -> Galaxy:
    """The gas that views see and around it, turned so that it rotates like the Milky Way.

    `margin` is counted in the reach of views. DataError as of Snapshot.read and `orientation`.
    """
    change = draw_change(config, snapshot.digest)
    reach = reach_pc(config) / float(np.linalg.svd(change.matrix, compute_uv=False)[-1])
    most = int(FOR_CELLS * memory_bytes / BYTES_PER_CELL)
    gas, cautions = snapshot.read((1.0 + margin) * reach, config, most)
    seen = np.einsum("ij,ij->i", gas.position_pc, gas.position_pc) <= reach**2
    if not seen.any():
        raise DataError(
            f"{snapshot.where}: no gas within {reach:.0f} pc of the centre; the gas lies around "
            f"{words(snapshot.centre_of_gas())}",
            "set --centre",
        )
    gas, drift = _at_rest(gas, seen, config.bulk_velocity)
    near = gas.of(seen)
    spin = measure_spin(near)
    choice = "clockwise" if config.zero_velocity and config.spin == "auto" else config.spin
    turn = orientation(choice, spin, snapshot.where)
    turned = replace(
        gas, position_pc=gas.position_pc @ turn.T, velocity_km_s=gas.velocity_km_s @ turn.T.astype(np.float32)
    )
    facts = {
        "cells": len(gas),
        "spin_order": round(spin.order, 4),
        "spin_axis": [round(x, 4) for x in spin.axis],
        "turn": np.round(turn, 6).tolist(),
        "drift_km_s": np.round(drift, 3).tolist(),
        "cautions": [*cautions, *_cautions(snapshot, near, reach, config)],
    }
    return Galaxy(turned, margin * reach, change, facts)


def _at_rest(gas: Gas, seen: NDArray[np.bool_], chosen: str) -> tuple[Gas, NDArray[np.float64]]:
    """The gas less the motion of what is seen as a whole, and that motion."""
    if chosen == "none":
        return gas, np.zeros(3)
    if chosen == "auto":
        drift = bulk_velocity_km_s(gas.of(seen))
    else:
        drift = np.asarray(vector(chosen, "bulk_velocity", "none, auto"))
    return replace(gas, velocity_km_s=(gas.velocity_km_s - drift).astype(np.float32)), drift


def _cautions(snapshot: Snapshot, near: Gas, reach_pc: float, config: IngestConfig) -> list[str]:
    """What looks like a wrong centre, or like a galaxy on its way somewhere."""
    found = []
    drift = float(np.linalg.norm(bulk_velocity_km_s(near)))
    if config.bulk_velocity == "none" and drift > 50.0:
        found.append(f"the gas moves as a whole at {drift:.0f} km/s; --bulk-velocity auto takes that away")
    if config.centre == "auto":
        gas = snapshot.centre_of_gas()
        off_pc = float(np.linalg.norm(snapshot.offsets_pc(np.array([gas]))))
        if off_pc > reach_pc:
            found.append(
                f"the gas gathers {off_pc:.0f} pc from the centre of the box, around {words(gas)}; is that "
                f"the galaxy? --centre {words(gas)}"
            )
    return found
