"""Gas streams of the CMZ: tubes around nested x2 orbits, closed or open.

No single orbit fits the clouds of the CMZ (Henshaw et al. 2016, arXiv:1601.03732; Lipman et al. 2026, arXiv:2603.23327:
semi-major axes of 72 to 146 pc), so a galaxy has several. An open stream is the same ellipse while it turns slowly: the
apocentre advances in every half turn, by 18 degrees in the model of Kruijssen, Dale & Longmore 2015 (arXiv:1412.0664:
pericentre 59 pc, apocentre 121 pc, radial and azimuthal periods of 2.03 and 3.69 Myr).
"""

# mypy: allow-untyped-defs

import math
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from iris_cli.compiled_math import atan2_32, cos_sin32, exp32, kernel, part
from iris_cli.standard.orbit import Orbit

#: Azimuth over which the end of an open stream fades.
END_RAD = 0.15
#: A tube is followed to so many of its widths.
REACH = 4.5
#: ln(density) along a stream varies with at most so many harmonics.
HARMONICS = 6

_f = np.float32
_LEAST, _PER_END = _f(1e-6), _f(1.0 / END_RAD)


@dataclass(frozen=True)
class Opening:
    """The part of an open stream: azimuths `start_rad` to `start_rad + length_rad`, in the direction of motion.

    `precession` is the azimuth of the ellipse over that of the gas, below 1 where the apocentre advances.
    """

    start_rad: float
    length_rad: float
    precession: float


@dataclass(frozen=True)
class Stream:
    """A tube of Gaussian cross-section, in which as much gas flows in as out: n_H is `n_H_cm3` times v0/speed.

    On top of that, ln(density) varies along it by `ripples`, and by `lopsided` (along x and y) times the unit vector
    from the centre.
    """

    orbit: Orbit
    n_H_cm3: float
    width_pc: float
    ripples: tuple[tuple[float, float], ...] = ()  # cosine and sine amplitudes
    lopsided: tuple[float, float] = (0.0, 0.0)
    opening: Opening | None = None


#: The numbers of a stream that a cell needs, in float32; `cos` and `sin` of the tilt, `up` and `over` of alpha.
_Tube = namedtuple(
    "_Tube",
    "a b height up over cos sin v0 drift n_H width side_x side_y precession start end first_turn last_turn",
)
_STREAM = np.dtype([(name, np.float32) for name in _Tube._fields] + [("ripples", np.float32, (HARMONICS, 2))])


def packed_streams(streams: Sequence[Stream]) -> NDArray:
    packed = np.zeros(len(streams), _STREAM)
    for record, stream in zip(packed, streams, strict=True):
        orbit, opening = stream.orbit, stream.opening
        alpha, tilt = orbit.height_phase_rad, math.radians(orbit.tilt_deg)
        ellipse = (orbit.semi_major_pc, orbit.semi_minor_pc, orbit.height_pc, math.sin(alpha), math.cos(alpha))
        gas = (orbit.v0_km_s, orbit.drift_km_s, stream.n_H_cm3, stream.width_pc, *stream.lopsided)
        part = (1.0, 0.0, 0.0, 0.0, -1.0)  # a closed stream has no turns
        if opening is not None:
            turns = _turns(opening)
            end = opening.start_rad + opening.length_rad
            part = (opening.precession, opening.start_rad, end, turns.start, turns.stop - 1)
        values = _Tube(*ellipse, math.cos(tilt), math.sin(tilt), *gas, *part)
        for name, value in values._asdict().items():
            record[name] = value
        record["ripples"][: len(stream.ripples)] = np.reshape(stream.ripples, (-1, 2))
    return packed


def _turns(opening: Opening) -> range:
    """Azimuths -pi … pi plus these multiples of 2 pi cover the stream and its fading ends."""
    first = math.floor((opening.start_rad - 4.0 * END_RAD + math.pi) / (2.0 * math.pi))
    last = math.floor((opening.start_rad + opening.length_rad + 4.0 * END_RAD + math.pi) / (2.0 * math.pi))
    return range(first, last + 1)


