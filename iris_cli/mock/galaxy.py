"""The embedded mock galaxy: its ingredients in, a physical tensor out. `draw.py` draws the ingredients at random.

Gas on nested orbits with clouds, a diffuse envelope, cloud complexes beyond the orbits, and inflow along the two lanes
of the bar. Closed orbits alone look the same when they are mirrored along the line of sight and reversed in time; what
distinguishes near from far gas is the orientation of bar and orbits, the lanes, latitude, opacity and perspective.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.mock.clouds import Cloud, add_clouds
from iris_cli.mock.lanes import Lane, lane_gas
from iris_cli.mock.streams import Gas, Stream, stream_gas
from iris_cli.mock.turbulence import Turbulence
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3, temperature_and_molecules
from iris_cli.standard.grid import cells, slabs

#: Cells that are computed at once; the numbers do not depend on it.
SLAB_CELLS = 4_000_000
#: cm^-3; there is no vacuum.
LEAST_N_H_CM3 = 1e-2
#: Inside this radius the envelope rotates rigidly.
RIGID_PC = 40.0


@dataclass(frozen=True)
class Envelope:
    """An exponential disc, `lopsided` like a stream."""

    n_H_cm3: float
    radius_pc: float
    height_pc: float
    v_km_s: float
    drift_km_s: float = 0.0
    lopsided: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class MockGalaxy:
    """`centre_pc` is the centre of the orbits in the frame of Sgr A*; all other positions count from it.

    `room_deg`: from view 0 the observer may move so far, anticlockwise seen from north, without leaving the
    orientations of the configuration. Lengths and velocities are multiplied by `scale`.
    """

    scale: float
    streams: tuple[Stream, ...]
    envelope: Envelope
    lanes: tuple[Lane, ...] = ()
    clouds: tuple[Cloud, ...] = ()
    turbulence: Turbulence | None = None
    centre_pc: tuple[float, float, float] = (0.0, 0.0, 0.0)
    room_deg: tuple[float, float] = (0.0, 360.0)

    def views_deg(self, count: int) -> list[float]:
        """Azimuths of observers, evenly spaced in the room that the orientation has; the first is 0."""
        low, high = self.room_deg
        first = -low / (high - low) if high > low else 0.0
        return [round(low + (high - low) * ((first + k / count) % 1.0), 6) + 0.0 if k else 0.0 for k in range(count)]

    def tensor(self, grid: Grid, view_deg: float) -> NDArray[np.float32]:
        """(6, R, L, B) in inner units, as seen from azimuth `view_deg`."""
        tensor = np.empty(grid.tensor_shape, np.float32)
        for rows, slab in self.slabs(grid, view_deg):
            tensor[:, rows] = slab
        return tensor

    def slabs(self, grid: Grid, view_deg: float) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The same in slabs (6, rows, L, B) of at most about SLAB_CELLS cells, for tensors larger than memory."""
        for rows in slabs(grid.r_steps, grid.lon_steps * grid.lat_steps, SLAB_CELLS):
            yield rows, self._slab(grid, view_deg, rows)

    def _slab(self, grid: Grid, view_deg: float, rows: slice) -> NDArray[np.float32]:
        where = cells(grid, view_deg, rows)
        shape = np.broadcast_shapes(where.x.shape, where.y.shape, where.z.shape)
        x, y, z = (np.broadcast_to(q, shape).astype(np.float32) / self.scale for q in (where.x, where.y, where.z))
        nx, ny, nz = (q.astype(np.float32) for q in (where.nx, where.ny, where.nz))
        n_H, (v_x, v_y, v_z) = self.gas(x, y, z)
        flux = n_H * (v_x * nx + v_y * ny + v_z * nz) * self.scale
        add_clouds(self.clouds, self.centre_pc, self.scale, grid, view_deg, rows, n_H, flux)
        v_los, heat = flux / n_H, None
        if self.turbulence is not None:
            stirred = self.turbulence.at(x, y, z)
            n_H = n_H * stirred.density
            kick_x, kick_y, kick_z = stirred.velocity_km_s
            v_los += (kick_x * nx + kick_y * ny + kick_z * nz) * self.scale
            heat = stirred.heat
        T_gas, x_H2, x_CO, T_dust = temperature_and_molecules(n_H)
        if heat is not None:
            T_gas, T_dust = T_gas * heat[0], T_dust * heat[1]
        return np.stack([v_los, n_H * DENSITY_PER_N_H_CM3, T_gas, x_H2, x_CO, T_dust]).astype(np.float32)

    def gas(self, x: NDArray, y: NDArray, z: NDArray) -> Gas:
        """n_H in cm^-3 and the mass-weighted velocity in km/s of the smooth gas, without clouds and turbulence.

        Positions are galactocentric, before they are multiplied by `scale`.
        """
        x, y, z = (q - float(centre) for q, centre in zip((x, y, z), self.centre_pc, strict=True))
        parts = [envelope_gas(self.envelope, x, y, z)]
        parts += [stream_gas(stream, x, y, z) for stream in self.streams]
        parts += [lane_gas(lane, x, y, z) for lane in self.lanes]
        n_H = np.add.reduce([n for n, _ in parts])
        share = 1.0 / n_H
        v_x, v_y, v_z = (np.add.reduce([n * v[k] for n, v in parts]) * share for k in range(3))
        return n_H, (v_x, v_y, v_z)


def envelope_gas(envelope: Envelope, x: NDArray, y: NDArray, z: NDArray) -> Gas:
    """Diffuse gas between and around the streams; it rotates and may drift towards the centre."""
    radius = np.hypot(x, y)
    soft = np.maximum(radius, RIGID_PC)
    side = (envelope.lopsided[0] * x + envelope.lopsided[1] * y) / soft
    n_H = envelope.n_H_cm3 * np.exp(side - radius / envelope.radius_pc - 0.5 / envelope.height_pc**2 * z**2)
    turn, drift = envelope.v_km_s / soft, envelope.drift_km_s / soft
    return n_H + LEAST_N_H_CM3, (y * turn - x * drift, -x * turn - y * drift, np.zeros_like(n_H))
