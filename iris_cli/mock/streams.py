"""Gas streams of the CMZ: tubes around nested x2 orbits, closed or open.

No single orbit fits the clouds of the CMZ (Henshaw et al. 2016, arXiv:1601.03732; Lipman et al. 2026, arXiv:2603.23327:
semi-major axes of 72 to 146 pc), so a galaxy has several. An open stream is the same ellipse while it turns slowly: the
apocentre advances in every half turn, by 18 degrees in the model of Kruijssen, Dale & Longmore 2015 (arXiv:1412.0664:
pericentre 59 pc, apocentre 121 pc, radial and azimuthal periods of 2.03 and 3.69 Myr).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.standard.orbit import Orbit

#: Azimuth over which the end of an open stream fades.
END_RAD = 0.15
#: A tube is followed to so many of its widths.
REACH = 4.5
#: Avoids 0/0 where there is no gas.
TINY = 1e-30

#: n_H in cm^-3 and velocities (v_x, v_y, v_z) in km/s.
Gas = tuple[NDArray, tuple[NDArray, NDArray, NDArray]]


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


def stream_gas(stream: Stream, x: NDArray, y: NDArray, z: NDArray) -> Gas:
    """The gas of a stream at galactocentric positions in pc; none beyond REACH of its widths."""
    orbit, opening = stream.orbit, stream.opening
    p, q = orbit.plane(x, y)
    if opening is None:
        return _tube(stream, x, y, z, p, q)
    radius, azimuth = np.hypot(p, q), np.arctan2(q, p)
    total, flux_x, flux_y, flux_z = (np.zeros_like(z) for _ in range(4))
    for turn in _turns(opening):
        along = azimuth + 2.0 * math.pi * turn
        begun = (along - opening.start_rad) / END_RAD
        left = (opening.start_rad + opening.length_rad - along) / END_RAD
        part = _fade(begun) * _fade(left)
        turned = opening.precession * along
        n, v = _tube(stream, x, y, z, radius * np.cos(turned), radius * np.sin(turned), along - turned)
        n *= part
        total += n
        for flux, component in zip((flux_x, flux_y, flux_z), v, strict=True):
            flux += n * component
    some = np.maximum(total, TINY)
    return total, (flux_x / some, flux_y / some, flux_z / some)


def _fade(begun: NDArray) -> NDArray:
    return 1.0 / (1.0 + np.exp(np.clip(-begun, -60.0, 60.0)))


def _turns(opening: Opening) -> range:
    """Azimuths -pi … pi plus these multiples of 2 pi cover the stream and its fading ends."""
    first = math.floor((opening.start_rad - 4.0 * END_RAD + math.pi) / (2.0 * math.pi))
    last = math.floor((opening.start_rad + opening.length_rad + 4.0 * END_RAD + math.pi) / (2.0 * math.pi))
    return range(first, last + 1)


def _tube(
    stream: Stream, x: NDArray, y: NDArray, z: NDArray, p: NDArray, q: NDArray, ahead: NDArray | None = None
) -> Gas:
    """The tube around the whole ellipse, with positions (p, q) in its own axes.

    That of an open stream where the gas is ahead of these axes by `ahead` (rad). cos and sin of the phase need no
    trigonometry.
    """
    orbit, shape, dtype = stream.orbit, z.shape, z.dtype
    across = orbit.offset(p, q)
    reach = REACH * stream.width_pc
    near = (np.abs(across) < reach) & (np.abs(z) < reach + orbit.height_pc)
    x, y, z, p, q, across = (a[near] for a in (x, y, z, p, q, across))
    a, b = orbit.semi_major_pc, orbit.semi_minor_pc
    u = np.maximum(np.hypot(p / a, q / b), 1e-6)
    cos, sin = p / (a * u), q / (b * u)
    sin_2, cos_2 = 2.0 * sin * cos, cos * cos - sin * sin
    sin_a, cos_a = math.sin(orbit.height_phase_rad), math.cos(orbit.height_phase_rad)
    square = across**2 + (z - orbit.height_pc * (sin_a * cos_2 - cos_a * sin_2)) ** 2
    side = (stream.lopsided[0] * x + stream.lopsided[1] * y) / np.maximum(np.hypot(x, y), 1e-6)
    n_H = stream.n_H_cm3 * np.exp(_ripple(stream.ripples, cos, sin) + side - 0.5 / stream.width_pc**2 * square)
    n_H = n_H / np.maximum(np.hypot(sin, b / a * cos), 1e-6)
    rate = orbit.v0_km_s / a
    inwards = orbit.drift_km_s / np.maximum(np.hypot(cos, b / a * sin), 1e-6)
    v_p, v_q = -orbit.v0_km_s * sin - inwards * cos, b / a * (orbit.v0_km_s * cos - inwards * sin)
    v_z = -2.0 * orbit.height_pc * rate * (cos_a * cos_2 + sin_a * sin_2)
    if stream.opening is not None and ahead is not None:
        v_p, v_q = _turn(v_p, v_q, p, q, ahead[near], stream)
        v_z = stream.opening.precession * v_z
    v_x, v_y = orbit.galactocentric(v_p, v_q)

    def whole(values: NDArray) -> NDArray:
        everywhere = np.zeros(shape, dtype)
        everywhere[near] = values
        return everywhere

    return whole(n_H), (whole(v_x), whole(v_y), whole(v_z))


def _turn(
    v_p: NDArray, v_q: NDArray, p: NDArray, q: NDArray, ahead: NDArray, stream: Stream
) -> tuple[NDArray, NDArray]:
    """Velocities on a turning ellipse: radial ones are slower by its precession, the angular momentum is the same."""
    assert stream.opening is not None
    radius = np.maximum(np.hypot(p, q), 1e-6)
    outwards = stream.opening.precession * (v_p * p + v_q * q) / radius
    around = stream.orbit.v0_km_s * stream.orbit.semi_minor_pc / radius
    cos, sin = np.cos(ahead), np.sin(ahead)
    along_p, along_q = (cos * p - sin * q) / radius, (sin * p + cos * q) / radius
    return outwards * along_p - around * along_q, outwards * along_q + around * along_p


def _ripple(ripples: tuple[tuple[float, float], ...], cos: NDArray, sin: NDArray) -> NDArray:
    """The sum of c cos(m phi) + s sin(m phi) over m = 1, 2, …, by Horner's rule in exp(i phi)."""
    real, imaginary = np.zeros_like(cos), np.zeros_like(cos)
    for c, s in reversed(ripples):
        a, b = real + c, imaginary - s
        real, imaginary = a * cos - b * sin, a * sin + b * cos
    return real