@part
def add_stream(record, x, y, z, nx, ny, nz, n_H, flux):
    """Adds the gas of a stream to cells, see `galaxy.smooth_gas`; none beyond REACH of its widths."""
    t, ripples = _tube(record), record.ripples
    if not _reaches(t, x, y):
        return
    if t.last_turn < t.first_turn:
        for i in range(x.size):
            p, q = t.sin * -x[i] - t.cos * y[i], t.sin * y[i] - t.cos * x[i]
            n, cos, sin, v_z = _ridge(t, ripples, x[i], y[i], z[i], p, q)
            v_p, v_q = _around(t, cos, sin)
            n_H[i] += n
            flux[i] += n * _along(t, v_p, v_q, v_z, nx[i], ny[i], nz[i])
        return
    for turn in range(int(t.first_turn), int(t.last_turn) + 1):
        for i in range(x.size):
            p, q = t.sin * -x[i] - t.cos * y[i], t.sin * y[i] - t.cos * x[i]
            radius = max(_f(math.sqrt(p * p + q * q)), _LEAST)
            azimuth = atan2_32(q, p) + _f(2.0 * math.pi) * _f(turn)
            part = (_f(1) + exp32((t.start - azimuth) * _PER_END)) * (_f(1) + exp32((azimuth - t.end) * _PER_END))
            cos, sin = cos_sin32(t.precession * azimuth)
            p, q = radius * cos, radius * sin
            n, cos, sin, v_z = _ridge(t, ripples, x[i], y[i], z[i], p, q)
            v_p, v_q = _around(t, cos, sin)
            v_p, v_q = _turned(t, v_p, v_q, p, q, radius, (_f(1) - t.precession) * azimuth)
            n_H[i] += n / part
            flux[i] += n / part * _along(t, v_p, v_q, t.precession * v_z, nx[i], ny[i], nz[i])


@part
def _reaches(t, x, y):
    """False if all cells are farther from the centre than the stream."""
    farthest, inside = t.a + _f(REACH) * t.width, 0
    for i in range(x.size):
        inside += 1 if x[i] * x[i] + y[i] * y[i] < farthest * farthest else 0
    return inside > 0


@njit(inline="always")
def _tube(s):
    ellipse = (s.a, s.b, s.height, s.up, s.over, s.cos, s.sin)
    gas = (s.v0, s.drift, s.n_H, s.width, s.side_x, s.side_y)
    return _Tube(*ellipse, *gas, s.precession, s.start, s.end, s.first_turn, s.last_turn)


@njit(inline="always")
def _ridge(t, ripples, x, y, z, p, q):
    """(n_H, cos and sin of the phase, v_z) of the tube around the whole ellipse, at (p, q) in the ellipse's own axes.

    cos and sin of the phase need no trigonometry.
    """
    u_p, u_q = p / t.a, q / t.b
    u = max(_f(math.sqrt(u_p * u_p + u_q * u_q)), _LEAST)
    steepness = _f(math.sqrt(u_p * u_p / (t.a * t.a) + u_q * u_q / (t.b * t.b)))
    across = (u - _f(1)) * u / max(steepness, _f(1e-12))  # the centre is not on the orbit
    reach = _f(REACH) * t.width
    near = (abs(across) < reach) & (abs(z) < reach + t.height)
    cos, sin = u_p / u, u_q / u
    sin_2, cos_2 = _f(2) * sin * cos, cos * cos - sin * sin
    above = z - t.height * (t.up * cos_2 - t.over * sin_2)
    exponent = (t.side_x * x + t.side_y * y) / max(_f(math.sqrt(x * x + y * y)), _LEAST)
    exponent -= _f(0.5) / (t.width * t.width) * (across * across + above * above)
    real, imaginary = _f(0), _f(0)  # the sum of c cos(m phi) + s sin(m phi), by Horner's rule in exp(i phi)
    for m in range(HARMONICS - 1, -1, -1):
        c, s = real + ripples[m, 0], imaginary - ripples[m, 1]
        real, imaginary = c * cos - s * sin, c * sin + s * cos
    ratio = t.b / t.a
    slow = max(_f(math.sqrt(sin * sin + ratio * ratio * cos * cos)), _LEAST)
    n = t.n_H * exp32(exponent + real) / slow if near else _f(0)
    return n, cos, sin, _f(-2) * t.height * t.v0 / t.a * (t.over * cos_2 + t.up * sin_2)


