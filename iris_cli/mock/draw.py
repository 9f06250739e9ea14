"""Random draws of mock galaxies: a configuration, a seed and a number in, the ingredients of a galaxy out.

Angles `..._deg` in the plane count from positive longitude towards the far side, the direction of rotation.
"""

import math
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0

from iris_cli.config.mock import LATTICE_BOX_PC, MockConfig
from iris_cli.config.setting import setting_of
from iris_cli.mock.clouds import Clouds
from iris_cli.mock.galaxy import Envelope, MockGalaxy
from iris_cli.mock.lanes import Lane
from iris_cli.mock.streams import Opening, Stream, Track, track
from iris_cli.mock.turbulence import Turbulence, random_fields
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3
from iris_cli.standard.orbit import Orbit

#: pc km/s per year: the flow through a lane of 1 M_sun/pc at 1 km/s is this in M_sun/yr.
PC_YR_PER_KM_S = 1.022_712e-6
#: Standard deviation of the velocities of clouds in the envelope, which lie on no common orbit, in each direction.
ENVELOPE_SCATTER_KM_S = 20.0
#: Standard deviation of the heights of complexes.
COMPLEX_HEIGHT_PC = 8.0
#: The radius to which `cloud_km_s` belongs.
LARSON_PC = 3.0
#: Standard deviation of the direction of lopsidedness.
LOPSIDED_SCATTER_DEG = 25.0
#: Share of the v0 of the orbits with which the envelope rotates.
ENVELOPE_ROTATION = 0.8

_RANGES = tuple(each.name for each in fields(MockConfig) if setting_of(each).interval)
_OF_COMPLEXES = tuple(name for name in _RANGES if name.startswith("complex_"))


def draw_galaxy(config: MockConfig, seed: int, number: int) -> MockGalaxy:
    """Galaxy `number` of a seed; it does not depend on other galaxies."""
    rng = np.random.default_rng([seed, number])
    u = _uniform(config, _RANGES, rng)
    turn_deg, room = _orientation(config, u, rng)
    u["tilt_deg"], volume = u["tilt_deg"] + turn_deg, u["scale"] ** 3
    side = u["lopsidedness"] * _direction(turn_deg + rng.normal(0.0, LOPSIDED_SCATTER_DEG))
    streams, tracks = _streams(config, u, side, volume, rng)
    envelope = _envelope(u, side, volume)
    complexes = _complexes(config, u, turn_deg, volume, rng)
    clouds = _clouds(config, u, streams, tracks, envelope, complexes, volume, rng)
    offset = u["centre_offset_pc"] * _direction(rng.uniform(0.0, 360.0))
    return MockGalaxy(
        u["scale"],
        streams,
        envelope,
        _lanes(u, streams, turn_deg, volume),
        complexes + clouds,
        _turbulence(config, u, rng),
        (float(offset[0]), float(offset[1]), u["centre_height_pc"]),
        room,
    )


def _uniform(config: MockConfig, names: Sequence[str], rng: np.random.Generator) -> dict[str, float]:
    low, high = zip(*(getattr(config, name) for name in names), strict=True)
    return dict(zip(names, rng.uniform(low, high).tolist(), strict=True))


def _orientation(
    config: MockConfig, u: dict[str, float], rng: np.random.Generator
) -> tuple[float, tuple[float, float]]:
    """(the angle by which the galaxy is turned, how far an observer may move from view 0), degrees.

    Another view changes the bar angle and the tilts by the same angle.
    """
    if config.view == "any":
        return rng.uniform(0.0, 360.0), (0.0, 360.0)
    limits = {name: getattr(config, name) for name in ("bar_angle_deg", "tilt_deg")}
    low = max(limit[0] - u[name] for name, limit in limits.items())
    high = min(limit[1] - u[name] for name, limit in limits.items())
    return 0.0, (min(low, 0.0), max(high, 0.0))