@dataclass(frozen=True)
class Track:
    """(points, 3) positions in pc and velocities in km/s along a stream, and the share of its mass at each point."""

    position_pc: NDArray[np.float64]
    velocity_km_s: NDArray[np.float64]
    share: NDArray[np.float64]
    #: The integral of the density along the stream over n_H_cm3 times 2 pi width^2: an effective length.
    length_pc: float


def track(stream: Stream, points: int = 720) -> Track:
    """The ridge of a stream; closed ones from phase 0."""
    orbit, opening = stream.orbit, stream.opening
    if opening is None:
        phi = np.linspace(0.0, 2.0 * np.pi, points, endpoint=False)
        p, q = orbit.semi_major_pc * np.cos(phi), orbit.semi_minor_pc * np.sin(phi)
    else:
        azimuth = opening.start_rad + opening.length_rad * (np.arange(points) + 0.5) / points
        turned = opening.precession * azimuth
        radius = 1.0 / np.hypot(np.cos(turned) / orbit.semi_major_pc, np.sin(turned) / orbit.semi_minor_pc)
        phi = np.arctan2(np.sin(turned) / orbit.semi_minor_pc, np.cos(turned) / orbit.semi_major_pc)
        p, q = radius * np.cos(azimuth), radius * np.sin(azimuth)
    x, y = orbit.galactocentric(p, q)
    v_p, v_q, v_z = orbit.velocity(phi)
    if opening is not None:
        v_p, v_q = _turn(v_p, v_q, radius * np.cos(turned), radius * np.sin(turned), azimuth - turned, stream)
        v_z = opening.precession * v_z
    v_x, v_y = orbit.galactocentric(v_p, v_q)
    to_next = np.gradient(p), np.gradient(q)
    if opening is None:
        to_next = (np.roll(p, -1) - np.roll(p, 1)) / 2.0, (np.roll(q, -1) - np.roll(q, 1)) / 2.0
    side = np.exp((stream.lopsided[0] * x + stream.lopsided[1] * y) / np.hypot(x, y))
    slow = 1.0 / np.hypot(np.sin(phi), orbit.semi_minor_pc / orbit.semi_major_pc * np.cos(phi))
    weight = np.hypot(*to_next) * slow * np.exp(_ripple(stream.ripples, np.cos(phi), np.sin(phi))) * side
    position = np.stack([x, y, orbit.height(phi)], axis=1)
    return Track(position, np.stack([v_x, v_y, v_z], axis=1), weight / weight.sum(), float(weight.sum()))
