"""The embedded mock galaxy: its ingredients in, a physical tensor out. `draw.py` draws the ingredients at random.

Gas on nested orbits with clouds, a diffuse envelope, cloud complexes beyond the orbits, and inflow along the two lanes
of the bar. Closed orbits alone look the same when they are mirrored along the line of sight and reversed in time; what
distinguishes near from far gas is the orientation of bar and orbits, the lanes, latitude, opacity and perspective.
"""

# mypy: allow-untyped-defs

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.axes import RHO, T_DUST, T_GAS, V_LOS, X_CO, X_H2
from iris_cli.compiled_math import exp32, kernel, part
from iris_cli.config.grid import Grid
from iris_cli.mock.clouds import NO_CLOUDS, Clouds, add_clouds
from iris_cli.mock.lanes import Lane, add_lane, packed_lanes
from iris_cli.mock.streams import Stream, add_stream, packed_streams
from iris_cli.mock.turbulence import CALM, Turbulence, interpolate
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3, relations
from iris_cli.standard.grid import directions, slabs

#: Cells that are computed at once; the numbers do not depend on it.
SLAB_CELLS = 4_000_000
#: cm^-3; there is no vacuum.
LEAST_N_H_CM3 = 1e-2
#: Inside this radius the envelope rotates rigidly.
RIGID_PC = 40.0
#: Cells that are computed together, with their intermediate numbers in the cache.
_CHUNK = 256