def _direction(angle_deg: float) -> NDArray[np.float64]:
    """The unit vector (x, y) at an angle from positive longitude towards the far side, for view 0."""
    return np.array([-math.sin(math.radians(angle_deg)), -math.cos(math.radians(angle_deg))])


def _streams(
    config: MockConfig, u: dict[str, float], side: NDArray, volume: float, rng: np.random.Generator
) -> tuple[tuple[Stream, ...], list[Track]]:
    closed, opened = (rng.integers(low, high + 1) for low, high in (config.streams, config.open_streams))
    streams = [_stream(config, u, side, None, rng) for _ in range(closed)]
    streams += [_stream(config, u, side, _opening(config, rng), rng) for _ in range(opened)]
    shares = rng.uniform(0.4, 1.0, len(streams)) * [stream.orbit.semi_major_pc for stream in streams]
    shares /= max(shares.sum(), 1e-30)
    tracks = [track(stream) for stream in streams]
    filled = tuple(
        replace(stream, n_H_cm3=_peak_n_H(share * u["stream_mass_Msun"] / volume, stream.width_pc, along))
        for stream, share, along in zip(streams, shares, tracks, strict=True)
    )
    return filled, tracks


def _peak_n_H(mass_Msun: float, width_pc: float, along: Track) -> float:
    """n_H in the middle of a tube of Gaussian cross-section."""
    return float(mass_Msun / (2.0 * math.pi * width_pc**2 * along.length_pc)) / DENSITY_PER_N_H_CM3


def _stream(
    config: MockConfig, u: dict[str, float], side: NDArray, opening: Opening | None, rng: np.random.Generator
) -> Stream:
    """A stream of its own size, form, height and phase; tilt and speed are those of the galaxy, with some scatter."""

    def draw(name: str) -> float:
        return rng.uniform(*getattr(config, name))

    a = draw("semi_major_pc")
    ellipse = (a, a * draw("axis_ratio"), draw("height_pc"), draw("height_phase_rad"))
    tilt = u["tilt_deg"] + rng.normal(0.0, config.tilt_scatter_deg)
    orbit = Orbit(*ellipse, tilt, u["v0_km_s"] * rng.uniform(0.95, 1.05), u["drift_km_s"])
    ripples = _ripples(draw("stream_contrast"), rng)
    return Stream(orbit, 0.0, draw("stream_width_pc"), ripples, (float(side[0]), float(side[1])), opening)


def _opening(config: MockConfig, rng: np.random.Generator) -> Opening:
    precession = 180.0 / (180.0 + rng.uniform(*config.open_precession_deg))
    length = 2.0 * math.pi * rng.uniform(*config.open_length_turns)
    return Opening(rng.uniform(0.0, 2.0 * math.pi), length, precession)