@njit(inline="always")
def _around(t, cos, sin):
    """(v_p, v_q): the phase grows evenly; the gas drifts inwards."""
    ratio = t.b / t.a
    inwards = t.drift / max(_f(math.sqrt(cos * cos + ratio * ratio * sin * sin)), _LEAST)
    return -t.v0 * sin - inwards * cos, ratio * (t.v0 * cos - inwards * sin)


@njit(inline="always")
def _turned(t, v_p, v_q, p, q, radius, ahead):
    """Velocities on an ellipse that turns: radial ones are slower, the angular momentum is the same.

    The gas is ahead of the ellipse's axes by the angle `ahead`.
    """
    cos, sin = cos_sin32(ahead)
    outwards = t.precession * (v_p * p + v_q * q) / radius
    around = t.v0 * t.b / radius
    along_p, along_q = (cos * p - sin * q) / radius, (sin * p + cos * q) / radius
    return outwards * along_p - around * along_q, outwards * along_q + around * along_p


@njit(inline="always")
def _along(t, v_p, v_q, v_z, nx, ny, nz):
    """The velocity along (nx, ny, nz)."""
    return v_z * nz - (t.sin * v_p + t.cos * v_q) * nx - (t.cos * v_p - t.sin * v_q) * ny


@dataclass(frozen=True)
class Track:
    """(points, 3) positions in pc and velocities in km/s along a stream, and the share of its mass at each point."""

    position_pc: NDArray[np.float64]
    velocity_km_s: NDArray[np.float64]
    share: NDArray[np.float64]
    #: The integral of the density along the stream over n_H_cm3 times 2 pi width^2: an effective length.
    length_pc: float


def track(stream: Stream, points: int = 720) -> Track:
    """The ridge of a stream, divided evenly in azimuth; a closed one begins on its major axis."""
    orbit = stream.orbit
    part = stream.opening or Opening(0.0, 2.0 * math.pi, 1.0)
    azimuth = part.start_rad + part.length_rad / (2 * points) * np.arange(2 * points + 1)  # ends and middles of steps
    cos, sin = np.cos(part.precession * azimuth), np.sin(part.precession * azimuth)
    radius = 1.0 / np.hypot(cos / orbit.semi_major_pc, sin / orbit.semi_minor_pc)
    p, q = radius * np.cos(azimuth), radius * np.sin(azimuth)
    step_pc = np.hypot(p[2::2] - p[:-1:2], q[2::2] - q[:-1:2])
    own_p, own_q, middle = (radius * cos)[1::2], (radius * sin)[1::2], azimuth[1::2]
    x, y = orbit.galactocentric(p[1::2], q[1::2])
    position = np.stack([x, y, orbit.height(orbit.phase(own_p, own_q))], axis=1)
    density, velocity = np.empty(points, np.float32), np.empty((points, 3), np.float32)
    ahead = (1.0 - part.precession) * middle
    places = (each.astype(np.float32) for each in (*position.T, own_p, own_q, ahead))
    _follow(packed_streams([replace(stream, n_H_cm3=1.0)])[0], *places, density, velocity)
    weight = step_pc * density
    return Track(position, velocity.astype(np.float64), weight / weight.sum(), float(weight.sum()))


@kernel
def _follow(record, x, y, z, p, q, ahead, n_H, velocity):
    t, ripples = _tube(record), record.ripples
    for i in range(x.size):
        n_H[i], cos, sin, v_z = _ridge(t, ripples, x[i], y[i], z[i], p[i], q[i])
        v_p, v_q = _around(t, cos, sin)
        if t.last_turn >= t.first_turn:
            radius = _f(math.sqrt(p[i] * p[i] + q[i] * q[i]))
            v_p, v_q = _turned(t, v_p, v_q, p[i], q[i], radius, ahead[i])
        velocity[i, 0] = _along(t, v_p, v_q, v_z, _f(1), _f(0), _f(0))
        velocity[i, 1] = _along(t, v_p, v_q, v_z, _f(0), _f(1), _f(0))
        velocity[i, 2] = t.precession * v_z