_f = np.float32
_RHO_PER_CM3, _RIGID, _LEAST_N_H = _f(DENSITY_PER_N_H_CM3), _f(RIGID_PC), _f(LEAST_N_H_CM3)


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
    clouds: Clouds = NO_CLOUDS
    turbulence: Turbulence = CALM
    centre_pc: tuple[float, float, float] = (0.0, 0.0, 0.0)
    room_deg: tuple[float, float] = (0.0, 360.0)

    def views_deg(self, count: int) -> list[float]:
        """Azimuths of observers, evenly spaced in the room that the orientation has; the first is 0."""
        low, high = self.room_deg
        first = -low / (high - low) if high > low else 0.0
        return [round(low + (high - low) * ((first + k / count) % 1.0), 6) + 0.0 if k else 0.0 for k in range(count)]

    def tensor(self, grid: Grid, view_deg: float) -> NDArray[np.float32]:
        """(6, R, L, B) in inner units, as seen from azimuth `view_deg`."""
        return self._slab(grid, view_deg, slice(0, grid.r_steps))

    def slabs(self, grid: Grid, view_deg: float) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The same in slabs (6, rows, L, B) of at most about SLAB_CELLS cells, for tensors larger than memory."""
        for rows in slabs(grid.r_steps, grid.lon_steps * grid.lat_steps, SLAB_CELLS):
            yield rows, self._slab(grid, view_deg, rows)

    def _slab(self, grid: Grid, view_deg: float, rows: slice) -> NDArray[np.float32]:
        r, azimuth = grid.distance.centres()[rows], math.radians(view_deg)
        frame = (math.cos(azimuth), math.sin(azimuth), grid.observer_distance_pc)
        rays = tuple(np.ascontiguousarray(each).reshape(-1) for each in directions(grid))
        tensor = np.empty((6, len(r), grid.lon_steps, grid.lat_steps), np.float32)
        _add_smooth_gas(r, rays, frame, self.scale, self.centre_pc, self._packed(), tensor.reshape(6, len(r), -1))
        self._add_clouds(grid, frame, r, tensor)
        t = self.turbulence
        numbers = (_f(t.contrast), _f(t.sigma_km_s), _f(t.gas_scatter), _f(t.dust_scatter))
        _stir(r, rays, frame, self.scale, t.fields, _f(t.cell_pc), numbers, tensor.reshape(6, len(r), -1))
        return tensor

    def _add_clouds(self, grid: Grid, frame: tuple[float, float, float], r: NDArray, tensor: NDArray) -> None:
        c = self.clouds
        balls = (c.position_pc + self.centre_pc, c.velocity_km_s, c.n_H_cm3, c.radius_pc, c.gradient_km_s_pc)
        lon, lat = (np.deg2rad(axis.centres()) for axis in (grid.longitude, grid.latitude))
        steps = grid.distance.step, math.radians(grid.longitude.step), math.radians(grid.latitude.step)
        add_clouds(*balls, self.scale, frame, steps, r, lon, lat, tensor[RHO], tensor[V_LOS])

    def gas(self, x: NDArray, y: NDArray, z: NDArray) -> tuple[NDArray, tuple[NDArray, NDArray, NDArray]]:
        """n_H in cm^-3 and the mass-weighted velocity (v_x, v_y, v_z) in km/s of the gas without clouds and turbulence.

        Positions are galactocentric, before they are multiplied by `scale`.
        """
        places = [np.float32(q - centre).ravel() for q, centre in zip((x, y, z), self.centre_pc, strict=True)]
        n_H, flux = np.empty((3, x.size), np.float32), np.empty((3, x.size), np.float32)
        for direction, n, f in zip(np.eye(3, dtype=np.float32), n_H, flux, strict=True):
            _gas_at(*places, *(np.full(x.size, each) for each in direction), *self._packed(), n, f)
        v_x, v_y, v_z = (flux / n_H).reshape(3, *x.shape)
        return n_H[0].reshape(x.shape), (v_x, v_y, v_z)

    def _packed(self) -> tuple[NDArray, NDArray, NDArray]:
        e = self.envelope
        numbers = (e.n_H_cm3, e.radius_pc, e.height_pc, e.v_km_s, e.drift_km_s, *e.lopsided)
        return np.array(numbers, np.float32), packed_streams(self.streams), packed_lanes(self.lanes)


# --- kernels ----------------------------------------------------------------------------------------------------------


@kernel
def _gas_at(x, y, z, nx, ny, nz, envelope, streams, lanes, n_H, flux):
    smooth_gas(x, y, z, nx, ny, nz, envelope, streams, lanes, n_H, flux)


@part
def smooth_gas(x, y, z, nx, ny, nz, envelope, streams, lanes, n_H, flux):
    """Fills n_H and n_H times the velocity along (nx, ny, nz) of cells at (x, y, z) from the centre of the orbits."""
    _fill_envelope(envelope, x, y, z, nx, ny, nz, n_H, flux)
    for k in range(len(streams)):
        add_stream(streams[k], x, y, z, nx, ny, nz, n_H, flux)
    for k in range(len(lanes)):
        add_lane(lanes[k], x, y, z, nx, ny, nz, n_H, flux)


@part
def _fill_envelope(envelope, x, y, z, nx, ny, nz, n_H, flux):
    """Diffuse gas between and around the streams; it rotates and may drift towards the centre."""
    peak, speed, drift, side_x, side_y = envelope[0], envelope[3], envelope[4], envelope[5], envelope[6]
    per_radius, per_square = _f(-1) / envelope[1], _f(-0.5) / (envelope[2] * envelope[2])
    for i in range(x.size):
        distance = _f(math.sqrt(x[i] * x[i] + y[i] * y[i]))
        soft = max(distance, _RIGID)
        side = (side_x * x[i] + side_y * y[i]) / soft
        n_H[i] = peak * exp32(side + per_radius * distance + per_square * z[i] * z[i]) + _LEAST_N_H
        turn, inwards = speed / soft, drift / soft
        flux[i] = n_H[i] * ((y[i] * turn - x[i] * inwards) * nx[i] - (x[i] * turn + y[i] * inwards) * ny[i])


@part
def _place(r, away, left, up, frame, scale, centre, at):
    """Fills `at`: positions (x, y, z) from a centre, before `scale`, and unit vectors (nx, ny, nz) times `scale`."""
    cos, sin, observer_pc = frame
    for i in range(away.size):
        toward, aside = observer_pc - r * away[i], r * left[i]
        at[0, i] = (cos * toward + sin * aside) / scale - centre[0]
        at[1, i] = (sin * toward - cos * aside) / scale - centre[1]
        at[2, i] = r * up[i] / scale - centre[2]
        at[3, i] = (sin * left[i] - cos * away[i]) * scale
        at[4, i] = (-sin * away[i] - cos * left[i]) * scale
        at[5, i] = up[i] * scale


@kernel
def _add_smooth_gas(r, rays, frame, scale, centre, packed, tensor):
    """Fills the density (R, ray) with n_H and the velocity with n_H v_los."""
    away, left, up = rays
    at = np.empty((6, _CHUNK), np.float32)
    for row in range(r.size):
        for first in range(0, away.size, _CHUNK):
            size = min(_CHUNK, away.size - first)
            these = slice(first, first + size)
            _place(r[row], away[these], left[these], up[these], frame, scale, centre, at)
            x, y, z, nx, ny, nz = at[0, :size], at[1, :size], at[2, :size], at[3, :size], at[4, :size], at[5, :size]
            smooth_gas(x, y, z, nx, ny, nz, *packed, tensor[RHO, row, these], tensor[V_LOS, row, these])


@kernel
def _stir(r, rays, frame, scale, fields, cell_pc, numbers, tensor):
    """Turns n_H and n_H v_los into the six channels, with log-normal density and temperatures.

    The mean density and the median temperatures do not change.
    """
    away, left, up = rays
    contrast, sigma_km_s, gas_scatter, dust_scatter = numbers
    mean = _f(0.5) * contrast * contrast
    at, values = np.empty((6, _CHUNK), np.float32), np.empty((5, _CHUNK), np.float32)
    for row in range(r.size):
        for first in range(0, away.size, _CHUNK):
            size = min(_CHUNK, away.size - first)
            these = slice(first, first + size)
            _place(r[row], away[these], left[these], up[these], frame, scale, (0.0, 0.0, 0.0), at)
            interpolate(fields, cell_pc, at[0, :size], at[1, :size], at[2, :size], values)
            density, v_los = tensor[RHO, row, these], tensor[V_LOS, row, these]
            T_gas, T_dust = tensor[T_GAS, row, these], tensor[T_DUST, row, these]
            x_H2, x_CO = tensor[X_H2, row, these], tensor[X_CO, row, these]
            log_density, v_x, v_y, v_z, heat = values[0], values[1], values[2], values[3], values[4]
            nx, ny, nz = at[3], at[4], at[5]
            for i in range(size):
                v_los[i] = v_los[i] / density[i] + sigma_km_s * (v_x[i] * nx[i] + v_y[i] * ny[i] + v_z[i] * nz[i])
                density[i] *= exp32(contrast * log_density[i] - mean)
            for i in range(size):
                gas, x_H2[i], x_CO[i], dust = relations(density[i])
                T_gas[i], T_dust[i] = gas * exp32(gas_scatter * heat[i]), dust * exp32(dust_scatter * heat[i])
                density[i] *= _RHO_PER_CM3