def _ripples(contrast: float, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Six harmonics of ln(density) along a stream, standard deviation `contrast` in all; long waves dominate."""
    amplitudes = rng.standard_normal((6, 2)) / np.arange(1, 7)[:, None]
    amplitudes *= contrast * np.sqrt(2.0 / np.sum(amplitudes**2))
    return tuple((float(c), float(s)) for c, s in amplitudes)


def _envelope(u: dict[str, float], side: NDArray, volume: float) -> Envelope:
    """Half as lopsided as the streams."""
    half = 0.5 * side
    size, height = u["envelope_radius_pc"], u["envelope_height_pc"]
    radius = (np.arange(800) + 0.5) * size / 80.0
    lopsided = i0(np.hypot(*half) * np.minimum(radius / 40.0, 1.0))
    area = 2.0 * math.pi * float((radius * np.exp(-radius / size) * lopsided).sum()) * size / 80.0
    n_H = u["envelope_mass_Msun"] / volume / (area * math.sqrt(2.0 * math.pi) * height) / DENSITY_PER_N_H_CM3
    speed = ENVELOPE_ROTATION * u["v0_km_s"]
    return Envelope(n_H, size, height, speed, u["drift_km_s"], (float(half[0]), float(half[1])))


def _lanes(u: dict[str, float], streams: tuple[Stream, ...], turn_deg: float, volume: float) -> tuple[Lane, ...]:
    """Along the bar from the tips of the largest orbit; the first is the near one, at positive longitude."""
    largest = max((s.orbit.semi_major_pc for s in streams), default=100.0)
    tip = largest * _direction(u["tilt_deg"])
    out = _direction(turn_deg - 90.0 + u["bar_angle_deg"])
    section = 2.0 * math.pi * u["lane_width_pc"] ** 2 * DENSITY_PER_N_H_CM3

    def lane(sign: float) -> Lane:
        flow = 0.5 * u["lane_inflow_Msun_yr"] * (1.0 + sign * u["lane_imbalance"])
        mass_per_pc = flow / PC_YR_PER_KM_S / u["lane_km_s"]
        start, outwards = ((sign * float(x), sign * float(y)) for x, y in (tip, out))
        return Lane(start, outwards, mass_per_pc / volume / section, u["lane_width_pc"], u["lane_km_s"])

    return lane(1.0), lane(-1.0)


def _complexes(
    config: MockConfig, u: dict[str, float], turn_deg: float, volume: float, rng: np.random.Generator
) -> Clouds:
    """Diffuse gas of the complexes at both ends of the orbits, where gas that overshoots them collides."""

    def at_end(sign: float) -> Clouds:
        draw = _uniform(config, _OF_COMPLEXES, rng)
        place = sign * draw["complex_distance_pc"] * _direction(turn_deg + draw["complex_azimuth_deg"])
        away = sign * draw["complex_v_km_s"] * _direction(turn_deg + 90.0)
        mass = 0.5 * u["complex_mass_Msun"] * (1.0 + sign * u["complex_imbalance"]) / volume
        height = rng.normal(0.0, COMPLEX_HEIGHT_PC)
        radius, sigma = np.array([draw["complex_radius_pc"]]), np.array([draw["complex_km_s"]])
        return _balls(np.array([mass]), radius, sigma, np.append(place, height)[None], np.append(away, 0.0)[None], rng)

    return at_end(1.0) + at_end(-1.0)


def _balls(
    mass_Msun: NDArray, radius_pc: NDArray, sigma_km_s: NDArray, place: NDArray, v: NDArray, rng: np.random.Generator
) -> Clouds:
    """Gaussian clouds; each component of a velocity has a gradient of random direction, of this dispersion."""
    n_H = mass_Msun / ((2.0 * math.pi) ** 1.5 * radius_pc**3 * DENSITY_PER_N_H_CM3)
    gradient = rng.standard_normal((len(n_H), 3, 3))
    gradient *= (sigma_km_s / radius_pc)[:, None, None] / np.linalg.norm(gradient, axis=2, keepdims=True)
    return Clouds(place, v, n_H, radius_pc, gradient)


def _clouds(
    config: MockConfig,
    u: dict[str, float],
    streams: tuple[Stream, ...],
    tracks: list[Track],
    envelope: Envelope,
    complexes: Clouds,
    volume: float,
    rng: np.random.Generator,
) -> Clouds:
    """Most on streams, where these are dense; some in the envelope, some in the complexes."""
    count = int(rng.integers(config.clouds[0], config.clouds[1] + 1))
    masses = _power_law(config.cloud_mass_Msun, config.cloud_mass_slope, rng.uniform(size=count)) / volume
    n_H = _power_law(config.cloud_n_H_cm3, 1.0, rng.uniform(size=count))
    radii = (masses / ((2.0 * math.pi) ** 1.5 * n_H * DENSITY_PER_N_H_CM3)) ** (1.0 / 3.0)
    shares = np.array([s.n_H_cm3 * s.width_pc**2 * t.length_pc for s, t in zip(streams, tracks, strict=True)])
    within = u["cloud_in_complexes"] if complexes.n_H_cm3.any() else 0.0
    beyond = u["cloud_in_complexes"] + u["cloud_off_streams"] if shares.any() else 1.0
    where = rng.uniform(size=count)
    place, velocity = np.empty((2, count, 3))
    groups = (
        (where < within, lambda n: _in_complexes(complexes, n, u, rng)),
        ((where >= within) & (where < beyond), lambda n: _in_envelope(envelope, n, rng)),
        (where >= beyond, lambda n: _on_streams(streams, tracks, shares, n, u["cloud_scatter_km_s"], rng)),
    )
    for chosen, draw in groups:
        if chosen.any():
            place[chosen], velocity[chosen] = draw(np.count_nonzero(chosen))
    return _balls(masses, radii, u["cloud_km_s"] * np.sqrt(radii / LARSON_PC), place, velocity, rng)


def _power_law(limits: tuple[float, float], slope: float, uniform: NDArray) -> NDArray:
    """Draws of dN/dM ~ M^-slope, from draws of a uniform distribution."""
    low, high = limits
    if abs(slope - 1.0) < 1e-9:
        return low * (high / low) ** uniform
    power = 1.0 - slope
    return low * (1.0 + uniform * ((high / low) ** power - 1.0)) ** (1.0 / power)


def _on_streams(
    streams: tuple[Stream, ...],
    tracks: list[Track],
    shares: NDArray,
    count: int,
    scatter_km_s: float,
    rng: np.random.Generator,
) -> tuple[NDArray, NDArray]:
    share = np.concatenate([s / shares.sum() * along.share for s, along in zip(shares, tracks, strict=True)])
    at = rng.choice(len(share), count, p=share)
    position = np.concatenate([along.position_pc for along in tracks])
    velocity = np.concatenate([along.velocity_km_s for along in tracks])
    width = np.repeat([stream.width_pc for stream in streams], [len(along.share) for along in tracks])[at]
    place = position[at] + 0.5 * width[:, None] * rng.standard_normal((count, 3))
    return place, velocity[at] + rng.normal(0.0, scatter_km_s, (count, 3))


def _in_envelope(envelope: Envelope, count: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Like the gas there: exp(lopsided . direction) is the distribution of von Mises."""
    side_x, side_y = envelope.lopsided
    angle = rng.vonmises(math.atan2(side_y, side_x), math.hypot(side_x, side_y), count)
    x, y = np.cos(angle), np.sin(angle)
    radius = rng.gamma(2.0, envelope.radius_pc, count)
    place = np.stack([radius * x, radius * y, rng.normal(0.0, envelope.height_pc, count)], axis=1)
    velocity = envelope.v_km_s * np.stack([y, -x, np.zeros(count)], axis=1)
    return place, velocity + rng.normal(0.0, ENVELOPE_SCATTER_KM_S, (count, 3))


def _in_complexes(
    complexes: Clouds, count: int, u: dict[str, float], rng: np.random.Generator
) -> tuple[NDArray, NDArray]:
    host = rng.choice(len(complexes), count, p=complexes.n_H_cm3 / complexes.n_H_cm3.sum())
    place = complexes.position_pc[host] + 0.7 * complexes.radius_pc[host, None] * rng.standard_normal((count, 3))
    return place, complexes.velocity_km_s[host] + rng.normal(0.0, 0.7 * u["complex_km_s"], (count, 3))


def _turbulence(config: MockConfig, u: dict[str, float], rng: np.random.Generator) -> Turbulence:
    cell = config.turbulence_cell_pc
    nx, ny, nz = (round(box / cell) for box in LATTICE_BOX_PC)
    slopes = (config.density_slope, *[config.velocity_slope] * 3, config.density_slope)
    lattice = random_fields(rng, (nx, ny, nz), cell, slopes, config.largest_eddy_pc)
    scatters = (u["gas_temperature_scatter"], u["dust_temperature_scatter"])
    return Turbulence(lattice, cell, u["turbulence_contrast"], u["turbulence_km_s"], *scatters)
